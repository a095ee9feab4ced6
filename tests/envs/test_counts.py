"""What a trajectory counts of an episode: searches, repeated ones, those for nothing, and invalid actions."""

from collections.abc import Sequence

import pytest

from sdsearch.contracts.agent import Reply
from sdsearch.contracts.environment import EnvFactory
from sdsearch.core.question import Hit, Question
from sdsearch.core.trajectory import Segment
from sdsearch.envs.vector_env import SearchVectorEnv
from sdsearch.rollout.collect import collect

ASKED = Question("q", "Where?", ("Paris",))


class Nothing:
    """Finds nothing; see `sdsearch.contracts.retrieval.Searcher`."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[] for _ in queries]


class Saying:
    """Says what it is told, turn by turn; see `sdsearch.contracts.agent.AgentSession`."""

    def __init__(self, *moves: str) -> None:
        self.moves = iter(moves)

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None: ...

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        return [Reply(Segment("observation", text), Segment("model", next(self.moves))) for text in texts]

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        return self.act(rows, [past[-1].text for past in pasts])


class InVain(EnvFactory):
    """Makes environments in which nothing is found."""

    def __call__(self, num_envs: int) -> SearchVectorEnv:
        return SearchVectorEnv(num_envs, questions=(), searcher=Nothing(), max_turns=9)


def ask(query: str) -> str:
    return f"<search>{query}</search>"


@pytest.mark.parametrize(
    ("moves", "searches", "repeated", "empty", "invalid"),
    [
        (["<answer>Paris</answer>"], 0, 0, 0, 0),
        ([ask("a"), ask(" a "), ask("b"), ask("a\u200b"), ask("a"), "<answer>Paris</answer>"], 5, 2, 0, 0),
        ([ask("A"), ask("a"), "<answer>Paris</answer>"], 2, 0, 0, 0),
        ([ask(""), ask(" \n"), ask("\u200b"), "<answer>Paris</answer>"], 0, 0, 3, 3 / 4),
        ([ask("?"), ask("?"), ask("..."), "<answer>Paris</answer>"], 3, 1, 3, 0),
        (["hm", "<answer></answer>", ask("a"), "<answer>Paris</answer>"], 1, 0, 0, 2 / 4),
        ([ask(""), ask("!"), ask("a"), ask("a"), "hm", "<answer>Paris</answer>"], 3, 1, 2, 2 / 6),
    ],
)
def test_counts(moves: list[str], searches: int, repeated: int, empty: int, invalid: float) -> None:
    (group,) = collect(InVain(), Saying(*moves), [ASKED], 1, seed=0)
    (trajectory,) = group.trajectories
    counted = [trajectory.metrics[name] for name in ("searches", "repeated", "empty", "invalid")]
    assert counted == [searches, repeated, empty, pytest.approx(invalid)]
    assert trajectory.reward == 1.0
    assert trajectory.metrics["no_answer"] == 0.0


def test_an_episode_without_an_answer() -> None:
    (group,) = collect(InVain(), Saying(*[ask("a")] * 9), [ASKED], 1, seed=0)
    assert group.trajectories[0].stop_reason == "max_turns"
    assert group.trajectories[0].metrics["no_answer"] == 1.0
