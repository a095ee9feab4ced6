"""A run on one page: report.html, which holds all that it shows and asks the network for nothing.

What comes from data or from a model is text, never markup: the template escapes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from sdsearch.config.load import read
from sdsearch.core.trajectory import Segment, Trajectory
from sdsearch.errors import CheckpointError
from sdsearch.monitoring.labels import ends
from sdsearch.report.charts import charts
from sdsearch.report.table import outcome, split
from sdsearch.rollout.evaluate import as_text
from sdsearch.runs import checkpoint, provenance
from sdsearch.runs.folder import Run, replace
from sdsearch.runs.stored_run import StoredRun

NAME = "report.html"
EVALUATION = "evaluation.json"
"""What an evaluation leaves in its folder."""
LIMIT = 2_000_000
"""Bytes that a page stays below: as many episodes are left out as it takes."""
EPISODES = 24
CHARACTERS = 4000
"""Most characters that are shown of one text."""
TOKENS = 400
"""Most tokens that are shown of one turn."""
SURE = (0.9, 0.5, 0.1, 0.01)
"""Probabilities between which a token's colour changes."""

Decode = Callable[[Sequence[int]], str]


class Token(NamedTuple):
    """What a sampled token added to the text; `level` is 0 for a likely one and 4 for the least likely."""

    text: str
    logprob: float
    level: int


class Move(NamedTuple):
    """A turn: how it was read, what the model wrote, and what it saw next. `left` tokens are not shown."""

    kind: str
    text: str
    written: str
    tokens: tuple[Token, ...]
    left: int
    observation: str


class Shown(NamedTuple):
    """An episode as the page shows it."""

    episode: Trajectory
    prompt: str
    moves: tuple[Move, ...]


def page(folder: Path, decode: Decode | None = None) -> Path:
    """Write report.html into the folder of a run, at whatever step it is; return its path.

    `decode` turns token ids into text; without it the newest checkpoint's tokeniser does, and where there is none
    turns are shown without their tokens. Raises `DataError` when the folder holds no run or the newest
    trajectories are damaged, `CheckpointError` or `SpecError` when another file is.
    """
    run = Run.open(folder)
    about, metrics, decode = read(run.spec, []).plain(), run.metrics(), decode or tokeniser(run)
    train = about.get("train")
    stored = run.names[-1] if run.names else ""
    episodes = [t for group in run.groups(stored) for t in group.trajectories] if stored else []
    parts, scores = split(metrics), scored(folder)
    main, other = charts(metrics) if scores is None else ([], [])
    values = {
        "name": about.get("name"),
        "seed": about.get("seed"),
        "spec": run.spec.read_text(encoding="utf-8"),
        "machine": machine(folder),
        "step": max((m["step"] for m in metrics), default=0),
        "steps": train.get("steps") if isinstance(train, dict) else None,
        "outcome": None if scores else outcome(metrics),
        "scores": scores,
        "labels": [(name, str(a), str(b), n) for name, (a, b, n) in ends(metrics).items()],
        "split": parts,
        "total": sum(parts.values()),
        "charts": main,
        "figures": other,
        "warnings": [(m["step"], w) for m in metrics for w in m.get("warnings", ())],
        "stored": stored,
        "count": len(episodes),
    }
    count = EPISODES
    while True:
        shown = [show(t, decode) for t in spread(episodes, count)]
        # What a damaged file holds may be no text that can be written.
        html = template().render(**values, shown=shown).encode("utf-8", "replace")
        if len(html) < LIMIT or not count:
            break
        count //= 2
    replace(folder / NAME, lambda path: path.write_bytes(html))
    return folder / NAME


class Scored(NamedTuple):
    """What an evaluation found, as a table."""

    figures: tuple[str, ...]
    rows: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]
    """A name, how many questions, and of each figure its value and its interval."""


def scored(folder: Path) -> Scored | None:
    """Return the scores in an evaluation's folder; None where there are none, as in that of a training run."""
    path = folder / EVALUATION
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "sets" not in record:
        return None
    names = tuple(record["macro"])
    rows = [(name, str(one["questions"]), one["figures"]) for name, one in record["sets"].items()]
    if len(rows) > 1:
        rows.append(("mean of sets", "", record["macro"]))
    for name, one in record["sets"].items():
        parts = {**one["kinds"], **{f"{count} hops": part for count, part in one["hops"].items()}}
        if len(parts) > 1:
            rows += [(f"{name}, {word}", str(part["questions"]), part["figures"]) for word, part in parts.items()]
    return Scored(names, tuple((name, n, tuple(told(figures.get(f)) for f in names)) for name, n, figures in rows))


def told(figure: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a figure's value and its interval as text."""
    if figure is None or figure["value"] != figure["value"]:
        return "-", ""
    low, high = figure["low"], figure["high"]
    return as_text(figure["value"]), "" if low is None or low == high else f"{low:.2f} to {high:.2f}"


@cache
def template() -> Any:
    """Return the page's template."""
    environment = Environment(
        loader=PackageLoader("sdsearch", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clip": clip, "as_text": as_text}
    return environment.get_template("report.html.j2")


def machine(folder: Path) -> dict[str, Any]:
    """Return what a run was made by as one table, packages and code among the rest; empty where it is not known."""
    record = provenance.recorded(folder)
    rest = record.pop("packages", {}) | record.pop("code", {})
    return {name: value for name, value in (record | rest).items() if value is not None}


def tokeniser(run: StoredRun) -> Decode | None:
    """Return how the newest checkpoint's tokeniser decodes, or None where there is none."""
    from tokenizers import Tokenizer

    files = [p / "tokenizer.json" for p in checkpoint.saved(run.checkpoints)]
    if not files or not files[-1].is_file():
        return None
    try:
        loaded = Tokenizer.from_file(str(files[-1]))
    except Exception as error:  # the library has no narrower one
        raise CheckpointError(f"{files[-1]} is damaged: {error}. {checkpoint.remedy(files[-1].parent)}") from error
    return lambda tokens: str(loaded.decode(list(tokens), skip_special_tokens=False))


def spread(episodes: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """Return at most `count` episodes, evenly from all of them."""
    count = min(count, len(episodes))
    return [episodes[i * len(episodes) // count] for i in range(count)]


def show(episode: Trajectory, decode: Decode | None) -> Shown:
    """Return the episode turn by turn."""
    segments = episode.segments
    after = {i: s.text for i, s in enumerate(segments[1:]) if s.role == "observation" and segments[i].role == "model"}
    turns = [(i, s) for i, s in enumerate(segments) if s.role == "model"]
    moves = (
        Move(
            turn.kind,
            turn.text,
            segment.text,
            tuple(islice(pieces(segment, decode), TOKENS)),
            max(0, len(segment.tokens) - TOKENS),
            after.get(i, ""),
        )
        for (i, segment), turn in zip(turns, episode.turns, strict=False)
    )
    prompt = segments[0].text if segments and segments[0].role == "prompt" else ""
    return Shown(episode, prompt, tuple(moves))


def pieces(segment: Segment, decode: Decode | None) -> Any:
    """Yield the tokens of a model segment with what each adds to the text; none where nothing decodes them."""
    shown = ""
    for i, logprob in enumerate(segment.logprobs[:TOKENS] if decode else ()):
        assert decode is not None
        text = decode(segment.tokens[: i + 1]).rstrip("\ufffd")
        yield Token(text[len(shown) :], logprob, sum(exp(logprob) < p for p in SURE))
        shown = max(shown, text, key=len)


def clip(text: str) -> str:
    """Return a text, or the beginning of a very long one and how much more there is."""
    over = len(text) - CHARACTERS
    return text if over <= 0 else f"{text[:CHARACTERS]} [{over} more characters]"
