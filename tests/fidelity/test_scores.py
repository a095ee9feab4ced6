"""The scores, by hand and against scipy, and what credits of known quality get."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from sdsearch.config.discovery import known
from sdsearch.contracts.credit import Credit
from sdsearch.core.statistics import Estimate
from sdsearch.core.trajectory import Group, kept
from sdsearch.fidelity.advantages import TrueAdvantages, estimate
from sdsearch.fidelity.candidates import candidates, credited
from sdsearch.fidelity.command import exact
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem
from sdsearch.fidelity.result import Result, reachable
from sdsearch.fidelity.scores import Scores, Turns, scores, spearman
from sdsearch.objectives.credit.gae import GAE
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.credit.log_ratio import LogRatio
from sdsearch.objectives.credit.vine import Vine

PROBLEM = SearchProblem()
GROUPS = PROBLEM.groups(12, 6, seed=0)
TRUTH = [TrueAdvantages.exact(PROBLEM.advantages(t)) for t in kept(GROUPS)]
TURNS = Turns.of(TRUTH, [i for i, g in enumerate(GROUPS) for _ in g.kept])


def score(credit: Credit, seed: int = 1) -> Scores:
    """Score a credit on the groups of this file."""
    told, skipped = credited({"it": credit}, GROUPS, ExactProbe(PROBLEM, seed))
    assert not skipped
    return scores(told["it"], TURNS)


def test_scores_by_hand() -> None:
    first = TrueAdvantages.exact(np.array([0.1, 0.2, -0.3]))
    first = first._replace(low=np.array([-0.1, 0.1, -0.4]), high=np.array([0.3, 0.3, -0.2]))
    second = TrueAdvantages.exact(np.array([0.5, 0.0]))
    turns = Turns.of([first, second], [0, 1])
    assert turns.certain.tolist() == [False, True, True, True, False]
    assert turns.idle == pytest.approx(0.4)
    found = scores([np.array([2.0, 1.0, 1.0]), np.array([-1.0, np.nan])], turns)
    # Ranks 3, 1.5, 1.5 against 2, 3, 1: covariance 0. The second trajectory has one credited turn: nothing to rank.
    assert found.within.value == pytest.approx(0.0)
    # Ranks 4, 2.5, 2.5, 1 against 2, 3, 1, 4: deviations 1.5 0 0 -1.5 and -0.5 0.5 -1.5 1.5; -3 / sqrt(4.5 * 5).
    assert found.pooled.value == pytest.approx(-3 / np.sqrt(22.5))
    assert found.sign.value == pytest.approx(1 / 3)
    assert found.idle.value == pytest.approx(2 / 5)
    assert found.credited == pytest.approx(4 / 5)


def test_queries_are_ranked_without_answers() -> None:
    truth = [TrueAdvantages.exact(np.array([0.1, 0.2, 0.9])), TrueAdvantages.exact(np.array([0.3, 0.5]))]
    credits = [np.array([2.0, 3.0, 1.0]), np.array([1.0, 2.0])]
    found = scores(credits, Turns.of(truth, [0, 1], [[True, True, False], [True, False]]))
    # Ranks 2, 3, 1 against 1, 2, 3: -1/2; the second has 1. Of the queries only the first has two to rank.
    assert found.within.value == pytest.approx(0.25)
    assert found.queries.value == pytest.approx(1.0)
    assert scores(credits, Turns.of(truth, [0, 1], [[False] * 3, [False] * 2])).queries.low is None


def test_intervals_leave_out_each_question_in_turn() -> None:
    told, _ = credited({"it": GroupMean()}, GROUPS[:4], ExactProbe(PROBLEM))
    truth, asked = TRUTH[:24], np.repeat(np.arange(4), 6)
    found = scores(told["it"], Turns.of(truth, asked.tolist()))

    def pooled(rows: list[int]) -> float:
        credit, value = (np.concatenate([x[i] for i in rows]).round(9) for x in (told["it"], [a.value for a in truth]))
        return float(spearmanr(credit, value).statistic)

    without = [pooled([i for i in range(24) if asked[i] != q]) for q in range(4)]
    half = 3.182446305284263 * (np.var(without) * 3) ** 0.5  # t with three degrees of freedom
    assert found.pooled.value == pytest.approx(pooled([*range(24)]))
    assert found.pooled.high == pytest.approx(min(1.0, found.pooled.value + half))
    assert found.pooled.low == pytest.approx(max(-1.0, found.pooled.value - half))
    alone = scores(told["it"][:6], Turns.of(truth[:6], [0] * 6))
    assert alone.pooled.low is None
    assert alone.sign.low is None


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=20))
def test_spearman_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    one, two = (np.array(x, np.float64) for x in zip(*pairs, strict=True))
    if np.ptp(two) == 0:
        assert np.isnan(spearman(one, two))
    elif np.ptp(one) == 0:
        assert spearman(one, two) == 0.0
    else:
        assert spearman(one, two) == pytest.approx(spearmanr(one, two).statistic)


def test_rounding_ranks_nothing() -> None:
    """The mean over tokens of one number differs in its last bits with their count."""
    credits = [np.full(len(a.value), 0.1) + np.arange(len(a.value)) * 1e-17 for a in TRUTH]
    assert scores(credits, TURNS).within == (0.0, 0.0, 0.0)
    assert scores(credits, TURNS).pooled == (0.0, None, None)


def test_what_credits_nothing_has_no_scores() -> None:
    found = scores([np.full(len(a.value), np.nan) for a in TRUTH], TURNS)
    assert found.credited == 0.0
    assert all(np.isnan(figure.value) and figure.low is None for figure in found[:5])


def test_an_oracle_is_right() -> None:
    found = scores([3 * a.value for a in TRUTH], TURNS)
    assert found.within.value == found.pooled.value == pytest.approx(1.0)
    assert (found.sign, found.idle, found.credited) == ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1.0)
    assert scores([-a.value for a in TRUTH], TURNS).sign.value == 0.0


def test_an_exact_critic_is_right_turn_by_turn() -> None:
    """With lambda 0 GAE is r + V' - V: only whitening moves it, which keeps every rank."""
    found = score(GAE(level="turn", lam=0.0))
    assert found.within.value == found.pooled.value == pytest.approx(1.0)


def test_ideal_hindsight_has_every_sign_right() -> None:
    """log pi(a|s, right) - log pi(a|s) = log Q / V, on queries: the answers' turns are not credited."""
    found = score(LogRatio())
    queries = np.mean([turn.kind == "search" for t in kept(GROUPS) for turn in t.turns])
    assert found.sign.value == 1.0
    assert found.idle.value == pytest.approx(0.0)
    assert found.credited == pytest.approx(queries)


def test_a_broadcast_outcome_pays_idle_turns_as_well() -> None:
    found = score(GroupMean())
    assert found.within.value == 0.0
    assert 0.1 < found.pooled.value < 0.6
    assert found.idle.value == pytest.approx(TURNS.idle, abs=0.06)
    question = PROBLEM.question(0)
    group = Group(question, tuple(PROBLEM.recorded(question, a) for a in ([0, 1, 0, 0, 3], [1, 3])))
    truth = [TrueAdvantages.exact(PROBLEM.advantages(t)) for t in group.kept]
    told, _ = credited({"it": GroupMean()}, [group], ExactProbe(PROBLEM))
    # Seven turns of the same absolute credit, two of which were idle.
    assert scores(told["it"], Turns.of(truth, [0, 0])).idle.value == pytest.approx(2 / 7)


def test_monte_carlo_credit_converges() -> None:
    found, errors = [], []
    for k in (1, 8, 32):
        told, _ = credited({"it": Vine(k=k, whiten=False)}, GROUPS, ExactProbe(PROBLEM, 5))
        errors.append(np.sqrt(np.mean((np.concatenate(told["it"]) - TURNS.value) ** 2)))
        found.append(scores(told["it"], TURNS))
    assert found[0].pooled.value < found[1].pooled.value < found[2].pooled.value
    assert found[2].pooled.value > 0.85
    # The error falls as 1 / sqrt(k).
    assert errors[0] / errors[2] == pytest.approx(32**0.5, rel=0.25)


@pytest.mark.parametrize("k", [8, 32])
def test_the_ceiling_is_what_the_truth_scores_against_estimates(k: int) -> None:
    """On the problem whose advantages are known the row can be checked: it is told from the estimates alone."""
    groups = PROBLEM.groups(40, 5, seed=4)
    known = [PROBLEM.advantages(t) for t in kept(groups)]
    found = estimate(groups, ExactProbe(PROBLEM, seed=11).continue_from, k)
    judgement = Result({}, groups, found, {"truth": known}, {})
    truth = judgement.scores["truth"]
    for ceiling, perfect in zip(judgement.ceiling, (truth.within, truth.queries, truth.pooled), strict=True):
        assert perfect.value < 0.97
        assert ceiling.value == pytest.approx(perfect.value, abs=0.05)
        assert ceiling.low is not None
        assert ceiling.low < ceiling.value


def test_reachable_by_hand() -> None:
    # 2 * 0.5 / 1.5 = 2/3; nothing agrees by less than chance.
    found = reachable(Estimate(0.5, -0.1, 1.0))
    assert found.value == pytest.approx((2 / 3) ** 0.5)
    assert (found.low, found.high) == (0.0, 1.0)
    assert np.isnan(reachable(Estimate(np.nan, None, None)).value)


@pytest.fixture(scope="module")
def judged() -> Result:
    return exact()


def test_the_recorded_table_is_up_to_date(judged: Result) -> None:
    """What docs/fidelity.md says of each credit; `sdsearch fidelity` prints the table."""
    page = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text()
    lines = page.partition("## The known problem")[2].partition("## ")[0].splitlines()
    recorded = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    assert {name.strip("`") for name, *_ in recorded} == judged.scores.keys()
    for name, *cells in recorded:
        own = judged.scores[name.strip("`")]
        for cell, figure in zip(cells[:5], own[:5], strict=True):
            value = np.nan if cell == "-" else float(cell)
            assert value == pytest.approx(figure.value, abs=0.011, nan_ok=True), name


@pytest.mark.parametrize("name", known(Credit))
def test_every_credit_can_be_judged(judged: Result, name: str) -> None:
    found = judged.scores[name]
    assert 0 < found.credited <= 1
    assert abs(found.pooled.value) <= 1
    assert 0 <= found.sign.value <= 1
    assert 0 <= found.idle.value <= 1


def test_credits_that_know_nothing_score_nothing(judged: Result) -> None:
    for name in ("random", "constant", "shuffled_reward"):
        assert abs(judged.scores[name].pooled.value) < 0.25
        assert judged.scores[name].within.value == 0.0


def test_the_report_says_what_was_not_judged_and_why() -> None:
    question = PROBLEM.question(0)
    bare = Group(type(question)("q", "Where?", question.answers), GROUPS[0].trajectories)
    found, skipped = candidates(None, ["gold_passage", "group_mean", "group_mean"])
    assert (list(found), skipped) == (["gold_passage", "group_mean", "group_mean #2"], {})
    told, failed = credited(found, [bare], ExactProbe(PROBLEM))
    assert list(told) == ["group_mean", "group_mean #2"]
    report = Result({"of": "a test"}, GROUPS[:1], TRUTH[:6], told, failed).report().markdown()
    assert "- gold_passage: question 'q': got no gold passage, expected at least one" in report
    assert "| group_mean | 0.00 |" in report
