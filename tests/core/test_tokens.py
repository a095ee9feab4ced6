from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory
from sdsearch.testing import example_groups, example_table, example_trajectory

QUESTION = Question("q", "Where?", ("here",))


def episode() -> Trajectory:
    segments = (
        Segment("prompt", "p", (11, 12)),
        Segment("model", "a", (21, 22, 23), (-0.1, -0.2, -0.3), (Span.MARKUP, Span.QUERY, Span.MARKUP)),
        Segment("observation", "o", (31,)),
        Segment("model", ""),
        Segment("observation", "o", (32,)),
        Segment("model", "b", (41, 42), (-0.4, -0.5), (Span.ANSWER, Span.THINK)),
    )
    return Trajectory(QUESTION, segments, (), "answered", 1.0)


def table_of(*trajectories: Trajectory) -> TokenTable:
    return TokenTable.build([Group(QUESTION, trajectories)], [np.zeros(t.sampled) for t in trajectories if not t.lost])


def test_rows_are_the_sampled_tokens() -> None:
    table = TokenTable.build([Group(QUESTION, (episode(),))], [np.array([1, np.nan, 3, 4, 5])])
    assert table.token.tolist() == [21, 22, 23, 41, 42]
    assert table.sampler_logprob.tolist() == pytest.approx([-0.1, -0.2, -0.3, -0.4, -0.5])
    assert table.advantage.isnan().tolist() == [False, True, False, False, False]
    assert table.advantage[[0, 2, 3, 4]].tolist() == [1, 3, 4, 5]
    assert table.span.tolist() == [Span.MARKUP, Span.QUERY, Span.MARKUP, Span.ANSWER, Span.THINK]
    assert table.trajectory.tolist() == [0] * 5
    assert table.turn.tolist() == [0, 0, 0, 2, 2]
    assert table.position.tolist() == [2, 3, 4, 7, 8]
    assert [c.dtype for c in (table.token, table.sampler_logprob, table.advantage, table.span, table.turn)] == [
        torch.int64,
        torch.float32,
        torch.float32,
        torch.int8,
        torch.int64,
    ]


def test_position_finds_the_token_in_its_trajectory() -> None:
    table = example_table()
    for token, trajectory, position in zip(table.token, table.trajectory, table.position, strict=True):
        assert table.trajectories[trajectory].tokens[position] == token


def test_lost_trajectories_take_no_part() -> None:
    table = example_table()
    assert not any(t.lost for t in table.trajectories)
    assert table.group_of == (0, 0, 0, 1, 1, 2, 4, 4)
    assert len(table.groups) == 5
    assert len(table) == sum(t.sampled for g in example_groups() for t in g.kept)
    lost = replace(episode(), stop_reason="retriever_unavailable")
    both, alone = table_of(lost, episode(), lost), table_of(episode())
    assert both.token.tolist() == alone.token.tolist()
    assert both.trajectory.tolist() == alone.trajectory.tolist()
    assert len(table_of(lost)) == 0


@pytest.mark.parametrize("groups", [[], [Group(QUESTION, ())]])
def test_nothing_sampled(groups: list[Group]) -> None:
    table = TokenTable.build(groups, [])
    assert len(table) == 0
    assert table.token.dtype == torch.int64
    assert table.positions() == {}
    assert table.rows_of([0]).tolist() == []
    assert len(table.at(torch.zeros(0, dtype=torch.bool))) == 0


def test_text_without_tokens_has_no_rows() -> None:
    scripted = Trajectory(QUESTION, (Segment("prompt", "p"), Segment("model", "a")), (), "answered", 1.0)
    assert table_of(scripted, episode()).trajectory.tolist() == [1] * 5


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=72, max_size=72))
def test_part_of_a_table(chosen: list[bool]) -> None:
    table = example_table()
    mask = torch.tensor(chosen[: len(table)] + [True] * (len(table) - 72))
    by_mask, by_index = table.at(mask), table.at(mask.nonzero().squeeze(1))
    for part in (by_mask, by_index):
        assert part.token.tolist() == [t for t, m in zip(table.token.tolist(), mask, strict=True) if m]
        assert part.trajectories is table.trajectories
        assert part.group_of is table.group_of
        assert part.groups is table.groups
    pairs = [(t, p) for t, ps in by_mask.positions().items() for p in ps]
    assert pairs == list(zip(by_mask.trajectory.tolist(), by_mask.position.tolist(), strict=True))


def test_rows_of_trajectories() -> None:
    table = example_table()
    assert table.rows_of([]).tolist() == []
    assert table.rows_of([3, 1]).tolist() == [i for i, t in enumerate(table.trajectory.tolist()) if t in (1, 3)]
    everything = torch.cat([table.rows_of([t]) for t in range(len(table.trajectories))])
    assert everything.tolist() == list(range(len(table)))


def test_moves_to_a_device() -> None:
    table = example_table().to("meta")
    assert {c.device.type for c in (table.token, table.advantage, table.span, table.position)} == {"meta"}
    assert table.trajectories


@pytest.mark.parametrize(
    ("credits", "message"),
    [
        ([], "got advantages for 0 trajectories, expected one for each of 1 kept"),
        ([np.zeros(4)], r"got advantages of shape \(4,\), expected one number for each of 5 sampled tokens"),
        ([np.zeros((5, 1))], r"got advantages of shape \(5, 1\)"),
        ([np.array([0, 0, np.inf, 0, 0])], "got an advantage of inf, expected finite"),
    ],
)
def test_credits_must_fit(credits: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenTable.build([Group(QUESTION, (episode(),))], credits)


@pytest.mark.parametrize("logprob", [float("nan"), -float("inf")])
def test_log_probabilities_must_be_finite(logprob: float) -> None:
    prompt, action, *_ = episode().segments
    broken = replace(action, logprobs=(logprob, -0.1, -0.1))
    with pytest.raises(ValueError, match="log-probability that is not finite"):
        table_of(replace(episode(), segments=(prompt, broken)))


def test_something_must_precede_the_first_token() -> None:
    with pytest.raises(ValueError, match="expected a prompt segment"):
        table_of(replace(episode(), segments=episode().segments[1:]))


def test_example_trajectory_is_what_it_says() -> None:
    found = example_trajectory(QUESTION, [("search", "two words"), ("answer", "x")], 0.5)
    assert found.queries == ("two words",)
    assert found.answer == "x"
    spans = [[s.name for s in a.spans] for a in found.actions]
    assert spans == [["THINK", "MARKUP", "QUERY", "QUERY", "MARKUP"], ["THINK", "MARKUP", "ANSWER", "MARKUP"]]
