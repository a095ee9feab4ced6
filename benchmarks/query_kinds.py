"""How often does a search find the passage it is meant to find? That depends on how it asks.

    python benchmarks/query_kinds.py [--questions 500] [--index runs/index]

Prints tables in Markdown over the whole `atlas` corpus with MiniLM and exact search: the share of hops whose passage
is among the best k, by kind of query; and the share of questions for which an oracle, which asks the query of each
hop in order, finds every passage it needs.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions, mistakes
from sdsearch.envs.embedding.minilm import MiniLM
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.types import Question, Searcher

KINDS = {"lookup": (1,), "bridge": (2, 3, 4), "comparison": (2, 4), "intersection": (2, 3, 4)}
Asks = Callable[[Question, int, Random], str]
QUERIES: Mapping[str, Asks] = {
    "entity + attribute": lambda question, i, rng: question.hops[i].query,
    "entity": lambda question, i, rng: question.hops[i].entity,
    "attribute": lambda question, i, rng: question.hops[i].attribute,
    "whole question": lambda question, i, rng: question.text,
    "first entity + last attribute": lambda question, i, rng: mistakes(question, i, rng, "skip"),
    "entity + wrong attribute": lambda question, i, rng: mistakes(question, i, rng, "attribute"),
    "look-alike entity + attribute": lambda question, i, rng: mistakes(question, i, rng, "lookalike"),
    "wrong entity + attribute": lambda question, i, rng: mistakes(question, i, rng, "entity"),
}


def sample(size: int) -> Iterator[tuple[str, list[Question]]]:
    """Give `size` questions of each kind and number of hops, drawn from all splits alike."""
    for kind, hops in KINDS.items():
        for count in hops:
            found: list[Question] = []
            for split in ("train", "validation", "test"):
                chosen = {"split": split, "kinds": [kind], "hops": [count]}
                found += AtlasQuestions.model_validate(chosen).questions()
            yield f"{kind}-{count}", Random(kind).sample(found, min(size, len(found)))


def ranks(searcher: Searcher, questions: Sequence[Question], asks: Asks) -> list[tuple[int, int]]:
    """Return (hop, rank) of every hop: the rank of its passage among the best three, 0 where it is not among them."""
    rng = Random(0)
    pairs = [(question, i) for question in questions for i in range(len(question.hops))]
    hits = searcher.search([asks(question, i, rng) for question, i in pairs], 3)
    ids = [[hit.passage.id for hit in found] for found in hits]
    golds = [question.hops[i].passage for question, i in pairs]
    return [
        (i, found.index(gold) + 1 if gold in found else 0)
        for (_, i), gold, found in zip(pairs, golds, ids, strict=True)
    ]


def share(values: Sequence[bool]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else ""


def print_queries(searcher: Searcher, questions: Sequence[Question], title: str) -> None:
    longest = max(len(question.hops) for question in questions)
    names = [f"hop {i + 1}" for i in range(longest)] if longest > 1 else []
    print(f"\n{title}\n")
    print("| query |" + "".join(f" {name}, k=1 | k=3 |" for name in (*names, "all")))
    print("|---|" + "---|" * (2 * len(names) + 2))
    for query, asks in QUERIES.items():
        found = ranks(searcher, questions, asks)
        columns = [[rank for i, rank in found if i == hop] for hop in range(len(names))] + [[rank for _, rank in found]]
        cells = [
            cell for column in columns for cell in (share([r == 1 for r in column]), share([r > 0 for r in column]))
        ]
        print(f"| {query} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=500, help="how many of each kind")
    parser.add_argument("--index", type=Path, default=None, help="folder that keeps the vectors for the next run")
    args = parser.parse_args()
    searcher = Exact(corpus=AtlasPassages(), embedder=MiniLM(), path=args.index).open()
    groups = dict(sample(args.questions))

    bridges = [question for kind, group in groups.items() if kind.startswith("bridge") for question in group]
    others = [question for kind, group in groups.items() if kind[:6] in ("compar", "inters") for question in group]
    print_queries(searcher, groups["lookup-1"], "Lookups")
    print_queries(searcher, bridges, "Bridges")
    print_queries(searcher, others, "Comparisons and intersections")

    print("\n| kind | questions | oracle, k=1 | oracle, k=3 |\n|---|---|---|---|")
    missed: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for kind, group in groups.items():
        found = iter(ranks(searcher, group, QUERIES["entity + attribute"]))
        per_question = [[next(found)[1] for _ in question.hops] for question in group]
        first, third = (
            share([all(r == 1 for r in row) for row in per_question]),
            share([all(row) for row in per_question]),
        )
        print(f"| {kind} | {len(group)} | {first} | {third} |")
        for question, row in zip(group, per_question, strict=True):
            for hop, rank in zip(question.hops, row, strict=True):
                counts = missed[f"{hop.passage.split('/')[0]} {hop.attribute}"]
                counts[0] += rank == 1
                counts[1] += rank > 0
                counts.append(rank)
    print("\n| entity + attribute | hops | k=1 | k=3 |\n|---|---|---|---|")
    for name, (first_hits, third_hits, *rows) in sorted(missed.items()):
        print(f"| {name} | {len(rows)} | {first_hits / len(rows):.3f} | {third_hits / len(rows):.3f} |")


if __name__ == "__main__":
    main()
