"""What a run does when a step fails: it saves what there is before the step, and says whose fault it is.

What others have written, and a machine that lacks memory, may fail at any moment of a step. A step is therefore taken
as a whole or not at all: the checkpoint that is left is that of the step before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sdsearch.errors import CheckpointError, ComponentError, DivergedError, RetrieverUnavailable, SdsearchError
from sdsearch.learning.culprit import culprit
from sdsearch.learning.learner import Learner
from sdsearch.runs.folder import Run

Save = Callable[[int], None]
"""Writes a checkpoint of so many steps."""


@contextmanager
def surviving(step: int, run: Run, learner: Learner, save: Save) -> Iterator[None]:
    """Save what there is after `step` steps when the next one fails, and say whose fault it is and how to go on.

    Raises what was raised, and `ComponentError` in place of what a component of the spec has raised: it has its
    name, its line in the run's spec and that of its code. What fits none of them, and so is ours, is passed on with
    a note. A disk that refuses, and a second Ctrl-C, are passed on as they are.
    """
    try:
        yield
    except CheckpointError:
        raise
    except SdsearchError as error:
        if at := culprit(error, run.experiment):
            error.args = (f"{error} (it is {at.named(run.spec)})", *error.args[1:])
        what = "the retriever" if isinstance(error, RetrieverUnavailable) else "it"
        remedy = undo(run) if isinstance(error, DivergedError) else saved(step, run, learner, save, what)
        error.args = (f"step {step}: {error}; {remedy}", *error.args[1:])
        raise
    except Exception as error:
        remedy = saved(step, run, learner, save)
        if at := culprit(error, run.experiment):
            raise ComponentError(
                f"step {step}: {at.named(run.spec)} raised {type(error).__name__}: {error}, at {at.code}; {remedy}",
                at.component,
            ) from error
        error.add_note(f"step {step}: {remedy}")
        raise


def saved(step: int, run: Run, learner: Learner, save: Save, what: str = "it") -> str:
    """Save what there is after `step` steps, unless the weights have moved on, and say how to go on."""
    before = learner.whole and learner.version == step * learner.settings.epochs
    if before and not (run.checkpoints / f"step_{step}").exists():
        try:
            save(step)
        except CheckpointError as error:
            return f"and {error}"
    newest = run.newest()
    return f"mend {what}, then go on with --resume from {newest}" if newest else "there is no checkpoint yet"


def undo(run: Run) -> str:
    """Say how to go on from before the policy was destroyed: by the same spec it would be once more."""
    whole = run.best() or run.newest()
    begin = f" from {whole} (--set model.name=...)" if whole else ""
    return (
        f"nothing of it was saved. Lower train.learning_rate, or look for an overflow in the terms' figures, and "
        f"begin another run{begin}"
    )
