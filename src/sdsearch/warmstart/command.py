"""Make a small policy from nothing: clone it on noisy scripted episodes, so that it can search and answer, but badly.

Some episodes stand behind a hindsight block and show what to do with one, so that its labels mean something to the
model, as they do to a pretrained one; see `lessons.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch

from sdsearch.agents.policy import PolicyAgent
from sdsearch.contracts.engine import Model
from sdsearch.core.trajectory import Group
from sdsearch.errors import DataError
from sdsearch.learning.teachers import Teachers, logprobs
from sdsearch.policy.codec import TokenizerCodec
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import mean
from sdsearch.terminal.progress import Bars
from sdsearch.warmstart.card import card
from sdsearch.warmstart.clone import clone, halves, row
from sdsearch.warmstart.judge import Judge
from sdsearch.warmstart.lessons import lessons
from sdsearch.warmstart.spec import Shape, WarmStart


def build(shape: Shape, texts: Sequence[str]) -> Policy:
    """Return an untrained policy whose tokeniser was trained on `texts`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from sdsearch.warmstart.induction import induce
    from sdsearch.warmstart.label_head import listen

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
        num_key_value_heads=shape.kv_heads or shape.heads,
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
    codec = TokenizerCodec(wrapped)
    if shape.labels:
        right, wrong = (codec.encode(label)[0] for label in shape.labels)
        if right == wrong:
            raise DataError(
                f"the labels {' and '.join(shape.labels)} begin with the same token: a head can't tell them"
            )
        listen(model, (right, wrong), shape.induction_heads)
    return Policy(model, codec)


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
        stages = list(lessons(groups, settings.hint, settings.cloning, settings.seed))
        taught = [lesson for lessons in stages for lesson in lessons]
        policy = build(settings.shape, [piece.text for lesson in taught for piece in lesson.pieces])
        data = [
            [row(policy, lesson.pieces, stage.read_weight) for lesson in lessons]
            for stage, lessons in zip(settings.cloning.stages, stages, strict=True)
        ]
        played = time.perf_counter() - started
        losses = clone(policy, data, settings.cloning, settings.seed, bars)
    seconds = time.perf_counter() - started
    settings.out.mkdir(parents=True, exist_ok=True)
    policy.model.half().save_pretrained(settings.out, safe_serialization=True)
    policy.codec.tokenizer.save_pretrained(settings.out)
    figures = {
        "parameters": float(sum(p.numel() for p in policy.model.parameters())),
        "episodes": float(sum(len(g.trajectories) for g in groups)),
        "rows": float(len(taught)),
        "tokens": float(sum(len(row.tokens) for rows in data for row in rows)),
        "hinted": sum(lesson.hinted for lesson in taught) / len(taught),
        "play_seconds": played,
        "seconds": seconds,
        "threads": float(torch.get_num_threads()),
        "halves": float(halves(policy.device)),
        "loss": sum(losses[-20:]) / len(losses[-20:]),
        "scripted_exact_match": mean(groups)["exact_match"],
    }
    # Judged as it will be loaded: rounded to half precision.
    made = Model(name=str(settings.out))
    loaded = Policy.load(made, settings.sampling.temperature)
    session = PolicyAgent().open(settings.environment.grammar, language_model(made, settings.sampling, loaded))
    score = partial(logprobs, Teachers(loaded, frozenset(), 0.0), "live", settings.cloning.tokens_per_batch)
    judge = Judge(environment, session, score, settings.hint, settings.judged.group, settings.seed)
    found = judge.figures(settings.data["test"].questions()[: settings.judged.questions])
    (settings.out / "README.md").write_text(card(settings, figures, found))
    return {**figures, **{name: estimate.value for name, estimate in found.items()}}
