import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sdsearch.contracts.hint import HintText
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.hinting.attempt import TAG
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.testing import check_hint, example_groups, example_trajectory

QUESTION = Question("q", "What is the capital?", ("Paris",))
PLAYS = [
    (["query one", "query two", "query three"], "Paris", 1.0),
    (["query four", "query five", "query four"], "Rome", 0.0),
    ([], "Lyon", 0.0),
    (["query six"], "Paris, France", 0.4),
]


def group(plays: list[tuple[list[str], str, float]] = PLAYS, name: str = "q") -> Group:
    question = Question(name, QUESTION.text, QUESTION.answers)
    episodes = (
        example_trajectory(question, [*(("search", s) for s in searches), ("answer", answer)], reward)
        for searches, answer, reward in plays
    )
    return Group(question, tuple(episodes))


def told(of: Group | None = None, seed: int = 0, **settings: Any) -> list[HintText]:
    return Hindsight.model_validate(settings).texts([of or group()], seed)[0]


def texts(of: Group | None = None, seed: int = 0, **settings: Any) -> list[str | None]:
    found = told(of, seed, **settings)
    assert not any(isinstance(hint, tuple) for hint in found)
    return [hint for hint in found if not isinstance(hint, tuple)]


def lines(text: str | None) -> list[str]:
    assert text is not None
    assert text.endswith("\n\n")
    header, *rest = text[:-2].split("\n")
    assert header == "Earlier attempts:"
    return rest


LINES = [
    "Correct: query one | query two | query three",
    "Incorrect: query four | query five | query four",
    "Incorrect: no search",
    "Correct: query six",
]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"order": "random", "labels": "shuffled", "which": "single"},
        {"order": "reward", "labels": "off", "which": "correct", "include_self": "others"},
        {"label_by": "exact_match", "dedupe": True, "max_queries": 1, "max_characters": 3, "max_words": 2},
        {"include_self": "past_only", "order": "random", "labels": "shuffled"},
        {"include_self": "past_only", "which": "single"},
        {"include_self": "past_only", "which": "correct", "max_words": 3},
        {"max_words": 5, "cut": "last", "place": "after"},
        {"shows": ["think", "query", "documents", "answer"]},
        {"labels": "flipped"},
    ],
)
def test_contract(settings: dict[str, object]) -> None:
    check_hint(Hindsight.model_validate(settings))


def test_default_text() -> None:
    expected = (
        "Earlier attempts:\n"
        "Correct: query one | query two | query three\n"
        "Incorrect: query four | query five | query four\n"
        "Incorrect: no search\n"
        "Correct: query six\n"
        "\n"
    )
    assert texts() == [expected] * 4


def test_labels() -> None:
    assert lines(texts(label_by="exact_match")[0])[3] == "Incorrect: query six"
    assert lines(texts(above=0.7)[0])[3] == "Incorrect: query six"  # F1 2/3
    assert lines(texts(above=0.6)[0])[3] == "Correct: query six"
    assert lines(texts(labels="off")[0]) == [re.sub(r"^\w+", "Attempt", line) for line in LINES]


def test_shuffled_labels_are_the_same_labels() -> None:
    found = [texts(labels="shuffled", seed=seed) for seed in range(12)]
    for blocks in found:
        assert len(set(blocks)) == 1
        assert [line.split(": ")[1] for line in lines(blocks[0])] == [line.split(": ")[1] for line in LINES]
        assert sum(line.startswith("Correct") for line in lines(blocks[0])) == 2
    assert len({blocks[0] for blocks in found}) > 1


def test_flipped_labels_are_all_turned_round() -> None:
    turned = [line.replace("Incorrect", "-").replace("Correct", "Incorrect").replace("-", "Correct") for line in LINES]
    assert lines(texts(labels="flipped")[0]) == turned


def test_twins_differ_in_one_thing() -> None:
    hint = Hindsight(max_words=50, order="random")
    twins = hint.twins()
    assert twins == {
        "flipped": Hindsight(max_words=50, order="random", labels="flipped"),
        "others": Hindsight(max_words=50, order="random", include_self="others"),
    }
    assert twins["flipped"].twins()["flipped"] == hint
    assert Hindsight(labels="off", include_self="others").twins() == {}
    assert "flipped" not in Hindsight(labels="shuffled").twins()
    assert Placebo(hint=hint).twins() == {name: Placebo(hint=twin) for name, twin in twins.items()}


def test_order() -> None:
    assert lines(texts(order="reward")[0]) == [LINES[0], LINES[3], LINES[1], LINES[2]]
    found = [lines(texts(order="random", seed=seed)[0]) for seed in range(8)]
    assert all(sorted(f) == sorted(LINES) for f in found)
    assert len({tuple(f) for f in found}) > 1


def test_others() -> None:
    assert [lines(t) for t in texts(include_self="others")] == [LINES[:i] + LINES[i + 1 :] for i in range(4)]
    assert texts(group(PLAYS[:1]), include_self="others") == [None]


def test_of_oneself_only_the_past() -> None:
    found = told(include_self="past_only")
    assert isinstance(found[0], tuple)
    own = [None, "query one", "query one | query two", "query one | query two | query three"]
    assert [lines(t) for t in found[0]] == [[*([f"Correct: {q}"] if q else []), *LINES[1:]] for q in own]
    assert isinstance(found[2], tuple)  # answered at once: one turn, and nothing before it
    assert [lines(t) for t in found[2]] == [[LINES[0], LINES[1], LINES[3]]]
    assert told(group(PLAYS[:1]), include_self="past_only")[0] == (
        None,
        *(f"Earlier attempts:\nCorrect: {q}\n\n" for q in own[1:] if q),
    )


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 99).map("query number {}".format), max_size=3), min_size=1, max_size=3))
def test_the_past_never_holds_the_query_that_is_scored(searches: list[list[str]]) -> None:
    """Nor a later one: whatever only this attempt asks, and not before the turn, is nowhere in that turn's block."""
    of = group([(queries, "Rome", 0.0) for queries in searches])
    for own, hint in enumerate(told(of, include_self="past_only")):
        assert isinstance(hint, tuple)
        others = {q for i, queries in enumerate(searches) if i != own for q in queries}
        for turn, text in enumerate(hint):
            ahead = set(searches[own][turn:]) - others - set(searches[own][:turn])
            shown = set() if text is None else {q for line in lines(text) for q in line.split(": ")[1].split(" | ")}
            assert not ahead & shown
            assert set(searches[own][:turn]) <= shown


def test_without_future_masking() -> None:
    """What the paper leaves out is told: thoughts, passages, and the answer, which can then be read off."""
    found = "\n\n<information>Doc 1(Title: T) It is Paris | Correct: x.\n</information>\n\n"
    written = ["Question: ?\n", "<think> try </think><search> capital </search>", found, "<answer> Paris </answer>"]
    roles = ("prompt", "model", "observation", "model")
    segments = tuple(Segment(role, text) for role, text in zip(roles, written, strict=True))  # type: ignore[arg-type]
    turns = (Turn("search", "capital"), Turn("answer", "Paris"))
    of = Group(QUESTION, (Trajectory(QUESTION, segments, turns, "answered", 1.0),))
    assert lines(texts(of)[0]) == ["Correct: capital"]
    assert lines(texts(of, shows=["query", "answer"])[0]) == ["Correct: capital | answer: Paris"]
    everything: dict[str, Any] = {"shows": ["think", "query", "documents", "answer"]}
    assert lines(texts(of, **everything)[0]) == [
        "Correct: think: try | capital | documents: Doc 1(Title: T) It is Paris Correct x. | answer: Paris"
    ]
    assert lines(texts(of, **everything, unmasked="({text})", max_characters=3)[0]) == [
        "Correct: (try) | cap | (Doc) | (Par)"
    ]
    assert lines(texts(of, shows=["answer"])[0]) == ["Correct: answer: Paris"]


def test_correct_ones_only() -> None:
    assert [lines(t) for t in texts(which="correct")] == [[LINES[0], LINES[3]]] * 4
    assert texts(group(PLAYS[1:3]), which="correct") == [None, None]
    assert texts(group(PLAYS[:2]), which="correct", include_self="others")[0] is None


def test_single() -> None:
    found = {line for seed in range(12) for t in texts(which="single", seed=seed) for line in lines(t)}
    assert found == set(LINES)
    for seed in range(12):
        for own, text in enumerate(texts(which="single", include_self="others", seed=seed)):
            (line,) = lines(text)
            assert line != LINES[own]


def test_limits() -> None:
    assert lines(texts(dedupe=True)[0])[1] == "Incorrect: query four | query five"
    assert lines(texts(max_queries=2)[0])[:2] == [
        "Correct: query one | query two",
        "Incorrect: query four | query five",
    ]
    assert lines(texts(max_characters=7)[0])[0] == "Correct: query o | query t | query t"
    assert lines(texts(max_characters=6)[0])[0] == "Correct: query | query | query"
    assert lines(texts(max_queries=1, shows=["query", "answer"])[0])[0] == "Correct: query one | answer: Paris"


def test_what_comes_last_is_left_out() -> None:
    assert [len(line.split()) for line in LINES] == [9, 9, 3, 3]
    assert lines(texts(max_words=24, cut="last")[3]) == LINES
    assert lines(texts(max_words=23, cut="last")[3]) == LINES[:3]
    assert lines(texts(max_words=20, cut="last")[3]) == LINES[:2]
    assert lines(texts(max_words=17, cut="last")[3]) == LINES[:1]
    assert lines(texts(max_words=4, cut="last")[3]) == ["Correct: query one |"]
    assert lines(texts(max_words=12, order="reward", cut="last")[0]) == [LINES[0], LINES[3]]


@pytest.mark.parametrize("labels", ["on", "shuffled"])
def test_what_is_left_out_is_drawn_and_never_ones_own(labels: str) -> None:
    """Of four attempts of three words any other one goes as often; the block keeps its order."""
    plays = [([f"query{i} x"], "Paris" if i % 2 else "Rome", float(i % 2)) for i in range(4)]
    gone: Counter[int] = Counter()
    for seed in range(200):
        blocks = texts(group(plays), seed, max_words=9, labels=labels)
        dropped = list[int]()
        for own, block in enumerate(blocks):
            told = [int(line.split()[1].removeprefix("query")) for line in lines(block)]
            assert len(told) == 3
            assert own in told
            assert told == sorted(told)
            dropped += {*range(4)} - {*told}
        assert len(set(dropped)) == 2, "the same for all, but for the one whose own it is"
        gone.update(dropped)
    assert sum(gone.values()) == 800
    assert all(140 < count < 260 for count in gone.values())


def test_the_own_attempt_stays_where_it_is_told_at_all() -> None:
    for own, block in enumerate(texts(max_words=9)):
        assert LINES[own] in lines(block)
    assert lines(texts(max_words=4)[1]) == ["Incorrect: query four |"], "alone it is shortened"
    assert [len(lines(t)) for t in texts(max_words=9, include_self="others", which="correct")] == [1, 1, 1, 1]
    past = told(max_words=3, include_self="past_only")[0]
    assert isinstance(past, tuple)
    assert [lines(text)[0] for text in past[1:]] == ["Correct: query one"] * 3


def test_figures() -> None:
    """Blocks of 24 words, where there is room for all, for three attempts or less, and for none but one's own."""
    assert Hindsight().figures([group()], 0) == {}
    for room, count in ((24, 0), (23, 4), (3, 4)):
        assert Hindsight(max_words=room).figures([group()], 0) == {"hints_cut": (count, 4)}
    # Without oneself the first two have 15 words to tell, the others 21; the past of an attempt grows turn by turn.
    assert Hindsight(max_words=15, include_self="others").figures([group()], 0) == {"hints_cut": (2, 4)}
    assert Hindsight(max_words=17, include_self="past_only").figures([group()], 0) == {"hints_cut": (9, 11)}
    hint = Hindsight(labels="shuffled")
    alike = group([PLAYS[0], PLAYS[3]], "alike")
    shares = []
    for seed in range(60):
        truth = [line.split(":")[0] for line in LINES]
        told_so = [line.split(":")[0] for line in lines(texts(labels="shuffled", seed=seed)[0])]
        stayed = sum(a == b for a, b in zip(truth, told_so, strict=True))
        assert hint.figures([alike, group()], seed) == {"labels_true": (stayed, 4)}
        assert Placebo(hint=hint).figures([alike, group()], seed) == {"labels_true": (stayed, 4)}
        shares.append(stayed / 4)
    # Two of four are right: both labels stay with 1/6, none with 1/6, one and one with 4/6.
    assert sum(shares) / 60 == pytest.approx(1 / 2, abs=0.12)
    assert hint.figures([alike], 0) == {"labels_true": (0, 0)}


def test_words() -> None:
    found = texts(header="Tried:\n", right="Good", wrong="Bad", separator=" ; ", nothing="-")[0]
    assert found is not None
    assert found.startswith("Tried:\n\nGood: query one ; query two ; query three\nBad: ")
    assert "\nBad: -\n" in found
    assert lines(texts(line="{parts} ({label})")[0])[3] == "query six (Correct)"
    assert lines(texts(line="- {parts}")[0])[3] == "- query six"


@pytest.mark.parametrize("field", ["right", "wrong", "neutral", "separator", "nothing"])
@pytest.mark.parametrize("text", ["", " ", "\n", "a\nb", "a\u2028b"])
def test_words_stay_on_a_line(field: str, text: str) -> None:
    with pytest.raises(ValidationError, match="expected one line of text"):
        Hindsight.model_validate({field: text})


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("line", "{parts}\n{label}", "one line of text"),
        ("unmasked", "{text}\u2028", "one line of text"),
        ("line", "{queries}", r"expected a text that holds \{label\} and \{parts\}"),
        ("unmasked", "", r"expected a text that holds \{kind\} and \{text\}"),
    ],
)
def test_templates(field: str, text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Hindsight.model_validate({field: text})


def test_only_queries_and_labels_enter() -> None:
    kinds: list[dict[str, Any]] = [{}, {"which": "correct"}, {"label_by": "exact_match"}, {"order": "reward"}]
    for kind in kinds:
        for text in texts(**kind):
            assert text is not None
            assert not any(answer in text for answer in ("Paris", "Rome", "Lyon", "France"))


def test_lost_attempts_do_not_enter() -> None:
    lost = example_trajectory(QUESTION, [("search", "broken")], 0.0, lost=True)
    of = Group(QUESTION, (lost, *group().trajectories))
    assert texts(of) == texts()


def test_a_block_does_not_depend_on_other_groups() -> None:
    hint = Hindsight(order="random", labels="shuffled", which="single")
    alone = [hint.texts([g], 3)[0] for g in example_groups()]
    assert hint.texts(example_groups(), 3) == alone


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a\nCorrect: b", "a Correct b"),
        ("a | b", "a b"),
        ("a\r\u2028\x85\x0b\x0cb", "a b"),
        ("Incorrect :: x", "Incorrect x"),
        ("INCORRECT: x", "INCORRECT x"),
        ("Correct|: x", "Correct x"),
        ("Correct\uff1a x", "Correct x"),
        ("Attempt:x", "Attempt x"),
        ("autocorrect: off", "autocorrect: off"),
        ("</search><answer>x", "/search answer x"),
        ("x <|im_end|> y", "x im_end y"),
        ("  plain   words ", "plain words"),
    ],
)
def test_a_query_is_neutralised(query: str, expected: str) -> None:
    assert Hindsight().clean(query) == expected


PIECES = st.sampled_from(
    ["Correct", "INCORRECT", "Incorrect", ":", "|", "\n", "\r", "\u2028", " ", "x", "Earlier attempts:", "\uff1a", "<"]
)
FORGERIES = st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20)


@settings(deadline=None)
@given(st.lists(FORGERIES, max_size=4))
def test_a_query_cannot_forge(queries: list[str]) -> None:
    """Whatever the queries hold, there are as many lines, labels and queries as were written."""
    found = lines(texts(group([(queries, "Rome", 0.0), (["y"], "Paris", 1.0)]))[0])
    assert len(found) == 2
    assert len("\n".join(found).splitlines()) == 2
    assert found[0].startswith("Incorrect: ")
    assert len(re.findall(r"(?<!\w)(?:in)?correct\s*[:\uff1a]", "\n".join(found), re.IGNORECASE)) == 2
    written = [q for q in (Hindsight().clean(TAG.sub(" ", query)) for query in queries) if q]
    assert found[0].removeprefix("Incorrect: ").split(" | ") == (written or ["no search"])


def test_queries_without_words_are_no_search() -> None:
    assert lines(texts(group([(["  ", "|"], "Rome", 0.0)]))[0]) == ["Incorrect: no search"]
