"""Exact match and F1 against an implementation that is not ours: SQuAD's script as torchmetrics has it.

Pairs of an answer and an accepted one, generated from what answers are made of. The scores are equal but for one
deviation: SQuAD calls two texts equal that are nothing but articles and punctuation, "A" and "the", "?" and "!"; here
they are equal only if they are so as they stand.
"""

# ruff: noqa: RUF001 (look-alike characters are what is tested)
import random
import re
from collections import Counter

import pytest

from sdsearch.core.answers import cover_exact_match, exact_match, f1

squad = pytest.importorskip("torchmetrics.functional.text.squad", reason="the comparison needs torchmetrics")

WORDS = re.split(
    " ",
    "a an the The A yes no Paris paris New York City U.S.A. O'Hare's well-known theatre 1995 3.5 1,000 $5 12th May is "
    "of São sa\u0303o Łódź straße İstanbul 東京 东京 Ελλάδα москва \u0645\u0635\u0631 １２ ‘the’ “A” … — _ a.b & ! ? .",
)
SPACES = (" ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "")


def answer(dice: random.Random) -> str:
    """Return a few words, as a model or an annotator may write them."""
    words = dice.choices(WORDS, k=dice.choice((0, 1, 1, 2, 2, 3, 5)))
    return "".join(word + dice.choice(SPACES) for word in words)


def varied(text: str, dice: random.Random) -> str:
    """Return nearly the same answer."""
    match dice.randrange(6):
        case 0:
            return text.upper()
        case 1:
            return f"The {text}."
        case 2:
            return " ".join(text.split()[:-1])
        case 3:
            return " ".join(dice.sample(text.split(), len(text.split())))
        case 4:
            return f"{text} {dice.choice(WORDS)}"
    return text


@pytest.mark.parametrize("pairs", [4_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_scores_are_those_of_squad_but_for_the_deviation_that_is_listed(pairs: int) -> None:
    dice = random.Random(0)
    seen, deviations = Counter[str](), Counter[str]()
    for _ in range(pairs):
        accepted = answer(dice)
        given = varied(accepted, dice) if dice.random() < 0.6 else answer(dice)
        ours = exact_match(given, [accepted]), f1(given, [accepted])
        theirs = (
            float(squad._compute_exact_match_score(given, accepted)),
            float(squad._compute_f1_score(given, accepted)),
        )
        if not squad._get_tokens(given) and not squad._get_tokens(accepted):
            bare = " ".join(given.lower().split())
            same = float(bool(bare) and bare == " ".join(accepted.lower().split()))
            assert theirs == (1.0, 1.0)
            assert ours[0] == same
            deviations["nothing is left of both"] += ours != theirs
            continue
        assert ours[0] == theirs[0], (given, accepted)
        assert ours[1] == pytest.approx(theirs[1], abs=1e-6), (given, accepted)
        assert cover_exact_match(given, [accepted]) >= ours[0]
        seen["same" if ours[0] else "in part" if ours[1] else "other"] += 1
    assert min(seen[kind] for kind in ("same", "in part", "other")) > pairs // 10
    assert 0 < deviations.total() < pairs // 5


def test_of_several_accepted_answers_the_best_counts() -> None:
    dice = random.Random(1)
    for _ in range(300):
        given, accepted = answer(dice), [answer(dice) for _ in range(dice.randint(1, 4))]
        assert exact_match(given, accepted) == max(exact_match(given, [each]) for each in accepted)
        assert f1(given, accepted) == max(f1(given, [each]) for each in accepted)
        assert cover_exact_match(given, accepted) == max(cover_exact_match(given, [each]) for each in accepted)


@pytest.mark.parametrize(
    ("given", "accepted", "score"),
    [
        ("It is the city of Paris.", ["Paris"], 1.0),
        ("Paris", ["the city of Paris"], 0.0),
        ("I know", ["No"], 1.0),  # the hazards: characters, not words,
        ("in 2017", ["1"], 1.0),
        ("Rome, Paris or London", ["London"], 1.0),  # and a list of guesses
        ("", ["Paris"], 0.0),
        (None, ["Paris"], 0.0),
        ("Paris", ["", "!"], 0.0),
        ("the", ["A"], 0.0),
    ],
)
def test_cover_exact_match_and_its_hazards(given: str | None, accepted: list[str], score: float) -> None:
    assert cover_exact_match(given, accepted) == score
