"""What the updates of a step compute for each sampled token, on its way to `sdsearch.runs.token_columns`.

Nothing is computed that the update would not compute: the logits are there already, and only what is read off them,
number by number, is added. It stays on the device until the step is done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sdsearch.contracts.credit import Numbers
from sdsearch.contracts.hint import Hints
from sdsearch.contracts.loss import LossInput, LossOutput
from sdsearch.core.tokens import TokenTable
from sdsearch.learning.loss import TermPart
from sdsearch.policy.logprobs import measured
from sdsearch.runs.token_columns import Column, HintLine, TokenColumns, dtype, selected

K = 5
"""Alternatives that are kept of student and teacher, each its own, for the rows of a term with a teacher."""


LOSS = "loss/{}"
TAUGHT = (
    "logprob/teacher/{}",
    "entropy/teacher/{}",
    *(f"top/{who}/{{}}{what}" for who in ("student", "teacher") for what in ("", "/logprob")),
)
"""The columns of a term, and those that it has where it has a teacher."""


class Columns:
    """The columns of one step, filled micro-batch by micro-batch: however the rows are cut, they are the same.

    All are of the step's first update, when the policy is still the one that sampled; "logprob/student" alone is of the
    last.
    """

    def __init__(self, table: TokenTable, credits: Mapping[str, Numbers]) -> None:
        """Take the table of a step and what each credit added to the advantages."""
        self.table = table
        self.update = 0
        self.hints: list[HintLine] = []
        self.pieces: defaultdict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        rows = torch.arange(len(table), device=table.token.device)
        self.record("advantage", rows, table.advantage)
        self.record("logprob/sampler", rows, table.sampler_logprob)
        for name, parts in credits.items():
            self.record(f"advantage/{name}", rows, torch.from_numpy(np.concatenate([np.empty(0), *parts])))

    def record(self, name: str, index: Tensor, values: Tensor) -> None:
        """Note the values of some rows: indices [N] of the table, values [N] or [N, k]."""
        self.pieces[name].append((index, values.detach()))

    def begin(self, parts: Sequence[TermPart]) -> None:
        """Say that an update begins, with the terms that have a part in it."""
        self.update += 1
        self.pieces["logprob/student"] = []
        if self.update > 1:
            return
        names = ["logprob/old", "entropy/student"]
        for part in parts:
            self.record(f"selected/{part.name}", torch.arange(len(self.table)), part.selection.rows)
            self.hints += hint_lines(part.name, part.selection.hints or ())
            names += [name.format(part.name) for name in (LOSS, *(TAUGHT if part.selection.teacher else ()))]
        # A step without contrast computes nothing: it has the same columns, without a number.
        self.pieces |= {name: [] for name in names}

    @torch.no_grad()
    def see_student(self, index: Tensor, logits: Tensor, token: Tensor) -> None:
        """Take the policy's logits [N, V] for the rows `index`, whose tokens are `token`."""
        logprob, entropy, _ = measured(logits, token)
        self.record("logprob/student", index, logprob)
        if self.update == 1:
            self.record("logprob/old", index, logprob)
            self.record("entropy/student", index, entropy)

    @torch.no_grad()
    def see_term(self, name: str, index: Tensor, given: LossInput, output: LossOutput) -> None:
        """Take what a term made of its rows; see `sdsearch.learning.loss.See`."""
        if self.update > 1:
            return
        self.record(f"loss/{name}", index, output.loss)
        if given.teacher_logits is None:
            return
        logprob, entropy, normaliser = measured(given.teacher_logits, given.table.token)
        self.record(f"logprob/teacher/{name}", index, logprob)
        self.record(f"entropy/teacher/{name}", index, entropy)
        self._top(f"top/teacher/{name}", index, given.teacher_logits, normaliser)
        self._top(f"top/student/{name}", index, given.logits, logits_normaliser(given))

    def _top(self, name: str, index: Tensor, logits: Tensor, normaliser: Tensor) -> None:
        values, tokens = logits.topk(min(K, logits.shape[1]), 1)
        self.record(name, index, tokens)
        self.record(f"{name}/logprob", index, values - normaliser[:, None])

    def by_group(self) -> list[TokenColumns]:
        """Return what was recorded, cut into groups: several processes put theirs together group by group."""
        return self.kept().cut([len(group.kept) for group in self.table.groups])

    def kept(self) -> TokenColumns:
        """Return what was recorded."""
        values = {name: self._column(name) for name in self.pieces}
        for name in [name for name in values if name.startswith("top/")]:
            values[name] = values[name][values[selected(name)]]
        return TokenColumns(tuple(t.sampled for t in self.table.trajectories), values, tuple(self.hints))

    def _column(self, name: str) -> Column:
        nothing = torch.empty(0, dtype=torch.int64), torch.empty(0, K) if name.startswith("top/") else torch.empty(0)
        pieces = self.pieces[name] or [nothing]
        index, values = (torch.cat(each).cpu() for each in zip(*pieces, strict=True))
        kind = dtype(name)
        shape = (len(self.table), *values.shape[1:])
        column = np.full(shape, np.nan if np.issubdtype(kind, np.floating) else 0, kind)
        column[index.numpy()] = values.float().numpy() if values.is_floating_point() else values.numpy()
        return column


def logits_normaliser(given: LossInput) -> Tensor:
    """Return log sum exp of the policy's logits [rows, V] from what is known already: [rows]."""
    return given.logits.gather(1, given.table.token[:, None]).squeeze(1) - given.logprob


def hint_lines(term: str, hints: Hints) -> list[HintLine]:
    """Return the hints of a term, one for each trajectory or turn that has a text: an empty one is none."""
    lines = []
    for trajectory, hint in enumerate(hints):
        texts = enumerate(hint) if isinstance(hint, tuple) else [(None, hint)]
        lines += [HintLine(term, trajectory, turn, text) for turn, text in texts if text]
    return lines
