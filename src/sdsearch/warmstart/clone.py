"""Clone a policy on played episodes: rows of tokens with a weight each, batches of like length, one pass of AdamW."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

import torch
from torch import Tensor

from sdsearch.contracts.hint import Hint, hint_at
from sdsearch.core.trajectory import Group
from sdsearch.policy.batching import packed, pad
from sdsearch.policy.policy import Policy
from sdsearch.terminal.progress import Bars
from sdsearch.warmstart.spec import Cloning

VALUE = re.compile(r"(?<![\w.])(\d[\d.]*\d|[A-Z]{2,5}|\.[a-z]{2}|\+\d+)(?!\w)")
"""Numbers of two digits and more (one digit numbers a passage), codes ("LHR"), internet domains, calling codes."""


class Piece(NamedTuple):
    """A stretch of text of one side; `written`: the model is to write it, else it is to read it."""

    text: str
    written: bool


class Row(NamedTuple):
    """One training sequence: token ids and the weight of each in the loss."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


def lessons(groups: Sequence[Group], hint: Hint, settings: Cloning, seed: int) -> Iterator[list[Piece]]:
    """Turn scripted groups into what is learned: episodes, some behind a hindsight block, most with made-up names."""
    dice = random.Random(seed)
    coin = Names(groups)
    shown = list(zip(groups, hint.texts(groups, seed), strict=True)) * settings.epochs
    for group, hints in shown:
        names = coin.mapping(group, dice) if dice.random() < settings.renamed else {}
        if names and not group.question.kind.startswith("comparison") and dice.random() < settings.revalued:
            names = values(group, dice) | names
        correct = [t for t in group.trajectories if t.metrics["exact_match"] == 1]
        best = min(correct, key=lambda t: len(t.turns)) if correct else None
        for trajectory, text in zip(group.trajectories, (hint_at(h, 0) for h in hints), strict=True):
            hinted = text is not None and dice.random() < settings.hinted
            chosen = best if hinted and best is not None else trajectory
            opening, *rest = chosen.segments
            yield [
                Piece(replaced((text or "" if hinted else "") + opening.text, names), False),
                *(Piece(replaced(s.text, names), s.role == "model") for s in rest),
            ]


def row(policy: Policy, lesson: Sequence[Piece], read_weight: float) -> Row:
    """Tokenise a lesson piece by piece, as in play."""
    tokens = [policy.codec.encode(p.text) if i else policy.codec.prompt(p.text) for i, p in enumerate(lesson)]
    weights = [(1.0 if p.written else read_weight,) * len(t) for p, t in zip(lesson, tokens, strict=True)]
    return Row(tuple(t for part in tokens for t in part), tuple(w for part in weights for w in part))


class Names:
    """Coins names: every word of an old one becomes the head of one known word and the tail of another."""

    def __init__(self, groups: Sequence[Group]) -> None:
        """Learn the words of all names. Words in many of them ("Airport") are part of the language and stay."""
        names = {n for g in groups for n in self.of(g)}
        count = Counter(w for n in names for w in set(re.findall(r"[^\W\d_]+", n)))
        self.kept = {w for w, c in count.items() if c > max(2, len(names) / 100)}
        self.words = sorted(w for w in count if w not in self.kept and len(w) > 2)

    @staticmethod
    def of(group: Group) -> set[str]:
        """Return the names in a group: what its question asks about and finds, and the titles that it was shown."""
        text = "".join(s.text for t in group.trajectories for s in t.segments)
        names = {n for h in group.question.hops for n in (h.entity, h.answer)}
        names |= set(re.findall(r"\(Title: (.*?)\) ", text))
        return {n for n in names if re.search(r"[^\W\d_]{3}", n) and not n[0].isdigit()}

    def mapping(self, group: Group, dice: random.Random) -> dict[str, str]:
        """Return a new name for each name in a group."""

        def coin(word: re.Match[str]) -> str:
            if word[0] in self.kept or not self.words:
                return str(word[0])
            head, tail = dice.choice(self.words), dice.choice(self.words)
            return str((head[: dice.randint(2, 5)] + tail[-dice.randint(2, 4) :]).capitalize())

        return {n: re.sub(r"[^\W\d_]+", coin, n) for n in sorted(self.of(group))}


def values(group: Group, dice: random.Random) -> dict[str, str]:
    """Return a new value for each number and code in a group: digits for digits, letters for letters."""

    def coin(sign: re.Match[str]) -> str:
        if sign[0].isdigit():
            return str(dice.randint(0 if sign.start() else 1, 9))
        return dice.choice(ascii_uppercase if sign[0].isupper() else ascii_lowercase)

    text = "".join(s.text for t in group.trajectories for s in t.segments)
    codes = sorted(set(VALUE.findall(text)) - {"IATA", "ICAO"})
    return {value: re.sub("[0-9A-Za-z]", coin, value) for value in codes}


def replaced(text: str, names: Mapping[str, str]) -> str:
    """Put new names in the place of old ones, the longest first."""
    if not names:
        return text
    old = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<!\w)({old})(?!\w)", lambda match: names[match[0]], text)


def clone(policy: Policy, data: Sequence[Row], settings: Cloning, seed: int, bars: Bars) -> list[float]:
    """Train on the rows with a cosine schedule, in bfloat16 where that is faster; return the loss of each batch."""
    order = batches(data, settings, seed)
    model = policy.model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=len(order), pct_start=0.05
    )
    task = bars.task("clone", len(order))
    losses = []
    for batch in order:
        tokens, mask = pad([data[i].tokens for i in batch], policy.device)
        width = tokens.shape[1]
        weights = torch.tensor([[*data[i].weights, *[0.0] * (width - len(data[i].weights))] for i in batch])
        with torch.autocast(policy.device.type, dtype=torch.bfloat16):
            loss = weighted(model(input_ids=tokens, attention_mask=mask).logits, tokens, weights.to(tokens.device))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        task.advance(note=f"loss {losses[-1]:.3f}")
    return losses


def weighted(logits: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the next-token losses: logits [B, S, V], tokens and weights [B, S]."""
    each = torch.nn.functional.cross_entropy(logits[:, :-1].float().transpose(1, 2), tokens[:, 1:], reduction="none")
    return (each * weights[:, 1:]).sum() / weights[:, 1:].sum()


def batches(data: Sequence[Row], settings: Cloning, seed: int) -> list[list[int]]:
    """Cut rows into batches of like length within the token budget, in random order."""
    dice = random.Random(seed)
    order = sorted(range(len(data)), key=lambda i: (len(data[i].tokens), dice.random()))
    runs = list(packed(order, lambda i: len(data[i].tokens), settings.tokens_per_batch))
    dice.shuffle(runs)
    return runs
