"""Policy: one way to tokens, and logits that equal the model's own, wherever they are asked for."""

import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdsearch.core.trajectory import Span
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.policy import batching
from sdsearch.policy.batching import SHARED, beginning, pad
from sdsearch.policy.codec import TokenizerCodec
from sdsearch.policy.policy import Policy

quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def asked(seed: int, policy: Policy, alike: int) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Return prompts (some shared), the rest, and positions in the rest, of eight random sequences.

    All prompts begin with the same `alike` tokens.
    """
    dice = random.Random(seed)
    size = policy.head.weight.shape[0]
    examples = [dice.randrange(size) for _ in range(alike)]
    openings = [examples + [dice.randrange(size) for _ in range(dice.randint(1, 9))] for _ in range(3)]
    prompts = [dice.choice(openings) for _ in range(8)]
    rest = [[dice.randrange(size) for _ in range(dice.randint(1, 12))] for _ in prompts]
    positions = [sorted(dice.sample(range(len(r)), dice.randint(0, len(r)))) for r in rest]
    return prompts, rest, positions


@pytest.fixture(params=[0, 8, 256])
def price(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run cost nothing, so that every length is run apart, or so much that all are run at once."""
    monkeypatch.setattr(batching, "PRICE", request.param)


@quick
@given(st.integers(0, 10_000), st.sampled_from([0, SHARED]))
@pytest.mark.usefixtures("price")
def test_logits_equal_those_of_the_whole_model(tiny: Policy, seed: int, alike: int) -> None:
    prompts, rest, positions = asked(seed, tiny, alike)
    expected = torch.cat(
        [
            tiny.model(torch.tensor([p + r])).logits[0, [len(p) - 1 + at for at in ats]]
            for p, r, ats in zip(prompts, rest, positions, strict=True)
        ]
    ).detach()
    with_gradient = tiny.logits(prompts, rest, positions)
    with torch.no_grad():
        shared = tiny.logits(prompts, rest, positions)
    assert with_gradient.requires_grad or not len(with_gradient)
    torch.testing.assert_close(with_gradient, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("price")
@pytest.mark.parametrize("alike", [0, SHARED])
def test_a_shared_prompt_has_the_gradients_of_prompts_run_one_by_one(tiny: Policy, alike: int) -> None:
    prompts, rest, positions = asked(3, tiny, alike)
    distinct = {tuple(p) for p in prompts}
    assert len(distinct) < len(prompts)
    assert len(beginning(list(distinct))) == alike

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(logits.logsumexp(-1).sum(), list(tiny.model.parameters())))

    alone = [
        tiny.model(torch.tensor([p + r])).logits[0, [len(p) - 1 + at for at in ats]]
        for p, r, ats in zip(prompts, rest, positions, strict=True)
    ]
    for found, expected in zip(
        gradients(tiny.logits(prompts, rest, positions)), gradients(torch.cat(alone)), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_temperature_divides_the_logits(tiny: Policy) -> None:
    plain = tiny.logits([[1, 2]], [[3, 4]], [[0, 1]])
    tiny.temperature = 2.0
    torch.testing.assert_close(tiny.logits([[1, 2]], [[3, 4]], [[0, 1]]), plain / 2)


def test_pad_keeps_ragged_rows_apart() -> None:
    tokens, mask = pad([[5, 6], [], [7]], torch.device("cpu"))
    assert tokens.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert mask.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_spans_of_a_search_turn(tiny: Policy) -> None:
    tokens = tiny.codec.encode("<think>hm</think>\n<search> Łódź </search>")
    spans = tiny.codec.spans(tokens, SearchR1())
    named = [(tiny.codec.decode([t]), s) for t, s in zip(tokens, spans, strict=True)]
    assert [t for t, s in named if s is Span.MARKUP] == ["<think>", "</think>", "<search>", "</search>"]
    query = [t for t, s in zip(tokens, spans, strict=True) if s is Span.QUERY]
    assert tiny.codec.decode(query) == " Łódź "


def test_a_token_that_straddles_a_tag_is_markup(tiny: Policy) -> None:
    class Merging(TokenizerCodec):
        """Decodes token 0 to a query's end and the tag after it, as a tokeniser that merges across tags does."""

        def decode(self, tokens: object) -> str:
            pieces = {1: "<search>", 2: "rome", 0: " x</search>"}
            return "".join(pieces[t] for t in tokens)  # type: ignore[attr-defined]

    merging = Merging(tiny.codec.tokenizer)
    assert merging.spans([1, 2, 0], SearchR1()) == (Span.MARKUP, Span.QUERY, Span.MARKUP)


@quick
@given(st.text(max_size=60))
def test_spans_give_one_to_each_token_of_any_text(tiny: Policy, text: str) -> None:
    tokens = tiny.codec.encode(text)
    assert len(tiny.codec.spans(tokens, SearchR1())) == len(tokens)
