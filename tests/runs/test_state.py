"""States: through JSON and safetensors and back, every bit of them; and dice that fall as they would have fallen."""

import json
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from sdsearch.runs.random_states import RandomStates
from sdsearch.runs.state import Packed, unpack

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.integers() | st.sampled_from(["$tensor", "$items", "a.b", "a"])
STATES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def there_and_back(state: Any) -> Any:
    """Send a state through the bytes that a checkpoint holds."""
    packed = Packed()
    text = json.dumps(packed.pack(state))
    return unpack(json.loads(text), load(save(packed.tensors)))


@given(STATES)
def test_a_state_without_tensors_comes_back(state: Any) -> None:
    assert there_and_back(state) == state


def test_tensors_come_back_whatever_they_share() -> None:
    table = torch.arange(12.0).reshape(3, 4)
    state = {"whole": table, "again": table, "turned": table.T, "row": table[1], "one": table[0, 3], 5: torch.zeros(0)}
    packed = Packed()
    packed.pack(state)
    assert sorted(packed.tensors) == ["5", "one", "row", "turned", "whole"]  # "again" is "whole"
    back = there_and_back(state)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_two_paths_that_read_alike_are_two_tensors() -> None:
    state = {"a.b": torch.tensor([1]), "a": {"b": torch.tensor([2])}}
    back = there_and_back(state)
    assert (back["a.b"].tolist(), back["a"]["b"].tolist()) == ([1], [2])


def test_every_bit_of_a_tensor_comes_back() -> None:
    odd = torch.tensor([0x7FC00001, -1, 1, 0x80000000 - (1 << 32)], dtype=torch.int32).view(torch.float32)
    for tensor in (odd, torch.tensor(3, dtype=torch.uint8), torch.tensor([1.5], dtype=torch.bfloat16)):
        back = there_and_back({"x": tensor})["x"]
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
        assert back.reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist()


def test_what_is_no_state_is_named() -> None:
    with pytest.raises(TypeError, match=r"^optimizer\.groups\.0: got a set, expected a state of dicts, lists, "):
        Packed().pack({"optimizer": {"groups": [{1, 2}]}})


def test_an_optimiser_goes_on_from_its_state() -> None:
    def trained(steps: int, state: Any = None, weight: Any = None) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        layer.load_state_dict(weight or layer.state_dict())
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        if state:
            optimizer.load_state_dict(there_and_back(state))
        for i in range(steps):
            layer(torch.full((1, 3), float(i % 2))).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return layer, optimizer

    whole, _ = trained(4)
    half, optimizer = trained(2)
    resumed, _ = trained(2, optimizer.state_dict(), half.state_dict())
    assert torch.equal(whole.weight, resumed.weight)


def test_the_dice_fall_as_they_would_have_fallen() -> None:
    def throw() -> list[float]:
        return [random.random(), random.gauss(0, 1), *np.random.rand(2), np.random.randn(), *torch.rand(3).tolist()]

    dice = RandomStates(torch.device("cpu"))
    random.gauss(0, 1)  # Python and NumPy keep the second of a pair of normal numbers
    np.random.randn()
    state = there_and_back(dice.state_dict())
    first = throw()
    assert throw() != first
    dice.load_state_dict(state)
    assert throw() == first
