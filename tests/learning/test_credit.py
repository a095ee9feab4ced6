"""What a credit of one's own may get wrong is said with its name, before anything is made of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from sdsearch.config.catalogue import SPECS
from sdsearch.contracts.credit import Advantages, Credit, GroupCredit, Probe
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.errors import ComponentError, SpecError
from sdsearch.fidelity.candidates import credited
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem
from sdsearch.learning.credit import checked
from sdsearch.spec import load
from sdsearch.testing import ExampleProbe, check_credit, example_groups


class Says(Credit):
    """Returns what the function makes of each kept trajectory."""

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Any:
        return Advantages([self.say(t) for g in groups for t in g.kept])

    def say(self, trajectory: Trajectory) -> Any:
        return np.zeros(trajectory.sampled)


class TokenShort(Says):
    def say(self, trajectory: Trajectory) -> Any:
        return np.zeros(trajectory.sampled)[1:]


class PerTurn(Says):
    def say(self, trajectory: Trajectory) -> Any:
        return np.zeros(len(trajectory.actions))


class Words(Says):
    def say(self, trajectory: Trajectory) -> Any:
        return ["good"] * trajectory.sampled


class Endless(Says):
    def say(self, trajectory: Trajectory) -> Any:
        return np.array([0.0, 1.0, -np.inf][: trajectory.sampled] + [0.0] * (trajectory.sampled - 3))


class Nothing(Says):
    def advantages(self, groups: Sequence[Group], probe: Probe) -> Any:
        return None


class BareList(Says):
    def advantages(self, groups: Sequence[Group], probe: Probe) -> Any:
        return list(super().advantages(groups, probe).values)


class WrongTargets(Says):
    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"critic"})

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Any:
        values = super().advantages(groups, probe).values
        return Advantages(values, [np.zeros(1) for _ in values])


class OneTooFew(Says):
    def advantages(self, groups: Sequence[Group], probe: Probe) -> Any:
        return Advantages(super().advantages(groups, probe).values[1:])


class Silent(Says):
    def say(self, trajectory: Trajectory) -> Any:
        return np.full(trajectory.sampled, np.nan)


WRONG: list[tuple[Callable[[], Credit], str]] = [
    (
        TokenShort,
        r"TokenShort: trajectory 0 \(question '.*'\): got an array of shape \(\d+,\), expected one number",
    ),
    (PerTurn, "PerTurn: trajectory 0 .* got an array of shape"),
    (Words, r"Words: trajectory 0 .* got \['good', .*\], expected an array of numbers"),
    (
        Endless,
        "Endless: trajectory 0 .* got -inf at its sampled token 2, expected finite numbers of at most 3.4e.38, or NaN",
    ),
    (Nothing, r"Nothing: got None, expected `Advantages\(values\)`, one array per kept trajectory"),
    (BareList, r"BareList: got \[array.*expected `Advantages\(values\)`"),
    (WrongTargets, r"WrongTargets, targets: trajectory 0 .* got an array of shape \(1,\)"),
    (OneTooFew, "OneTooFew: got .*, expected a list of"),
]


@pytest.mark.parametrize(("made", "said"), WRONG)
def test_wrong_answers_are_named(made: Callable[[], Credit], said: str) -> None:
    with pytest.raises(ComponentError, match=said):
        checked(made(), example_groups(), ExampleProbe())


@pytest.mark.parametrize(("made", "said"), [w for w in WRONG if w[0] not in (PerTurn, Endless)])
def test_fidelity_does_not_rank_them(made: Callable[[], Credit], said: str) -> None:
    """On the small problem a turn is one token, so that a number for each turn is right there."""
    problem = SearchProblem()
    groups = problem.groups(2, 3, seed=0)
    with pytest.raises(ComponentError, match=said):
        credited({"mine": made()}, groups, ExactProbe(problem))
    assert not credited({"mine": Says()}, groups, ExactProbe(problem))[1]


def test_a_credit_that_never_speaks_fails_its_contract() -> None:
    assert len(checked(Silent(), example_groups(), ExampleProbe()).values) > 1
    with pytest.raises(AssertionError, match="got NaN for every token"):
        check_credit(Silent())


class Asign(GroupCredit):
    def asign(self, group: Group) -> None:
        """A slip of the pen."""


def test_a_credit_has_to_define_something() -> None:
    with pytest.raises(SpecError, match="test_credit:Asign does not define `of_group`, expected of a credit"):
        load(SPECS / "grpo.yaml", [f"objective.credit=[{{type: '{__name__}:Asign'}}]"])


class Misspelt(Says):
    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"EMA"})


def test_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(SpecError, match="objective: a component asks for weights EMA, expected live, ema, frozen, ext"):
        load(SPECS / "grpo.yaml", [f"objective.credit=[{{type: '{__name__}:Misspelt'}}]"])
