from sdsearch.core.question import Question
from sdsearch.core.trajectory import Segment, Trajectory, Turn
from sdsearch.hinting.attempt import parts
from sdsearch.testing import example_trajectory

QUESTION = Question("q", "Where?", ("Rome",))
DOCS = "\n\n<information>Doc 1(Title: T) a\nDoc 2(Title: U) [/search] b\n</information>\n\n"


def played(*turns: tuple[str, str, str, str]) -> Trajectory:
    """Return an episode of turns given as (kind, action, what was written, what followed)."""
    segments = [Segment("prompt", "Question: Where?\n")]
    for _, _, written, followed in turns:
        segments += [Segment("model", written), *([Segment("observation", followed)] if followed else [])]
    return Trajectory(QUESTION, tuple(segments), tuple(Turn(kind, text) for kind, text, *_ in turns), "answered", 0.0)


def test_parts_of_every_kind() -> None:
    episode = played(
        ("search", "x city", "<think> I look for x\n</think>\n<search> x city </search>", DOCS),
        ("invalid", "", "<think>what?", "\n\nThat was not a valid action.\n\n"),
        ("answer", "Rome", "<answer> Rome </answer>", ""),
    )
    assert [tuple(p) for p in parts(episode)] == [
        (0, "think", "I look for x"),
        (0, "query", "x city"),
        (0, "documents", "Doc 1(Title: T) a\nDoc 2(Title: U) [/search] b"),
        (1, "think", "what?"),
        (2, "answer", "Rome"),
    ]


def test_a_thought_may_name_the_query() -> None:
    episode = played(("search", "x", "<think> x is x </think><search> x </search>", ""))
    assert [p.text for p in parts(episode)] == ["x is x", "x"]


def test_an_episode_without_texts_has_its_actions() -> None:
    assert [
        p.kind for p in parts(Trajectory(QUESTION, (), (Turn("search", "a"), Turn("answer", "b")), "answered", 0))
    ] == [
        "query",
        "answer",
    ]
    assert [p.text for p in parts(example_trajectory(QUESTION, [("search", "a"), ("search", " ")], 0.0))] == ["a"]
