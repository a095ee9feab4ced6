"""specs/paper/: what the paper fixes stands there, and they run with a tiny model of the same architecture."""

import json
from pathlib import Path

import pytest

import sdsearch
from sdsearch.evaluation.command import evaluated
from sdsearch.evaluation.evaluate import evaluate
from sdsearch.learning.train import train
from sdsearch.learning.trainer import Trainer
from sdsearch.spec import load

FOLDER = Path(sdsearch.__file__).parent / "specs" / "paper"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
FILES = {
    "nq": "test",
    "triviaqa": "test",
    "popqa": "test",
    "hotpotqa": "dev",
    "2wikimultihopqa": "dev",
    "musique": "dev",
    "bamboogle": "test",
}
FEWER = [
    "environment.retriever={type: bm25, corpus: {path: corpus.jsonl}}",
    "model.device=cpu",
    "train={steps: 1, questions: 2, group: 2, evaluate_every: 0}",
    "objective.terms.0.weight=1",
    "evaluate={questions: 1, between: 1}",
    "sampling.max_new_tokens=8",
    "environment.max_turns=2",
]


def test_what_the_paper_fixes() -> None:
    for name in NAMES:
        spec = load(FOLDER / f"{name}.yaml")
        assert spec.data and spec.objective
        assert (spec.train.steps, spec.train.group, spec.environment.model_dump()["top_k"]) == (200, 5, 3)
        assert list(spec.data.train.model_dump()["of"]) == ["nq", "hotpotqa"]
        assert list(spec.data.test.model_dump()["of"]) == list(FILES)
        size, instruct = ("3B" if "3b" in name else "7B"), ("-Instruct" if "instruct" in name else "")
        assert (spec.model.name, spec.model.chat) == (f"Qwen/Qwen2.5-{size}{instruct}", bool(instruct))
        taught = [term for term in spec.objective.terms if term.type == "distill"]
        assert len(taught) == name.startswith("sd_search")
        for term in taught:
            assert [term.weight_at(step) for step in (0, 49, 50, 199)] == [0, 0, 1e-3, 1e-3]
            shown = term.model_dump()
            assert (shown["divergence"], shown["beta"], shown["top_k"], shown["rows"]) == ("jsd", 0.5, 50, "query")
            hint = shown["hint"]
            assert (hint["include_self"], hint["label_by"], hint["above"]) == ("all", "f1", 0.0)


@pytest.mark.parametrize("name", ["sd_search_3b", "sd_search_7b_instruct"])  # the others are parts of these
def test_it_trains_and_is_judged_on_all_seven(
    name: str, tmp_path: Path, tiny_qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for of, part in FILES.items():
        folder = tmp_path / "data" / of
        folder.mkdir(parents=True)
        for split in (part, *(["train"] if of in ("nq", "hotpotqa") else [])):
            asked = [
                {"id": f"{split}_{i}", "question": f"{of}: where is place {i}?", "golden_answers": ["Rome", "Roma"]}
                for i in range(4)
            ]
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, asked)))
    passages = [{"id": str(i), "contents": f'"Place {i}"\nPlace {i} is in Rome.'} for i in range(10)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, passages)))
    monkeypatch.setattr(Trainer, "report", lambda self: None)  # pictures take longer than all else
    run = train(load(FOLDER / f"{name}.yaml", [*FEWER, f"model.name={tiny_qwen}"]))
    lines = run.metrics()
    assert [line["train"]["learning_rate"] for line in lines if "train" in line] == [1e-6]
    assert '"learning_rate": 1e-06' in (run.folder / "metrics.jsonl").read_text()
    assert [name.partition("/")[2] for name in lines[-1]["evaluate"] if "/" in name] == list(FILES)
    experiment, folder, step = evaluated(run.folder)
    done = evaluate(experiment, folder=folder, step=step)
    assert (list(done.scores.sets), len(done.groups)) == (list(FILES), 7)
    assert done.scores.macro["exact_match"].n == 7
