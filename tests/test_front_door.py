"""`import sdsearch as sds`: light, whole, typed, short in what it prints; and for those outside only."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sdsearch as sds
from sdsearch.config.component import resolve
from sdsearch.core.trajectory import Group
from sdsearch.testing import example_groups

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
SCRIPT, COMPONENT = re.findall(r"^```python.*?\n(.*?)^```$", PAGE, re.M | re.S)


def test_it_loads_no_torch_and_every_name_is_there() -> None:
    code = "import sys, sdsearch as s; assert 'torch' not in sys.modules; print(len([getattr(s, n) for n in dir(s)]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(sds.__all__) + 1
    assert set(sds.__all__) == {*sds.FACE, "testing"}
    assert {"load", "train", "evaluate", "Run", "Credit", "Term", "Hint", "testing"} <= set(dir(sds))
    with pytest.raises(AttributeError, match=r"module 'sdsearch' has no attribute 'Credits', expected one of .*Credit"):
        _ = sds.Credits


def test_a_checker_sees_the_same_names_in_the_same_places() -> None:
    """What is imported for types is what is imported when it is asked for."""
    tree = ast.parse(Path(sds.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {a.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert typed.pop("testing") == "sdsearch"
    assert typed == {name: f"sdsearch.{module}" for name, module in sds.FACE.items()}


def test_nobody_inside_uses_it() -> None:
    """It is the topmost arrow of the house: whoever imported it from below would close a circle."""
    inside = [*(ROOT / "src" / "sdsearch").glob("*/**/*.py"), *(ROOT / "src" / "sdsearch").glob("[!_]*.py")]
    inside += [path for room in ("agents", "envs", "objectives") for path in (ROOT / room).rglob("*.py")]
    assert len(inside) > 100
    for path in inside:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "sdsearch":
                assert {a.name for a in node.names}.isdisjoint(sds.FACE), f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sdsearch":
                assert node.attr in ("__version__", "__file__"), f"{path}:{node.lineno}"


def test_the_script_runs_on_a_small_spec(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(spec.parent)
    exec(compile(SCRIPT.replace("specs/grpo.yaml", str(spec)), "docs/python.md", "exec"), {})
    *_, run, group, trajectory = capsys.readouterr().out.splitlines()
    assert run.startswith("Run('runs/first/0', 2 steps) {")
    assert re.fullmatch(r"Group\('\d', 3 trajectories, rewards [\d. ]+\)", group)
    assert re.fullmatch(r"Trajectory\('\d', \[.*\], \w+, reward 0\)", trajectory)


def test_the_component_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its base is an attribute of the door; the loader, which reads source before it imports, finds the family."""
    (tmp_path / "door_part.py").write_text(COMPONENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "door_part", raising=False)
    found = resolve(sds.Credit, "door_part:LastTurn")
    assert found.__name__ == "LastTurn"
    sds.testing.check_credit(found())
    sys.modules.pop("door_part", None)


def test_what_prints_is_short() -> None:
    for group in example_groups():
        assert len(repr(group)) < 120
        assert all(len(repr(t)) < 300 for t in group.trajectories)
    first = example_groups()[0]
    assert repr(first) == "Group('q0', 4 trajectories, rewards 1 0 lost 0.5)"
    assert repr(Group(first.question, ())) == "Group('q0', 0 trajectories, rewards none)"
    assert repr(first.trajectories[1]) == "Trajectory('q0', [search 'zero', answer 'Rome'], answered, reward 0)"
