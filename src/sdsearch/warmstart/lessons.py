"""What is learned from scripted play: episodes as they went, and what to do behind a hindsight block.

A block means to a model what its warm start made of it. Behind the block of a whole group, the shortest right attempt
can be followed; where the right attempts are the many, copying any line is then enough, and the labels are never read.
In a contrasted block the attempts that are marked right are the few; in a share of these every label is turned round,
and what is *marked* right is still what is followed. And some blocks tell of another question, and nothing in them is
followed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from sdsearch.contracts.hint import Hint, hint_at
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.warmstart.names import Names, replaced, values
from sdsearch.warmstart.spec import Cloning, Stage

READ, WRITTEN = "read", "written"


class Piece(NamedTuple):
    """A stretch of text of one side."""

    text: str
    part: str
    """READ: what the model is shown. WRITTEN: what it is to write."""


class Lesson(NamedTuple):
    """One episode to learn from."""

    pieces: list[Piece]
    hinted: bool
    """Whether it begins with a block."""


class Shown(NamedTuple):
    """A block, the attempt that is followed behind it, and whether only to the last search."""

    block: str
    followed: Trajectory
    queries_only: bool = False


def lessons(groups: Sequence[Group], hint: Hint, settings: Cloning, seed: int) -> Iterator[list[Lesson]]:
    """Yield the lessons of each stage: one for each attempt of the groups it goes through, alone or behind a block.

    Most have made-up names, the same in the block and in the episode.
    """
    dice = random.Random(seed)
    coin = Names(groups)
    endless = cycle(groups)
    for stage in settings.stages:
        taught: list[Lesson] = []
        for group in islice(endless, max(1, round(stage.share * len(groups)))):
            taught += of_group(group, groups, hint, settings, stage, coin, dice)
        yield taught


def of_group(
    group: Group,
    groups: Sequence[Group],
    hint: Hint,
    settings: Cloning,
    stage: Stage,
    coin: Names,
    dice: random.Random,
) -> Iterator[Lesson]:
    """Yield a lesson for each attempt of a group; `groups` are all, from which blocks of other questions come."""
    renamed = dice.random() < settings.renamed
    names = coin.mapping(group, dice) if renamed else {}
    if names and not group.question.kind.startswith("comparison") and dice.random() < settings.revalued:
        names = values(group, dice) | names
    for trajectory in group.trajectories:
        shown = None
        if dice.random() < stage.hinted:
            if dice.random() < stage.foreign:
                other = dice.choice(groups)
                if other is not group and (lent := drawn(other, trajectory, hint, stage, dice)):
                    block = replaced(lent.block, coin.mapping(other, dice) if renamed else {})
                    shown = Shown(block, trajectory)
            elif told := drawn(group, trajectory, hint, stage, dice):
                shown = told._replace(block=replaced(told.block, names))
        block, followed, queries_only = shown or Shown("", trajectory)
        opening, *rest = followed.segments
        pieces = [Piece(block + replaced(opening.text, names), READ)]
        if queries_only and followed.answer is not None:
            rest = rest[:-2]  # neither the answer nor what it was read off
        pieces += [Piece(replaced(s.text, names), WRITTEN if s.role == "model" else READ) for s in rest]
        yield Lesson(pieces, bool(block))


def drawn(group: Group, trajectory: Trajectory, hint: Hint, stage: Stage, dice: random.Random) -> Shown | None:
    """Draw a block of a group, contrasted or of all its attempts, and the attempt that is followed behind it.

    That is the shortest right one behind the block of all, and `trajectory` where none is right.
    """
    if dice.random() < stage.contrast:
        return contrasted(group, hint, stage, dice)
    block = hint_at(hint.texts([group], 0)[0][0], 0)
    right = [t for t in group.trajectories if t.metrics["exact_match"] == 1]
    return Shown(block, min(right, key=lambda t: len(t.turns), default=trajectory)) if block else None


def contrasted(group: Group, hint: Hint, stage: Stage, dice: random.Random) -> Shown | None:
    """Draw a block in which fewer attempts are marked right than wrong, and one that is marked right to follow.

    None: the group has too few of either kind.
    """
    flipped = dice.random() < stage.flipped
    marked = [t for t in group.trajectories if correct(t) != flipped]
    others = [t for t in group.trajectories if correct(t) == flipped]
    few = min(dice.randint(1, stage.marked), len(marked), len(others) - 1)
    if few < 1:
        return None
    many = min(max(dice.randint(stage.smallest, stage.largest) - few, few + 1), len(others))
    dice.shuffle(marked)
    told, rest = marked[:few], marked[few:]
    left_out = bool(rest) and dice.random() < stage.left_out
    followed = dice.choice(rest if left_out else told)
    attempts = [*told, *dice.sample(others, many)]
    dice.shuffle(attempts)
    of = hint.twins()["flipped"] if flipped else hint
    block = hint_at(of.texts([Group(group.question, tuple(attempts))], 0)[0][0], 0)
    return Shown(block or "", followed, queries_only=flipped)
