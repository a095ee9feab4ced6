"""The numbers that a credit, a hint, a term or a strategy can be set to: what each is by default, and its bounds."""

import math
import types
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import TypeAdapter, ValidationError

from sdsearch.config.component import Component, resolve
from sdsearch.config.discovery import known
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.hint import Hint
from sdsearch.contracts.loss import Term
from sdsearch.contracts.rollouts import RolloutStrategy

FAMILIES: dict[str, type[Component]] = {f.family: f for f in (Credit, Hint, Term, RolloutStrategy)}
TABLE = """
    credit   constant           value           1      (-inf, inf)
    credit   gae                gamma           1      (0, 1]
    credit   gae                lam             1      [0, 1]
    credit   gigpo              step_weight     1      [0, inf)
    credit   gigpo              gamma           0.95   (0, 1]
    credit   gigpo              similarity      1      (0, 1]
    credit   gold_passage       gamma           0.95   (0, 1]
    credit   group_mean         eps             1e-6   (0, 1]
    credit   hcapo              micro_weight    1      [0, inf)
    credit   hcapo              temperature     5      (0, inf)
    credit   hcapo              gamma           0.95   (0, 1]
    credit   hcapo              smoothing       0      [0, 1)
    credit   hgpo               step_weight     1      [0, inf)
    credit   hgpo               depth           2      [0, 100]
    credit   hgpo               alpha           1      [0, 10]
    credit   hgpo               offset          2      [1, 1000]
    credit   hgpo               gamma           0.95   (0, 1]
    credit   igpo               gamma           1      (0, 1]
    credit   modulate           most            4      [1, 1000]
    credit   modulate           strength        0.5    [0, 1]
    credit   modulate           decay_steps     none   [1, inf)
    credit   modulate           reach           0.2    [0, 1]
    credit   modulate           temperature     0.02   (0, inf)
    credit   modulate           threshold       0.02   [0, 1)
    credit   modulate           memory          0.95   [0, 1]
    credit   mt_grpo            coefficient     1      [0, inf)
    credit   mt_grpo            gamma           1      (0, 1]
    credit   only_right         above           0      [0, 1)
    credit   overlong           longest         256    [1, 1000000]
    credit   overlong           buffer          51     [1, 1000000]
    credit   overlong           penalty         1      [0, inf)
    credit   reinforce_pp       gamma           1      (0, 1]
    credit   reinforce_pp       kl              0      [0, inf)
    credit   step_search        key             0.618  [0, inf)
    credit   step_search        step            0.6    [0, inf)
    credit   step_search        unanswered      -1     (-inf, inf)
    credit   step_search        gamma           1      (0, 1]
    credit   tips               scale           0.02   [0, inf)
    credit   tips               gamma           1      (0, 1]
    credit   turnsight          strength        0.5    [0, 1]
    credit   turnsight          reach           0.5    [0, 1]
    credit   turnsight          max_words       150    [1, 100000]
    credit   vine               k               9      [1, 1000]
    hint     documents          max_characters  none   [1, 1000000]
    hint     hindsight          above           0      [0, 1)
    hint     hindsight          max_queries     none   [1, 1000]
    hint     hindsight          max_characters  none   [1, 1000000]
    hint     hindsight          max_words       none   [1, 100000]
    hint     next_searches      count           1      [1, 1000]
    hint     next_searches      max_words       150    [1, 100000]
    hint     peer_success       above           0      [0, 1)
    hint     peer_success       skip            0      [0, 1000]
    hint     peer_success       max_characters  none   [1, 1000000]
    term     cispo              correction      none   [1, inf)
    term     cispo              clip            none   (0, 1)
    term     cispo              clip_high       4      (0, inf)
    term     clipped_pg         correction      none   [1, inf)
    term     clipped_pg         clip            0.2    (0, 1)
    term     clipped_pg         clip_high       none   (0, inf)
    term     distill            beta            0.5    (0, 1)
    term     distill            top_k           50     [1, 1000000]
    term     gated_gap          sharpness       5      [0, inf)
    term     gspo               correction      none   [1, inf)
    term     gspo               clip            3e-4   (0, 1)
    term     gspo               clip_high       4e-4   (0, inf)
    term     llds               threshold       1e-3   [0, inf)
    rollouts critical           initial         4      [1, 1000]
    rollouts entropy_branching  initial         4      [1, 1000]
    rollouts entropy_branching  base            0.5    [0, 1]
    rollouts entropy_branching  weight          0.2    [0, inf)
    rollouts entropy_branching  first           10     [1, 1000000]
    rollouts tree               trees           2      [1, 1000]
    rollouts tree               expand          2      [1, 1000]
    rollouts tree               rounds          1      [1, 1000]
"""
ROWS = [tuple(line.split(maxsplit=4)) for line in TABLE.strip().splitlines()]
SHARED = {"weight", "constant"}
"""What all members of a family have."""


NEEDED: dict[str, dict[str, object]] = {
    "Distill": {"hint": "hindsight"},
    "GatedGap": {"hint": "hindsight"},
    "Modulate.temperature": {"form": "rlcsd", "against": "flipped"},
    "Modulate.threshold": {"form": "rlcsd", "against": "flipped", "strength": 1},
    "Modulate.memory": {"form": "agent_opsd"},
}
"""Other settings that a component, or a field of it, cannot be without."""


def numbers(annotation: Any) -> set[type]:
    """Return the kinds of number that a field takes."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    return {int, float} & set(parts)


def test_the_table_is_whole() -> None:
    found = {
        (name, component, field)
        for name, family in FAMILIES.items()
        for component in known(family)
        for field, info in resolve(family, component).model_fields.items()
        if numbers(info.annotation) and (name == "rollouts" or field not in SHARED)
    }
    assert {row[:3] for row in ROWS} == found


@pytest.mark.parametrize(("family", "name", "field", "default", "interval"), ROWS)
def test_default_and_bounds(family: str, name: str, field: str, default: str, interval: str) -> None:
    component = resolve(FAMILIES[family], name)
    info = component.model_fields[field]
    assert info.default == (None if default == "none" else float(default))
    step = 1 if numbers(info.annotation) == {int} else 1e-6
    for bound, sign in zip(map(float, interval[1:-1].split(",")), (-1, 1), strict=True):
        if math.isinf(bound):
            assert setting(component, field, sign * 10**9) == sign * 10**9
            continue
        closed = interval[0 if sign < 0 else -1] in "[]"
        inside, outside = (bound, bound + sign * step) if closed else (bound - sign * step, bound)
        assert setting(component, field, inside) == inside
        with pytest.raises(ValidationError, match=field):
            setting(component, field, outside)


def setting(component: type[Component], field: str, value: float) -> object:
    needed = NEEDED.get(component.__name__, {}) | NEEDED.get(f"{component.__name__}.{field}", {})
    return getattr(TypeAdapter(component).validate_python({**needed, field: value}), field)


@pytest.mark.parametrize(
    ("family", "name", "field"),
    [("credit", "turnsight", "horizons"), ("hint", "hindsight", "shows"), ("hint", "peer_success", "shows")],
)
def test_an_empty_list_is_refused(family: str, name: str, field: str) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        resolve(FAMILIES[family], name).model_validate({field: []})
