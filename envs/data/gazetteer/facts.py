"""The tables as facts: an entity (airport, city or country) has attributes, each with a value and perhaps a link."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from sdsearch.errors import DataError

HERE = Path(__file__).parent
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "airport": ("city", "elevation", "time zone", "IATA code", "ICAO code", "latitude"),
    "city": ("country", "population", "time zone", "latitude"),
    "country": (
        "capital",
        "currency",
        "continent",
        "calling code",
        "internet domain",
        "area",
        "population",
        "neighbours",
    ),
}
CLUTTER = {("airport", "ICAO code"), ("airport", "latitude"), ("city", "latitude")}

HIDDEN = frozenset(
    f"airport/{code}" for code in ("AMM", "BTS", "DMK", "DOM", "DSE", "KEF", "LAD", "NCA", "OCJ", "SSD", "THR")
)
"""Airports for which "<name> city" does not find the city among the best three with MiniLM: nothing to learn there."""


@dataclass(frozen=True, slots=True)
class Fact:
    """The value of an attribute as passages write it, other spellings, the number behind it, the entities it names."""

    value: str
    aliases: tuple[str, ...] = ()
    number: float = 0.0
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entity:
    """A row of a table. `key` is like "airport/ORK"; `country` is the key of the country it lies in or is."""

    key: str
    kind: str
    name: str
    country: str
    split: str
    facts: Mapping[str, Fact] = field(repr=False)
    opaque: bool = True
    """Whether the name of an airport leaves open which city it serves."""


def hashed(text: str) -> int:
    """Return a number that depends on `text` alone, on every machine."""
    return crc32(text.encode())


@lru_cache(maxsize=8)
def load(countries: int | None = None) -> Mapping[str, Entity]:
    """Return all entities by key, or those of a fixed choice of so many `countries`.

    Raises `DataError` when `countries` is below 1.
    """
    if countries is not None and countries < 1:
        raise DataError(f"countries is {countries}, expected at least 1 or null for all")
    nations, towns, airports = (_rows(f"{name}.csv") for name in ("countries", "cities", "airports"))
    chosen = sorted(nations, key=lambda row: hashed(row["name"]))[:countries]
    nations = [row for row in nations if row in chosen] if countries is not None else nations
    nation_of = {row["id"]: row for row in nations}
    towns = [row for row in towns if row["country"] in nation_of]
    town_of = {row["id"]: row for row in towns}
    airports = [row for row in airports if row["city"] in town_of]
    entities = [_country(row, town_of) for row in nations]
    entities += [_city(row, nation_of[row["country"]]) for row in towns]
    entities += [_airport(row, town_of[row["city"]], nation_of[town_of[row["city"]]["country"]]) for row in airports]
    return {entity.key: entity for entity in entities}


def _rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file))


def _amount(number: float) -> str:
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:.0f}"


def _number(text: str, unit: str = "") -> Fact:
    number = float(text)
    aliases = (f"{number:.0f}", f"{number:,.0f}") if not unit else (_amount(number), f"{number:.0f}")
    return Fact(f"{_amount(number)} {unit}".strip(), tuple(dict.fromkeys(aliases)), number)


def _latitude(text: str) -> Fact:
    degrees = float(text)
    return Fact(f"{abs(degrees)} degrees {'south' if degrees < 0 else 'north'}", (), degrees)


def _country(row: Mapping[str, str], towns: Mapping[str, Mapping[str, str]]) -> Entity:
    capital = towns[row["capital"]]
    facts = {
        "capital": Fact(capital["name"], links=(f"city/{capital['id']}",)),
        "currency": Fact(row["currency"], (row["currency_code"],)),
        "continent": Fact(row["continent"]),
        "calling code": Fact(row["calling_code"], (row["calling_code"].lstrip("+"),)),
        "internet domain": Fact(row["domain"], (row["domain"].lstrip("."),)),
        "area": _number(row["area_km2"], "square km"),
        "population": _number(row["population"]),
    }
    names = row["neighbours"].split(";") if row["neighbours"] else []
    if names:
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        facts["neighbours"] = Fact(listed, links=tuple(names))
    key = f"country/{row['id']}"
    return Entity(key, "country", row["name"], key, row["split"], facts)


def _city(row: Mapping[str, str], nation: Mapping[str, str]) -> Entity:
    country = f"country/{nation['id']}"
    facts = {
        "country": Fact(nation["name"], links=(country,)),
        "population": _number(row["population"]),
        "latitude": _latitude(row["latitude"]),
    }
    if row["time_zone"]:
        facts["time zone"] = Fact(row["time_zone"])
    return Entity(f"city/{row['id']}", "city", row["name"], country, nation["split"], facts)


def _airport(row: Mapping[str, str], town: Mapping[str, str], nation: Mapping[str, str]) -> Entity:
    facts = {
        "city": Fact(town["name"], (town["name"].split(" (")[0],), links=(f"city/{town['id']}",)),
        "elevation": _number(row["elevation_m"], "metres"),
        "IATA code": Fact(row["id"]),
        "ICAO code": Fact(row["icao"]),
        "latitude": _latitude(row["latitude"]),
    }
    if row["time_zone"]:
        facts["time zone"] = Fact(row["time_zone"])
    country = f"country/{nation['id']}"
    return Entity(f"airport/{row['id']}", "airport", row["name"], country, nation["split"], facts, row["opaque"] == "1")
