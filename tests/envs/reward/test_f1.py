import pytest
from pydantic import BaseModel

from sdsearch.contracts.environment import Reward
from sdsearch.envs.reward.f1 import F1


@pytest.mark.parametrize(
    ("answer", "answers", "expected"),
    [
        ("Paris", ("Paris",), 1.0),
        # One of two words right, the one accepted word found: precision 1/2, recall 1.
        ("Paris France", ("Paris",), 2 / 3),
        ("New Delhi", ("Delhi City", "Old Delhi Fort"), 1 / 2),
        ("Lyon", ("Paris",), 0.0),
        ("", ("Paris",), 0.0),
        (None, ("Paris",), 0.0),
    ],
)
def test_a_part_of_an_answer_scores_a_part(answer: str | None, answers: tuple[str, ...], expected: float) -> None:
    assert F1().score(answer, answers) == pytest.approx(expected)


class Holder(BaseModel):
    reward: Reward


def test_the_name_in_a_spec_is_the_name_of_the_file() -> None:
    assert Holder.model_validate({"reward": {"type": "f1"}}).reward == F1()
    assert F1().model_dump() == {"type": "f1"}
