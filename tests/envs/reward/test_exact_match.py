import pytest
from pydantic import BaseModel

from sdsearch.contracts.environment import Reward
from sdsearch.envs.reward.exact_match import ExactMatch


@pytest.mark.parametrize(
    ("answer", "answers", "expected"),
    [
        ("Paris", ("Paris",), 1.0),
        ("  the PARIS. ", ("Paris",), 1.0),
        ("Lyon", ("Paris", "Lyon"), 1.0),
        ("Paris, France", ("Paris",), 0.0),
        ("", ("Paris",), 0.0),
        (None, ("Paris",), 0.0),
    ],
)
def test_an_accepted_answer_scores_one_and_all_else_nothing(
    answer: str | None, answers: tuple[str, ...], expected: float
) -> None:
    assert ExactMatch().score(answer, answers) == expected


class Holder(BaseModel):
    reward: Reward


def test_the_name_in_a_spec_is_the_name_of_the_file() -> None:
    assert Holder.model_validate({"reward": {"type": "exact_match"}}).reward == ExactMatch()
    assert ExactMatch().model_dump() == {"type": "exact_match"}
