"""`atlas`: real facts about airports, cities and countries, told in short passages and asked for in 1 to 4 hops.

A passage tells one fact, so what is asked for matters: "Loakan Airport" alone seldom finds the passage that
"Loakan Airport city" finds. Passages on airports name no country, facts of a country stand only in passages titled
with the country: every hop of a question has to be searched. The tables, their sources and licences are in
`gazetteer/`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest
from random import Random
from typing import Literal

from pydantic import Field

from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Passage, Question
from sdsearch.envs.data.gazetteer.facts import CLUTTER, Entity, hashed, load
from sdsearch.envs.data.gazetteer.passages import passage_id, write_passages
from sdsearch.envs.data.gazetteer.questions import Composed, compose
from sdsearch.errors import DataError

Kind = Literal["lookup", "bridge", "comparison", "intersection"]


class AtlasPassages(Corpus):
    """The passages of the atlas, one fact each."""

    kinds: list[Literal["airport", "city", "country"]] = Field(["airport", "city", "country"])
    """Which entities are told about. Without one of them, questions that go through it cannot be answered."""
    clutter: bool = True
    """Keep the facts that no question asks for (ICAO codes, latitudes): without them fewer passages compete."""
    countries: int | None = Field(None, ge=1)
    """Keep so many countries and what lies in them, a fixed choice; null keeps all. Fewer make searching easier."""

    def passages(self) -> Sequence[Passage]:
        entities = load(self.countries)
        dropped = (
            set()
            if self.clutter
            else {
                passage_id(e.key, attribute) for e in entities.values() for kind, attribute in CLUTTER if e.kind == kind
            }
        )
        kept = {key: entity for key, entity in entities.items() if entity.kind in self.kinds}
        corpus = tuple(p for p in write_passages(kept) if p.id not in dropped)
        if not corpus:
            raise DataError("kinds is empty, expected one or more of airport, city, country")
        return corpus


class AtlasQuestions(Dataset):
    """The questions of the atlas.

    Splits by country (the default): every entity belongs to the split of the country it lies in, and a question is
    kept only if all entities that its hops touch, and its answer, are of one split. No country, city or airport on the
    way of a test question is on the way of a training question. What stays shared: the corpus (it holds the passages of
    all splits), the wording of questions and passages, and values that are not entities, such as the name of a
    currency, a continent or a time zone. Neighbours mostly share a split, so test regions differ from training regions.

    Splits by entity (`split_by: entity`): only the entities that a question names belong to one split. The cities and
    countries that it passes through, with their passages, are shared by all splits.
    """

    split: Literal["train", "validation", "test"] = "train"
    """About 70, 10 and 20 per cent of the entities."""
    kinds: list[Kind] = Field(["lookup", "bridge", "comparison", "intersection"])
    """lookup: one fact. bridge: a chain. comparison: which of two has more. intersection: what two lists share."""
    hops: list[Literal[1, 2, 3, 4]] = Field([1, 2, 3, 4])
    """How many searches a question needs. Lookups need 1, bridges 2 to 4, comparisons 2 or 4, intersections 2 to 4."""
    telling: bool = False
    """Also ask about airports whose name tells the city: their first hop can be guessed."""
    size: int | None = Field(None, ge=1)
    """At most so many questions; null keeps all. The kinds take turns, so a small size holds each of them."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides the order, and with `size` which questions are kept."""
    countries: int | None = Field(None, ge=1)
    """Ask only about so many countries and what lies in them: the same choice as that of the corpus."""
    split_by: Literal["country", "entity"] = "country"
    """What may not occur in two splits: see above."""

    def questions(self) -> Sequence[Question]:
        groups: dict[str, list[Question]] = defaultdict(list)
        for made in compose(self.countries):
            if self._keeps(made):
                groups[made.question.kind].append(made.question)
        for kind, group in groups.items():
            Random(f"{self.seed} {kind}").shuffle(group)
        turns = chain.from_iterable(zip_longest(*(groups[kind] for kind in sorted(groups))))
        sample = tuple(question for question in turns if question is not None)[: self.size]
        if not sample:
            raise DataError(
                f"no questions: split {self.split}, kinds {self.kinds}, hops {self.hops}, countries {self.countries}; "
                "lookups have 1 hop, bridges 2 to 4, comparisons 2 or 4, intersections 2 to 4"
            )
        return sample

    def _keeps(self, made: Composed) -> bool:
        wanted = made.kind in self.kinds and len(made.question.hops) in self.hops and (self.telling or not made.telling)
        if not wanted:
            return False
        if self.split_by == "country":
            return all(entity.split == self.split for entity in made.touched)
        return all(_split_of(entity) == self.split for entity in made.named)


def _split_of(entity: Entity) -> str:
    share = hashed(f"split {entity.key}") % 100
    return "train" if share < 70 else "validation" if share < 80 else "test"
