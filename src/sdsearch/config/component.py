"""`type:` in YAML -> class: the name is a file of the family's folder, an installed entry point, or a dotted path."""

from __future__ import annotations

import importlib
import inspect
import sys
from abc import ABC
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PydanticUserError,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from sdsearch.config.discovery import FOLDERS, Place, absent, known, locate, unavailable
from sdsearch.config.scalars import kinds, read
from sdsearch.config.words import quoted
from sdsearch.errors import ComponentError

FAMILY = "x-family"
"""The keyword that stands for a family in the JSON schema of a model."""


class Readers(dict[int, list[type["Settings"]]]):
    """A validation context that notes which classes read which mapping (by `id`): an error can then list its keys."""


class Settings(BaseModel):
    """Frozen parameters. An unknown key is an error; a field's docstring is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
    moved: ClassVar[Mapping[str, str]] = {}
    """Keys and values that earlier specs had, and where each is now; see `sdsearch.config.load.moved`."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, Readers):
            info.context.setdefault(id(data), []).append(cls)
        return cls._fields_of(data)

    @field_validator("*", mode="before")
    @classmethod
    def _read_field(cls, value: Any, info: ValidationInfo) -> Any:
        return read(kinds(cls, str(info.field_name)), value)

    @classmethod
    def _fields_of(cls, data: Any) -> Any:
        return data


class Component(Settings, ABC):
    """A frozen settings object that is also the thing itself.

    A family is a direct subclass that sets `family`. Where a field is annotated with a family, a mapping with `type`
    (or the bare name, where no parameter is set) becomes an instance of the class that `type` names.
    """

    family: ClassVar[str] = ""
    default: ClassVar[str] = ""
    """The member of a family that a mapping without `type` stands for."""

    @property
    def type(self) -> str:
        """The word that names this class in YAML."""
        return _name(self.__class__)

    @property
    def calls(self) -> tuple[str, ...]:
        """Dotted paths of code that it runs because its settings name it."""
        return ()

    @property
    def sends(self) -> tuple[tuple[str, str], ...]:
        """Which variables of the environment it sends, as keys, and the host that each goes to."""
        return ()

    def inspect(self) -> str | None:
        """Open what its settings name, files or a server, in a few seconds at most, and say what is there.

        None: they name nothing. It builds and writes nothing. Raises what its use would raise, an `SdsearchError`.
        """
        return None

    def objection(self, conditions: Any) -> str | None:
        """Say why this makes no sense under some `sdsearch.contracts.conditions.Conditions`; None: it does."""
        return None

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"type": self.type, **handler(self)}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let a family build the member that `type` names; a member is an ordinary model."""
        schema = handler(source)
        if not cls.__dict__.get("family"):
            return schema
        return core_schema.with_info_plain_validator_function(
            cls._build, serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, source: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        """Let a family be named only: `sdsearch.config.schema` knows which members there are."""
        return {FAMILY: cls.family} if cls.__dict__.get("family") else handler(source)

    @classmethod
    def _build(cls, value: Any, info: ValidationInfo) -> Self:
        if isinstance(value, cls):
            return value
        given = {"type": value} if isinstance(value, str) else value
        if not isinstance(given, dict):
            reason = f"got {quoted(value)}, expected a mapping with `type`, or the name of one {cls.family}"
            raise PydanticCustomError("component", "{reason}", {"reason": reason})
        if "type" not in given and not cls.default:
            raise _problem(cls, "type", given, f"`type` is missing, expected one of {', '.join(known(cls))}")
        try:
            member = resolve(cls, given.get("type", cls.default))
        except ComponentError as error:
            raise _problem(cls, "type", given.get("type"), str(error)) from error
        return member.model_validate(given, context=info.context)

    @classmethod
    def _fields_of(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "type" not in data:
            return data
        name = data["type"]
        try:
            same = name == _name(cls) or resolve(cls, name) is cls
        except ComponentError:
            same = False
        if not same:
            raise ValueError(f"`type` is {quoted(name)}, expected {quoted(_name(cls))}")
        return {key: value for key, value in data.items() if key != "type"}


C = TypeVar("C", bound=Component)


def resolve(family: type[C], name: object) -> type[C]:
    """Return the class of `family` that `name` names.

    `name` is a file of the family's folder, an installed entry point of the group `sdsearch.<family>`, or a dotted path
    `pkg.module` or `pkg.module:Class`. Raises `ComponentError` when there is none, when the module does not define
    exactly one member of the family, or when a package that it needs is not installed. Importing a module runs it: only
    one whose source shows a member of the family is imported (see `locate`). Any other error meanwhile is its author's
    and is passed on with a note.
    """
    place = locate(family, name)
    try:
        module = importlib.import_module(place.module)
    except ModuleNotFoundError as error:
        if reason := unavailable(family.family, place, error):
            raise ComponentError(reason) from error
        raise
    except PydanticUserError as error:
        reason = error.message.split(";")[0].split(". All model")[0]
        raise ComponentError(
            f"{place.module} (type: {name}): {reason}. A parameter has a type: `alpha: float = 3.0`"
        ) from error
    except (ValueError, AssertionError) as error:
        # Pydantic takes these two for a wrong value and would drop the traceback.
        raise ImportError(f"{place.module} (type: {name}) cannot be imported: {error}") from error
    except Exception as error:
        error.add_note(f"while importing {place.module} (type: {name})")
        raise
    if place.attribute:
        return _attribute(family, module, place)
    defined = members(family, module)
    if len(defined) == 1:
        return defined[0]
    raise ComponentError(unfinished(family, module, place) or absent(family, place, [c.__name__ for c in defined]))


def members(family: type[C], module: object, abstract: bool = False) -> list[type[C]]:
    """Return the members of `family` that `module` itself defines: the finished ones, or else the `abstract` ones."""
    # Not `isinstance(c, type)`: that asks `c.__class__`, with which a lazy object of a foreign module begins to work.
    defined = dict.fromkeys(c for c in vars(module).values() if issubclass(type(c), type) and issubclass(c, family))
    name = module.__name__  # type: ignore[attr-defined]
    classes = [c for c in defined if c.__module__ == name and "family" not in c.__dict__]
    return [c for c in classes if inspect.isabstract(c) == abstract]


def unfinished(family: type[C], module: object, place: Place) -> str:
    """Return what to say when the only class that can be meant leaves something undefined; else nothing."""
    meant = [c for c in members(family, module, abstract=True) if place.attribute in ("", c.__name__)]
    if len(meant) != 1 or (not place.attribute and members(family, module)):
        return ""
    missing = " and ".join(f"`{name}`" for name in sorted(meant[0].__abstractmethods__))
    return f"{place.module}:{meant[0].__name__} does not define {missing}, expected of a {family.family}"


def _attribute(family: type[C], module: object, place: Place) -> type[C]:
    member: Any = vars(module).get(place.attribute)
    if issubclass(type(member), type) and issubclass(member, family) and not inspect.isabstract(member):
        return cast("type[C]", member)
    names = [c.__name__ for c in members(family, module)]
    raise ComponentError(unfinished(family, module, place) or absent(family, place, names))


def named(components: Iterable[C]) -> list[tuple[str, C]]:
    """Return components with their names: the type, and from the second of a kind on its number, as in "kl_2"."""
    counts = Counter[str]()
    pairs = []
    for component in components:
        counts[kind := component.type] += 1
        pairs.append((f"{kind}_{counts[kind]}" if counts[kind] > 1 else kind, component))
    return pairs


def families() -> dict[str, type[Component]]:
    """Return the families whose contracts have been imported, by name."""
    return {c.family: c for c in Component.__subclasses__() if c.__dict__.get("family")}


def _name(member: type[Component]) -> str:
    module = member.__module__
    file = module.removeprefix(f"{FOLDERS.get(member.family)}.")
    if file != module and "." not in file:
        return file
    family = next(c for c in member.__mro__ if "family" in c.__dict__)
    alone = "." in module and len(members(family, sys.modules[module])) == 1
    return module if alone else f"{module}:{member.__qualname__}"


def _dumped(component: Component, info: SerializationInfo) -> dict[str, Any]:
    return component.model_dump(mode=info.mode)


def _problem(family: type[Component], field: str, value: object, message: str) -> ValidationError:
    error = PydanticCustomError("component", "{message}", {"message": message})
    return ValidationError.from_exception_data(family.__name__, [{"type": error, "loc": (field,), "input": value}])
