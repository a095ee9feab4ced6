"""What a spec's files, tokeniser and servers hold: opened and looked at, before anything slow starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import to_json

from sdsearch.config.called import parts
from sdsearch.core.question import Question
from sdsearch.errors import SdsearchError
from sdsearch.learning.preflight import longest_prompt
from sdsearch.policy.policy import load_codec
from sdsearch.retrieval.opening import opening
from sdsearch.runs.folder import Run
from sdsearch.spec import Experiment

Finding = tuple[str, str, str]
"""Where in the spec something is named, what was found there, and what is wrong with it; one of both is empty."""


def inputs(*specs: BaseModel) -> Iterator[Finding]:
    """Open what specs name, one after the other, and yield what is there or what is wrong with it; each thing once.

    No index is built, no weights are loaded, nothing is written. What components name is theirs to look at
    (`Component.inspect`).
    """
    seen = set[str]()
    for spec in specs:
        for where, thing, look in _looks(spec):
            about = f"{where} {to_json(thing).decode()}"
            if about in seen:
                continue
            seen.add(about)
            try:
                with opening(getattr(getattr(spec, "environment", None), "patience", None)):
                    found = look()
            except SdsearchError as error:
                yield where, "", str(error)
            else:
                if found is not None:
                    yield where, found, ""


def _looks(spec: BaseModel) -> Iterator[tuple[str, object, Callable[[], str | None]]]:
    """Yield where something is named, what it is, and what looks at it."""
    for where, part in parts(spec):
        yield where, part, part.inspect
    if not isinstance(spec, Experiment):
        return
    if spec.data:
        yield "data", [spec.data, spec.evaluate], partial(_both, spec)
    for where, source in spec.sources():
        if source.run is not None:
            yield f"{where}.run", source, partial(_steps, source.run)
    if spec.agent.trainable:
        yield "model", [spec.model, spec.environment, spec.data, spec.evaluate], partial(_tokeniser, spec)


def _both(experiment: Experiment) -> str | None:
    """Say how many questions are asked in training and in the test; nothing where files cannot be read: they say so."""
    try:
        return experiment.overlap()
    except SdsearchError:
        return None


def _steps(run: Path) -> str:
    return f"groups of {len(Run.open(run).steps)} steps"


def _tokeniser(experiment: Experiment) -> str:
    """Say what the model's tokeniser makes of the longest prompt; where the questions cannot be read, only its size."""
    grammar = experiment.environment.grammar
    codec = load_codec(experiment.model, grammar.tags, grammar.preamble)
    size = f"a tokeniser of {len(codec.tokenizer):,} tokens"
    if grammar.searches_first:  # its prompts need the index, which is not built here
        return size
    try:
        questions: list[Question] = [*experiment.questions("train"), *experiment.questions("test")]
    except SdsearchError:
        return size
    longest = longest_prompt(experiment.environment.open(), codec, questions)
    return f"{size}; the longest of {len(questions):,} prompts takes {len(longest.prompt.tokens):,}"
