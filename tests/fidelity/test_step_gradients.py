"""Gradients of single steps of a run: their figures against loops, and the gradient against one made by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.tokens import TokenTable
from sdsearch.fidelity.step_gradients import OBJECTIVE, PLAIN, steadiness, step_gradients
from sdsearch.learning.run_probe import opened
from sdsearch.learning.train import train
from sdsearch.rollout.order import choose
from sdsearch.spec import load


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_a_step_is_compared_with_the_others_and_means_without_their_noise() -> None:
    dice = np.random.default_rng(0)
    true, other = dice.normal(size=40), dice.normal(size=40)
    own = 2 * true + other + dice.normal(size=(30, 40)) * 3
    rloo = true + dice.normal(size=(30, 40)) * 3
    found = steadiness(own @ own.T, rloo @ rloo.T, own @ rloo.T)
    steps = [cosine(own[i], np.delete(own, i, 0).sum(0)) for i in range(30)]
    assert found.step.value == pytest.approx(np.mean(steps))
    assert found.step.low is not None
    assert found.step.high is not None
    assert found.step.low < cosine(own[0], 2 * true + other) + 0.2
    # The means themselves are noisy: without that noise they have the cosine of what they are means of.
    assert found.rloo.low is not None
    assert found.rloo.high is not None
    assert found.rloo.low < cosine(2 * true + other, true) < found.rloo.high
    assert cosine(own.mean(0), rloo.mean(0)) < found.rloo.value
    # Steps without a gradient have no direction.
    own[3] = 0.0
    assert steadiness(own @ own.T, rloo @ rloo.T, own @ rloo.T).step.value == pytest.approx(
        np.mean([cosine(own[i], np.delete(own, i, 0).sum(0)) for i in range(30) if i != 3])
    )
    nothing = np.zeros((4, 4))
    assert all(math.isnan(e.value) for e in steadiness(nothing, nothing, nothing))


def test_the_gradient_is_that_of_every_token_by_itself(spec: Path) -> None:
    experiment = load(spec, ["sampling.max_new_tokens=4"])
    pool = experiment.questions("train")
    probe = opened(experiment, frozenset(), lambda which: choose(pool, 0, 2, 0, which), 1)
    groups = experiment.train.rollouts.collect(probe.collector)
    dice = np.random.default_rng(1)
    credit = [dice.normal(size=t.sampled) for g in groups for t in g.kept]
    found = step_gradients(probe, TokenTable.build(groups, credit), [PLAIN], 0, 0)[OBJECTIVE]
    policy = probe.weights.policies["live"]
    total = torch.zeros(())
    attempts = [t for g in groups for t in g.kept]
    for t, numbers in zip(attempts, credit, strict=True):
        logits = policy.model(torch.tensor([t.tokens])).logits[0] / experiment.sampling.temperature
        places, start = list[int](), 0
        for s in t.segments:
            places += range(start, start + len(s.tokens)) if s.role == "model" else []
            start += len(s.tokens)
        logprobs = torch.stack([logits[p - 1].log_softmax(-1)[t.tokens[p]] for p in places])
        total = total - (logprobs * torch.tensor(numbers)).sum() / len(attempts)
    theirs = torch.autograd.grad(total, [*policy.model.parameters()], allow_unused=True)
    flat = torch.cat([g.flatten() for g in theirs if g is not None])
    assert len(flat) == len(found)
    torch.testing.assert_close(found, flat.float(), rtol=1e-3, atol=1e-5)
    assert float(found.norm()) > 0.01


def test_a_run(spec: Path) -> None:
    folder = train(load(spec, ["train={steps: 1, questions: 1}"])).folder
    words = ["fidelity", str(folder), "--gradients", "--credits", "small_parts.by_token", "--credits", "gold_passage"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.stdout)
    assert report["about"]["steps"] == 5
    rows = report["gradients"]
    assert list(rows) == ["(the objective)", "clipped_pg", "distill", "credit small_parts.by_token"]
    assert all(-1 <= row["step"]["value"] <= 1 for row in rows.values())
    assert rows["(the objective)"] != rows["distill"]
    assert "got no gold passage" in report["skipped"]["gold_passage"]
    few = CliRunner().invoke(app, [*words, "--questions", "2"])
    assert few.exit_code == 1
    assert "got 2 questions, expected at least 3" in few.stderr
    wrong = CliRunner().invoke(app, [*words, "--k", "4"])
    assert wrong.exit_code == 2
    assert "--k: not with --gradients" in " ".join(wrong.output.split())
