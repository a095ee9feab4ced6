from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.special import softmax as scipy_softmax
from scipy.stats import entropy as scipy_entropy

from sdsearch.contracts.loss import Divergence, Tail
from sdsearch.policy.logprobs import LIMIT, compare, entropy, pick, ratio, reduced, top

Array = NDArray[np.float64]
KINDS: tuple[Divergence, ...] = get_args(Divergence)
TAILS: tuple[Tail, ...] = get_args(Tail)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    out: Array = e / e.sum()
    return out


def cut(p: Array, support: list[int], tail: Tail) -> Array:
    kept = p[support]
    if tail == "renormalise":
        kept = kept / kept.sum()
    if tail == "bucket" and len(support) < len(p):
        kept = np.append(kept, np.delete(p, support).sum())
    return kept


def kl(p: Array, q: Array) -> float:
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


def plain(student: Array, teacher: Array, kind: Divergence, beta: float) -> float:
    if kind == "mse":
        return float(((student - teacher) ** 2).sum())
    if kind == "forward_kl":
        return kl(teacher, student)
    if kind == "reverse_kl":
        return kl(student, teacher)
    mixture = beta * teacher + (1 - beta) * student
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(("size", "k"), [(2, 1), (7, 3), (7, 6), (7, None), (7, 50), (300, 50), (300, None)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_agrees_with_float64(kind: Divergence, tail: Tail, size: int, k: int | None, scale: float) -> None:
    dice = np.random.default_rng(size)
    student, teacher = scale * dice.standard_normal((2, 4, size))
    owner = student
    logits, taught = (torch.tensor(x, dtype=torch.float32) for x in (student, teacher))
    support = top(torch.tensor(owner), k)
    got = compare(reduced(logits, support, tail), reduced(taught, support, tail), kind, 0.3)
    for row in range(4):
        kept = sorted(range(size), key=lambda i: -owner[row, i])[: k or size]
        p, q = (cut(softmax(x[row]), kept, tail) for x in (student, teacher))
        assert got[row].item() == pytest.approx(plain(p, q, kind, 0.3), rel=2e-4, abs=2e-6)


def test_by_hand() -> None:
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    # M = (0.7, 0.3): KL(T||M) = .9 ln(9/7) + .1 ln(1/3), KL(S||M) = .5 ln(5/7) + .5 ln(5/3)
    assert compare(student, teacher, "jsd").item() == pytest.approx((0.116322 + 0.087177) / 2, abs=1e-6)
    assert compare(student, teacher, "forward_kl").item() == pytest.approx(0.368064, abs=1e-6)
    assert compare(student, teacher, "reverse_kl").item() == pytest.approx(0.510826, abs=1e-6)
    assert compare(student, teacher, "mse").item() == pytest.approx(0.32, abs=1e-6)


LOGITS = st.lists(st.floats(-30, 30), min_size=6, max_size=6).map(lambda x: torch.tensor([x]))


@settings(deadline=None)
@given(LOGITS, LOGITS, st.integers(1, 6), st.sampled_from(TAILS))
def test_jsd_is_symmetric_and_bounded(a: torch.Tensor, b: torch.Tensor, k: int, tail: Tail) -> None:
    support = top(a, k)
    x, y = reduced(a, support, tail), reduced(b, support, tail)
    value = compare(x, y, "jsd").item()
    assert value == pytest.approx(compare(y, x, "jsd").item(), abs=1e-6)
    assert -1e-6 <= value <= np.log(2) + 1e-6
    assert compare(x, x, "jsd").item() == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(LOGITS, LOGITS, st.integers(1, 5), st.sampled_from(["jsd", "forward_kl", "reverse_kl"]))
def test_a_bucket_never_exceeds_the_whole(a: torch.Tensor, b: torch.Tensor, k: int, kind: Divergence) -> None:
    support = top(a, k)
    coarse = compare(reduced(a, support, "bucket"), reduced(b, support, "bucket"), kind)
    whole = compare(reduced(a, None, "bucket"), reduced(b, None, "bucket"), kind)
    assert coarse.item() <= whole.item() * (1 + 1e-4) + 1e-5


def test_what_a_tail_sees() -> None:
    """The student's two likeliest tokens have the same odds in both; the teacher's mass lies elsewhere."""
    student, teacher = torch.tensor([[0.5, 0.4, 0.1]]).log(), torch.tensor([[0.05, 0.04, 0.91]]).log()
    support = top(student, 2)
    found = {t: compare(reduced(student, support, t), reduced(teacher, support, t), "jsd").item() for t in TAILS}
    assert found["renormalise"] == pytest.approx(0, abs=1e-6)
    assert found["bucket"] == pytest.approx(compare(student, teacher, "jsd").item(), rel=1e-4)
    assert 0 < found["drop"] < found["bucket"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("k", [2, None])
def test_gradient_is_that_of_finite_differences(kind: Divergence, tail: Tail, k: int | None) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)
    support = top(student, k)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return compare(reduced(logits, support, tail), reduced(teacher, support, tail), kind, 0.3)

    assert torch.autograd.gradcheck(loss, student.requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
def test_certainty_is_finite(kind: Divergence, tail: Tail) -> None:
    student = torch.tensor([[1e4, 0.0, -1e4, 3.0]], requires_grad=True)
    teacher = torch.tensor([[-1e4, 0.0, 1e4, 3.0]])
    support = top(student, 2)
    value = compare(reduced(student, support, tail), reduced(teacher, support, tail), kind)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_support_has_no_gradient() -> None:
    support = top(torch.randn(2, 5, requires_grad=True), 2)
    assert support is not None
    assert not support.requires_grad


def test_pick() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    assert pick(logits, torch.tensor([2, 0])).tolist() == pytest.approx([-0.407606, -np.log(3)], abs=1e-6)


def test_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1e4, 0.0, 0.0, 0.0], np.log([0.5, 0.25, 0.125, 0.125]).tolist()])
    assert entropy(logits).tolist() == pytest.approx([np.log(4), 0, 1.75 * np.log(2)], abs=1e-6)


def test_ratio_does_not_overflow() -> None:
    now, then = torch.tensor([-1.0, 0.0, -1e4, -1.0]), torch.tensor([-1.0, -1e4, 0.0, -1.5])
    assert ratio(now, then).tolist() == pytest.approx([1, np.exp(LIMIT), np.exp(-LIMIT), np.exp(0.5)])


@pytest.mark.parametrize("size", [2, 50, 2048])
@pytest.mark.parametrize("scale", [0.3, 3.0, 8.0])
def test_agrees_with_scipy(size: int, scale: float) -> None:
    dice = np.random.default_rng(size)
    student, teacher = scale * dice.standard_normal((2, 5, size))
    p, q = scipy_softmax(student, 1), scipy_softmax(teacher, 1)
    expected = {
        "jsd": jensenshannon(p, q, axis=1) ** 2,
        "forward_kl": rel_entr(q, p).sum(1),
        "reverse_kl": scipy_entropy(p, q, axis=1),
        "mse": np.linalg.norm(p - q, axis=1) ** 2,
    }
    x, y = (torch.tensor(z, dtype=torch.float32).log_softmax(1) for z in (student, teacher))
    for kind in KINDS:
        np.testing.assert_allclose(compare(x, y, kind).numpy(), expected[kind], rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(entropy(torch.tensor(student)).numpy(), scipy_entropy(p, axis=1), rtol=1e-9)
