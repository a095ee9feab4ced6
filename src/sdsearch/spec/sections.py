"""The sections of a spec that are settings and nothing else: data, budget, training, evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import core_schema

from sdsearch.config.component import Settings
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.rollouts import RolloutStrategy
from sdsearch.core.usage import Usage
from sdsearch.spec.objective import Phase, Source


class Data(Settings):
    """The questions."""

    train: Dataset
    """What the agent learns from. Several data sets by name, `{nq: {...}, hotpotqa: {...}}`, are a mixture of them."""
    test: Dataset
    """What it is judged by: the same questions in every evaluation. Several by name are judged apart."""

    @field_validator("train", "test", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"type": "mixture", "of": value} if named_sets(value) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, source: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        """Let data sets by name stand where one can."""
        schema = handler(source)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for key, one in properties.items():
            told = {"description": one.pop("description")}
            others = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "object", **one}}
            names = {"propertyNames": {"not": {"enum": sorted(NO_NAMES)}}}
            properties[key] = {**told, "anyOf": [one, {**others, **names}]}
        return schema


NO_NAMES = frozenset({"type", "path", "sample", "split", "limit", "source"})
"""What no data set of several is called: keys of a single one."""


def named_sets(value: Any) -> bool:
    """Say whether a mapping holds data sets by name, and is none itself."""
    return isinstance(value, dict) and bool(value) and NO_NAMES.isdisjoint(value) and all(map(is_set, value.values()))


def is_set(value: Any) -> bool:
    """Say whether something may be a data set: settings of one, or one."""
    return isinstance(value, dict | Dataset)


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


Beta = Annotated[float, Field(ge=0, lt=1)]
STOOD_IN_FOR = ("steps", "source")
"""Fields of `Train` that each phase has for itself."""


class Train(Settings):
    """How the agent learns."""

    steps: int = Field(100, ge=1, le=10**8)
    """The number of times that groups are collected and learned from."""
    source: Source = Source()
    """Where they come from."""
    phases: list[Phase] | None = Field(None, min_length=1)
    """In place of `objective`, `train.steps` and `train.source`: several of them, one after the other."""
    questions: int = Field(8, ge=1, le=10**6)
    """Questions per step."""
    group: int = Field(5, ge=1, le=10_000)
    """Rollouts per question."""
    rollouts: RolloutStrategy = Field(default="independent", validate_default=True)
    """How they come about."""
    budget: Budget | None = None
    """The run ends after the step that reaches it, or after `steps`."""
    epochs: int = Field(1, ge=1, le=1000)
    """How often each step's rollouts are learned from; each time is one update of the weights."""
    learning_rate: float = Field(1e-4, gt=0, le=10)
    """The learning rate of AdamW after the warm-up."""
    critic_learning_rate: float = Field(1e-3, gt=0, le=10)
    """That of the critic, for a credit that needs one. Search-R1 takes 1e-5 for a large model; this is for a small
    policy with a fresh value head."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to its value."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: float = Field(0.0, ge=0, le=10)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """The norm that a gradient is clipped to."""
    tokens_per_batch: int | None = Field(None, ge=1, le=10**9)
    """The number of tokens in a micro-batch, padding included; it bounds memory and does not change the result.
    null: what the machine's memory holds with the model's vocabulary; the run's own spec says how many that were."""
    ema: float = Field(0.05, gt=0, le=1)
    """How far the averaged teacher (`teacher: ema` of a term) moves towards the policy in each step."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of the forward and backward pass."""
    evaluate_every: int = Field(10, ge=0)
    """Steps between evaluations; 0: only after the last step."""
    checkpoint_every: int = Field(50, ge=0)
    """Steps between checkpoints; 0: only after the last step."""
    keep_checkpoints: int = Field(2, ge=1, le=10**8)
    """The number of checkpoints that are kept, the latest ones; the one with the best training reward stays too."""
    columns_every: int = Field(1, ge=0)
    """Steps between those of whose tokens all figures are kept, the first included; 0: none."""
    max_outage_rate: float = Field(0.5, ge=0, le=1)
    """The run stops when the retriever, or a served model, ends more than this share of a step's episodes."""

    @model_validator(mode="before")
    @classmethod
    def _unset(cls, data: Any) -> Any:
        # What a spec is based on has steps and perhaps a source: null takes them back, where phases stand in for them.
        for key in STOOD_IN_FOR if isinstance(data, dict) else ():
            if key in data and data[key] is None:
                del data[key]
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, source: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        """Let null stand where it takes something back."""
        schema = handler(source)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for key in STOOD_IN_FOR:
            told = {what: properties[key].pop(what) for what in ("description", "default") if what in properties[key]}
            properties[key] = {**told, "anyOf": [properties[key], {"type": "null"}]}
        return schema

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        absent = STOOD_IN_FOR if self.phases else ("phases",)
        return {key: value for key, value in handler(self).items() if key not in absent}


class Evaluate(Settings):
    """How the agent is judged."""

    questions: int | None = Field(200, ge=1, le=10**6)
    """So many questions of each source in `data.test`; null: all."""
    pick: Literal["first", "hash"] = "first"
    """Which: the first ones, or those whose ids have the smallest hashes, wherever in the file they stand; fewer of
    them are a part of more."""
    between: int | None = Field(None, ge=1, le=10**6)
    """So many of each in evaluations before the last, picked alike; null: all of them."""
    batch: int = Field(64, ge=1, le=65536)
    """The number of episodes that are played at once."""
    greedy: bool = True
    """Whether the likeliest token is taken; if not, tokens are sampled as in training."""
