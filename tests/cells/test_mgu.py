"""The minimal gated unit against a numpy loop."""

import numpy as np
import pytest
from support.numpy_loop import Weights, block, sigmoid

from rnncli.testing import check_equations, subject

pytestmark = pytest.mark.usefixtures("plain_loops")


def test_equals_its_equations() -> None:
    def step(x, state, w: Weights):
        (h,) = state
        wx, wh, b = w["weight_x"], w["weight_h"], w["bias"]
        f = sigmoid(x @ block(wx, 0, 2) + h @ block(wh, 0, 2) + block(b, 0, 2))
        candidate = np.tanh(x @ block(wx, 1, 2) + (f * h) @ block(wh, 1, 2) + block(b, 1, 2))
        return ((1 - f) * h + f * candidate,)

    check_equations(subject("mgu"), step)
