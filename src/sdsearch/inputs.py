"""What a spec's files, tokeniser and servers hold: opened and looked at, before anything slow starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sdsearch.config.called import parts
from sdsearch.core.question import Question
from sdsearch.errors import SdsearchError
from sdsearch.learning.preflight import longest_prompt
from sdsearch.policy.policy import load_codec
from sdsearch.runs.folder import Run
from sdsearch.spec import Experiment

Finding = tuple[str, str, str]
"""Where in the spec something is named, what was found there, and what is wrong with it; one of both is empty."""


def inputs(experiment: Experiment) -> Iterator[Finding]:
    """Open what an experiment names, one after the other, and yield what is there or what is wrong with it.

    No index is built, no weights are loaded, nothing is written. What components name is theirs to look at
    (`Component.inspect`).
    """
    for where, part in parts(experiment):
        yield from _finding(where, part.inspect)
    if experiment.data:
        yield from _finding("data", partial(_both, experiment))
    for where, source in experiment.sources():
        if source.run is not None:
            yield from _finding(f"{where}.run", partial(_steps, source.run))
    if experiment.agent.trainable:
        yield from _finding("model", lambda: _tokeniser(experiment))


def _finding(where: str, look: Callable[[], str | None]) -> Iterator[Finding]:
    try:
        found = look()
    except SdsearchError as error:
        yield where, "", str(error)
    else:
        if found is not None:
            yield where, found, ""


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
