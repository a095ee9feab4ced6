"""Queries that a searcher might try by mistake, for scripted agents that are meant to err."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Literal, get_args

from sdsearch.core.question import Question
from sdsearch.envs.data.gazetteer.facts import ATTRIBUTES, Entity, load

Mistake = Literal["attribute", "entity", "lookalike", "bare", "skip", "question"]
"""What is wrong: the attribute; the entity (any of its kind, or one with a similar name); the attribute is left out;

earlier hops are skipped (the entity that the question names, the attribute of the last hop); the whole question.
"""


@lru_cache(maxsize=4096)
def lookalikes(key: str) -> tuple[str, ...]:
    """Return names of other entities of the same kind that share a word with the name of the entity `key`."""
    entity = load()[key]
    groups = _by_word()
    names = {e.name for word in _words(entity) for e in groups[entity.kind, word]}
    return tuple(sorted(names - {entity.name}))


def mistakes(question: Question, hop_index: int, rng: Random, mistake: Mistake | None = None) -> str:
    """Return a query that is wrong for hop `hop_index` of an atlas question; `rng` chooses.

    Without `mistake` the kind of mistake is chosen too. A mistake that this hop does not allow becomes "attribute".
    """
    hop = question.hops[hop_index]
    key = hop.passage.rsplit("/", 1)[0]
    kind = key.split("/", 1)[0]
    skipping = f"{question.hops[0].entity} {question.hops[-1].attribute}"
    match mistake or rng.choice(get_args(Mistake)):
        case "entity":
            others = [e.name for e in _of_kind()[kind] if e.key != key]
            return f"{rng.choice(others)} {hop.attribute}"
        case "lookalike" if lookalikes(key):
            return f"{rng.choice(lookalikes(key))} {hop.attribute}"
        case "bare":
            return hop.entity
        case "question":
            return question.text
        case "skip" if skipping != hop.query:
            return skipping
        case _:
            return f"{hop.entity} {rng.choice([a for a in ATTRIBUTES[kind] if a != hop.attribute])}"


@lru_cache(maxsize=1)
def _of_kind() -> Mapping[str, list[Entity]]:
    groups: dict[str, list[Entity]] = defaultdict(list)
    for entity in load().values():
        groups[entity.kind].append(entity)
    return groups


@lru_cache(maxsize=1)
def _by_word() -> Mapping[tuple[str, str], list[Entity]]:
    groups: dict[tuple[str, str], list[Entity]] = defaultdict(list)
    for entity in load().values():
        for word in _words(entity):
            groups[entity.kind, word].append(entity)
    return groups


def _words(entity: Entity) -> set[str]:
    common = {"Airport", "International", "Air", "Base", "Field", "Regional", "Municipal", "and", "of", "de"}
    return set(entity.name.replace("-", " ").replace("(", " ").replace(")", " ").split()) - common
