"""What a step has moved is put back, bit for bit and in its place."""

import pytest
import torch

from sdsearch.learning import rollback
from sdsearch.learning.rollback import Rollback


def stepped(optimizer: torch.optim.Optimizer, *parameters: torch.nn.Parameter) -> None:
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.5)
    optimizer.step()


def test_everything_goes_back() -> None:
    one, late = (torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2))
    frozen = torch.nn.Parameter(torch.tensor([9.0]), requires_grad=False)
    optimizer, average = torch.optim.AdamW([one, late, frozen], lr=0.1), torch.tensor([4.0])
    stepped(optimizer, one)
    weight, state = one.detach().clone(), {k: v.clone() for k, v in optimizer.state[one].items()}
    place = one.data_ptr()

    before = Rollback([optimizer], [average])
    assert frozen.data_ptr() not in {tensor.data_ptr() for tensor, _ in before.kept}
    stepped(optimizer, one, late)
    stepped(optimizer, one, late)
    average.add_(1)
    before.back()

    assert one.tolist() == weight.tolist()
    assert one.data_ptr() == place
    assert late.tolist() == [1.0, 2.0]
    assert average.tolist() == [4.0]
    assert late not in optimizer.state  # as it was: it had taken no step yet
    assert {k: v.tolist() for k, v in optimizer.state[one].items()} == {k: v.tolist() for k, v in state.items()}
    assert one.grad is None


@pytest.mark.parametrize(("free", "fits"), [(48, True), (47, False)])
def test_a_copy_that_takes_much_of_the_memory_is_not_made(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "free", lambda _: free)
    # One number of four bytes, and the two averages of AdamW: twelve bytes, a quarter of 48.
    assert Rollback.fits([torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])]) is fits
