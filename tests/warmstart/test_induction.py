"""A circuit that copies before anything is learned."""

import pytest
import torch
from pydantic import ValidationError

from sdsearch.policy.policy import Policy
from sdsearch.warmstart.command import build
from sdsearch.warmstart.spec import Shape


def repeated(policy: Policy) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the attention of the first two layers, [layer, head, to], averaged over a sequence's second copy.

    Given as the share that goes one token back and the share that goes to what followed the same token before.
    """
    policy.model.set_attn_implementation("eager")
    half = torch.randint(300, 1000, (8, 50), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = policy.model(input_ids=torch.cat([half, half], 1), output_attentions=True).attentions
    at = torch.arange(51, 99)
    back, match = (torch.stack([a[:, :, at, at - d].mean((0, 2)) for a in found[:2]]) for d in (1, 49))
    return back, match


def policy(heads: int, kv_heads: int | None = None) -> Policy:
    """Return an untrained policy of six heads."""
    torch.manual_seed(0)
    shape = Shape(vocabulary=1000, induction_heads=heads, kv_heads=kv_heads)
    return build(shape, ["a text to learn a few words from"])


def test_the_first_layer_looks_back_and_the_second_finds_what_followed() -> None:
    made = policy(3)
    back, match = repeated(made)
    assert (back[0, :3] > 0.99).all()
    assert (match[1, :3] > 0.15).all()
    assert (back[0, 3:] < 0.1).all()
    assert (match[1, 3:] < 0.1).all()


def test_of_heads_that_share_their_keys_the_first_does() -> None:
    back, match = repeated(policy(2, kv_heads=2))
    circuit = torch.tensor([True, False, False, True, False, False])
    assert (back[0, circuit] > 0.99).all()
    assert (match[1, circuit] > 0.15).all()
    assert (back[0, ~circuit] < 0.2).all()
    assert (match[1, ~circuit] < 0.1).all()


def test_without_it_nothing_does() -> None:
    back, match = repeated(policy(0))
    assert (back < 0.1).all()
    assert (match < 0.1).all()


def test_a_model_without_room_is_refused() -> None:
    with pytest.raises(ValidationError, match="4 induction heads need as many heads of keys and two layers, got 2"):
        Shape(induction_heads=4)
    with pytest.raises(ValidationError, match="6 heads and 4 of keys, expected a multiple"):
        Shape(kv_heads=4)
    with pytest.raises(ValidationError, match="1 layers"):
        Shape(layers=1)
    Shape(layers=1, heads=1, kv_heads=1, induction_heads=0)
