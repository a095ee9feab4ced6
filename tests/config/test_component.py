"""What `type:` may name, and what is said when it names nothing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sdsearch.agents.scripted import Scripted
from sdsearch.config.component import resolve
from sdsearch.config.discovery import FOLDERS, known, locate, remedy
from sdsearch.contracts.agent import Agent
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.contracts.hint import Hint
from sdsearch.contracts.loss import Term
from sdsearch.contracts.retrieval import Retriever
from sdsearch.errors import ComponentError
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.hints.hindsight import Hindsight

Write = Callable[[str, str], str]

SHELF = """
from sdsearch.contracts.retrieval import Embedder, Retriever

class Shelf(Retriever):
    '''One shelf of books.

    Not two.
    '''
    books: int = 3
    embedder: Embedder | None = None

    def open(self):
        return None
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Make a module that can be imported, and forget it after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def module(name: str, source: str) -> str:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return module


def message(family: type[Any], name: object) -> str:
    with pytest.raises(ComponentError) as caught:
        resolve(family, name)
    return str(caught.value)


def test_a_name_is_a_file_of_the_familys_folder() -> None:
    assert resolve(Agent, "scripted") is Scripted
    assert resolve(Credit, "group_mean") is GroupMean
    assert resolve(Hint, "hindsight")().type == "hindsight"


def test_a_name_is_a_dotted_path(write: Write) -> None:
    name = write("shelf_a", SHELF)
    shelf = resolve(Retriever, f"{name}:Shelf")
    assert (shelf.__module__, shelf.__name__) == ("shelf_a", "Shelf")
    assert resolve(Agent, "sdsearch.agents.scripted") is Scripted
    assert resolve(Agent, "sdsearch.agents.scripted:Scripted") is Scripted


def test_an_unknown_name_lists_the_known_ones() -> None:
    assert message(Credit, "group_maen").startswith('unknown credit "group_maen", expected one of ')
    assert ", group_mean, " in message(Credit, "group_maen")
    assert message(Credit, "group_maen").endswith('or a dotted path; did you mean "group_mean"?')
    assert message(Agent, "zzz").startswith('unknown agent "zzz", expected one of ')
    assert "did you mean" not in message(Agent, "zzz")


def test_a_bare_name_of_a_module_needs_the_class(write: Write) -> None:
    fatal = "raise SystemExit('imported')\n"
    name = write("shelf_k", fatal + SHELF)
    assert message(Retriever, name).endswith("or a dotted path; there is a module shelf_k: write shelf_k:Shelf")
    assert message(Agent, name).endswith("or a dotted path")
    assert "there is a module" not in message(Retriever, write("shelf_l", "class Shelf(:"))
    two = write("shelf_m", fatal + SHELF + "\nclass Other(Retriever):\n    ...\n")
    assert message(Retriever, two).endswith("there is a module shelf_m: write shelf_m:Shelf or shelf_m:Other")
    assert not {"shelf_k", "shelf_l", "shelf_m"} & set(sys.modules)


@pytest.mark.parametrize("name", [None, 3, True, [], {}, "", "a b", "../scripted", "group-mean", ".x", "a..b", "a:b:c"])
def test_a_name_that_is_none_is_unknown(name: object) -> None:
    assert message(Agent, name).startswith("unknown agent ")


def test_the_files_of_a_folder_are_told_apart_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rooms"
    folder.mkdir()
    fatal = "raise SystemExit('imported')\n"
    named = "from sdsearch.contracts.data import Corpus, Dataset\n"
    (folder / "asked.py").write_text(fatal + "from sdsearch.contracts import data\nclass A(data.Dataset): ...")
    (folder / "read.py").write_text(fatal + named + "class B(Corpus): ...")
    (folder / "both.py").write_text(fatal + named + "class A(Dataset): ...\nclass B(Corpus): ...")
    (folder / "helper.py").write_text(fatal + "class Row(NamedTuple): ...")
    (folder / "_base.py").write_text(fatal + named + "class A(Dataset): ...")
    (folder / "torn.py").write_text("class A(Dataset")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(FOLDERS, "dataset", "rooms")
    monkeypatch.setitem(FOLDERS, "corpus", "rooms")
    assert known(Dataset) == ["asked", "both"]
    assert known(Corpus) == ["both", "read"]
    assert locate(Corpus, "read").module == "rooms.read"


def test_a_module_that_is_not_there() -> None:
    assert message(Agent, "nowhere.at_all") == (
        'unknown agent "nowhere.at_all": there is no module "nowhere", expected one on Python\'s path: '
        "name its folder in PYTHONPATH; those of spec and command are not looked into"
    )
    assert 'there is no module "json.at_all"' in message(Agent, "json.at_all")


def test_a_module_without_a_member() -> None:
    assert message(Agent, "json.decoder") == "json.decoder defines 0 members of the family agent, expected one"
    assert message(Hint, "sdsearch.agents.scripted") == (
        "sdsearch.agents.scripted defines 0 members of the family hint, expected one"
    )
    assert message(Agent, "sdsearch.contracts.agent").startswith("sdsearch.contracts.agent defines 0 members")


def test_a_module_with_two_members_needs_the_class(write: Write) -> None:
    name = write("shelf_b", SHELF + "\nclass Other(Retriever):\n    def open(self):\n        return None\n")
    assert message(Retriever, f"{name}:Shlf") == (
        'shelf_b has no retriever "Shlf", expected one of Shelf, Other; did you mean "Shelf"?'
    )


def test_two_members_in_a_package(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "shelves.py").write_text(
        SHELF + "\nAlias = Shelf\n\nclass Other(Retriever):\n    def open(self):\n        return None\n"
    )
    assert message(Retriever, "library.shelves") == (
        "library.shelves defines 2 members of the family retriever, expected one (Shelf, Other): "
        "write library.shelves:Shelf"
    )
    assert resolve(Retriever, "library.shelves:Other")().type == "library.shelves:Other"


def test_an_abstract_class_is_not_a_member(write: Write) -> None:
    name = write("shelf_d", SHELF.replace("def open", "def close"))
    assert message(Retriever, f"{name}:Shelf") == "shelf_d:Shelf does not define `open`, expected of a retriever"


def test_a_package_that_is_not_installed_is_named(write: Write) -> None:
    name = write("shelf_e", "import no_such_engine.client\n" + SHELF)
    assert message(Retriever, f"{name}:Shelf") == (
        'shelf_e needs the package "no_such_engine", which is not installed: pip install no-such-engine'
    )


def test_a_missing_part_of_its_own_package_is_its_authors_error(write: Write) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"shelf_i\.parts"):
        resolve(Retriever, write("shelf_i", "import shelf_i.parts\n" + SHELF) + ":Shelf")


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["torch", 'no-such-engine>=1; extra == "engine"', 'other; extra == "dev"']
    monkeypatch.setattr("sdsearch.config.discovery.requires", lambda _: declared)
    assert remedy("no_such_engine.client") == "pip install 'sdsearch[engine]'"
    assert remedy("torch") == "pip install torch"


@pytest.mark.parametrize(
    ("source", "kind"),
    [("import json.nothing_here as x", ComponentError), ("from json import nothing_here", ImportError)],
)
def test_other_import_errors(write: Write, source: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        resolve(Retriever, write("shelf_f", source + SHELF) + ":Shelf")


def test_a_module_that_is_not_python_is_named(write: Write) -> None:
    name = write("shelf_j", "class Shelf(:")
    assert message(Retriever, f"{name}:Shelf") == "shelf_j cannot be read as Python: invalid syntax (shelf_j, line 1)"


def test_a_parameter_without_a_type_is_named(write: Write) -> None:
    name = write("shelf_k", SHELF + "\n    height = 3\n")
    said = message(Retriever, f"{name}:Shelf")
    assert said.startswith(
        "shelf_k (type: shelf_k:Shelf): A non-annotated attribute was detected: `height = 3`. A param"
    )


@pytest.mark.parametrize("fault", ["1 / 0", "raise ValueError('five')", "assert False, 'five'"])
def test_a_broken_module_is_its_authors_error(write: Write, fault: str) -> None:
    name = write("shelf_g", SHELF + fault)
    with pytest.raises((ZeroDivisionError, ImportError)) as caught:
        TypeAdapter(Retriever).validate_python({"type": f"{name}:Shelf"})
    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", ()))
    assert "shelf_g (type: shelf_g:Shelf)" in told


def test_a_family_field_takes_a_mapping_a_name_or_an_object(write: Write) -> None:
    hint = TypeAdapter(Hint)
    assert hint.validate_python("hindsight") == Hindsight()
    assert hint.validate_python({"type": "hindsight"}) == Hindsight()
    assert hint.validate_python(Hindsight()) == Hindsight()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "got 3, expected a mapping with `type`, or the name of one hint"),
        (None, "got nothing, expected a mapping with `type`, or the name of one hint"),
        ([1, 2], "got a list of 2, expected a mapping with `type`, or the name of one hint"),
        ({"size": 1}, f"`type` is missing, expected one of {', '.join(known(Hint))}"),
    ],
)
def test_what_a_family_field_does_not_take(value: object, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Hint).validate_python(value)
    assert [e["msg"] for e in caught.value.errors()] == [said]


def test_a_member_takes_its_own_type_only(write: Write) -> None:
    assert GroupMean.model_validate({"type": "group_mean"}) == GroupMean()
    dotted = {"type": "sdsearch.objectives.credit.group_mean"}
    assert GroupMean.model_validate(dotted) == GroupMean()
    for other in ("leave_one_out", "nothing"):
        with pytest.raises(ValidationError, match=f'`type` is "{other}", expected "group_mean"'):
            GroupMean.model_validate({"type": other})


def test_a_dump_writes_type_first_and_loads_back(write: Write) -> None:
    name = write("shelf_h", SHELF)
    retriever = TypeAdapter(Retriever)
    shelf = retriever.validate_python({"type": f"{name}:Shelf", "books": 5, "embedder": "hashing"})
    dumped = shelf.model_dump(mode="json")
    assert list(dumped) == ["type", "books", "embedder"]
    assert (dumped["type"], dumped["books"]) == ("shelf_h:Shelf", 5)
    assert next(iter(dumped["embedder"])) == "type"
    assert dumped["embedder"]["type"] == "hashing"
    assert retriever.validate_python(dumped) == shelf


def test_every_fault_of_nested_components_is_reported_with_its_path() -> None:
    given = [{"type": "distill", "hint": {"type": "hindsight", "foo": 1}, "weight": {"from_stp": 2}}, {"type": "klx"}]
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(list[Term]).validate_python(given)
    paths = [e["loc"] for e in caught.value.errors()]
    assert (0, "hint", "foo") in paths
    assert (1, "type") in paths
    assert any(p[:2] == (0, "weight") and p[-1] == "from_stp" for p in paths)


def test_components_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GroupMean().weight = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="finite"):
        GroupMean(weight=float("nan"))


PLUGIN = """
import sys
from sdsearch.config.component import resolve
from sdsearch.config.discovery import known
from sdsearch.errors import ComponentError
from sdsearch.contracts.retrieval import Retriever

assert "shelf" in known(Retriever), known(Retriever)
assert "library" not in sys.modules
found = resolve(Retriever, "shelf")
print(found.__module__, found.__name__, found().type)
try:
    resolve(Retriever, "torn")
except ComponentError as error:
    print(error)
"""


def test_a_name_is_an_installed_entry_point(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(SHELF)
    for dist, points in {"a": "shelf = library\ntorn = library:Shelf\n", "b": "torn = library:Torn\n"}.items():
        info = tmp_path / f"{dist}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[sdsearch.retriever]\n{points}")
    done = python(PLUGIN, tmp_path)
    assert done.splitlines() == [
        "library Shelf library:Shelf",
        'retriever "torn" is claimed by several installed packages (library:Shelf, library:Torn), expected one: '
        "write the dotted path instead",
    ]


def test_only_what_is_named_is_imported(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(SHELF)
    (tmp_path / "books.py").write_text(
        "from sdsearch.contracts.data import Dataset\n\n"
        "class Books(Dataset):\n    def questions(self):\n        return []\n"
    )
    (tmp_path / "x.yaml").write_text(
        "data: {train: 'books:Books', test: 'books:Books'}\n"
        "environment: {retriever: 'library:Shelf'}\n"
        "agent: scripted\n"
    )
    heavy = ("torch", "chromadb", "transformers", "sentence_transformers", "langchain_core", "matplotlib", "accelerate")
    program = (
        "import sys; from sdsearch.spec import load; print(load('x.yaml').agent.type, *{heavy} & set(sys.modules))"
    )
    assert python(program.replace("{heavy}", str(set(heavy))), tmp_path) == "scripted\n"


def python(source: str, folder: Path) -> str:
    """Run a program in an interpreter of its own that can import from `folder`, and return what it printed."""
    package = sys.modules["sdsearch"]
    assert isinstance(package, ModuleType)
    path = f"{folder}:{Path(str(package.__file__)).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=folder,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
