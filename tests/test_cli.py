"""The command line, in this process and in one of its own."""

import json
import math
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

import sdsearch
from sdsearch.cli import app
from sdsearch.cli.printing import print_json
from sdsearch.config.discovery import FOLDERS
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.spec import Experiment, load

PARTS = """
import time

from sdsearch.contracts.data import Dataset
from sdsearch.core.question import Hit, Hop, Passage, Question
from sdsearch.contracts.retrieval import Retriever


class Capitals(Dataset):
    def questions(self):
        hop = Hop("France", "capital", "Paris", "p")
        return [Question(str(i), "capital of France?", ("Paris",), ("p",), (hop,)) for i in range(4)]


class Atlas(Retriever):
    wait: bool = False

    def open(self):
        if self.wait:
            print("waiting", flush=True)
            time.sleep(60)
        return self

    def search(self, queries, k):
        return [[Hit(Passage("p", "France", "The capital of France is Paris."), 1.0)] for _ in queries]
"""

SPEC = """\
name: capitals
data: {train: "parts:Capitals", test: "parts:Capitals"}
environment: {retriever: "parts:Atlas"}
agent: scripted
evaluate: {questions: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a spec and the components that it names."""
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "spec.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "parts", raising=False)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_check_prints_the_resolved_spec(folder: Path) -> None:
    done = run("check", "spec.yaml", "--set", "train.steps=7")
    assert (done.exit_code, done.stderr) == (0, "")
    notes, _, plain = done.stdout.partition("name: ")
    assert notes.startswith("# spec.yaml\n# runs parts:Atlas\n# runs parts:Capitals\n# agent: `scripted` keeps no tok")
    assert plain.startswith("capitals\nseed: 0\n")
    (folder / "resolved.yaml").write_text(done.stdout)
    assert load("resolved.yaml") == load("spec.yaml", ["train.steps=7"])
    quiet = run("check", "-q", "spec.yaml")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_check_prints_every_problem(folder: Path) -> None:
    (folder / "wrong.yaml").write_text("base: spec.yaml\nsed: 3\nagent: scritped\n")
    done = run("check", "spec.yaml", "wrong.yaml", "none.yaml")
    assert done.exit_code == 1
    assert done.stdout.startswith("# spec.yaml\n")
    first, second, third = done.stderr.splitlines()
    assert first == (
        "wrong.yaml:2:1: sed: unknown key, expected one of name, seed, out, environment, data, model, sampling, "
        'agent, teacher, objective, train, monitors, evaluate, base, kind; did you mean "seed"?'
    )
    assert second.startswith('wrong.yaml:3:8: agent: unknown agent "scritped", expected one of ')
    assert third == "none.yaml: there is no such file, nor does such a spec come along (`sdsearch list`)"


def test_check_takes_specs_of_several_kinds(folder: Path) -> None:
    (folder / "warm.yaml").write_text(f"kind: warmstart\nout: w\nhint: hindsight\n{SPEC.partition('evaluate')[0]}")
    done = run("check", "spec.yaml", "warm.yaml")
    assert (done.exit_code, done.stderr) == (0, "")
    runs = "# runs parts:Capitals\n# runs parts:Atlas\n"
    assert f"---\n# warm.yaml\n{runs}kind: warmstart\nname: capitals\n" in done.stdout
    wrong = run("check", "warm.yaml", "--set", "cloning.grup=2", "--set", "kind=warmstart")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("--set cloning.grup=2: cloning.grup: unknown key, expected one of ")
    assert wrong.stderr.endswith('; did you mean "group"?\n')
    trained = run("train", "warm.yaml")
    assert (trained.exit_code, trained.stderr) == (1, 'warm.yaml:1:7: kind: got "warmstart", expected "experiment"\n')


def test_list_shows_components_by_family() -> None:
    done = run("list", "credit")
    assert done.exit_code == 0
    words = " ".join(done.stdout.split())
    first = str(GroupMean.__doc__).splitlines()[0]
    assert f"credit group_mean {first}" in words
    assert "scripted" not in words
    assert "scripted" in run("list").stdout
    assert "spec sd_search " in " ".join(run("list").stdout.split())
    wrong = run("list", "credti")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith('unknown family "credti", expected one of agent, ')
    assert wrong.stderr.endswith('; did you mean "credit"?\n')


def test_list_shows_what_can_be_set(folder: Path) -> None:
    done = run("list", "agent", "scripted")
    assert done.exit_code == 0
    assert ["recover", "1.0", "How"] in [line.split()[:3] for line in done.stdout.splitlines()]
    unknown = run("list", "retriever", "exacd")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert unknown.stderr.endswith('or a dotted path; did you mean "exact"?\n')
    words = " ".join(run("list", "embedder", "minilm").stdout.split())
    assert "required" not in words
    assert "corpus required" in " ".join(run("list", "retriever", "exact").stdout.split())


def test_list_says_what_a_component_lacks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = folder / "rooms"
    rooms.mkdir()
    (rooms / "torn.py").write_text(
        "import no_such_engine\nfrom sdsearch.contracts.credit import Credit\n\nclass Torn(Credit): ...\n"
    )
    monkeypatch.setitem(FOLDERS, "credit", "rooms")
    done = run("list", "credit")
    assert done.exit_code == 0
    assert (
        'credit torn cannot be used: rooms.torn needs the package "no_such_engine", which is not installed: '
        "pip install no-such-engine"
    ) in " ".join(done.stdout.split())


def test_list_has_a_line_each_for_other_programs() -> None:
    """What `grep` finds is whole: a family, a type and what it is."""
    lines = run("list").stdout.splitlines()
    assert len(lines) == len(json.loads(run("list", "--json").stdout))
    (line,) = [line for line in lines if line.split()[:2] == ["credit", "group_mean"]]
    assert line.split(maxsplit=2)[2] == " ".join(str(GroupMean.__doc__).splitlines()[0].split())
    settable = json.loads(run("list", "credit", "group_mean", "--json").stdout)
    assert {"parameter": "scale", "default": '"std"'}.items() <= settable[1].items()


def test_what_is_no_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [1, math.inf], "c": "NaN"})
    assert capsys.readouterr().out == '{"a":null,"b":[1,null],"c":"NaN"}\n'


def test_eval_as_json(folder: Path) -> None:
    found = json.loads(run("eval", "spec.yaml", "--json").stdout)
    assert (found["name"], found["questions"], found["figures"]["exact_match"]) == ("capitals", 3, 1.0)
    assert (folder / found["folder"]).is_dir()


def test_fidelity_of_the_known_problem_as_json() -> None:
    found = json.loads(run("fidelity", "--questions", "3", "--group", "4", "--credits", "constant", "--json").stdout)
    assert found["about"]["questions"] == 3
    assert set(found["scores"]) >= {"constant"}


def test_index_opens_the_retriever(folder: Path) -> None:
    done = run("index", "spec.yaml")
    assert done.exit_code == 0
    assert done.stdout == "parts:Atlas: ready after 0.0 s\n"


def test_eval_plays_the_test_questions(folder: Path) -> None:
    done = run("eval", "spec.yaml")
    assert done.exit_code == 0, done.stderr
    assert "capitals: 3 questions" in done.stdout
    rows = {
        w[1]: " ".join(w[3::2]) for line in done.stdout.splitlines() if len(w := line.replace(" to ", "-").split()) > 6
    }
    assert rows["exact_match"].startswith("1.000 0.44-1.00 3")  # Wilson: 3 / (3 + 1.96 ** 2) = 0.44
    assert (rows["gold_recall"][:5], rows["model_tokens"][:1]) == ("1.000", "-")


def test_train_passes_its_options_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Experiment, bool, bool, bool]] = []

    def train(experiment: Experiment, resume: bool, fresh: bool, accept_changes: bool) -> SimpleNamespace:
        asked.append((experiment, resume, fresh, accept_changes))
        return SimpleNamespace(folder=experiment.folder, metrics=list)

    trainer = ModuleType("sdsearch.learning.train")
    trainer.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sdsearch.learning.train", trainer)
    told = ("--set", "seed=3", "--set", "train.steps=1", "--out", "else where", "--resume", "--accept-changes")
    done = run("train", "spec.yaml", *told)
    assert (done.exit_code, done.stdout) == (0, "everything is in else where/capitals/3\n")
    ((experiment, resume, fresh, accept_changes),) = asked
    assert experiment == load("spec.yaml", ["seed=3", "train.steps=1", "out=else where"])
    assert (resume, fresh, accept_changes) == (True, False, True)


def test_an_interrupted_training_can_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(experiment: Experiment, resume: bool, fresh: bool, accept_changes: bool) -> None:
        raise KeyboardInterrupt

    trainer = ModuleType("sdsearch.learning.train")
    trainer.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sdsearch.learning.train", trainer)
    done = run("train", "spec.yaml")
    assert (done.exit_code, done.stderr) == (130, "interrupted; --resume goes on from the last checkpoint\n")


def test_an_error_of_ours_is_a_line_and_exit_code_1(folder: Path) -> None:
    done = run("train", "spec.yaml", "--set", "train.stesp=1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("--set train.stesp=1: train.stesp: unknown key, expected one of steps, ")
    assert len(done.stderr.splitlines()) == 1


def test_an_error_of_a_component_keeps_its_traceback(folder: Path) -> None:
    (folder / "parts.py").write_text(PARTS + "\n1 / 0\n")
    assert isinstance(run("index", "spec.yaml").exception, ZeroDivisionError)


@pytest.mark.parametrize("words", [(), ("nonsense",), ("train",), ("check", "--sett", "a=1", "x.yaml")])
def test_a_wrong_command_line_is_exit_code_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_help_and_version() -> None:
    assert run("--version").stdout == f"{sdsearch.__version__}\n"
    shown = run("--help")
    assert shown.exit_code == 0
    for command in ("train", "eval", "check", "list", "schema", "index", "warmstart"):
        assert f"│ {command} " in shown.stdout
        assert run(command, "--help").exit_code == 0


def spawn(program: str, folder: Path) -> subprocess.Popen[str]:
    path = f"{folder}:{Path(sdsearch.__file__).parents[1]}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=folder,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_of_its_own_starts_light(folder: Path) -> None:
    heavy = {"torch", "chromadb", "transformers", "sentence_transformers", "langchain_core", "matplotlib", "accelerate"}
    child = spawn(
        f"""
        import sys
        from sdsearch.cli import main

        for words in ("--help", "check spec.yaml -q", "check none.yaml"):
            sys.argv = ["sdsearch", *words.split()]
            try:
                main()
            except SystemExit as done:
                print(words, done.code, sorted({heavy} & set(sys.modules)))
        """,
        folder,
    )
    out, err = child.communicate(timeout=60)
    assert [line for line in out.splitlines() if line.endswith("[]")] == [
        "--help 0 []",
        "check spec.yaml -q 0 []",
        "check none.yaml 1 []",
    ]
    assert err == "none.yaml: there is no such file, nor does such a spec come along (`sdsearch list`)\n"


def test_ctrl_c_is_a_line_and_exit_code_130(folder: Path) -> None:
    child = spawn(
        """
        import signal, sys
        from sdsearch.cli import main

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
        sys.argv = ["sdsearch", "index", "spec.yaml", "--set", "environment.retriever.wait=true"]
        main()
        """,
        folder,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sd_serch", "sd_search"), ("methods/dapoo", "methods/dapo"), ("specs/grp.yaml", "grpo"), ("spce.yaml", "spec")],
)
def test_a_mistyped_spec_is_told_what_was_meant(folder: Path, name: str, meant: str) -> None:
    for command in ("check", "train", "eval", "index"):
        done = run(command, name)
        assert done.exit_code == 1
        assert f"{name}: there is no such file" in done.stderr
        assert done.stderr.endswith(f'; did you mean "{meant}"?\n')
    assert "did you mean" not in run("check", "nowhere/x.yaml").stderr


def test_check_shows_what_a_spec_runs(folder: Path) -> None:
    source = (
        "import sdsearch as sds\n\nclass Theirs(sds.Reward):\n    def score(self, answer, answers):\n        return 0\n"
    )
    (folder / "theirs.py").write_text(source)
    changes = ["environment.reward=theirs:Theirs", "environment.retriever={type: langchain, factory: 'os:system'}"]
    done = run("check", "spec.yaml", *(word for change in changes for word in ("--set", change)))
    assert done.exit_code == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("# runs")] == [
        "# runs os:system",
        "# runs theirs:Theirs",
        "# runs parts:Capitals",
    ]
    assert "# runs" not in run("check", "sd_search").stdout


def test_no_code_runs_because_it_lies_where_the_spec_or_the_command_is(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom sdsearch.contracts.data import Dataset\n\n\n"
        "class Theirs(Dataset):\n    def questions(self):\n        return []\n"
    )
    (tmp_path / "spec.yaml").write_text(
        "data: {train: theirs, test: 'theirs:Theirs'}\nenvironment: {retriever: empty}\nagent: scripted\n"
    )
    source = str(Path(sdsearch.__file__).parents[1])

    def check(path: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sdsearch", "check", "spec.yaml"]
        environment = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = check(source)
    assert done.returncode == 1
    assert 'unknown dataset "theirs:Theirs": there is no module "theirs", expected one on Python\'s path' in done.stderr
    assert not (tmp_path / "ran").exists()
    done = check(f"{source}:.")
    assert 'unknown dataset "theirs"' in done.stderr
    assert "there is a module theirs: write theirs:Theirs" in done.stderr
    assert (tmp_path / "ran").exists()
