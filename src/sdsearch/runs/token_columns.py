"""What a training step computed for each sampled token, on disk: columns in safetensors, hints in JSON lines.

Once the weights have moved on nobody can compute these numbers again, and what a credit or a teacher said of a token is
what the lab is about. They are read with numpy alone: a notebook needs no torch for them.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sdsearch.errors import DataError

LIMIT = 50_000_000
"""Bytes that columns and hints of one step may take; of a larger step the first groups are kept that fit."""

Column = NDArray[Any]


class HintLine(NamedTuple):
    """What the teacher of a term saw beside the prompt of a trajectory."""

    term: str
    trajectory: int
    """Index into the kept trajectories of the step."""
    turn: int | None
    """The turn at which it saw this; None: the same at all of them."""
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class TokenColumns:
    """The columns of a step, or of its first trajectories: one row per sampled token, as in a `TokenTable`."""

    sampled: tuple[int, ...]
    """How many tokens were sampled in each trajectory that is covered, those that an outage ended left out."""
    values: Mapping[str, Column]
    """By name, shape [rows]; NaN: not computed. Of the names that begin with "top/" the shape is [selected rows, k]."""
    hints: tuple[HintLine, ...] = ()

    @property
    def size(self) -> int:
        """Bytes, but for the little that the files add."""
        return sum(v.nbytes for v in self.values.values()) + sum(len(h.text.encode()) for h in self.hints)

    def some(self, start: int, end: int) -> TokenColumns:
        """Return those of the trajectories from `start` to before `end`."""
        rows = sum(self.sampled[:start]), sum(self.sampled[:end])

        def kept(name: str) -> slice:
            if not name.startswith("top/"):
                return slice(*rows)
            chosen = self.values[selected(name)]
            return slice(int(chosen[: rows[0]].sum()), int(chosen[: rows[1]].sum()))

        return TokenColumns(
            self.sampled[start:end],
            {name: column[kept(name)] for name, column in self.values.items()},
            tuple(h._replace(trajectory=h.trajectory - start) for h in self.hints if start <= h.trajectory < end),
        )

    def first(self, count: int) -> TokenColumns:
        """Return those of the first `count` trajectories."""
        return self.some(0, count)

    def cut(self, groups: Sequence[int]) -> list[TokenColumns]:
        """Return those of each group; `groups` are the numbers of trajectories in each."""
        ends = [0, *accumulate(groups)]
        return [self.some(start, end) for start, end in pairwise(ends)]

    def fitting(self, groups: Sequence[int], limit: int) -> TokenColumns:
        """Return those of as many first groups as fit into `limit` bytes.

        `groups` are the numbers of trajectories in each.
        """
        ends = [0, *accumulate(groups)]
        return self.first(ends[bisect_right(ends, limit, key=lambda end: self.first(end).size) - 1])


def selected(top: str) -> str:
    """Return the name of the column that says for which rows there are the alternatives `top/<who>/<term>`."""
    return f"selected/{top.split('/')[2]}"


def dtype(name: str) -> type[np.generic]:
    """Return how a column is kept. Half precision is for what is only looked at: it holds three digits."""
    if name.startswith("top/"):
        return np.float16 if name.endswith("/logprob") else np.int32
    return {"entropy": np.float16, "selected": np.bool_}.get(name.split("/")[0], np.float32)


def joined(parts: Sequence[TokenColumns]) -> TokenColumns:
    """Return the columns of several groups, one after the other; NaN, or not selected, where one lacks a column."""
    examples = {name: column for part in parts for name, column in part.values.items()}
    starts = accumulate((len(part.sampled) for part in parts), initial=0)
    return TokenColumns(
        tuple(count for part in parts for count in part.sampled),
        {name: np.concatenate([_column(part, name, like) for part in parts]) for name, like in examples.items()},
        tuple(h._replace(trajectory=s + h.trajectory) for s, p in zip(starts, parts, strict=False) for h in p.hints),
    )


def _column(part: TokenColumns, name: str, like: Column) -> Column:
    rows = 0 if name.startswith("top/") else sum(part.sampled)
    blank = np.full((rows, *like.shape[1:]), np.nan if like.dtype.kind == "f" else 0, like.dtype)
    return part.values.get(name, blank)


def write_columns(path: Path, columns: TokenColumns) -> None:
    """Write columns; their hints are another file."""
    arrays = {name: np.ascontiguousarray(column) for name, column in columns.values.items()}
    save_file(arrays, path, {"sampled": json.dumps(columns.sampled)})


def read_columns(path: Path) -> TokenColumns:
    """Read what `write_columns` wrote. Raises `DataError` when it is damaged."""
    try:
        with safe_open(path, "np") as file:
            sampled = tuple(map(int, json.loads(file.metadata()["sampled"])))
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        rows = {name: sum(sampled) for name in values if not name.startswith("top/")}
        rows |= {name: int(values[selected(name)].sum()) for name in values if name not in rows}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{path}: not the columns of a step: {type(error).__name__}: {error}. {REMEDY}") from error
    for name, count in rows.items():
        if len(values[name]) != count:
            raise DataError(f"{path}: got {len(values[name])} rows of `{name}`, expected {count}. {REMEDY}")
    return TokenColumns(sampled, values)


def write_hints(path: Path, hints: Sequence[HintLine]) -> None:
    """Write hints as JSON lines."""
    path.write_text("".join(json.dumps(h._asdict(), ensure_ascii=False) + "\n" for h in hints), encoding="utf-8")


def read_hints(path: Path) -> Iterator[HintLine]:
    """Read what `write_hints` wrote. Raises `DataError`, with file and line, for anything else."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield HINT.validate_json(line, strict=True)
            except (ValueError, TypeError, RecursionError) as error:
                why = f"{type(error).__name__}: {error}"
                if isinstance(error, ValidationError):
                    problem = error.errors(include_url=False, include_input=False)[0]
                    why = f"{'.'.join(map(str, problem['loc']))} {problem['msg']}"
                raise DataError(f"{path}:{number}: not a hint: {why}. {REMEDY}") from error


HINT = TypeAdapter(HintLine)
REMEDY = "Remove the file: the rest of the run can be read without it"
