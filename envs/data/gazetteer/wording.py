"""The words of the questions: how an entity is described by way of others, and how a fact is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sdsearch.envs.data.gazetteer.facts import hashed

DESCRIPTIONS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("airport",): ("{name}",),
    ("city",): ("{name}",),
    ("country",): ("{name}",),
    ("airport", "city"): (
        "the place served by {name}",
        "the town that {name} serves",
        "the town whose people use {name}",
    ),
    ("airport", "city", "country"): (
        "the land where {name} is",
        "the nation that {name} is in",
        "the country of {name}",
    ),
    ("airport", "city", "country", "capital"): (
        "the seat of government of the land where {name} is",
        "the chief city of the nation that {name} is in",
        "the chief city in the country of {name}",
    ),
    ("city", "country"): ("the land where {name} lies", "the nation that {name} is in", "the country of {name}"),
    ("city", "country", "capital"): (
        "the seat of government of the land where {name} lies",
        "the chief city of the nation that {name} is in",
        "the chief city in the country of {name}",
    ),
    ("country", "capital"): (
        "the seat of government of {name}",
        "the chief city of {name}",
        "the city that governs {name}",
    ),
}
"""How to say what a path of attributes leads to, by the kind of the entity it starts from."""

ASKED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("airport", "city"): ("Which city does {it} serve?", "Which city is {it} for?", "Which city uses {it}?"),
    ("airport", "elevation"): (
        "How high above the sea is {it}?",
        "What is the elevation of {it}?",
        "How many metres above the sea does {it} lie?",
    ),
    ("airport", "time zone"): (
        "In which time zone is {it}?",
        "Which time zone does {it} keep?",
        "What is the time zone of {it}?",
    ),
    ("airport", "IATA code"): (
        "What is the IATA code of {it}?",
        "Which IATA code does {it} have?",
        "Which three letters are the IATA code of {it}?",
    ),
    ("city", "country"): (
        "In which country is {it}?",
        "What country is {it} in?",
        "To which country does {it} belong?",
    ),
    ("city", "population"): (
        "How many people live in {it}?",
        "What is the population of {it}?",
        "How large is the population of {it}?",
    ),
    ("city", "time zone"): (
        "In which time zone is {it}?",
        "Which time zone does {it} keep?",
        "What is the time zone of {it}?",
    ),
    ("country", "capital"): (
        "What is the capital of {it}?",
        "Which city is the capital of {it}?",
        "What is the name of the capital of {it}?",
    ),
    ("country", "currency"): (
        "What is the currency of {it}?",
        "Which currency is used in {it}?",
        "In which currency do people pay in {it}?",
    ),
    ("country", "continent"): (
        "On which continent is {it}?",
        "To which continent does {it} belong?",
        "What continent is {it} part of?",
    ),
    ("country", "calling code"): (
        "What is the calling code of {it}?",
        "Which calling code reaches {it}?",
        "With which calling code do telephone numbers begin in {it}?",
    ),
    ("country", "internet domain"): (
        "What is the internet domain of {it}?",
        "Which internet domain does {it} have?",
        "In which internet domain are addresses of {it}?",
    ),
    ("country", "area"): (
        "How large is the area of {it}?",
        "What area does {it} cover?",
        "How many square km is the area of {it}?",
    ),
    ("country", "population"): (
        "How many people live in {it}?",
        "What is the population of {it}?",
        "How large is the population of {it}?",
    ),
}

COMPARED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("airport", "elevation"): (
        "Which lies higher, {a} or {b}?",
        "Of {a} and {b}, which has the greater elevation?",
        "Which has the greater elevation: {a} or {b}?",
    ),
    ("city", "population"): (
        "Which city has more people, {a} or {b}?",
        "Of {a} and {b}, which has the larger population?",
        "Which has the larger population: {a} or {b}?",
    ),
    ("country", "area"): (
        "Which has the larger area, {a} or {b}?",
        "Of {a} and {b}, which covers the larger area?",
        "Which land is larger: {a} or {b}?",
    ),
    ("country", "population"): (
        "Which country has more people, {a} or {b}?",
        "Of {a} and {b}, which country has the larger population?",
        "Which country has the larger population: {a} or {b}?",
    ),
    ("airport", "city", "population"): (
        "Which serves the place with more people, {a} or {b}?",
        "Of {a} and {b}, which serves the town with the larger population?",
        "Which airport is for the more populous town: {a} or {b}?",
    ),
    ("city", "country", "area"): (
        "Which lies in the larger country, {a} or {b}?",
        "Of {a} and {b}, which is in the country with the larger area?",
        "Which city has the larger country around it: {a} or {b}?",
    ),
    ("city", "country", "population"): (
        "Which lies in the country with more people, {a} or {b}?",
        "Of {a} and {b}, which is in the country with the larger population?",
        "Which city has the more populous country around it: {a} or {b}?",
    ),
    ("country", "capital", "population"): (
        "Which has the more populous seat of government, {a} or {b}?",
        "Of {a} and {b}, which has the chief city with the larger population?",
        "Whose seat of government has more people, that of {a} or of {b}?",
    ),
}
"""How to compare two entities of one kind by the number at the end of a path; {a} and {b} are names."""

BOTH_BORDER = (
    "Which country borders both {a} and {b}?",
    "Which country is a neighbour of {a} and also of {b}?",
    "What country lies next to both {a} and {b}?",
)
NEIGHBOUR_WITH_CURRENCY = (
    "Which neighbour of {a} uses the {b}?",
    "Which country next to {a} has the currency {b}?",
    "In which neighbour of {a} is the {b} the currency?",
)


def pick(wordings: Sequence[str], seed: str) -> str:
    """Return one of `wordings`, always the same for the same `seed`."""
    return wordings[hashed(seed) % len(wordings)]


def describe(kind: str, path: Sequence[str], name: str) -> str:
    """Return words for what `path` leads to from the entity `name` of `kind`."""
    wordings = DESCRIPTIONS[(kind, *path)]
    return pick(wordings, f"{name} {'.'.join(path)} described").format(name=name)


def ask(kind: str, attribute: str, it: str) -> str:
    """Return a question for `attribute` of a thing of `kind` that the words `it` describe."""
    return pick(ASKED[kind, attribute], f"{it} {attribute} asked").format(it=it)
