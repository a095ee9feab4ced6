"""What a study is: one experiment, named changes to it (the arms), seeds, and what every run may cost.

An arm is merged onto the experiment as a spec onto its `base`. Initial weights, the order of the questions and the
seeds of sampling follow from the seed and the step alone, so that arms differ in what is written and in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sdsearch.config.component import Settings
from sdsearch.config.document import Node
from sdsearch.config.load import Loaded, build, complaint, read, typed, whole
from sdsearch.config.scalars import Name, OutPath, expanded
from sdsearch.config.words import quoted, suggest
from sdsearch.errors import SpecError
from sdsearch.spec import Experiment

Quantity = Literal["rollouts", "tokens", "seconds"]


def _undotted(name: str) -> str:
    if "." in name:
        raise ValueError(f"got {quoted(name)}, expected no dot: `--set arms.{name}` would mean another one")
    return name


ArmName = Annotated[Name, AfterValidator(_undotted)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]

SHARED = ("name", "seed", "out", "train.budget")
"""What the study itself gives to each run."""
EVALUATION = ("data.test", "evaluate")
"""What all arms have to have alike, or their figures could not be compared."""


class Contrast(Settings):
    """One difference between two arms, paired by seed."""

    arm: str
    minus: str = ""
    """The arm that it is compared with; by default the reference."""
    figure: Literal["exact_match", "area"] = "exact_match"
    """By held-out exact match at the end, or by its mean over the budget."""


class Study(Settings):
    """A comparison of arms: the same experiment with different parts, on the same seeds and the same budget."""

    name: Name
    """The name of the study and of its folder; by default that of the file."""
    out: OutPath = Path("runs")
    """Where studies are kept, seen from the folder in which the command is given."""
    experiment: str
    """The spec that the arms change: its path, seen from this file."""
    arms: dict[ArmName, dict[str, Any]] = Field(min_length=1)
    """What each arm changes in the experiment, merged as a spec onto its `base`; {}: nothing."""
    reference: str
    """The arm that the others are compared with."""
    seeds: list[Seed] = Field(min_length=1)
    """Each arm is run once with each."""
    budget: dict[Quantity, PositiveInt | PositiveFloat] = Field(min_length=1, max_length=1)
    """What each run may cost: one of rollouts, tokens and seconds (of training). It becomes `train.budget`."""
    targets: list[Annotated[float, Field(gt=0, le=1)]] = Field(default_factory=list)
    """Held-out exact match; the table says when each was first reached."""
    primary: Contrast | None = None
    """The contrast that the study is made for, if there is one. Named before the first run begins, it needs no
    correction for the number of the others; the table says whether it was."""
    workers: int = Field(1, ge=1, le=1000)
    """Runs at the same time."""
    threads: int = Field(1, ge=1, le=1000)
    """Threads of each run on the CPU (OMP_NUM_THREADS)."""
    gpus: NonNegativeFloat = 0
    """With `--ray`: what each run takes of a machine's GPUs. Without, all runs see them all."""
    tuning: str = ""
    """For the reader: whose hyper-parameters were tuned, how, and with how many trials."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.reference not in self.arms:
            known = f"expected one of {', '.join(self.arms)}{suggest(self.reference, self.arms)}"
            raise ValueError(f"reference: got {quoted(self.reference)}, {known}")
        if self.primary:
            minus = self.primary.minus or self.reference
            for key, arm in (("arm", self.primary.arm), ("minus", minus)):
                if arm not in self.arms:
                    known = f"expected one of {', '.join(self.arms)}{suggest(arm, self.arms)}"
                    raise ValueError(f"primary.{key}: got {quoted(arm)}, {known}")
            if self.primary.arm == minus:
                raise ValueError(f"primary: got {quoted(minus)} minus itself, expected two arms")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: got {self.seeds}, expected each once")
        return self

    @property
    def folder(self) -> Path:
        """Where everything of the study is: `out/name`."""
        return self.out / self.name

    @property
    def quantity(self) -> Quantity:
        """What is matched."""
        return next(iter(self.budget))


@dataclass(frozen=True, eq=False)
class Job:
    """One arm with one seed: one run."""

    arm: str
    experiment: Experiment
    written: dict[str, Any]
    """The spec without its defaults; bases and overrides are merged, its paths whole."""

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.experiment.seed

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.arm}/{self.seed}"

    def beside(self, ending: str) -> Path:
        """Return the path of a file next to the run's folder: "log", "yaml", "lock"."""
        return self.experiment.folder.with_name(f"{self.seed}.{ending}")


ALIKE = "has to be the same for all arms, which are compared by it: change it in the experiment"


def jobs(loaded: Loaded) -> list[Job]:
    """Return the runs of a study, seed by seed. Raises `SpecError` with what is wrong in any of its arms."""
    study, root, problems = loaded.spec, loaded.root, list[str]()
    assert isinstance(study, Study)
    place = root.value["experiment"].place
    try:
        path = Path(expanded(study.experiment))
        under = read(Path(place.source).parent / path if place.line else path, problems)
    except (SpecError, ValueError) as error:
        raise complaint([f"{place}: experiment: {error}"]) from error
    arms: list[list[Job]] = []
    for name, over in root.value["arms"].value.items():
        wrong = [f"{over.place}: arms.{name}: `{key}` is the study's to set" for key in SHARED if _at(over, key)]
        wrong += [f"{over.place}: arms.{name}: `{key}` {ALIKE}" for key in EVALUATION if _at(over, key)]
        budget = Node({n: Node(v, place) for n, v in study.budget.items()}, place)
        base = Node({k: n for k, n in under.value.items() if k != "kind"}, under.place, under.keys)
        tree = typed(base).merge(over).put(["train", "budget"], Node(None, place)).put(["train", "budget"], budget)
        for key, value in {"name": name, "out": str(study.folder), "seed": study.seeds[0]}.items():
            tree = tree.put([key], Node(value, place))
        try:
            first = build(tree, Experiment, wrong)
            if why := first.untrainable:
                raise SpecError(f"{over.place}: {why}")
        except SpecError as error:
            problems += [f"arm {name}: {line}" for line in str(error).splitlines()]
            continue
        plain = whole(tree, first)
        arms.append(
            [Job(name, first.model_copy(update={"seed": s}), {**plain, "seed": s}) for s in study.seeds],
        )
    if problems:
        raise complaint(problems)
    return [job for of_seed in zip(*arms, strict=True) for job in of_seed]


def _at(node: Node, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(node.value, dict) or key not in node.value:
            return False
        node = node.value[key]
    return True
