"""Exact match and F1 against the rules of SQuAD's evaluation script, written here a second time and differently.

Rajpurkar et al., 2016: lower the case, remove ASCII punctuation, remove the articles, squeeze white space.
"""

# ruff: noqa: RUF001 (look-alike characters are what is tested)
import re
import unicodedata
from itertools import groupby

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdsearch.core.answers import normalize_answer
from sdsearch.envs.reward.exact_match import ExactMatch
from sdsearch.envs.reward.f1 import F1

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def squad(text: str) -> list[str]:
    """Return the words that SQuAD compares, found without a regular expression."""
    kept = "".join(c for c in text.lower() if c not in PUNCTUATION)
    # An article ends where no word goes on: before a hyphen of Unicode too, which is no ASCII punctuation.
    runs = ["".join(run) for _, run in groupby(kept, lambda c: c.isalnum())]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def squad_exact(answer: str, answers: tuple[str, ...]) -> float:
    return float(any(squad(answer) == squad(a) for a in answers))


def squad_f1(answer: str, answers: tuple[str, ...]) -> float:
    best = 0.0
    for accepted in answers:
        given, left = squad(answer), squad(accepted)
        wanted, common = len(left), 0
        for word in given:
            if word in left:
                left.remove(word)
                common += 1
        if common:
            precision, recall = common / len(given), common / wanted
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


words = st.sampled_from(
    re.split("/", "a/an/the/The/A/Paris/PARIS/são/sa\u0303o/St./’s/…/-/‐/ß/SS/İ/Ǆ/１２/12/東京/_/x_y/a.b/c++/3.5/🙂")
) | st.sampled_from(" \u00a0\n\u200b\u3000")
answers = st.lists(words, max_size=6).map("".join) | st.lists(words, max_size=6).map(" ".join) | st.text(max_size=12)


@settings(deadline=None, max_examples=500)
@given(answers, st.lists(answers, max_size=3).map(tuple))
@example("the", ("an",))
@example("", ("",))
@example("!", ("a",))
def test_rewards_are_those_of_squad_where_it_compares_anything(given_: str, accepted: tuple[str, ...]) -> None:
    with_words = tuple(a for a in accepted if squad(a))
    if squad(given_):
        assert ExactMatch().score(given_, with_words) == squad_exact(given_, with_words)
        assert F1().score(given_, with_words) == pytest.approx(squad_f1(given_, with_words))
        assert ExactMatch().score(given_, accepted) == squad_exact(given_, with_words)
    else:
        # Here SQuAD would call every accepted answer without words right.
        bare = " ".join(given_.lower().split())
        assert ExactMatch().score(given_, accepted) == float(
            bool(bare) and any(bare == " ".join(a.lower().split()) for a in accepted if not squad(a))
        )
    assert normalize_answer(given_) == (" ".join(squad(given_)) or " ".join(given_.lower().split()))


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("são paulo", "São Paulo", True),
        ("sa\u0303o paulo", "são paulo", False),
        ("１２", "12", False),
        ("strasse", "straße", False),
        ("İzmir", "i\u0307zmir", True),
        ("Pa\u200bris", "Paris", False),
        ("New\u00a0York\u3000City", "new york city", True),
        ("“Paris”", "Paris", False),
        ('"Paris"', "Paris", True),
        ("OHares", "O'Hare's", True),
        ("well-known", "wellknown", True),
        ("well‐known", "wellknown", False),
        ("the a an", "an the a", False),
        ("the", "THE", True),
    ],
)
def test_the_rules_on_unicode(answer: str, accepted: str, right: bool) -> None:
    assert ExactMatch().score(answer, (accepted,)) == float(right)


def test_sao_in_one_and_in_two_code_points_is_the_same_only_to_unicode() -> None:
    assert unicodedata.normalize("NFC", "sa\u0303o") == "são"
    assert F1().score("sa\u0303o paulo", ("são paulo",)) == 0.5
