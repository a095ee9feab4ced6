"""One YAML file says everything about a run: its sections, and the loader that reports every problem at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar, get_args, overload

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from sdsearch.config.component import Component, Settings
from sdsearch.config.load import load_as
from sdsearch.config.problems import OBJECTIONS
from sdsearch.config.yaml import write
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.engine import Model, Sampling
from sdsearch.contracts.environment import Environment
from sdsearch.contracts.hint import Teacher
from sdsearch.contracts.loss import Term
from sdsearch.contracts.rollouts import RolloutStrategy
from sdsearch.core.question import Question, seeded
from sdsearch.core.usage import Usage
from sdsearch.crediting.incompatible import alone
from sdsearch.monitoring.monitor import Monitors


class Data(Settings):
    """The questions."""

    train: Dataset
    """What the agent learns from."""
    test: Dataset
    """What it is judged by: the same questions in every evaluation."""


class Budget(Settings):
    """What a run may cost: exactly one of the three."""

    rollouts: int | None = Field(None, ge=1)
    """Episodes begun or gone on with, those that only serve a credit included."""
    tokens: int | None = Field(None, ge=1)
    """Sampled tokens."""
    seconds: float | None = Field(None, gt=0)
    """Of training; evaluations do not count."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError("expected exactly one of rollouts, tokens and seconds")
        return self

    def reached(self, usage: Usage) -> bool:
        """Say whether nothing is left."""
        return any(value is not None and getattr(usage, name) >= value for name, value in self)


class Objective(Settings):
    """Two sums: advantage per sampled token, and a loss over rows of the token table."""

    credit: list[Credit] = Field(default_factory=list)
    """Summed per token; without any, nothing is credited and the terms that need credit have no rows."""
    terms: list[Term] = Field(min_length=1)
    """Summed, each times its weight."""

    @property
    def teachers(self) -> frozenset[str]:
        """The weights that credits and terms ask for at some step, "live" among them; all others must be kept."""
        used = [t.needs for t in self.terms if t.weight_at(sys.maxsize)]
        return frozenset().union(*used, *(c.needs for c in self.credit)) - {"critic"}

    @property
    def critic(self) -> bool:
        """Whether some credit needs a critic."""
        return any("critic" in c.needs for c in self.credit)


class Source(Settings):
    """Where the groups of a step come from."""

    type: Literal["played", "stored"] = "played"
    """"played": the agent plays the step's questions; "stored": they are read back from a run and not played."""
    run: Path | None = None
    """The folder of the run whose groups are read back, its first step first and, after its last, its first again; by
    default those of this run's own earlier phases."""
    filter: Literal["none", "mixed"] = "none"
    """"mixed": only groups whose rewards differ (DAPO's dynamic sampling, 2503.14476, section 3.2). Played ones are
    topped up with groups alike where `rounds` did not bring enough."""
    rounds: int = Field(3, ge=1)
    """The most often that a step's worth of questions is played for `filter`; verl's limit is 10."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type == "played" and self.run is not None:
            raise ValueError("`run` is given and nothing is read from it: expected `type: stored`, or no `run`")
        return self


class Phase(Settings):
    """Steps of a run with an objective and a source of their own."""

    steps: int = Field(ge=1)
    """The number of steps."""
    objective: Objective
    """What is learned. Steps of its schedules are counted from the beginning of the phase."""
    source: Source = Source()
    """Where the groups come from."""


class Stage(NamedTuple):
    """A phase in its place; a run without `train.phases` has one."""

    number: int
    """From 1; 0 in a run without phases."""
    first: int
    """Steps before it."""
    steps: int
    objective: Objective
    source: Source

    @property
    def last(self) -> int:
        """Steps up to its end."""
        return self.first + self.steps


class Train(Settings):
    """How the agent learns."""

    steps: int = Field(100, ge=1)
    """The number of times that groups are collected and learned from."""
    source: Source = Source()
    """Where they come from."""
    phases: list[Phase] | None = Field(None, min_length=1)
    """In place of `objective`, `train.steps` and `train.source`: several of them, one after the other."""
    questions: int = Field(8, ge=1)
    """Questions per step."""
    group: int = Field(5, ge=1)
    """Rollouts per question."""
    rollouts: RolloutStrategy = Field(default="independent", validate_default=True)
    """How they come about."""
    budget: Budget | None = None
    """The run ends after the step that reaches it, or after `steps`."""
    epochs: int = Field(1, ge=1)
    """How often each step's rollouts are learned from; each time is one update of the weights."""
    learning_rate: float = Field(1e-4, gt=0)
    """The learning rate of AdamW after the warm-up."""
    critic_learning_rate: float = Field(1e-3, gt=0)
    """That of the critic, for a credit that needs one. Search-R1 takes 1e-5 for a large model; this is for a small
    policy with a fresh value head."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to its value."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """The norm that a gradient is clipped to."""
    tokens_per_batch: int = Field(16_384, ge=1)
    """The number of tokens in a micro-batch, padding included; it bounds memory and does not change the result."""
    ema: float = Field(0.05, gt=0, le=1)
    """How far the averaged teacher (`teacher: ema` of a term) moves towards the policy in each step."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of the forward and backward pass."""
    evaluate_every: int = Field(10, ge=0)
    """Steps between evaluations; 0: only after the last step."""
    checkpoint_every: int = Field(50, ge=0)
    """Steps between checkpoints; 0: only after the last step."""
    keep_checkpoints: int = Field(2, ge=1)
    """The number of checkpoints that are kept, the latest ones."""
    columns_every: int = Field(1, ge=0)
    """Steps between those of whose tokens all figures are kept, the first included; 0: none."""
    max_outage_rate: float = Field(0.5, ge=0, le=1)
    """The run stops when the retriever ends more than this share of a step's episodes."""

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stood_in_for = ("steps", "source") if self.phases else ("phases",)
        return {key: value for key, value in handler(self).items() if key not in stood_in_for}


class Evaluate(Settings):
    """How the agent is judged."""

    questions: int = Field(200, ge=1)
    """The first so many questions of `data.test`."""
    batch: int = Field(64, ge=1)
    """The number of episodes that are played at once."""
    greedy: bool = True
    """Whether the likeliest token is taken; if not, tokens are sampled as in training."""


class Experiment(Settings):
    """A spec: the data, the environment, the agent, and how it learns and is judged."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    """The name of the run and of its folder; by default that of the file. It is not taken over from `base`."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Everything random is drawn from it."""
    out: Path = Path("runs")
    """Where runs are kept, seen from the folder in which the command is given."""
    environment: Environment
    """What the agent acts in."""
    data: Data | None = Field(None, validate_default=True)
    """The questions; none for an environment that makes its episodes from seeds."""
    model: Model = Model()
    """The language model that acts and learns."""
    sampling: Sampling = Sampling()
    """How it is sampled."""
    agent: Agent = Field(default="policy", validate_default=True)
    """Who acts; by default the model."""
    teacher: Model | None = None
    """Another model, for `teacher: external` of a term, with the vocabulary of `model`."""
    objective: Objective | None = None
    """What is learned; none for an agent that is only evaluated, or where `train.phases` have theirs."""
    train: Train = Train()
    """How the agent learns."""
    monitors: Monitors = Monitors()
    """When a run warns that something goes wrong."""
    evaluate: Evaluate = Evaluate()
    """How the agent is judged."""

    moved: ClassVar[Mapping[str, str]] = {
        **{f"agent.{key}": f"it is `model.{key}` now" for key in ("gguf_file", "chat", "dtype", "device")},
        "agent.model": "it is `model.name` now",
        "agent.trust_remote_code": "it is `model.trust_remote_code` now",
        **{f"agent.{key}": f"it is `sampling.{key}` now" for key in ("temperature", "max_new_tokens", "context")},
        "agent.engine": "it is `sampling.engine` now",
        "agent.type=local": "it is the default now, `policy`, and the model has sections of its own, `model` and "
        "`sampling`: leave `agent` out",
        "teacher.type": "a teacher is a model now, with the keys of `model`: leave `type` out",
        "teacher.model": "it is `teacher.name` now",
        "train.rollouts.type=mixed": "it is a filter of the source now: `train.source: {filter: mixed, rounds: 3}`",
    }
    """Where keys and values of earlier specs have gone; see `sdsearch.config.load`."""

    @field_validator("data")
    @classmethod
    def _asked(cls, data: Data | None, info: ValidationInfo) -> Data | None:
        environment: Environment | None = info.data.get("environment")
        if data is None and environment is not None and environment.seeds is None:
            raise PydanticKnownError("missing")
        return data

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        faults: Faults = [*unasked(self), *unphased(self)]
        faults += _objections(("train", "rollouts"), self.train.rollouts, self.conditions(self.objective))
        for where, objective, source in self._parts():
            conditions = self.conditions(objective)
            faults += [((*where, "objective", *at), why) for at, why in misfits(objective, self.teacher)]
            for kind, parts in (("credit", objective.credit), ("terms", objective.terms)):
                for i, part in enumerate(parts):
                    faults += _objections((*where, "objective", kind, i), part, conditions)
            if source.filter == "mixed" and (why := alone(conditions)):
                faults += [((*(where or ("train",)), "source", "filter"), f"mixed: {why}")]
        if faults:
            text = "; ".join(f"{'.'.join(map(str, where))}: {why}" for where, why in faults)
            raise PydanticCustomError(OBJECTIONS, "{text}", {"text": text, OBJECTIONS: faults})
        return self

    def sources(self) -> Iterator[tuple[str, Source]]:
        """Yield every source and its path."""
        for where, _, source in self._parts():
            yield ".".join(map(str, (*(where or ("train",)), "source"))), source

    def _parts(self) -> Iterator[tuple[Where, Objective, Source]]:
        """Yield every objective with its source, and where they stand."""
        if self.objective:
            yield (), self.objective, self.train.source
        for i, phase in enumerate(self.train.phases or ()):
            yield ("train", "phases", i), phase.objective, phase.source

    def conditions(self, objective: Objective | None) -> Conditions:
        """Return what components may look at before they object."""
        train, credits = self.train, objective.credit if objective else ()
        return Conditions(train.group, train.questions, train.epochs, train.rollouts.type, tuple(credits))

    def questions(self, split: Literal["train", "test"]) -> Sequence[Question]:
        """Return what episodes are about; of seeds the last `evaluate.questions` are held out."""
        if self.data:
            return (self.data.train if split == "train" else self.data.test).questions()
        every, held_out = seeded(self.environment.seeds or 0), self.evaluate.questions
        return every[:-held_out] if split == "train" else every[-held_out:]

    @property
    def untrainable(self) -> str | None:
        """Why nothing can be learned; None: something can. Such a spec can still be evaluated."""
        if not self.stages:
            return "`objective` is missing: training needs `credit` and `terms`"
        if not self.agent.trainable:
            return f"the agent `{self.agent.type}` has no weights to train: expected `policy`"
        return None

    @property
    def stages(self) -> list[Stage]:
        """The phases of the run, in order; none where nothing is learned."""
        if not self.train.phases:
            objective, train = self.objective, self.train
            return [Stage(0, 0, train.steps, objective, train.source)] if objective else []
        phases = self.train.phases
        firsts = accumulate((p.steps for p in phases), initial=0)
        return [
            Stage(i, first, p.steps, p.objective, p.source)
            for i, (first, p) in enumerate(zip(firsts, phases, strict=False), 1)
        ]

    def stage(self, step: int) -> Stage:
        """Return the phase of a step, counted from 0; the last one for any later step."""
        return next((stage for stage in self.stages if step < stage.last), self.stages[-1])

    @property
    def steps(self) -> int:
        """The steps of all phases."""
        return self.stages[-1].last if self.stages else 0

    @property
    def folder(self) -> Path:
        """Where this run leaves everything: `out/name/seed`."""
        return self.out / self.name / str(self.seed)

    def dump(self) -> str:
        """Return the spec in YAML, defaults written out; loading it gives an equal experiment."""
        return write(self.model_dump(mode="json"))


Where = tuple[str | int, ...]
Faults = list[tuple[Where, str]]


def _objections(where: Where, part: Component, conditions: Conditions) -> Faults:
    why = part.objection(conditions)
    return [(where, f"{part.type}: {why}")] if why else []


def unasked(spec: Experiment) -> Faults:
    """Object to an environment that has two things to begin an episode from, or too few."""
    seeds, held_out = spec.environment.seeds, spec.evaluate.questions
    if seeds is None:
        return []
    if spec.data:
        return [(("data",), f"got questions and an environment that begins from {seeds} seeds: leave `data` out")]
    if seeds <= held_out:
        why = f"got {held_out} held-out episodes of an environment with {seeds} seeds, expected fewer"
        return [(("evaluate", "questions"), why)]
    return []


def unphased(spec: Experiment) -> Faults:
    """Return what stands beside `train.phases` that they stand in for, and phases that do not fit together."""
    phases, faults = spec.train.phases, Faults()
    for i, phase in enumerate(phases or ()):
        if phase.source.type == "stored" and phase.source.run is None and i == 0:
            why = "got `stored` without `run` in the first phase, which has no earlier steps: name a `run`"
            faults += [(("train", "phases", i, "source"), why)]
    if not phases:
        if spec.train.source.type == "stored" and spec.train.source.run is None:
            why = "got `stored` without `run`, and there is no earlier phase: name the folder of a run"
            faults += [(("train", "source"), why)]
        return faults
    given: list[tuple[Where, bool]] = [(("objective",), spec.objective is not None)]
    given += [(("train", key), key in spec.train.model_fields_set) for key in ("steps", "source")]
    return faults + [
        (where, "got this and `train.phases`, each of which has its own: leave one of them out")
        for where, there in given
        if there
    ]


def misfits(objective: Objective, teacher: Model | None) -> Faults:
    """Return what does not fit together in an objective that each of its parts would accept, and where it stands."""
    faults, known = Faults(), get_args(Teacher)
    if objective.credit and not any(t.heeds_credit for t in objective.terms):
        faults += [(("credit",), "no term heeds it: add a policy gradient, such as clipped_pg, or leave it empty")]
    if strange := objective.teachers - set(known):
        faults += [((), f"a component asks for weights {', '.join(sorted(strange))}, expected {', '.join(known)}")]
    if "external" in objective.teachers and teacher is None:
        faults += [((), "a component asks for `teacher: external`, and the spec has no `teacher`")]
    return faults


M = TypeVar("M", bound=BaseModel)


@overload
def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment: ...
@overload
def load(path: str | Path, overrides: Sequence[str] = (), *, model: type[M]) -> M: ...
def load(path: str | Path, overrides: Sequence[str] = (), *, model: type[BaseModel] = Experiment) -> BaseModel:
    """Read a spec that has to be for `model`; one that names another kind is refused.

    `overrides` are texts such as "train.steps=3" or "objective.terms.1.weight=0.5"; the value is YAML, and a mapping is
    merged as one of a spec onto its `base` is. Raises `SpecError`, which lists everything that is wrong.
    """
    return load_as(model, path, overrides)
