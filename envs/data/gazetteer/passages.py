"""One fact, one passage: the words in which each attribute is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sdsearch.core.question import Passage
from sdsearch.envs.data.gazetteer.facts import ATTRIBUTES, Entity, hashed

WORDINGS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("airport", "city"): (
        "The nearest city for passengers of {name} is {value}.",
        "For passengers of {name} the nearest city is {value}.",
    ),
    ("airport", "elevation"): (
        "{name} lies at an elevation of {value}.",
        "The elevation of {name} is {value} above the sea.",
    ),
    ("airport", "time zone"): (
        "{name} keeps the time zone {value}.",
        "The time zone at {name} is {value}.",
    ),
    ("airport", "IATA code"): (
        "The IATA code of {name} is {value}.",
        "{name} has the three-letter IATA code {value}.",
    ),
    ("airport", "ICAO code"): (
        "The ICAO code of {name} is {value}.",
        "{name} has the four-letter ICAO code {value}.",
    ),
    ("airport", "latitude"): (
        "{name} lies at a latitude of {value}.",
        "The latitude of {name} is {value}.",
    ),
    ("city", "country"): (
        "On the map {name} is found inside the country of {value}.",
        "The country that appears in postal addresses in {name} is {value}.",
    ),
    ("city", "population"): (
        "{name} has a population of {value}.",
        "The population of the city of {name} is {value}.",
    ),
    ("city", "time zone"): (
        "{name} keeps the time zone {value}.",
        "The time zone in {name} is {value}.",
    ),
    ("city", "latitude"): (
        "{name} lies at a latitude of {value}.",
        "The latitude of {name} is {value}.",
    ),
    ("country", "capital"): (
        "The capital of {name} is {value}.",
        "{name} has its capital in {value}.",
        "{value} is the capital of {name}.",
    ),
    ("country", "currency"): (
        "The currency of {name} is the {value}.",
        "{name} uses the {value} as its currency.",
    ),
    ("country", "continent"): (
        "The world map puts {name} on the continent of {value}.",
        "The continent on which the land of {name} lies is {value}.",
    ),
    ("country", "calling code"): (
        "The calling code of {name} is {value}.",
        "Telephone numbers in {name} begin with the calling code {value}.",
    ),
    ("country", "internet domain"): (
        "The internet domain of {name} is {value}.",
        "{name} has the internet domain {value}.",
    ),
    ("country", "area"): (
        "{name} covers an area of {value}.",
        "The area of {name} is {value}.",
    ),
    ("country", "population"): (
        "{name} has a population of {value}.",
        "The population of the country of {name} is {value}.",
    ),
    ("country", "neighbours"): (
        "The neighbours of {name} are {value}.",
        "By land {name} has these neighbours: {value}.",
    ),
}


def passage_id(key: str, attribute: str) -> str:
    """Return the id of the passage that tells `attribute` of the entity `key`."""
    return f"{key}/{attribute.replace(' ', '-')}"


def write_passages(entities: Mapping[str, Entity]) -> Iterator[Passage]:
    """Write one passage for each fact; which wording is used depends on the entity and the attribute alone."""
    for entity in entities.values():
        for attribute in ATTRIBUTES[entity.kind]:
            fact = entity.facts.get(attribute)
            if fact is not None:
                id = passage_id(entity.key, attribute)
                wordings = WORDINGS[entity.kind, attribute]
                text = wordings[hashed(id) % len(wordings)].format(name=entity.name, value=fact.value)
                yield Passage(id, entity.name, text)
