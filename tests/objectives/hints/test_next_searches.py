from collections.abc import Callable

from sdsearch.core.trajectory import Group, Trajectory, Turn
from sdsearch.objectives.hints.next_searches import NextSearches

TURNS = Turn("search", "one"), Turn("invalid", "no action"), Turn("search", "two"), Turn("answer", "here")
SHOWN = ["<information>A a</information>", "Not valid.", "<information>B b</information>"]


def told(hint: NextSearches, played: Trajectory) -> tuple[str | None, ...]:
    ((texts,),) = hint.texts([Group(played.question, (played,))], 0)
    assert isinstance(texts, tuple)
    return texts


def test_a_turn_is_told_what_came_of_it(attempt: Callable[..., Trajectory]) -> None:
    """Its own query is not told; a notice is no result; nothing comes after the answer."""
    played = attempt(1, *TURNS, shown=SHOWN)
    group = Group(played.question, (played,))
    one, two, three, four = told(NextSearches(count=1), played)
    assert NextSearches(count=1).texts([group], 0) == [[(one, two, three, four)]]
    assert (one, four) == ("What happens next:\nA a\n\n", None)
    assert two == "What happens next:\ntwo B b\n\n"
    assert three == "What happens next:\nB b\n\n"
    both, *_ = told(NextSearches(count=2, template="{events}"), played)
    assert both == "A a two B b"
    cut, *_ = told(NextSearches(count=2, template="{events}", max_words=3), played)
    assert cut == "A a two"


def test_a_query_that_is_nothing_but_tags_says_nothing(attempt: Callable[..., Trajectory]) -> None:
    played = attempt(
        1, Turn("search", "one"), Turn("search", "<b>"), Turn("answer", "here"), shown=[SHOWN[0], SHOWN[2]]
    )
    assert told(NextSearches(count=2, template="{events}"), played) == ("A a B b", "B b", None)
