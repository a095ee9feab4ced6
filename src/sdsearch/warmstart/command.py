"""Make a small policy from nothing: clone it on noisy scripted episodes, so that it can search and answer, but badly.

Some episodes are preceded by a hindsight block and show what follows from one, so that the block means something to the
model, as it does to a pretrained one: after a block with a correct attempt comes the shortest correct attempt.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from sdsearch.agents.policy import PolicyAgent
from sdsearch.contracts.agent import AgentSession, Reply
from sdsearch.contracts.engine import Model
from sdsearch.contracts.environment import EnvFactory
from sdsearch.contracts.hint import hint_at
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment
from sdsearch.errors import DataError
from sdsearch.policy.codec import TokenizerCodec
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import FIGURES, mean
from sdsearch.terminal.progress import Bars
from sdsearch.warmstart.clone import clone, lessons, row
from sdsearch.warmstart.spec import Shape, WarmStart


def build(shape: Shape, texts: Sequence[str]) -> Policy:
    """Return an untrained policy whose tokeniser was trained on `texts`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from sdsearch.warmstart.induction import induce

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
    return Policy(model, TokenizerCodec(wrapped))


def contrast(env_factory: EnvFactory, session: AgentSession, settings: WarmStart, count: int) -> dict[str, float]:
    """Measure what a hindsight block is worth: exact match without and with one, on groups with both outcomes."""
    questions = settings.data["test"].questions()[:count]
    groups = collect(env_factory, session, questions, settings.cloning.group, settings.seed)
    mixed = [g for g in groups if 0 < sum(t.metrics["exact_match"] for t in g.trajectories) < len(g.trajectories)]
    if not mixed:
        raise DataError(f"none of {count} groups has both outcomes: the policy is too good or too bad to be taught")
    hints = [hint_at(hint, 0) or "" for of in settings.hint.texts(mixed, settings.seed) for hint in of]
    after = collect(
        env_factory, Hinted(session, hints), [g.question for g in mixed], settings.cloning.group, settings.seed
    )
    return {
        "exact_match": mean(groups)["exact_match"],
        "mixed_share": len(mixed) / len(groups),
        "without_block": mean(mixed)["exact_match"],
        "with_block": mean(after)["exact_match"],
        **{k: v for k, v in mean(groups).items() if k in FIGURES and k != "exact_match"},
    }


class Hinted:
    """A session that is shown a hint before each prompt, as a teacher is: what does the hint make of the policy?"""

    def __init__(self, session: AgentSession, hints: Sequence[str]) -> None:
        """Give row i the hint `hints[i]`."""
        self.session, self.hints = session, hints
        self.begun: set[int] = set()

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin one episode per question."""
        self.begun = set()
        self.session.reset(questions, seeds, greedy)

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        """Act once in each of `rows`."""
        shown = [t if r in self.begun else self.hints[r] + t for r, t in zip(rows, texts, strict=True)]
        self.begun.update(rows)
        return self.session.act(rows, shown)

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        """Go on with recorded episodes, whose prompts hold their hints already."""
        self.begun.update(rows)
        return self.session.resume(rows, pasts)


def warmstart(settings: WarmStart) -> dict[str, float]:
    """Make the seed policy: play, clone, measure, and write weights (float16), tokeniser and model card to `out`."""
    torch.manual_seed(settings.seed)
    started = time.perf_counter()
    environment = settings.environment.open()
    train = settings.data["train"].questions()[: settings.cloning.questions]
    groups: list[Group] = []
    with Bars() as bars:
        task = bars.task("play the script", len(train))
        session = settings.agent.open(settings.environment.grammar)
        for start in range(0, len(train), 64):
            part = train[start : start + 64]
            groups += collect(environment, session, part, settings.cloning.group, settings.seed + start)
            task.advance(len(part))
        taught = list(lessons(groups, settings.hint, settings.cloning, settings.seed))
        policy = build(settings.shape, [piece.text for lesson in taught for piece in lesson])
        data = [row(policy, lesson, settings.cloning.read_weight) for lesson in taught]
        played = time.perf_counter() - started
        losses = clone(policy, data, settings.cloning, settings.seed, bars)
    seconds = time.perf_counter() - started
    settings.out.mkdir(parents=True, exist_ok=True)
    policy.model.half().save_pretrained(settings.out, safe_serialization=True)
    policy.codec.tokenizer.save_pretrained(settings.out)
    figures = {
        "parameters": float(sum(p.numel() for p in policy.model.parameters())),
        "episodes": float(len(data) / settings.cloning.epochs),
        "tokens": float(sum(len(r.tokens) for r in data)),
        "play_seconds": played,
        "seconds": seconds,
        "loss": sum(losses[-20:]) / len(losses[-20:]),
        "scripted_exact_match": mean(groups)["exact_match"],
    }
    made = Model(name=str(settings.out))
    model = language_model(made, settings.sampling, Policy.load(made, settings.sampling.temperature))
    clone_session = PolicyAgent().open(settings.environment.grammar, model)
    figures |= contrast(environment, clone_session, settings, 100)
    (settings.out / "README.md").write_text(card(settings, figures))
    return figures


def card(settings: WarmStart, figures: dict[str, float]) -> str:
    """Return the model card."""
    shape, cloning = settings.shape, settings.cloning
    group = cloning.group
    lines = [
        f"# {settings.name}",
        "",
        "A small language model that searches and answers, badly on purpose: where the embedded experiments start.",
        "",
        f"- Architecture: Llama, {shape.layers} layers, width {shape.width}, {shape.heads} heads, vocabulary "
        f"{shape.vocabulary}, context {shape.context}; {figures['parameters'] / 1e6:.2f} million parameters, stored as",
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
        f"| held-out questions of the recipe's `data.test`, sampled at temperature {settings.sampling.temperature} | |",
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
