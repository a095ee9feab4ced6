"""GiGPO: beside its whole episode, each turn is compared with the other turns that stood in the same place.

Where attempts at a question meet again, what followed tells good actions from bad ones without a critic (Feng et al.,
2505.10978): A = A_episode + w * A_step, where A_step compares the discounted returns of all turns that share an
*anchor*, what was shown before them: the question at first, later the passages that the last search returned.

Deviations: an anchor is the ids of the passages, not their text, and has to be equal: the source takes texts as alike
from a ratio of 0.95 on (0.9 in its search example); an invalid action's notice is an anchor too.
"""

from difflib import SequenceMatcher
from typing import Literal

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import GroupCredit, Numbers
from sdsearch.core.trajectory import Group
from sdsearch.crediting.baselines import Scale, anchors, compared, group_advantages, returns
from sdsearch.crediting.incompatible import alone
from sdsearch.crediting.per_turn import by_trajectory, per_turn


class GiGPO(GroupCredit):
    """A_episode + step_weight * A_step on the tokens of each turn; a turn that is alone at its anchor has A_step 0."""

    step_weight: float = Field(1.0, ge=0)
    """w, the factor of A_step."""
    gamma: float = Field(0.95, gt=0, le=1)
    """The return of a turn is the reward, discounted once for each turn that follows."""
    norm: Literal["mean_norm", "mean_std_norm"] = "mean_norm"
    """Whether both parts are divided by their standard deviation; the search example of the method has no division."""
    similarity: float = Field(1.0, gt=0, le=1)
    """Anchors are the same from this ratio of `difflib` on (to the first of a kind); 1: only equal ones, as fits ids:
    one passage is the same everywhere, and a list of three with another one in it has a ratio of 0.67 at most."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def of_group(self, group: Group) -> Numbers:
        scale: Scale = "none" if self.norm == "mean_norm" else "std"
        episodes = group_advantages([t.reward for t in group.kept], scale)
        shown = [a for t in group.kept for a in anchors(t)]
        kinds: list[tuple[str, ...]] = []
        for anchor in shown:
            if not any(self.same(anchor, k) for k in kinds):
                kinds.append(anchor)
        keys = [next(i for i, k in enumerate(kinds) if self.same(anchor, k)) for anchor in shown]
        steps = compared(keys, [r for t in group.kept for r in returns(t, self.gamma)], scale)
        rows = zip(group.kept, episodes, by_trajectory(group.kept, steps), strict=True)
        return [per_turn(t, episode + self.step_weight * step) for t, episode, step in rows]

    def same(self, one: tuple[str, ...], two: tuple[str, ...]) -> bool:
        """Say whether two anchors count as one."""
        return one == two or SequenceMatcher(None, two, one, autojunk=False).ratio() >= self.similarity
