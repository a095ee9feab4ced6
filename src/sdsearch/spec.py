"""One YAML file says everything about a run: its sections, and the loader that reports every problem at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, TypeVar, get_args, overload

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from sdsearch.config.component import Component, Settings
from sdsearch.config.load import load_as
from sdsearch.config.problems import OBJECTIONS
from sdsearch.config.yaml import write
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.environment import Grammar, Reward
from sdsearch.contracts.hint import Teacher
from sdsearch.contracts.loss import Term
from sdsearch.contracts.retrieval import Retriever
from sdsearch.contracts.rollouts import RolloutStrategy
from sdsearch.core.usage import Usage
from sdsearch.monitoring.monitor import Monitors
from sdsearch.retrieval.cached import Patience


class Data(Settings):
    """The questions."""

    train: Dataset
    """What the agent learns from."""
    test: Dataset
    """What it is judged by: the same questions in every evaluation."""


class Environment(Settings):
    """What the agent acts in."""

    retriever: Retriever
    """What is searched."""
    patience: Patience = Patience()
    """How long a search may take before it is an outage."""
    protocol: Grammar = Field(default="search_r1", validate_default=True)
    """How prompts, actions and observations are written."""
    reward: Reward = Field(default="exact_match", validate_default=True)
    """What an answer is worth."""
    max_turns: int = Field(5, ge=1)
    """The number of actions in an episode, the answer included."""
    top_k: int = Field(3, ge=1)
    """The number of passages that a search returns."""
    on_invalid: Literal["retry", "end"] = "retry"
    """What follows an invalid action: a notice and the next turn, or the end of the episode."""


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


class Train(Settings):
    """How the agent learns."""

    steps: int = Field(100, ge=1)
    """The number of times that rollouts are collected and learned from."""
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
    max_outage_rate: float = Field(0.5, ge=0, le=1)
    """The run stops when the retriever ends more than this share of a step's episodes."""


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
    data: Data
    """The questions."""
    environment: Environment
    """What the agent acts in."""
    agent: Agent
    """Who acts."""
    teacher: Agent | None = None
    """Another model, for `teacher: external` of a term: `local`, with the vocabulary of `agent`."""
    objective: Objective | None = None
    """What is learned; none for an agent that is only evaluated."""
    train: Train = Train()
    """How the agent learns."""
    monitors: Monitors = Monitors()
    """When a run warns that something goes wrong."""
    evaluate: Evaluate = Evaluate()
    """How the agent is judged."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        faults = [(("objective", *where), why) for where, why in misfits(self.objective, self.teacher)]
        parts: list[tuple[tuple[str | int, ...], Component]] = [(("train", "rollouts"), self.train.rollouts)]
        if self.objective:
            parts += [(("objective", "credit", i), credit) for i, credit in enumerate(self.objective.credit)]
            parts += [(("objective", "terms", i), term) for i, term in enumerate(self.objective.terms)]
        faults += [(where, f"{part.type}: {why}") for where, part in parts if (why := part.objection(self.conditions))]
        if faults:
            text = "; ".join(f"{'.'.join(map(str, where))}: {why}" for where, why in faults)
            raise PydanticCustomError(OBJECTIONS, "{text}", {"text": text, OBJECTIONS: faults})
        return self

    @property
    def conditions(self) -> Conditions:
        """What components may look at before they object."""
        train, credits = self.train, self.objective.credit if self.objective else ()
        return Conditions(train.group, train.questions, train.epochs, train.rollouts.type, tuple(credits))

    @property
    def folder(self) -> Path:
        """Where this run leaves everything: `out/name/seed`."""
        return self.out / self.name / str(self.seed)

    def dump(self) -> str:
        """Return the spec in YAML, defaults written out; loading it gives an equal experiment."""
        return write(self.model_dump(mode="json"))


def misfits(objective: Objective | None, teacher: Agent | None) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what does not fit together in an objective that each of its parts would accept, and where it stands."""
    faults, known = list[tuple[tuple[str | int, ...], str]](), get_args(Teacher)
    if objective is None:
        return faults
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
