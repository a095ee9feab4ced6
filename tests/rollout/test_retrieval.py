"""The retriever alone: each test question is asked as it is; figures by hand, dashes with their reason."""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sdsearch.cli import app
from sdsearch.core.question import Hit, Passage, Question
from sdsearch.rollout.retrieval import NO_GOLD, STRANGE, Quality, search

ANSWERS = {"q1": ["x", "a", "y", "b"], "q2": ["c"], "q3": [], "q4": ["a", "b", "x"], "q5": ["x"]}


class Shelf:
    """Finds what is written down, twelve at most; the text of passage x holds Rome."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked.append((list(queries), k))
        text = {"x": "It is Rome."}
        return [[Hit(Passage(i, i, text.get(i, "?")), 1 / (r + 1)) for r, i in enumerate(ANSWERS[q])] for q in queries]


def question(text: str, *gold: str, source: str = "") -> Question:
    return Question(text, text, ("Rome",), gold, source=source)


def test_figures_by_hand() -> None:
    shelf, done = Shelf(), list[int]()
    questions = [question("q1", "a", "b"), question("q2", "c"), question("q3", "a"), question("q4")]
    found = search(shelf, questions, top_k=2, batch=3, done=done.append)
    assert shelf.asked == [(["q1", "q2", "q3"], 10), (["q4"], 10)] and done == [3, 1]
    one = found[""]
    assert (list(found), one.questions, one.gold, one.remark) == ([""], 4, 3, "")
    gains = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert one.figures == pytest.approx(
        {
            "recall@1": (0 + 1 + 0) / 3,
            "recall@2": (1 / 2 + 1 + 0) / 3,
            "recall@10": (1 + 1 + 0) / 3,
            "mrr@10": (1 / 2 + 1 + 0) / 3,
            "ndcg@10": (gains + 1 + 0) / 3,
            "answer@2": 1 / 4,
        }
    )


def test_a_deeper_top_k_is_looked_at_to_its_end() -> None:
    shelf = Shelf()
    assert "recall@40" in search(shelf, [question("q1", "a")], top_k=40, batch=8)[""].figures
    assert shelf.asked == [(["q1"], 40)]


def test_data_sets_are_told_apart_and_without_gold_there_is_a_dash() -> None:
    questions = [
        question("q1", "a", source="hotpotqa"),
        question("q5", source="nq"),
        question("q4", "nowhere", source="popqa"),
    ]
    found = search(Shelf(), questions, top_k=3, batch=8)
    assert [(s, f.gold, f.remark) for s, f in found.items()] == [
        ("hotpotqa", 1, ""),
        ("nq", 0, NO_GOLD),
        ("popqa", 1, STRANGE),
    ]
    assert found["nq"].figures.pop("answer@3") == 1
    assert all(math.isnan(figure) for figure in found["nq"].figures.values())
    found = search(Shelf(), questions, top_k=3, batch=8)
    console = Console(width=120, record=True, file=io.StringIO())
    Quality("test", "shelf", found).show(console)
    lines = console.export_text().splitlines()
    (row,) = [line for line in lines if "│ nq" in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["nq", "1", "0", "-", "-", "-", "-", "-", "1.000"]
    assert f"nq: {NO_GOLD}" in lines and f"popqa: {STRANGE}" in lines


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    corpus = [{"id": n, "title": n, "text": f"{n} lies on the {river}."} for n, river in (("Ems", "Aa"), ("Ulm", "Bo"))]
    questions = [{"id": n, "question": f"Where is {n}?", "golden_answers": ["Aa"]} for n in ("Ems", "Ulm", "Oslo")]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    data = f"{{type: jsonl, path: {tmp_path}/questions.jsonl}}"
    (tmp_path / "spec.yaml").write_text(
        f"""
name: rivers
data: {{train: {data}, test: {data}}}
agent: scripted
environment: {{top_k: 1, retriever: {{type: bm25, corpus: {{type: jsonl, path: {tmp_path}/corpus.jsonl}}}}}}
evaluate: {{questions: 2}}
"""
    )
    return tmp_path / "spec.yaml"


def test_the_command_plays_nothing(spec: Path) -> None:
    done = CliRunner().invoke(app, ["eval", str(spec), "--retrieval", "--json"])
    assert done.exit_code == 0, done.stderr
    none = dict.fromkeys(("recall@1", "recall@10", "mrr@10", "ndcg@10"))
    found = {"questions": 2, "gold": 0, "figures": {**none, "answer@1": 0.5}, "remark": NO_GOLD}
    assert json.loads(done.stdout) == {"name": "rivers", "retriever": "bm25", "data": {"questions": found}}
    shown = CliRunner().invoke(app, ["eval", str(spec), "--retrieval"])
    assert "rivers: bm25, whole question as query" in shown.stdout
    assert not (spec.parent / "runs").exists()


def test_a_server_that_is_not_there_ends_it_in_a_line(spec: Path) -> None:
    words = ["--set", "environment={retriever: {type: http, url: 'http://127.0.0.1:1'}, patience: {retries: 0}}"]
    done = CliRunner().invoke(app, ["eval", str(spec), "--retrieval", *words])
    assert done.exit_code == 1
    assert done.stderr.startswith("http://127.0.0.1:1/retrieve: nothing listens there")
