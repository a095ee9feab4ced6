"""What others have written fails: the run stops with a checkpoint, and names who it was and where to look."""

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sdsearch.contracts.credit import Probe
from sdsearch.contracts.environment import Action
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.envs.episode import Episode
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import CheckpointError, ComponentError, DivergedError, RetrieverUnavailable, SdsearchError
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.culprit import culprit
from sdsearch.learning.faults import surviving
from sdsearch.learning.learner import Learner
from sdsearch.learning.processes import Processes
from sdsearch.learning.train import train
from sdsearch.retrieval.cached import Cached
from sdsearch.retrieval.patience import Patience
from sdsearch.runs.checkpoint import saved
from sdsearch.runs.folder import Run
from sdsearch.spec import Experiment, load

FAULTY = """
from collections import Counter

import numpy as np

from faulty_helper import helped
from sdsearch.contracts.credit import GroupCredit
from sdsearch.contracts.environment import Reward
from sdsearch.contracts.loss import LossOutput, Selection, Term
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.crediting.per_turn import whole
from sdsearch.errors import DataError

CALLS = Counter()


class Pays(Reward):
    value: float | str | None = 0.5

    def score(self, answer, answers):
        return float("nan") if self.value == "nan" else self.value


class Says(GroupCredit):
    what: str = "fine"
    after: int = 2

    def of_group(self, group):
        CALLS["credit"] += 1
        if CALLS["credit"] == self.after + 1 and self.what not in ("fine", "huge"):
            if self.what == "helped":
                helped({})
            raise {"KeyError": KeyError, "MemoryError": MemoryError, "DataError": DataError}[self.what]("no such thing")
        value = {"huge": 3e38}.get(self.what)
        return [whole(t, t.tokens[-1] % 3 - 1 if value is None else value) for t in group.kept]


class Stumbles(Term):
    what: str = "fine"
    after: int = 0

    def select(self, table, seed):
        return Selection(table.token == table.token)

    def loss(self, rows):
        CALLS["term"] += 1
        if CALLS["term"] == self.after + 1 and self.what in ("KeyError", "MemoryError"):
            raise {"KeyError": KeyError, "MemoryError": MemoryError}[self.what]("no such thing")
        return LossOutput(rows.logprob + (float("nan") if self.what == "blots" else 0.0), {})


class Finds(Retriever):
    what: str

    def open(self):
        return Opened(self)


class Opened:
    def __init__(self, settings):
        self.settings = settings

    def search(self, queries, k):
        score = 10**400 if self.settings.what == "far" else 1
        hits = [[Hit(Passage(query, "t", f"of {query}"), score)] for query in queries]
        if self.settings.what == "empties":
            queries.clear()
        if self.settings.what == "ValueError":
            raise ValueError("broken")
        return None if self.settings.what == "None" else hits
"""


@pytest.fixture
def faulty(spec: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the small spec, beside components that fail."""
    (spec.parent / "faulty.py").write_text(FAULTY)
    (spec.parent / "faulty_helper.py").write_text("def helped(what):\n    return what['missing']\n")
    for name in ("faulty", "faulty_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(SearchR1, "parse", lambda self, text: Action("search", f"Rome {len(text)}"))
    return spec


def opened(spec: Path, *overrides: str) -> Experiment:
    quick = ("train.checkpoint_every=0", "train.evaluate_every=0", "environment.patience={retries: 0, pause: 0}")
    return load(spec, [*quick, *overrides])


def line_of(path: Path, text: str) -> int:
    """Return the number of the first line of a file that holds a text."""
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_a_credit_that_fails_loses_nothing(faulty: Path) -> None:
    """It fails in the third step; once it is mended the run goes on as if it had never failed, bit for bit."""
    straight, stopped = (
        opened(faulty, f"name={n}", f"objective.credit=[{{type: faulty:Says, what: {w}, after: 4}}]")
        for n, w in (("a", "fine"), ("b", "KeyError"))
    )
    expected = train(straight).folder
    sys.modules["faulty"].CALLS.clear()
    with pytest.raises(ComponentError) as caught:
        train(stopped)
    spec, code = stopped.folder / "spec.yaml", faulty.parent / "faulty.py"
    assert str(caught.value) == (
        f"step 2: `objective.credit.0` (faulty:Says, {spec}:{line_of(spec, 'faulty:Says')}) raised KeyError: 'no such "
        f"thing', at {code}:{line_of(code, 'raise {')}; mend it, then go on with --resume from "
        f"{stopped.folder / 'checkpoints' / 'step_2'}"
    )
    assert isinstance(caught.value.__cause__, KeyError)
    train(stopped, resume=True)
    one, other = (folder / "checkpoints" / "step_4" / "model.safetensors" for folder in (expected, stopped.folder))
    assert one.read_bytes() == other.read_bytes()


MANY = ("train.epochs=3", "objective.credit=[{type: faulty:Says}]")
CRITIC = ("objective.credit=[{type: gae, lam: 0.9}]",)


@pytest.mark.parametrize(
    ("overrides", "terms", "what", "after"),
    [
        (MANY, "clipped_pg", "KeyError", 7),  # the second of three updates of the third step
        (MANY, "{type: kl, teacher: ema}", "MemoryError", 8),
        (CRITIC, "clipped_pg", "KeyError", 2),  # the critic has learned from the third step
        (MANY, "clipped_pg", "KeyError", 1),  # nothing had an average of AdamW before this step
    ],
)
def test_a_step_that_fails_amid_its_updates_loses_nothing(
    faulty: Path, overrides: tuple[str, ...], terms: str, what: str, after: int
) -> None:
    straight, stopped = (
        opened(faulty, *overrides, f"name={n}", f"objective.terms=[{terms}, {{type: faulty:Stumbles, {settings}}}]")
        for n, settings in (("a", "what: fine"), ("b", f"what: {what}, after: {after}"))
    )
    expected = train(straight).folder
    sys.modules["faulty"].CALLS.clear()
    done = after // straight.train.epochs
    said = rf"^step {done}: `objective\.terms\.1` .* raised {what}: .* go on with --resume from .*/step_{done}$"
    with pytest.raises(ComponentError, match=said):
        train(stopped)
    train(stopped, resume=True)
    for name in ("model.safetensors", "state.safetensors"):
        one, other = (folder / "checkpoints" / "step_4" / name for folder in (expected, stopped.folder))
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.parametrize(
    ("change", "said", "kind"),
    [
        (
            "environment.reward={type: faulty:Pays, value: nan}",
            r"reward faulty:Pays: got nan for .*\(it is `environment\.reward` \(faulty:Pays, .*yaml:\d+\)\)",
            ComponentError,
        ),
        (
            "environment.retriever={type: faulty:Finds, what: ValueError}",
            r"`environment\.retriever` \(faulty:Finds, .*\) raised ValueError: broken, at .*faulty\.py:\d+",
            ComponentError,
        ),
        (
            "environment.retriever={type: faulty:Finds, what: far}",
            r"the retriever failed in 100% .* got the score 10{79}, expected",
            RetrieverUnavailable,
        ),
    ],
)
def test_what_fails_at_once_is_named_and_leaves_a_checkpoint(
    faulty: Path, change: str, said: str, kind: type[SdsearchError]
) -> None:
    experiment = opened(faulty, change)
    with pytest.raises(kind, match=rf"^step 0: {said}.* then go on with --resume from .*checkpoints/step_0$"):
        train(experiment)
    assert [p.name for p in saved(experiment.folder / "checkpoints")] == ["step_0"]


def test_gradients_that_are_not_finite_move_nothing_and_the_run_says_so(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = ("train.steps=2", "monitors.idle=2", "objective.terms=[clipped_pg]")
    folder = train(opened(faulty, *quick, "objective.credit=[{type: faulty:Says, what: huge}]")).folder
    lines = [
        json.loads(line, parse_constant=pytest.fail) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [line for line in lines if "train" in line]
    assert [(s["train"]["applied"], s["train"]["gradient_norm"]) for s in steps] == [(0.0, None)] * 2
    assert [w["limit"] for w in steps[1]["warnings"] if w["limit"] in ("idle", "gradient_norm")] == ["idle"]
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: the run has learned nothing: not one update of its 2 steps was taken" in said
    before, after = (p / "model.safetensors" for p in (faulty.parent / "model", folder / "checkpoints" / "step_2"))
    assert before.read_bytes() == after.read_bytes()


def test_a_loss_that_is_no_number_moves_nothing(faulty: Path) -> None:
    """Its gradient may be one all the same."""
    terms = "objective.terms=[{type: faulty:Stumbles, what: blots}]"
    folder = train(opened(faulty, "train.steps=1", terms)).folder
    (step,) = [m["train"] for m in Run.open(folder).metrics() if "train" in m]
    assert step["gradient_norm"] > 0
    assert step["applied"] == 0
    before, after = (p / "model.safetensors" for p in (faulty.parent / "model", folder / "checkpoints" / "step_1"))
    assert before.read_bytes() == after.read_bytes()


@pytest.fixture
def learner(faulty: Path) -> Learner:
    return Learner(opened(faulty), Processes(Accelerator()))


def test_weights_that_are_no_numbers_are_found(learner: Learner) -> None:
    learner.sound({"gradient_norm": 1.0, "learning_rate": 1.0})
    with torch.no_grad():
        next(learner.policy.model.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(DivergedError, match="the largest weight is nan after an update"):
        learner.sound({"gradient_norm": 1.0, "learning_rate": 1.0})


def test_what_is_saved_when_a_step_fails(learner: Learner) -> None:
    """The weights before it, where they are those; and what the disk says of that is told beside the fault."""
    run, saves = Run.begin(learner.experiment), list[int]()

    def full(step: int) -> None:
        raise CheckpointError("no room")

    def said(error: Exception, step: int, save: Callable[[int], None] = saves.append) -> str:
        with pytest.raises(type(error)) as caught, surviving(step, run, learner, save):
            raise error
        return " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])

    assert said(CheckpointError("full"), 0) == "full"
    assert saves == []
    assert said(SdsearchError("broken"), 0) == "step 0: broken; there is no checkpoint yet"
    assert said(KeyError("broken"), 0) == "'broken' step 0: there is no checkpoint yet"
    assert saves == [0, 0]
    assert said(SdsearchError("broken"), 0, full) == "step 0: broken; and no room"
    said(SdsearchError("broken"), 1)
    learner.whole = False
    said(SdsearchError("broken"), 0)
    assert saves == [0, 0]


def test_a_destroyed_policy_is_not_saved(faulty: Path) -> None:
    experiment = opened(faulty, "train.checkpoint_every=1")
    # Beyond what a spec may say, as an optimiser of one's own could.
    experiment = experiment.model_copy(update={"train": experiment.train.model_copy(update={"learning_rate": 1e30})})
    with pytest.raises(
        DivergedError, match=r"^step 0: the largest weight is 1e\+30 after .* nothing of it was saved\. Lower"
    ):
        train(experiment)
    assert saved(experiment.folder / "checkpoints") == []


def raised(work: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        work()
    return caught.value


def test_the_culprit_is_found_through_helpers_threads_and_what_it_has_opened(faulty: Path) -> None:
    code, question = faulty.parent / "faulty.py", Question("q", "?", ())
    groups = [Group(question, (Trajectory(question, (), (), "answered", 1.0),))] * 3
    for what, name in (("helped", "KeyError"), ("MemoryError", "MemoryError"), ("DataError", "DataError")):
        two = f"objective.credit=[{{type: faulty:Says, after: 9}}, {{type: faulty:Says, what: {what}, after: 0}}]"
        experiment = opened(faulty, two, "environment.retriever={type: faulty:Finds, what: ValueError}")
        sys.modules["faulty"].CALLS.clear()
        second = experiment.objective.credit[1]  # type: ignore[union-attr]
        error = raised(partial(second.advantages, groups, Probe()))
        at = culprit(error, experiment)
        assert type(error).__name__ == name
        assert at is not None
        assert (at.where, at.component) == ("objective.credit.1", second)
        assert at.code == f"{code}:{line_of(code, 'helped({})' if what == 'helped' else 'raise {')}"
    retriever = experiment.environment.retriever  # type: ignore[attr-defined]
    error = raised(lambda: Cached(retriever.open(), patience=Patience(retries=0)).search(["a"], 1))
    at = culprit(error, experiment)
    assert at is not None
    assert (at.where, at.code) == ("environment.retriever", f"{code}:{line_of(code, 'raise ValueError')}")


def test_our_own_faults_are_nobody_else_s(faulty: Path) -> None:
    experiment = opened(faulty)
    assert culprit(raised(lambda: Episode(None, None, None, 0)), experiment) is None  # type: ignore[arg-type]
    assert culprit(raised(lambda: step_advantages([None], [])), experiment) is None  # type: ignore[list-item]
    assert culprit(ComponentError("elsewhere"), experiment) is None


def test_what_a_component_is_given_is_its_own(faulty: Path) -> None:
    """A searcher that empties the list of its queries answers all of them all the same."""
    experiment = opened(faulty, "environment.retriever={type: faulty:Finds, what: empties}")
    cached = Cached(experiment.environment.retriever.open())  # type: ignore[attr-defined]
    queries = ["a", "b"]
    assert [hits[0].passage.text for hits in cached.search(queries, 1)] == ["of a", "of b"]
    assert queries == ["a", "b"]
    assert re.fullmatch("of a", cached.search(["a"], 1)[0][0].passage.text)
