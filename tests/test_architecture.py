"""The house: which way imports run, how little a component and a spec pull in, and that the picture shows the rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sdsearch.config.discovery import FOLDERS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "sdsearch"
FLOORS = [
    "errors",
    "terminal",
    "core config",
    "contracts",
    "policy retrieval crediting hinting monitoring",
    "agents envs objectives spec",
    "rollout runs",
    "report",
    "learning",
    "study fidelity teacher serving testing warmstart play inputs evaluation",
    "cli",
    "__main__",
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
FILES = {
    ".".join(("sdsearch", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.glob("**/*.py")
} | {
    ".".join(("sdsearch", *path.relative_to(ROOT).with_suffix("").parts)): path
    for room in ("agents", "envs", "objectives")
    for path in (ROOT / room).glob("**/*.py")
}
PLUGINS = [folder.removeprefix("sdsearch.") for folder in FOLDERS.values()]


def imports(path: Path, inside_functions: bool = True) -> Iterator[str]:
    """Yield the modules of ours that a file imports: at its top, under TYPE_CHECKING, inside functions, by name."""
    ahead: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while ahead:
        node = ahead.pop()
        if inside_functions or not isinstance(node, ast.FunctionDef):
            ahead += ast.iter_child_nodes(node)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
        for name in names:
            module = name if name in FILES else name.rpartition(".")[0]
            if module in FILES and module != "sdsearch":  # its face holds a version and no arrow
                yield module


ARROWS = {module: sorted(set(imports(path))) for module, path in FILES.items() if module != "sdsearch"}


def room(module: str) -> str:
    """Return the folder or file on top in which a module lies."""
    return module.split(".")[1]


def plugin(module: str) -> str | None:
    """Return the family folder that a module is a component of."""
    folder, _, file = module.removeprefix("sdsearch.").rpartition(".")
    return folder if folder in PLUGINS and file else None


def closure(module: str) -> set[str]:
    """Return the files that importing a module's top and its types reaches."""
    reached, ahead = set[str](), [module]
    while ahead:
        if (name := ahead.pop()) not in reached:
            reached.add(name)
            ahead += imports(FILES[name], inside_functions=False)
    return reached


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in ARROWS} == set(FLOOR)


def test_arrows_run_down() -> None:
    wrong = [
        f"{source} -> {target}"
        for source, targets in ARROWS.items()
        for target in targets
        if room(source) != room(target) and FLOOR[room(source)] <= FLOOR[room(target)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_files_run_in_a_circle() -> None:
    assert len(list(TopologicalSorter(ARROWS).static_order())) == len(ARROWS)


def test_no_component_imports_one_of_another_family() -> None:
    wrong = [
        f"{source} -> {target}"
        for source, targets in ARROWS.items()
        for target in targets
        if plugin(target) not in (None, plugin(source)) and FLOOR[room(source)] <= FLOOR["runs"]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "most"), [("objectives.credit.group_mean", 15), ("envs.retrieval.bm25", 18), ("spec", 32)]
)
def test_little_is_reached(module: str, most: int) -> None:
    reached = closure(f"sdsearch.{module}")
    assert len(reached) <= most, sorted(reached)


def test_the_picture_shows_every_room_on_its_floor() -> None:
    picture = ElementTree.parse(ROOT / "docs" / "rooms.svg").getroot()
    floors = [group for group in picture.iter("{http://www.w3.org/2000/svg}g") if group.get("class") == "floor"]
    drawn = [[text.text for text in floor if text.get("class") == "name"] for floor in floors]
    assert [sorted(map(str, rooms)) for rooms in drawn[::-1]] == [
        sorted(rooms.split()) for rooms in FLOORS if rooms != "__main__"
    ]


HEAVY = ("torch", "transformers", "chromadb", "langchain", "langchain_core", "langchain_community")
COMMAND = f"""
import sys
from sdsearch.cli import app
app(sys.argv[1:], standalone_mode=False)
heavy = [name for name in {HEAVY} if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
SPECS = sorted(map(str, (ROOT / "specs").rglob("*.yaml")))


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--help"], "fidelity"), (["list"], "entropy_branching"), (["check", *SPECS], "three_hop")],
    ids=["--help", "list", "check"],
)
def test_a_command_that_only_reads_imports_nothing_heavy(words: list[str], says: str) -> None:
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert says in done.stdout


def test_nobody_asks_an_agent_for_its_class() -> None:
    """Whether an agent can be trained is said by `Agent.trainable`: an `isinstance` would shut others out."""
    names = {"Agent", "AgentSession", "PolicyAgent", "PolicySession", "Scripted", "Human"}
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                asked = {n.id for argument in node.args[1:] for n in ast.walk(argument) if isinstance(n, ast.Name)}
                assert not asked & names, f"{path}:{node.lineno}"
