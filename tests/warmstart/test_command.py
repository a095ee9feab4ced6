"""The warm start: rows that read as an episode does, and a model made, judged and described in one go."""

import json
from pathlib import Path

import pytest

from sdsearch.core.statistics import Estimate
from sdsearch.errors import SpecError
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import mean
from sdsearch.spec import load
from sdsearch.warmstart.card import LABELS
from sdsearch.warmstart.command import warmstart
from sdsearch.warmstart.judge import Judge
from sdsearch.warmstart.spec import WarmStart

SPEC = """
name: made
out: {folder}/made
data:
  train: {{type: atlas, split: train, countries: 30, hops: [1, 2]}}
  test: {{type: atlas, split: test, countries: 30, hops: [1, 2], split_by: entity}}
environment:
  retriever: {{type: exact, corpus: {{type: atlas, countries: 30}}, embedder: {{type: hashing}}}}
agent: {{type: scripted, wrong_query: 0.4, recover: 0.5, misread: 0.2}}
hint: {{type: hindsight}}
shape:
  {{layers: 2, width: 32, heads: 2, kv_heads: 1, induction_heads: 1, feed_forward: 64, vocabulary: 600, context: 1024}}
cloning: {{questions: 20, group: 3, tokens_per_batch: 4096}}
"""


def test_a_policy_is_made_judged_and_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(SPEC.format(folder=tmp_path))
    # A model this small answers nothing: describe it as if some attempts had been right.
    monkeypatch.setattr(Judge, "figures", lambda *_: dict.fromkeys(LABELS, Estimate(0.5, 0.25, 0.75)))
    figures = warmstart(load(path, model=WarmStart))
    folder = tmp_path / "made"
    assert figures["episodes"] == 60
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 2
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= {p.name for p in folder.iterdir()}
    card = (folder / "README.md").read_text()
    assert all(f"| {label} | 0.500 | 0.250 to 0.750 |" in card for label in LABELS.values())
    # One seed is one policy, bit for bit; another one is another.
    weights = []
    for name, seed in (("again", 0), ("other", 1)):
        warmstart(load(path, [f"out={tmp_path / name}", f"seed={seed}"], model=WarmStart))
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    first = (folder / "model.safetensors").read_bytes()
    assert weights[0] == first
    assert weights[1] != first


def test_a_hint_without_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(SPEC.format(folder=tmp_path))
    with pytest.raises(SpecError, match="hint: the hint gold_answer has no flipped and no others twin"):
        load(path, ["hint=gold_answer"], model=WarmStart)
    with pytest.raises(SpecError, match="hint: got place: after, expected before: that is where a warm start shows"):
        load(path, ["hint={type: hindsight, place: after}"], model=WarmStart)


def test_the_mean_of_scripted_play_is_what_the_card_states(tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(SPEC.format(folder=tmp_path))
    settings = load(path, model=WarmStart)
    session = settings.agent.open(settings.environment.grammar)
    groups = collect(settings.environment.open(), session, settings.data["train"].questions()[:9], 3, seed=0)
    assert 0 < mean(groups)["exact_match"] < 1
