"""The atlas: its counts, that gold passages hold what hops say, and that splits share nothing they promise not to."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sdsearch.config.component import resolve
from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Passage, Question
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.data.gazetteer.facts import ATTRIBUTES, Entity, load
from sdsearch.envs.data.gazetteer.questions import Composed, compose
from sdsearch.errors import DataError

SPLITS = ("train", "validation", "test")
KINDS = ("lookup", "bridge", "comparison", "intersection")


@cache
def everything() -> tuple[Question, ...]:
    return tuple(made.question for made in compose())


@cache
def corpus() -> dict[str, Passage]:
    return {passage.id: passage for passage in AtlasPassages().passages()}


@cache
def questions(split: str, split_by: str = "country") -> tuple[Question, ...]:
    return tuple(AtlasQuestions.model_validate({"split": split, "split_by": split_by, "telling": True}).questions())


def test_the_name_in_a_spec_leads_to_the_two_components() -> None:
    assert resolve(Dataset, "atlas") is AtlasQuestions
    assert resolve(Corpus, "atlas") is AtlasPassages


def test_there_is_enough_of_everything() -> None:
    assert 5_000 <= len(AtlasPassages().passages()) <= 9_000
    kept = {split: AtlasQuestions.model_validate({"split": split}).questions() for split in SPLITS}
    assert sum(map(len, kept.values())) >= 20_000
    wanted = {"lookup": (1,), "bridge": (2, 3, 4), "comparison": (2, 4), "intersection": (2, 3, 4)}
    expected = {f"{kind}-{hops}" for kind, counts in wanted.items() for hops in counts}
    for found in kept.values():
        counts = Counter(question.kind for question in found)
        assert counts.keys() == expected
        assert min(counts.values()) >= 50


def test_ids_and_texts_are_unique() -> None:
    passages = AtlasPassages().passages()
    assert len({passage.id for passage in passages}) == len(passages)
    assert len({passage.text for passage in passages}) == len(passages)
    assert len({question.id for question in everything()}) == len(everything())
    assert len({question.text for question in everything()}) == len(everything())


def test_a_title_names_one_entity() -> None:
    names = Counter(entity.name for entity in load().values())
    assert names.most_common(1)[0][1] == 1


def test_texts_are_short_and_plain() -> None:
    for text in [p.text for p in corpus().values()] + [q.text for q in everything()]:
        assert text.isascii()
        assert len(text.split()) <= 25
        assert not re.search(r"[<>{}]|  ", text)


def test_hops_and_gold_agree_with_the_passages() -> None:
    for question in everything():
        assert question.gold == tuple(dict.fromkeys(hop.passage for hop in question.hops))
        assert question.kind.split("-")[1] == str(len(question.hops))
        for hop in question.hops:
            passage = corpus()[hop.passage]
            assert passage.title == hop.entity
            assert hop.entity in passage.text
            assert hop.answer in passage.text
            assert hop.attribute in ATTRIBUTES[hop.passage.split("/")[0]]


def test_a_chain_asks_for_what_it_has_found() -> None:
    for question in everything():
        kind = question.kind.split("-")[0]
        if kind in ("lookup", "bridge"):
            assert question.hops[0].entity in question.text
            for before, after in zip(question.hops, question.hops[1:], strict=False):
                assert before.answer == after.entity
                assert not re.search(
                    rf"\b{re.escape(after.entity)}\b", question.text.replace(question.hops[0].entity, "")
                )
            assert question.answers[0] == question.hops[-1].answer
        else:
            assert question.answers[0] in " ".join(corpus()[id].title + corpus()[id].text for id in question.gold)


def numbers(question: Question) -> dict[str, float]:
    entities = {entity.name: entity for entity in load().values()}
    half = len(question.hops) // 2
    ends = (question.hops[half - 1], question.hops[-1])
    starts = (question.hops[0].entity, question.hops[half].entity)
    values = [entities[hop.entity].facts[hop.attribute].number for hop in ends]
    return dict(zip(starts, values, strict=True))


def test_a_comparison_has_the_larger_as_its_answer() -> None:
    for question in everything():
        if question.kind.startswith("comparison"):
            found = numbers(question)
            assert found[question.answers[0]] == max(found.values()) >= 1.3 * min(found.values()) > 0


def test_an_intersection_has_one_right_answer() -> None:
    entities = {entity.name: entity for entity in load().values()}
    for question in everything():
        if not question.kind.startswith("intersection"):
            continue
        sets = [
            set(entities[hop.entity].facts["neighbours"].links)
            for hop in question.hops
            if hop.attribute == "neighbours"
        ]
        if len(sets) == 1:
            currency = question.hops[-1].answer
            sets.append(
                {e.name for e in entities.values() if "currency" in e.facts and e.facts["currency"].value == currency}
            )
        assert set.intersection(*sets) == set(question.answers)


def test_no_passage_of_an_airport_names_its_country() -> None:
    entities = load()
    for passage in corpus().values():
        entity = entities[passage.id.rsplit("/", 1)[0]]
        if entity.kind == "airport":
            assert not re.search(rf"\b{re.escape(entities[entity.country].name)}\b", passage.text)


def test_splits_by_country_share_no_entity() -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        found = questions(split)
        keys = {id.rsplit("/", 1)[0] for question in found for id in question.gold}
        names = {a for question in found if question.kind.startswith("intersection") for a in question.answers}
        seen[split] = keys | {entity.key for entity in load().values() if entity.name in names}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    assert len(seen["test"]) >= 200


def test_splits_by_entity_share_no_named_entity() -> None:
    named = {made.question.id: {entity.key for entity in made.named} for made in compose()}
    seen = {split: set().union(*(named[q.id] for q in questions(split, "entity"))) for split in SPLITS}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_same_settings_give_the_same_questions_in_another_process() -> None:
    script = (
        "from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions\n"
        "print([q.id for q in AtlasQuestions(size=50, seed=3).questions()])\n"
        "print(hash.__name__, [p.text for p in AtlasPassages(countries=3).passages()])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env).stdout
        for env in (
            {"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
            {"PYTHONHASHSEED": "2", "PYTHONPATH": ":".join(sys.path)},
        )
    ]
    assert runs[0] == runs[1]
    assert str([q.id for q in AtlasQuestions(size=50, seed=3).questions()]) in runs[0]


def test_the_seed_changes_the_order_but_not_the_questions() -> None:
    one, two = (AtlasQuestions(split="test", seed=seed).questions() for seed in (0, 1))
    assert [q.id for q in one] != [q.id for q in two]
    assert {q.id for q in one} == {q.id for q in two}


def test_a_small_size_holds_every_kind() -> None:
    found = AtlasQuestions(size=9).questions()
    assert len({question.kind for question in found}) == 9


@settings(deadline=None, max_examples=30)
@given(
    split=st.sampled_from(SPLITS),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    hops=st.lists(st.integers(1, 4), min_size=1, unique=True),
    size=st.integers(1, 40),
    countries=st.sampled_from([None, 40, 80]),
)
def test_what_is_chosen_is_what_comes(
    split: str, kinds: list[str], hops: list[int], size: int, countries: int | None
) -> None:
    settings = {"split": split, "kinds": kinds, "hops": hops, "size": size, "countries": countries}
    dataset = AtlasQuestions.model_validate(settings)
    try:
        found = dataset.questions()
    except DataError:
        return
    assert len(found) <= size
    assert all(q.kind.split("-")[0] in kinds and len(q.hops) in hops for q in found)
    ids = {passage.id for passage in AtlasPassages(countries=countries, clutter=False).passages()}
    assert all(id in ids for q in found for id in q.gold)


def test_telling_names_are_left_out_unless_asked_for() -> None:
    def telling(made: Composed) -> bool:
        return any(hop.attribute == "city" and hop.answer in hop.entity for hop in made.question.hops)

    kept = {q.id for split in SPLITS for q in AtlasQuestions.model_validate({"split": split}).questions()}
    assert not [made.question.text for made in compose() if made.question.id in kept and telling(made)]
    assert len(questions("train")) > len(AtlasQuestions().questions())


def test_impossible_choices_are_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match="lookups have 1 hop"):
        AtlasQuestions(kinds=["lookup"], hops=[3]).questions()
    with pytest.raises(DataError, match="kinds is empty"):
        AtlasPassages(kinds=[]).passages()
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        AtlasQuestions(countries=0)
    with pytest.raises(DataError, match="countries is 0"):
        load(0)


BENCHMARK = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "mistakes.py"))
mistakes, lookalikes = BENCHMARK["mistakes"], BENCHMARK["lookalikes"]


@pytest.mark.parametrize("mistake", [None, *get_args(BENCHMARK["Mistake"])])
def test_a_mistake_is_never_the_right_query(mistake: str | None) -> None:
    for seed, question in enumerate(everything()[::7]):
        for i, hop in enumerate(question.hops):
            query = mistakes(question, i, Random(seed), mistake)
            assert query != hop.query
            assert query == mistakes(question, i, Random(seed), mistake)


def test_lookalikes_share_a_word() -> None:
    entities: dict[str, Entity] = {entity.name: entity for entity in load().values()}
    assert "Guinea-Bissau" in lookalikes(entities["Guinea"].key)
    assert "Guinea" not in lookalikes(entities["Guinea"].key)
    assert lookalikes(entities["Niger"].key) == ()
