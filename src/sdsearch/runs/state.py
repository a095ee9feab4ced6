"""What a program remembers, as tensors and plain JSON: neither can run code when it is read.

A state is what `state_dict()` of an optimiser, a schedule or an object of ours returns: nested dicts, lists, tuples,
tensors, numbers, texts, truth values and None. Every number comes back with all its bits.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

TENSOR, TUPLE, ITEMS = "$tensor", "$tuple", "$items"
"""The keys that mark what JSON has no form for."""


class Stateful(Protocol):
    """Something whose past decides what it does next."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, made of what `pack` takes."""

    def load_state_dict(self, state: Any) -> Any:
        """Go on from a state."""


class Packed:
    """The tensors of a state under the names by which its JSON speaks of them; what shares memory is kept once."""

    def __init__(self) -> None:
        """Begin with none."""
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[object, ...], str] = {}

    def pack(self, value: Any, path: str = "") -> Any:
        """Return what `json.dumps` can write. Raises `TypeError`, with the path, for what is no part of a state."""
        match value:
            case Tensor():
                return {TENSOR: self._name(value, path)}
            case None | bool() | int() | float() | str():
                return value
            case tuple():
                return {TUPLE: [self.pack(v, f"{path}.{i}") for i, v in enumerate(value)]}
            case list():
                return [self.pack(v, f"{path}.{i}") for i, v in enumerate(value)]
            case dict():
                inner = [(k, self.pack(v, f"{path}.{k}")) for k, v in value.items()]
                plain = all(isinstance(k, str) and not k.startswith("$") for k, _ in inner)
                return dict(inner) if plain else {ITEMS: [[self.pack(k), v] for k, v in inner]}
        raise TypeError(
            f"{path.lstrip('.')}: got a {type(value).__name__}, expected a state of dicts, lists, tuples, tensors, "
            "numbers, texts, truth values and None"
        )

    def _name(self, tensor: Tensor, path: str) -> str:
        place = (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if place not in self._names:
            name = path.lstrip(".")
            while name in self.tensors:  # {"a.b": ...} beside {"a": {"b": ...}}
                name += "'"
            self._names[place] = name
            kept = tensor.detach().cpu().contiguous()
            # A view would share memory with its neighbours, which safetensors refuses.
            self.tensors[name] = kept if kept.untyped_storage().nbytes() == kept.nbytes else kept.clone()
        return self._names[place]


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the state that `Packed.pack` made `value` of. Raises `KeyError` when a tensor is missing."""
    match value:
        case list():
            return [unpack(v, tensors) for v in value]
        case {"$tensor": name}:
            return tensors[name]
        case {"$tuple": items}:
            return tuple(unpack(v, tensors) for v in items)
        case {"$items": pairs}:
            return {unpack(k, tensors): unpack(v, tensors) for k, v in pairs}
        case dict():
            return {k: unpack(v, tensors) for k, v in value.items()}
    return value
