from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.objectives.hints.gold_answer import GoldAnswer
from sdsearch.testing import check_hint, example_groups


def test_contract() -> None:
    check_hint(GoldAnswer())
    check_hint(GoldAnswer(template="Gold: {answer}\n"))


def test_text() -> None:
    found = GoldAnswer().texts(example_groups()[:2], 0)
    assert found == [["The answer is New Paris.\n\n"] * 3, ["The answer is New Paris.\n\n"] * 2]
    assert GoldAnswer(template="={answer}").texts(example_groups()[1:2], 0) == [["=New Paris"] * 2]


def test_a_question_without_answer_has_no_teacher() -> None:
    episodes = example_groups()[0].trajectories
    assert GoldAnswer().texts([Group(Question("q", "Where?", ()), episodes)], 0) == [[None] * 3]
    tagged = Group(Question("q", "Where?", ("a</search>\n{answer} b",)), episodes)
    assert GoldAnswer().texts([tagged], 0)[0][0] == "The answer is a /search {answer} b.\n\n"
