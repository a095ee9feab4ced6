"""How often does a search find the passage it is meant to find? That depends on how it asks.

    python benchmarks/query_kinds.py [--questions 100] [--oracle 500] [--index runs/index]

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

from mistakes import mistakes

from sdsearch.contracts.retrieval import Searcher
from sdsearch.core.question import Question
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.embedding.minilm import MiniLM
from sdsearch.envs.retrieval.exact import Exact

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
            pool: list[Question] = []
            for split in ("train", "validation", "test"):
                chosen = {"split": split, "kinds": [kind], "hops": [count]}
                pool += AtlasQuestions.model_validate(chosen).questions()
            yield f"{kind}-{count}", Random(kind).sample(pool, min(size, len(pool)))


def ranks(searcher: Searcher, questions: Sequence[Question], asks: Asks) -> list[tuple[int, int]]:
    """Return (hop, rank) of every hop: the rank of its passage among the best three, 0 where it is not among them."""
    rng = Random(0)
    pairs = [(question, i) for question in questions for i in range(len(question.hops))]
    queries = [asks(question, i, rng) for question, i in pairs]
    once = list(dict.fromkeys(queries))
    hits = dict(zip(once, searcher.search(once, 3), strict=True))
    ids = [[hit.passage.id for hit in hits[query]] for query in queries]
    golds = [question.hops[i].passage for question, i in pairs]
    return [
        (i, passages.index(gold) + 1 if gold in passages else 0)
        for (_, i), gold, passages in zip(pairs, golds, ids, strict=True)
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
        pairs = ranks(searcher, questions, asks)
        columns = [[rank for i, rank in pairs if i == hop] for hop in range(len(names))] + [[rank for _, rank in pairs]]
        cells = [
            cell for column in columns for cell in (share([r == 1 for r in column]), share([r > 0 for r in column]))
        ]
        print(f"| {query} | " + " | ".join(cells) + " |")


def print_oracle(searcher: Searcher, groups: Mapping[str, Sequence[Question]]) -> None:
    """Print how often the hops' own queries find everything, by kind of question and by attribute."""
    by_attribute: dict[str, list[int]] = defaultdict(list)
    print("\n| kind | questions | oracle, k=1 | oracle, k=3 |\n|---|---|---|---|")
    for kind, group in groups.items():
        pairs = iter(ranks(searcher, group, QUERIES["entity + attribute"]))
        rows = [[next(pairs)[1] for _ in question.hops] for question in group]
        first, third = (share([all(0 < rank <= k for rank in row) for row in rows]) for k in (1, 3))
        print(f"| {kind} | {len(group)} | {first} | {third} |")
        for question, row in zip(group, rows, strict=True):
            for hop, rank in zip(question.hops, row, strict=True):
                by_attribute[f"{hop.passage.split('/')[0]} {hop.attribute}"].append(rank)
    print("\n| entity + attribute | hops | k=1 | k=3 |\n|---|---|---|---|")
    for name, found_at in sorted(by_attribute.items()):
        first, third = (share([0 < rank <= k for rank in found_at]) for k in (1, 3))
        print(f"| {name} | {len(found_at)} | {first} | {third} |")


def report(searcher: Searcher, size: int, oracle_size: int) -> None:
    groups = dict(sample(oracle_size))
    tables = {
        "Lookups": ["lookup-1"],
        "Bridges": ["bridge-2", "bridge-3", "bridge-4"],
        "Comparisons": ["comparison-2", "comparison-4"],
        "Intersections": ["intersection-2", "intersection-3", "intersection-4"],
    }
    for title, kinds in tables.items():
        print_queries(searcher, [question for kind in kinds for question in groups[kind][:size]], title)
    print_oracle(searcher, groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100, help="how many of each kind for the kinds of query")
    parser.add_argument("--oracle", type=int, default=500, help="how many of each kind for the oracle")
    parser.add_argument("--index", type=Path, default=None, help="folder that keeps the vectors for the next run")
    args = parser.parse_args()
    searcher = Exact(corpus=AtlasPassages(), embedder=MiniLM(), path=args.index).open()
    report(searcher, args.questions, max(args.questions, args.oracle))


if __name__ == "__main__":
    main()
