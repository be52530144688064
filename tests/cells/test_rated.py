"""The rated unit against a numpy loop."""

import pytest
from support.numpy_loop import ACTIVATIONS, Weights, block, sigmoid

from rnncli.cells.rated import Rated
from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


@pytest.mark.parametrize("activation", Rated.activations)
def test_equals_its_equations(activation: str) -> None:
    f = ACTIVATIONS[activation]

    def step(x, state, w: Weights):
        (h,) = state
        wx, wh, b = w["weight_x"], w["weight_h"], w["bias"]
        candidate = f(x @ block(wx, 0, 2) + h @ block(wh, 0, 2) + block(b, 0, 2))
        z = sigmoid(x @ block(wx, 1, 2) + h @ block(wh, 1, 2) + block(b, 1, 2))
        return ((1 - z) * h + z * candidate,)

    check_equations(subject("rated", activation=activation), step)
