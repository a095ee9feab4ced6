"""One YAML file says everything about a run: its sections, and the loader that reports every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar, overload

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from sdsearch.config.component import Settings
from sdsearch.config.load import load_as
from sdsearch.config.problems import OBJECTIONS
from sdsearch.config.scalars import Name, OutPath
from sdsearch.config.yaml import write
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.engine import Model, Sampling
from sdsearch.contracts.environment import Environment
from sdsearch.core.question import Question, asked_again, seeded
from sdsearch.crediting.incompatible import alone
from sdsearch.monitoring.limits import Monitors
from sdsearch.spec.faults import Faults, Where, misfits, objections, unasked, unphased
from sdsearch.spec.objective import Objective, Source, Stage
from sdsearch.spec.picked import picked
from sdsearch.spec.sections import Data, Evaluate, Train


class Experiment(Settings):
    """A spec: the data, the environment, the agent, and how it learns and is judged."""

    name: Name
    """The name of the run and of its folder; by default that of the file. It is not taken over from `base`."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Everything random is drawn from it."""
    out: OutPath = Path("runs")
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
        faults: Faults = unasked(self.environment.seeds, self.data, self.evaluate.questions)
        faults += unphased(self.train, self.objective)
        faults += objections(("train", "rollouts"), self.train.rollouts, self.conditions(self.objective))
        for where, objective, source in self._parts():
            conditions = self.conditions(objective)
            faults += [((*where, "objective", *at), why) for at, why in misfits(objective, self.teacher)]
            for kind, parts in (("credit", objective.credit), ("terms", objective.terms)):
                for i, part in enumerate(parts):
                    faults += objections((*where, "objective", kind, i), part, conditions)
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
        every, held_out = seeded(self.environment.seeds or 0), self.evaluate.questions or 0
        return every[:-held_out] if split == "train" else every[-held_out:]

    def held_out(self, last: bool = True) -> list[Question]:
        """Return the questions of an evaluation, in their order; of one before the `last` there may be fewer."""
        each = self.evaluate.questions if last else self.evaluate.between or self.evaluate.questions
        by_name: Mapping[str, object] = getattr(self.data.test, "of", {}) if self.data else {}
        return picked(self.questions("test"), each, self.evaluate.pick, by_name)

    def overlap(self) -> str | None:
        """Say how many questions of the test are asked in training too; None: not one."""
        train, test = self.questions("train"), self.held_out()
        again = asked_again(train, test)
        return f"warning: {again:,} of the {len(test):,} test questions are asked in training too" if again else None

    def remarks(self) -> list[str]:
        """Return what reading the data repaired and left out, and whether a question is in training and in the test."""
        parts = {"train": self.data.train, "test": self.data.test} if self.data else {}
        said = [f"note: data.{name}: {remark}" for name, part in parts.items() if (remark := part.remark())]
        return said + ([again] if (again := self.overlap()) else [])

    @property
    def untrainable(self) -> str | None:
        """Why nothing can be learned; None: something can. Such a spec can still be evaluated."""
        if not self.stages:
            return "`objective` is missing: training needs `credit` and `terms`"
        if not self.agent.trainable:
            return f"the agent `{self.agent.type}` has no weights to train: expected `policy`"
        return None

    @property
    def tokenless(self) -> str | None:
        """What cannot be done with the episodes of an agent that keeps no tokens; None: its agent does."""
        if self.agent.trainable:
            return None
        return (
            f"agent: `{self.agent.type}` keeps no tokens: its episodes can be played, evaluated and read, but nothing "
            "is trained on them, and no credit, teacher or `fidelity` scores them"
        )

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

    def settled(self, tokens_per_batch: int) -> Self:
        """Return the spec with what it leaves to the machine filled in."""
        train = self.train.model_copy(update={"tokens_per_batch": self.train.tokens_per_batch or tokens_per_batch})
        return self.model_copy(update={"train": train})

    @property
    def folder(self) -> Path:
        """Where this run leaves everything: `out/name/seed`."""
        return self.out / self.name / str(self.seed)

    def dump(self) -> str:
        """Return the spec in YAML, defaults written out; loading it gives an equal experiment."""
        return write(self.model_dump(mode="json"))


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
