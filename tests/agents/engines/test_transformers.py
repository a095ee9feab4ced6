"""The engine: what it samples has the log-probability that the trainer will compute, over turns and lost rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdsearch.agents.engines.transformers import Transformers, TransformersSampler
from sdsearch.contracts.engine import Model, Prompt, Sampling
from sdsearch.policy.batching import SHARED
from sdsearch.policy.kv_cache import Context
from sdsearch.policy.policy import Policy
from sdsearch.spec import load

STOP = ("</search>", "</answer>")


def opened(policy: Policy, holes: float = 0.25) -> TransformersSampler:
    """Return a sampler of a policy."""
    return Transformers(holes=holes).open(Model(), Sampling(), policy)


def play(
    policy: Policy, holes: float, drop: bool, turns: int = 3, rows: int = 7, narrows: bool = True
) -> list[tuple[list[int], list[float]]]:
    """Play turns with ragged observations; return each row's tokens and the log-probability of the sampled ones."""
    sampler = opened(policy, holes)
    sampler.narrows = narrows
    contexts: list[list[int]] = [[] for _ in range(rows)]
    logprobs: list[list[float]] = [[] for _ in range(rows)]
    live = list(range(rows))
    for turn in range(turns):
        for r in live:
            added = policy.codec.encode("Question: which city?" if turn == 0 else f"Airport {'9' * (r + 1)}")
            contexts[r] += added
            logprobs[r] += [float("nan")] * len(added)
        prompts = [Prompt(r, tuple(contexts[r]), 2 + 3 * (r % 4), 100 * turn + r) for r in live]
        for r, done in zip(live, sampler.sample(prompts, STOP), strict=True):
            contexts[r] += done.tokens
            logprobs[r] += done.logprobs
        if drop:
            live = [r for r in live if r % (turn + 2) != 1][::-1]
    return list(zip(contexts, logprobs, strict=True))


@pytest.mark.parametrize("holes", [0.0, 0.25, 0.99])
@pytest.mark.parametrize("drop", [False, True])
def test_logprobs_equal_a_fresh_forward(tiny: Policy, holes: float, drop: bool) -> None:
    for tokens, logprobs in play(tiny, holes, drop):
        fresh = tiny.model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        sampled = [i for i, lp in enumerate(logprobs) if lp == lp]
        assert sampled
        for i in sampled:
            assert logprobs[i] == pytest.approx(fresh[i - 1, tokens[i]].item(), abs=1e-4)


def test_rows_that_go_on_are_decoded_without_those_that_ended(tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = list[int]()
    step = Context.step

    def counted(self: Context, tokens: torch.Tensor, live: Sequence[bool]) -> torch.Tensor:
        decoded.append(len(live))
        return step(self, tokens, live)

    monkeypatch.setattr(Context, "step", counted)
    apart = play(tiny, 0.25, True)
    fewer, decoded[:] = sum(decoded), []
    together = play(tiny, 0.25, True, narrows=False)
    assert fewer < 0.8 * sum(decoded)
    assert [t for t, _ in apart] == [t for t, _ in together]
    for (_, mine), (_, theirs) in zip(apart, together, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5, nan_ok=True)


def test_a_beginning_that_all_rows_share_is_run_once(tiny: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three questions behind the same examples, one of them asked twice: the examples once, then each question once."""
    run: list[tuple[int, ...]] = []
    hidden = Policy.hidden

    def counted(policy: Policy, tokens: Tensor, *rest: Any) -> Tensor:
        run.append(tuple(tokens.shape))
        return hidden(policy, tokens, *rest)

    def asked(length: int) -> None:
        examples = [5 + i % 50 for i in range(length)]
        contexts = [(*examples, *question) for question in ((9, 6), (8,), (9, 6), (7, 6, 5))]
        run.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Policy, "hidden", counted)
            found = opened(tiny).sample([Prompt(row, c, 4, row) for row, c in enumerate(contexts)], STOP)
        for context, done in zip(contexts, found, strict=True):
            tokens = [*context, *done.tokens]
            fresh = tiny.model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            wanted = [fresh[i - 1, tokens[i]].item() for i in range(len(context), len(tokens))]
            assert done.logprobs == pytest.approx(wanted, abs=1e-4)

    asked(SHARED - 1)
    assert run[0] == (3, SHARED + 2)
    asked(SHARED)
    assert run[:2] == [(1, SHARED), (3, 3)]


def test_the_same_seed_samples_the_same(tiny: Policy) -> None:
    assert str(play(tiny, 0.25, True)) == str(play(tiny, 0.25, True))


def test_squeezing_the_cache_changes_nothing(tiny: Policy) -> None:
    tight, loose = play(tiny, 0.0, True), play(tiny, 0.99, True)
    assert [t for t, _ in tight] == [t for t, _ in loose]


def prompts(count: int, room: int, seed: int = 0) -> list[Prompt]:
    """Return prompts of one token, each with a seed of its own."""
    return [Prompt(row, (5,), room, seed + row) for row in range(count)]


def test_a_turn_ends_at_a_stop_string_and_at_its_room(tiny: Policy) -> None:
    sampler = opened(tiny)
    (stop,) = tiny.codec.encode("</search>")
    end = tiny.codec.tokenizer.eos_token_id
    tiny.head.weight.data[:] = 0  # every token is as likely as any other: a stop comes soon
    turns = sampler.sample(prompts(64, 500), STOP)
    assert stop in {t.tokens[-1] for t in turns if t.finish_reason == "stop"}
    assert all(stop not in t.tokens[:-1] for t in turns)
    assert {t.tokens[-1] for t in turns if t.finish_reason == "end"} == {end}
    assert all(len(t.tokens) == 500 for t in turns if t.finish_reason == "length")
    sampler.reset()
    short = sampler.sample(prompts(64, 3), STOP)
    assert all(len(t.tokens) <= 3 for t in short)
    assert all(len(t.tokens) == 3 for t in short if t.finish_reason == "length")
    assert "length" in {t.finish_reason for t in short}


def test_every_end_token_ends_a_turn(tiny: Policy) -> None:
    """Chat models name several in their generation settings: the end of a turn, and the end of the text."""
    tiny.model.generation_config.eos_token_id = [tiny.codec.tokenizer.eos_token_id, 7, 8, 9]
    tiny.head.weight.data[:] = 0
    turns = opened(tiny).sample(prompts(64, 500), STOP)
    assert {t.tokens[-1] for t in turns if t.finish_reason == "end"} >= {7, 8, 9}
    assert not {7, 8, 9} & {token for t in turns for token in t.tokens[:-1]}


def test_greedy_takes_the_likeliest(tiny: Policy) -> None:
    sampler = opened(tiny)
    sampler.reset(greedy=True)
    (turn,) = sampler.sample([Prompt(0, (5, 6), 1, 0)], STOP)
    assert turn.tokens[0] == tiny.model(torch.tensor([[5, 6]])).logits[0, -1].argmax().item()


def test_a_row_depends_on_its_seed_alone(tiny: Policy) -> None:
    sampler = opened(tiny)
    together = sampler.sample(prompts(8, 6, seed=30), STOP)
    sampler.reset()
    backwards = sampler.sample(prompts(8, 6, seed=30)[::-1], STOP)[::-1]
    assert [t.tokens for t in backwards] == [t.tokens for t in together]
    for row in (0, 5):
        sampler.reset()
        (alone,) = sampler.sample([Prompt(99, (5,), 6, 30 + row)], STOP)
        assert alone.tokens == together[row].tokens
        assert alone.logprobs == pytest.approx(together[row].logprobs, abs=1e-5)
    assert len({t.tokens for t in together}) > 4


def test_tokens_are_drawn_as_often_as_they_are_likely(tiny: Policy) -> None:
    """400 draws of a first token against its distribution: chi-squared of ten bins stays below its 99.9% quantile."""
    with torch.no_grad():
        p = tiny.model(torch.tensor([[5]])).logits[0, -1].softmax(-1).double().numpy()
    drawn = [t.tokens[0] for t in opened(tiny).sample(prompts(400, 1), STOP)]
    order = np.argsort(-p)
    bins = np.searchsorted(np.cumsum(p[order]), np.linspace(0.1, 0.9, 9))
    place = np.empty(len(p), int)
    place[order] = np.arange(len(p))
    expected = np.add.reduceat(p[order], [0, *(bins + 1)]) * 400
    counts = np.bincount(np.searchsorted(bins, place[drawn], side="left"), minlength=10)
    assert ((counts - expected) ** 2 / expected).sum() < 27.9


def test_a_context_that_was_not_the_cached_one_is_run_anew(tiny: Policy) -> None:
    sampler = opened(tiny)
    first = sampler.sample([Prompt(0, (5, 6, 7), 4, 1), Prompt(1, (5, 8), 4, 2)], STOP)
    for changed in (
        [Prompt(0, (9, 6, 7, *first[0].tokens, 11), 4, 3)],  # another beginning
        [Prompt(0, (5, 6), 4, 3)],  # shorter than what was read
        [Prompt(3, (5, 6, 7, 11), 4, 3)],  # an episode that it does not know
    ):
        (done,) = sampler.sample(changed, STOP)
        sampler.reset()
        (fresh,) = sampler.sample(changed, STOP)
        assert done.tokens == fresh.tokens
        assert done.logprobs == pytest.approx(fresh.logprobs, abs=1e-5)


def test_completions_name_the_weights_that_sampled_them(tiny: Policy) -> None:
    sampler = opened(tiny)
    assert sampler.sample(prompts(1, 2), STOP)[0].version == 0
    sampler.sync(7)
    assert sampler.sample(prompts(1, 2), STOP)[0].version == 7
    sampler.reset(greedy=True)
    sampler.sync(8)
    (turn,) = sampler.sample(prompts(1, 1), STOP)
    assert turn.version == 8
    assert turn.tokens[0] == tiny.model(torch.tensor([[5]])).logits[0, -1].argmax().item(), "it is still greedy"


def test_without_weights_it_loads_its_own(spec: Path) -> None:
    experiment = load(spec)
    (own,) = Transformers().open(experiment.model, experiment.sampling).sample(prompts(1, 4), STOP)
    (given,) = opened(Policy.load(experiment.model)).sample(prompts(1, 4), STOP)
    assert own == given
