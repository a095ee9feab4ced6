"""Playing by hand: over a pipe and at a real terminal, with data that would like to be markup."""

import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sdsearch
from sdsearch.agents.human import Human
from sdsearch.cli import app
from sdsearch.core.trajectory import Segment
from sdsearch.envs.protocol.search_r1 import SearchR1

PARTS = r"""
from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Hop, Passage, Question

FRANCE = Passage("fr[/b]", "France", "The capital of France is [red]Paris[/red].\x1b[31m")


class Capitals(Dataset):
    def questions(self):
        hop = Hop("France", "capital", "Paris", "fr[/b]")
        text = "[bold]capital[/bold] of France?[/]\x1b]0;evil\x07"
        return [Question("q[1]", text, ("Paris", "Lutèce"), ("fr[/b]", "it"), (hop,))]


class Bare(Dataset):
    def questions(self):
        return [Question(str(i), f"question {i}?", ("Paris",)) for i in range(3)]


class Facts(Corpus):
    def passages(self):
        return [FRANCE, Passage("it", "Italy", "The capital of Italy is Rome.")]
"""
SPEC = """\
name: capitals
data: {train: "parts:Bare", test: "parts:Capitals"}
environment: {retriever: {type: bm25, corpus: "parts:Facts"}, top_k: 1, max_turns: 3}
agent: scripted
"""
HEAVY = {"torch", "transformers", "chromadb", "sentence_transformers", "langchain_core", "accelerate"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a spec and the components that it names."""
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "spec.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "parts", raising=False)
    return tmp_path


def played(lines: str, *words: str) -> str:
    """Play over a pipe and return what was printed."""
    done = CliRunner().invoke(app, ["play", "spec.yaml", *words], input=lines)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_question_is_played_and_explained(folder: Path) -> None:
    shown = played("s capital of France\na Paris, France\n")
    _, _, rest = shown.partition("\nquestion 1 of 1\n")
    assert (
        rest
        == textwrap.dedent("""\
        Question: [bold]capital[/bold] of France?[/]]0;evil
        > s capital of France
        <information>Doc 1(Title: France) The capital of France is [red]Paris[/red].[31m
        </information>
        > a Paris, France

        answered, actions: 2, question q[1]
        reward 0.000, F1 0.667, exact match 0.000
        your answer: Paris, France
        gold answers: Paris | Lutèce
        gold passages:
          found fr[/b]: France: The capital of France is [red]Paris[/red].[31m
          missed it: Italy: The capital of Italy is Rome.
        the oracle's way:
          s France capital -> Paris (in fr[/b])
          a Paris
        """)
        + rest[rest.index("\n1 played: ") :]
    )
    assert "exact_match 0.000, f1 0.667, searches 1.000" in rest


def test_shortcuts_and_tags_are_taken_and_the_rest_asked_again(folder: Path) -> None:
    shown = played("\nhello\ns\nA  PARIS \n")
    assert shown.count("write `s QUERY` to search") == 4
    assert "reward 1.000, F1 1.000, exact match 1.000\nyour answer: PARIS" in shown
    assert "leave tags out of it" in played("a x </answer> y\na Paris\n")
    shown = played("<think> hm </think> <search> Italy </search>\n<Search> x\n<answer> Paris </answer>\n")
    assert "The capital of Italy is Rome." in shown
    assert "That was not a valid action." in shown
    assert "answered, actions: 3" in shown


def test_the_end_of_the_turns_and_of_the_input(folder: Path) -> None:
    shown = played("s a\ns France\ns c\n")
    assert "max_turns, actions: 3" in shown
    assert "your answer: none" in shown
    assert played("s France\n").endswith("no question was played to its end\n")


def test_split_seed_and_number_choose_the_questions(folder: Path) -> None:
    def asked(*words: str) -> list[str]:
        return [line for line in played("a Rome\n" * 9, "--split", "train", *words).splitlines() if "Question:" in line]

    everything = asked()
    assert sorted(everything) == [f"Question: question {i}?" for i in range(3)]
    assert asked("--questions", "2") == everything[:2]
    assert asked("--set", "seed=1", "--seed", "0") == everything
    assert len({tuple(asked("--seed", str(seed))) for seed in range(9)}) > 1
    shown = played("a Rome\n", "--split", "train", "--questions", "1")
    assert "gold passages: the data names none\nthe oracle's way: the data has no decomposition\n" in shown


def test_a_wrong_option_is_refused(folder: Path) -> None:
    for words in (("--split", "validation"), ("--questions", "0")):
        assert CliRunner().invoke(app, ["play", "spec.yaml", *words]).exit_code == 2


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder}:{Path(sdsearch.__file__).parents[1]}"
    return {"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8"}


def test_over_a_pipe_it_is_plain_and_light(folder: Path) -> None:
    program = f"""
    import sys
    from sdsearch.cli import main

    sys.argv = ["sdsearch", "play", "spec.yaml"]
    try:
        main()
    finally:
        print(sorted({HEAVY} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=environment(folder),
        input="s France\na Paris\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("\n[]\n")
    assert "reward 1.000" in done.stdout
    assert done.stderr == ""


def as_at_a_terminal() -> None:
    """Make what was opened as standard input the terminal, whose Ctrl-C is heard: a background job ignores it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("leave", [b"\x04", b"\x03"], ids=["Ctrl-D", "Ctrl-C"])
def test_at_a_terminal(folder: Path, leave: bytes) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sdsearch", "play", "spec.yaml", "--split", "train"]
    with subprocess.Popen(
        command, env=environment(folder), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=as_at_a_terminal,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = ""

        def until(text: str, again: bytes = b"") -> None:
            nonlocal shown
            while text not in shown:
                if select.select([ours], [], [], 2.0)[0]:
                    shown += os.read(ours, 4096).decode(errors="replace")
                else:
                    os.write(ours, again)
            shown = shown.partition(text)[2]

        until("> ")
        os.write(ours, b"s Italy\n")
        until("Rome")
        until("> ")
        os.write(ours, b"a Paris\n")
        until("\x1b[32mreward 1.000")  # in green
        until("question 2 of 3")
        until("> ")
        os.write(ours, leave)
        # The line editor begins after its prompt: what comes in between may go unnoticed, as for a person.
        until("1 played: exact_match 1.000", again=leave)
        assert process.wait(60) == 0
        os.close(ours)


def test_an_episode_can_be_gone_on_with(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = iter(["a Rome"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    session = Human().open(SearchR1())
    session.reset([], [])
    past = [Segment("prompt", "Question: x\n"), Segment("model", "<search> y </search>"), Segment("observation", "z")]
    (step,) = session.resume([0], [past])
    assert step.context == past[-1]
    assert step.action == Segment("model", "<answer> Rome </answer>")
    assert capsys.readouterr().out.splitlines() == ["Question: x", "<search> y </search>", "z", "> a Rome"]
