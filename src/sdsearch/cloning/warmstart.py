"""Make a small policy from nothing: clone it on noisy scripted episodes, so that it can search and answer, but badly.

Some episodes are preceded by a hindsight block and show what follows from one, so that the block means something to the
model, as it does to a pretrained one: after a block with a correct attempt comes the shortest correct attempt.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from pydantic import Field, model_validator

from sdsearch.agents.local import Local
from sdsearch.cloning.clone import Cloning, clone, lessons, row
from sdsearch.components.component import Settings
from sdsearch.errors import DataError
from sdsearch.evaluate import FIGURES, Hinted, mean
from sdsearch.model.policy import Policy
from sdsearch.objective import Hint, told
from sdsearch.rollout import MakeEnv, collect
from sdsearch.spec import Environment
from sdsearch.terminal.progress import Bars
from sdsearch.trajectory import Group
from sdsearch.types import Actor, Agent, Dataset
from sdsearch.world import World


class Shape(Settings):
    """The size of the model: a Llama architecture with tied embeddings."""

    layers: int = 4
    width: int = 192
    heads: int = 6
    feed_forward: int = 512
    vocabulary: int = 2048
    context: int = 2048
    tags: tuple[str, ...] = tuple(
        f"<{slash}{name}>" for name in ("think", "search", "information", "answer") for slash in ("", "/")
    )
    """Strings that the tokeniser keeps whole: one token each."""
    digits: int = Field(2, ge=1)
    """How many digits one token holds at most. Copying needs tokens that are not everywhere, as single digits are."""
    initializer_range: float = Field(0.05, gt=0)
    """Standard deviation of the first weights: a narrow model needs more than the usual 0.02."""
    rope_theta: float = Field(1e6, gt=1)
    """Base of the rotary frequencies: a high one leaves half of them free to compare tokens at any distance."""
    induction_heads: int = Field(4, ge=0)
    """Heads that can copy from the beginning, in each of the first two layers; see `sdsearch.cloning.induction`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.induction_heads > self.heads or (self.induction_heads and self.layers < 2):
            raise ValueError(
                f"{self.induction_heads} induction heads need as many heads and two layers, got {self.heads} heads and "
                f"{self.layers} layers"
            )
        return self


class WarmStart(Settings):
    """The spec of a warm start."""

    name: str
    seed: int = 0
    out: Path
    """Where weights, tokeniser and model card go."""
    data: dict[str, Dataset]
    """`train` is played and cloned; `test` gives the figures of the model card."""
    environment: Environment
    agent: Agent
    """Who plays: a scripted agent with mistakes."""
    hint: Hint
    temperature: float = Field(1.0, gt=0)
    """At which the figures of the model card are sampled."""
    model: Shape = Shape()
    cloning: Cloning = Cloning()


def build(shape: Shape, texts: Sequence[str]) -> Policy:
    """Return an untrained policy whose tokeniser was trained on `texts`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from sdsearch.cloning.induction import induce

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(rf"\d{{1,{shape.digits}}}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|end|>"
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary - len(shape.tags),
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in shape.tags])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)  # type: ignore[no-untyped-call]
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        initializer_range=shape.initializer_range,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        attention_bias=True,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    induce(model, shape.induction_heads)
    return Policy(model, wrapped)


def contrast(make_env: MakeEnv, actor: Actor, settings: WarmStart, count: int) -> dict[str, float]:
    """Measure what a hindsight block is worth: exact match without and with one, on groups with both outcomes."""
    questions = settings.data["test"].questions()[:count]
    groups = collect(make_env, actor, questions, settings.cloning.group, settings.seed)
    mixed = [g for g in groups if 0 < sum(t.metrics["exact_match"] for t in g.trajectories) < len(g.trajectories)]
    if not mixed:
        raise DataError(f"none of {count} groups has both outcomes: the policy is too good or too bad to be taught")
    hints = [told(hint, 0) or "" for of in settings.hint.texts(mixed, settings.seed) for hint in of]
    after = collect(make_env, Hinted(actor, hints), [g.question for g in mixed], settings.cloning.group, settings.seed)
    return {
        "exact_match": mean(groups)["exact_match"],
        "mixed_share": len(mixed) / len(groups),
        "without_block": mean(mixed)["exact_match"],
        "with_block": mean(after)["exact_match"],
        **{k: v for k, v in mean(groups).items() if k in FIGURES and k != "exact_match"},
    }


def warmstart(settings: WarmStart) -> dict[str, float]:
    """Make the seed policy: play, clone, measure, and write weights (float16), tokeniser and model card to `out`."""
    torch.manual_seed(settings.seed)
    started = time.perf_counter()
    environment = World(settings.environment)
    train = settings.data["train"].questions()[: settings.cloning.questions]
    groups: list[Group] = []
    with Bars() as bars:
        task = bars.task("play the script", len(train))
        actor = settings.agent.open(settings.environment.protocol)
        for start in range(0, len(train), 64):
            part = train[start : start + 64]
            groups += collect(environment, actor, part, settings.cloning.group, settings.seed + start)
            task.advance(len(part))
        taught = list(lessons(groups, settings.hint, settings.cloning, settings.seed))
        policy = build(settings.model, [piece.text for lesson in taught for piece in lesson])
        data = [row(policy, lesson, settings.cloning.read_weight) for lesson in taught]
        played = time.perf_counter() - started
        losses = clone(policy, data, settings.cloning, settings.seed, bars)
    seconds = time.perf_counter() - started
    settings.out.mkdir(parents=True, exist_ok=True)
    policy.model.half().save_pretrained(settings.out, safe_serialization=True)
    policy.tokenizer.save_pretrained(settings.out)
    figures = {
        "parameters": float(sum(p.numel() for p in policy.model.parameters())),
        "episodes": float(len(data) / settings.cloning.epochs),
        "tokens": float(sum(len(r.tokens) for r in data)),
        "play_seconds": played,
        "seconds": seconds,
        "loss": sum(losses[-20:]) / len(losses[-20:]),
        "scripted_exact_match": mean(groups)["exact_match"],
    }
    judged = Local(model=str(settings.out), temperature=settings.temperature).open(settings.environment.protocol)
    figures |= contrast(environment, judged, settings, 100)
    (settings.out / "README.md").write_text(card(settings, figures))
    return figures


def card(settings: WarmStart, figures: dict[str, float]) -> str:
    """Return the model card."""
    model, cloning = settings.model, settings.cloning
    group = cloning.group
    lines = [
        f"# {settings.name}",
        "",
        "A small language model that searches and answers, badly on purpose: where the embedded experiments start.",
        "",
        f"- Architecture: Llama, {model.layers} layers, width {model.width}, {model.heads} heads, vocabulary "
        f"{model.vocabulary}, context {model.context}; {figures['parameters'] / 1e6:.2f} million parameters, stored as",
        "  float16 safetensors. The tokeniser is a byte-level BPE of its own.",
        f"- Data: {figures['episodes']:.0f} episodes ({figures['tokens'] / 1e6:.2f} million tokens) that a scripted "
        "agent with deliberate mistakes played in the",
        f"  training split; its exact match is {figures['scripted_exact_match']:.2f}. {cloning.hinted:.0%} of the rows "
        "begin with a hindsight block and show the",
        "  shortest correct attempt in it. No question, passage or entity of the test split is asked about in them.",
        f"- Time: {figures['seconds'] / 60:.1f} minutes on two cores, {figures['play_seconds'] / 60:.1f} of them for "
        f"playing. Final loss {figures['loss']:.3f}.",
        "- Reproduce: `sdsearch warmstart specs/warmstart.yaml`.",
        "",
        f"| held-out questions of the recipe's `data.test`, sampled at temperature {settings.temperature} | |",
        "|---|---|",
        f"| exact match before training | {figures['exact_match']:.3f} |",
        f"| searches per question | {figures['searches']:.2f} |",
        f"| recall of gold passages | {figures['gold_recall']:.3f} |",
        f"| share of groups of {group} with both outcomes | {figures['mixed_share']:.2f} |",
        f"| exact match on those groups, without a hindsight block | {figures['without_block']:.3f} |",
        f"| exact match on those groups, with one | {figures['with_block']:.3f} |",
        "",
        "The facts in the episodes come from GeoNames (CC BY 4.0) and airportsdata. The model knows no more than",
        "these; it is of no use for anything else.",
    ]
    return "\n".join(lines) + "\n"
