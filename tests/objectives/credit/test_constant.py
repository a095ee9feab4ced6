import numpy as np

from sdsearch.objectives.credit.constant import Constant
from sdsearch.testing import example_groups


def test_every_token_gets_it() -> None:
    mixed = example_groups()[0]
    assert {x for part in Constant(value=-0.5).of_group(mixed) for x in part} == {-0.5}
    assert np.concatenate(Constant().of_group(mixed)).sum() == sum(t.sampled for t in mixed.kept)
