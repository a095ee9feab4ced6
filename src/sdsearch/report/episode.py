"""One kept episode as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sdsearch.core.trajectory import Trajectory
from sdsearch.errors import DataError
from sdsearch.report.page import clip
from sdsearch.runs.folder import Run


def pick(folder: Path, name: str | None = None, number: int = 0) -> Trajectory:
    """Return an episode of a run, by the name of the file (by default the newest) and its number in it, from 0.

    Raises `DataError` when there is none.
    """
    run = Run.open(folder)
    if name is None and not run.names:
        raise DataError(f"{folder} has kept no episodes yet, expected trajectories/step_<step>.jsonl or others")
    chosen = name or run.names[-1]
    episodes = [t for group in run.groups(chosen) for t in group.trajectories]
    if not 0 <= number < len(episodes):
        raise DataError(f"{folder}: got episode {number} of {chosen}, expected one of {len(episodes)}, counted from 0")
    return episodes[number]


def told(episode: Trajectory) -> Iterator[str]:
    """Yield lines: what was asked, each turn as it was written and how it was read, what was seen, how it ended."""
    yield f"question {episode.question.id}: {episode.question.text}"
    yield f"accepted: {' | '.join(episode.question.answers) or '(nothing)'}"
    turn = 0
    for segment in episode.segments:
        if segment.role == "model":
            move = episode.turns[turn]
            turn += 1
            ended = ", cut off" if move.finish_reason == "length" else ""
            yield f"--- turn {turn}, read as {move.kind}: {clip(move.text)}{ended}"
        else:
            yield f"--- {segment.role}"
        yield clip(segment.text.strip("\n"))
    figures = ", ".join(f"{name} {value:.3g}" for name, value in episode.metrics.items())
    yield f"--- {episode.stop_reason}, reward {episode.reward:.3g}{': ' if figures else ''}{figures}"
    if episode.outage:
        yield f"outage: {episode.outage}"
