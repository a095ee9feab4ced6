"""What a credit of one's own may get wrong is said with its name, before anything is made of it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sdsearch.components.catalogue import SPECS
from sdsearch.crediting.checked import checked
from sdsearch.errors import ComponentError, SpecError
from sdsearch.fidelity.candidates import credited
from sdsearch.fidelity.exact import ExactProbe
from sdsearch.fidelity.mdp import SearchProblem
from sdsearch.objective import Credit
from sdsearch.probe import Probe
from sdsearch.spec import load
from sdsearch.testing import ExampleProbe, check_credit, example_groups
from sdsearch.trajectory import Group, Trajectory


class Says(Credit):
    """Returns what the function makes of each kept trajectory."""

    def credits(self, groups: Sequence[Group], probe: Probe) -> Any:
        return [self.told(t) for g in groups for t in g.kept]

    def told(self, trajectory: Trajectory) -> Any:
        return np.zeros(trajectory.sampled)


class TokenShort(Says):
    def told(self, trajectory: Trajectory) -> Any:
        return np.zeros(trajectory.sampled)[1:]


class PerTurn(Says):
    def told(self, trajectory: Trajectory) -> Any:
        return np.zeros(len(trajectory.actions))


class Words(Says):
    def told(self, trajectory: Trajectory) -> Any:
        return ["good"] * trajectory.sampled


class Endless(Says):
    def told(self, trajectory: Trajectory) -> Any:
        return np.array([0.0, 1.0, -np.inf][: trajectory.sampled] + [0.0] * (trajectory.sampled - 3))


class Nothing(Says):
    def credits(self, groups: Sequence[Group], probe: Probe) -> Any:
        return None


class OneTooFew(Says):
    def credits(self, groups: Sequence[Group], probe: Probe) -> Any:
        return super().credits(groups, probe)[1:]


class Silent(Says):
    def told(self, trajectory: Trajectory) -> Any:
        return np.full(trajectory.sampled, np.nan)


WRONG: list[tuple[Callable[[], Credit], str]] = [
    (
        TokenShort,
        r"TokenShort: trajectory 0 \(question '.*'\): got an array of shape \(\d+,\), expected one number",
    ),
    (PerTurn, "PerTurn: trajectory 0 .* got an array of shape"),
    (Words, r"Words: trajectory 0 .* got \['good', .*\], expected an array of numbers"),
    (Endless, "Endless: trajectory 0 .* got -inf at its sampled token 2, expected finite numbers, or NaN"),
    (Nothing, "Nothing: got None, expected a list of \\d+ arrays, one per kept trajectory"),
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
    assert len(checked(Silent(), example_groups(), ExampleProbe())) > 1
    with pytest.raises(AssertionError, match="got NaN for every token"):
        check_credit(Silent())


def test_a_credit_has_to_define_something() -> None:
    class Asign(Credit):
        def asign(self, group: Group) -> None:
            """A slip of the pen."""

    with pytest.raises(ValidationError, match=r"defines neither `assign\(group\)` nor `credits\(groups, probe\)`"):
        Asign()


class Misspelt(Says):
    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"EMA"})


def test_weights_that_nobody_has_are_refused() -> None:
    with pytest.raises(SpecError, match="objective: a component asks for weights EMA, expected live, ema, frozen, ext"):
        load(SPECS / "grpo.yaml", [f"objective.credit=[{{type: '{__name__}:Misspelt'}}]"])
