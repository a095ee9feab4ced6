"""Composes questions from facts: a chain of lookups, a comparison of two chains, an intersection of two lists."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from sdsearch.core.question import Hop, Question
from sdsearch.envs.data.gazetteer import wording
from sdsearch.envs.data.gazetteer.facts import HIDDEN, Entity, Fact, hashed, load
from sdsearch.envs.data.gazetteer.passages import passage_id

LAST = {
    "airport": ("city", "elevation", "time zone", "IATA code"),
    "city": ("country", "population", "time zone"),
    "country": ("capital", "currency", "continent", "calling code", "internet domain", "area", "population"),
}
"""The attributes that are asked for, by kind."""

WAYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "airport": ((), ("city",), ("city", "country"), ("city", "country", "capital")),
    "city": ((), ("country",), ("country", "capital")),
    "country": ((), ("capital",)),
}
"""How a question may lead from an entity to another before it asks for a fact."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A question and the entities that decide its split: those it names, and all that its hops touch or answer."""

    question: Question
    named: tuple[Entity, ...]
    touched: tuple[Entity, ...]

    @property
    def kind(self) -> str:
        """The kind of the question without its number of hops."""
        return self.question.kind.split("-")[0]

    @property
    def telling(self) -> bool:
        """Whether the name of an airport in the question gives away the city that a hop should find."""
        clear = {entity.name for entity in self.named if not entity.opaque}
        return any(hop.attribute == "city" and hop.entity in clear for hop in self.question.hops)


@dataclass(frozen=True, slots=True)
class Chain:
    """Lookups from an entity: the hops, the entities they go through and the fact at the end."""

    hops: tuple[Hop, ...]
    through: tuple[Entity, ...]
    end: Fact


@lru_cache(maxsize=8)
def compose(countries: int | None = None) -> tuple[Composed, ...]:
    """Return every question about the entities of `load(countries)`, each text once, in a fixed order."""
    entities = load(countries)
    by_text: dict[str, Composed] = {}
    for made in (*_bridges(entities), *_comparisons(entities), *_intersections(entities)):
        by_text.setdefault(made.question.text, made)
    return tuple(by_text.values())


def follow(entities: Mapping[str, Entity], start: Entity, path: Sequence[str]) -> Chain | None:
    """Look up `path` from `start`; None where a fact is missing or hidden, or the way comes back to where it was."""
    if path[0] == "city" and start.key in HIDDEN:
        return None
    hops: list[Hop] = []
    through = [start]
    for attribute in path:
        fact = through[-1].facts.get(attribute)
        if len(hops) == len(through) or fact is None:
            return None
        hops.append(Hop(through[-1].name, attribute, fact.value, passage_id(through[-1].key, attribute)))
        if len(fact.links) == 1 and fact.links[0] in entities:
            through.append(entities[fact.links[0]])
    if len({e.name for e in through}) < len(through) or fact is None:
        return None
    return Chain(tuple(hops), tuple(through), fact)


def _make(kind: str, id: str, text: str, answers: Iterable[str], hops: tuple[Hop, ...]) -> Question:
    gold = tuple(dict.fromkeys(hop.passage for hop in hops))
    return Question(f"atlas/{kind}/{id}".replace(" ", "-"), text, tuple(dict.fromkeys(answers)), gold, hops, kind)


def _bridges(entities: Mapping[str, Entity]) -> Iterator[Composed]:
    for start in entities.values():
        for way in WAYS[start.kind]:
            target = {"capital": "city"}.get(way[-1], way[-1]) if way else start.kind
            for last in LAST[target]:
                path = (*way, last)
                chain = None if path[-2:] == ("capital", "country") else follow(entities, start, path)
                if chain is None:
                    continue
                kind = f"{'bridge' if way else 'lookup'}-{len(path)}"
                it = wording.describe(start.kind, way, start.name)
                text = wording.ask(target, last, it)
                id = f"{start.key}/{'.'.join(path)}"
                question = _make(kind, id, text, (chain.end.value, *chain.end.aliases), chain.hops)
                yield Composed(question, (start,), chain.through)


def _comparisons(entities: Mapping[str, Entity]) -> Iterator[Composed]:
    for (kind, *path), wordings in wording.COMPARED.items():
        groups: dict[str, list[tuple[Entity, Chain]]] = defaultdict(list)
        for entity in entities.values():
            chain = follow(entities, entity, path) if entity.kind == kind else None
            if chain is not None:
                groups[entity.split].append((entity, chain))
        for group in groups.values():
            group.sort(key=lambda pair: hashed(f"{pair[0].key} {path}"))
            for (a, one), (b, two) in zip(group, group[1:] + group[:1], strict=True):
                low, high = sorted((one.end.number, two.end.number))
                if low <= 0 or high < 1.3 * low or {e.key for e in one.through} & {e.key for e in two.through}:
                    continue
                id = f"{a.key}+{b.key}/{'.'.join(path)}"
                text = wording.pick(wordings, id).format(a=a.name, b=b.name)
                answer = (a if one.end.number == high else b).name
                question = _make(f"comparison-{2 * len(path)}", id, text, [answer], (*one.hops, *two.hops))
                yield Composed(question, (a, b), (*one.through, *two.through))


def _intersections(entities: Mapping[str, Entity]) -> Iterator[Composed]:
    nations = {e.name: e for e in entities.values() if e.kind == "country"}
    borders = {e.name: set(e.facts["neighbours"].links) for e in nations.values() if "neighbours" in e.facts}
    visitors: dict[str, list[Entity]] = defaultdict(list)
    for entity in entities.values():
        if entity.kind != "country" and entity.opaque:
            visitors[entity.country].append(entity)
    for one, two in combinations(sorted(borders, key=hashed), 2):
        common = borders[one] & borders[two]
        if len(common) != 1 or not common <= nations.keys() or common & {one, two}:
            continue
        middle = nations[next(iter(common))]
        for first, second in ((one, two), (two, one)):
            yield from _both_border(entities, nations[first], nations[second], middle, visitors)
    for name, others in borders.items():
        known: dict[str, list[Entity]] = defaultdict(list)
        for other in sorted(others & nations.keys()):
            known[nations[other].facts["currency"].value].append(nations[other])
        if not others <= nations.keys():
            continue
        for currency, users in known.items():
            if len(users) == 1 and len(others) > 1:
                yield _neighbour_with(nations[name], users[0], currency)


def _border_hop(a: Entity, middle: Entity) -> Hop:
    return Hop(a.name, "neighbours", middle.name, passage_id(a.key, "neighbours"))


def _both_border(
    entities: Mapping[str, Entity], a: Entity, b: Entity, middle: Entity, visitors: Mapping[str, Sequence[Entity]]
) -> Iterator[Composed]:
    """Ask for what borders `a` and `b`, then again with `b` described by way of places in it."""
    ends = (_border_hop(a, middle), _border_hop(b, middle))
    if hashed(a.name) < hashed(b.name):
        id = f"{a.key}+{b.key}/neighbours"
        text = wording.pick(wording.BOTH_BORDER, id).format(a=a.name, b=b.name)
        yield Composed(_make("intersection-2", id, text, [middle.name], ends), (a, b), (a, b, middle))
    for kind, path in (("city", ("country",)), ("airport", ("city", "country"))):
        places = sorted((e for e in visitors[b.key] if e.kind == kind), key=lambda e: hashed(e.key + a.key))
        for place in places[:2]:
            chain = follow(entities, place, path)
            if chain is None:
                continue
            id = f"{a.key}+{place.key}/neighbours"
            it = wording.describe(kind, path, place.name)
            text = wording.pick(wording.BOTH_BORDER, id).format(a=a.name, b=it)
            hops = (*chain.hops, ends[1], ends[0])
            question = _make(f"intersection-{len(hops)}", id, text, [middle.name], hops)
            yield Composed(question, (a, place), (a, middle, *chain.through))


def _neighbour_with(a: Entity, middle: Entity, currency: str) -> Composed:
    id = f"{a.key}/neighbours.currency={currency}"
    text = wording.pick(wording.NEIGHBOUR_WITH_CURRENCY, id).format(a=a.name, b=currency)
    hops = (_border_hop(a, middle), Hop(middle.name, "currency", currency, passage_id(middle.key, "currency")))
    return Composed(_make("intersection-2", id, text, [middle.name], hops), (a,), (a, middle))
