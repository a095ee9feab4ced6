import pytest

from sdsearch.contracts.hint import HintText
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.peer_success import PeerSuccess
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.testing import check_hint, example_groups

INNER = [Hindsight(), Hindsight(include_self="past_only"), Hindsight(which="correct"), PeerSuccess()]


def every(hint: HintText) -> tuple[str | None, ...]:
    return hint if isinstance(hint, tuple) else (hint,)


@pytest.mark.parametrize("inner", INNER)
def test_contract(inner: Hindsight) -> None:
    check_hint(Placebo(hint=inner))


def test_hindsight_by_default() -> None:
    assert Placebo().hint == Hindsight()


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("seed", range(5))
def test_texts_are_those_of_other_questions(inner: Hindsight, seed: int) -> None:
    groups = example_groups()
    real, dealt = inner.texts(groups, seed), Placebo(hint=inner).texts(groups, seed)
    for g, (own, lent) in enumerate(zip(real, dealt, strict=True)):
        others = {t for i, hints in enumerate(real) for hint in hints for t in every(hint) if i != g} - {None}
        for before, after in zip(own, lent, strict=True):
            assert [t is None for t in every(before)] == [t is None for t in every(after)]
            assert set(every(after)) - {None} <= others
            assert isinstance(after, tuple) == isinstance(before, tuple)


def test_the_seed_decides_who_lends() -> None:
    groups = [example_groups()[i] for i in (1, 2, 3)]
    groups.append(Group(Question("q9", "Where?", ("x",)), groups[0].trajectories[:1]))
    found = [Placebo().texts(groups, seed)[0][0] for seed in range(12)]
    assert len(set(found)) == 2
    assert found == [Placebo().texts(groups, seed)[0][0] for seed in range(12)]


def test_like_lends_to_like() -> None:
    """Of the example groups 0 and 4 are mixed; 1 and 2 are alike, 3 was lost."""
    groups = example_groups()
    real = [hints[0] if hints else None for hints in Hindsight().texts(groups, 0)]
    for seed in range(5):
        lent = [hints[0] if hints else None for hints in Placebo().texts(groups, seed)]
        assert lent == [real[4], real[2], real[1], None, real[0]]
        assert Placebo().texts(groups[:2], seed) == [[real[1]] * 3, [real[0]] * 2]


def test_without_another_question_there_is_no_teacher() -> None:
    group = example_groups()[0]
    assert Placebo().texts([group], 0) == [[None] * 3]
    assert Placebo().texts([group, group], 0) == [[None] * 3] * 2  # the same question twice in a step
