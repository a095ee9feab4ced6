"""What a step draws: its questions, and the seeds of its rollouts."""

from collections import Counter

from sdsearch.core.question import Question
from sdsearch.rollout.order import choose, due, row_seeds, step_seed

QUESTIONS = [Question(str(i), "Where?", ("here",)) for i in range(7)]


def test_questions_go_round_in_shuffled_epochs() -> None:
    def asked(count: int, steps: int) -> list[str]:
        return [q.id for step in range(steps) for q in choose(questions, step, count, seed=7)]

    questions = [Question(str(i), "", ("a",)) for i in range(6)]
    epochs = [asked(2, 9)[i : i + 6] for i in (0, 6, 12)]
    assert [sorted(epoch) for epoch in epochs] == [list("012345")] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3
    # Two are left over in each epoch: no step begins in one and ends in the next, so none asks a question twice.
    assert all(len({q.id for q in choose(questions, step, 4, seed=7)}) == 4 for step in range(9))
    # Where there are too few questions for a step it begins again.
    assert asked(15, 1) == [*asked(6, 1), *asked(6, 1), *asked(6, 1)[:3]]


def test_further_questions_of_a_step_are_others() -> None:
    questions = [Question(str(i), "", ("a",)) for i in range(9)]
    lots = [[q.id for q in choose(questions, 3, 4, 7, lot)] for lot in range(4)]
    assert [len(lot) for lot in lots] == [4, 4, 1, 0]
    assert len({i for lot in lots for i in lot}) == 9
    assert lots != [[q.id for q in choose(questions, 4, 4, 7, lot)] for lot in range(4)]


def test_a_row_has_the_seed_of_its_question_and_attempt() -> None:
    one, two = QUESTIONS[:2]
    made = Counter[str]()
    first = row_seeds(5, [one, one, two], made)
    assert made == {"0": 2, "1": 1}
    assert len(set(first)) == 3
    assert row_seeds(5, [two, one, one]) == [first[2], *first[:2]]
    assert row_seeds(5, [one], made) == row_seeds(5, [one] * 3)[2:]
    assert not set(row_seeds(6, [one, one, two])) & set(first)


def test_every_run_and_step_has_another_seed() -> None:
    assert len({step_seed(seed, step) for seed in range(5) for step in range(100)}) == 500


def test_what_is_due() -> None:
    assert [step for step in range(7) if due(step, 3)] == [0, 3, 6]
    assert not any(due(step, 0) for step in range(7))
