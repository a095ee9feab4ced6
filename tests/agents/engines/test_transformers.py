"""The engine: what it samples has the log-probability that the trainer will compute, over turns and lost rows."""

import pytest
import torch

from sdsearch.agents.engines.transformers import Transformers
from sdsearch.policy.policy import Policy

STOP = ("</search>", "</answer>")


def play(
    policy: Policy, holes: float, drop: bool, turns: int = 3, rows: int = 7
) -> list[tuple[list[int], list[float]]]:
    """Play turns with ragged observations; return each row's tokens and the log-probability of the sampled ones."""
    sampler = Transformers(holes=holes).open(policy, STOP)
    sampler.reset(1)
    contexts: list[list[int]] = [[] for _ in range(rows)]
    logprobs: list[list[float]] = [[] for _ in range(rows)]
    live = list(range(rows))
    for turn in range(turns):
        added = [
            policy.codec.encode("Question: which city?" if turn == 0 else f"Airport {'9' * (r + 1)}") for r in live
        ]
        for r, a in zip(live, added, strict=True):
            contexts[r] += a
            logprobs[r] += [float("nan")] * len(a)
        for r, done in zip(live, sampler.sample(live, added, [2 + 3 * (r % 4) for r in live]), strict=True):
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


def test_the_same_seed_samples_the_same(tiny: Policy) -> None:
    assert str(play(tiny, 0.25, True)) == str(play(tiny, 0.25, True))


def test_squeezing_the_cache_changes_nothing(tiny: Policy) -> None:
    tight, loose = play(tiny, 0.0, True), play(tiny, 0.99, True)
    assert [t for t, _ in tight] == [t for t, _ in loose]


def test_a_turn_ends_at_a_stop_string_and_at_its_room(tiny: Policy) -> None:
    sampler = Transformers().open(tiny, STOP)
    (stop,) = tiny.codec.encode("</search>")
    tiny.head.weight.data[:] = 0  # every token is as likely as any other: a stop comes soon
    sampler.reset(0)
    turns = sampler.sample(range(64), [[5]] * 64, [500] * 64)
    ends = {t.tokens[-1] for t in turns if len(t.tokens) < 500}
    assert stop in ends
    assert all(stop not in t.tokens[:-1] for t in turns)
    sampler.reset(0)
    assert all(len(t.tokens) <= 3 for t in sampler.sample(range(64), [[5]] * 64, [3] * 64))


def test_greedy_takes_the_likeliest(tiny: Policy) -> None:
    sampler = Transformers().open(tiny, STOP)
    sampler.reset(0, greedy=True)
    (turn,) = sampler.sample([0], [[5, 6]], [1])
    assert turn.tokens[0] == tiny.model(torch.tensor([[5, 6]])).logits[0, -1].argmax().item()
