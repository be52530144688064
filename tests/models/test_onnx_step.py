"""An exported step against the model's scan, for every cell; and the file's metadata."""

import json
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.kinds import KINDS

from rnncli.data.features import Ragged
from rnncli.errors import RnnError
from rnncli.models import onnx_step
from rnncli.models.language_model import LanguageModel
from rnncli.models.onnx_step import export_step
from rnncli.models.stack import StackShape

pytestmark = pytest.mark.no_backend

V, T = 21, 6


def unrolled(written: bytes, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return onnxruntime's logits (T, B, V) for tokens (T, B), from the file's contents only."""
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    initial = json.loads(session.get_modelmeta().custom_metadata_map["initial"])
    states = {name: np.tile(np.float32(value), (tokens.shape[1], 1)) for name, value in initial.items()}
    outputs = [output.name for output in session.get_outputs()]
    logits = []
    for now in tokens:
        found = dict(zip(outputs, session.run(None, {"tokens": now, **states}), strict=True))
        logits.append(found["logits"])
        states = {name: found[name.replace("state", "next")] for name in states}
    return np.stack(logits)


def check(model: LanguageModel, label: int | None = None) -> bytes:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)  # otherwise biases and first states are zero
    written, difference = export_step(model, {}, label)
    onnx.checker.check_model(onnx.load_from_string(written))
    assert difference < 1e-5
    for streams in (1, 4):
        tokens = torch.randint(V, (T, streams))
        with torch.no_grad():
            if label is None:
                wanted, _ = model(tokens)
            else:
                step, states = model.stepper(label), model.initial_states(streams)
                wanted = torch.empty(T, streams, V)
                for place, now in enumerate(tokens):
                    wanted[place], states = step(now, states)
        np.testing.assert_allclose(unrolled(written, tokens.numpy()), wanted.numpy(), rtol=1e-5, atol=1e-5)
    return written


@pytest.mark.parametrize(
    "kind", [kind if kind in ("elman", "lstm:full") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_every_cell_is_exported(kind: str) -> None:
    check(LanguageModel(V, 4, StackShape(kind, (5, 3))))


def spellings() -> Ragged:
    return Ragged.of([[word % 5, 5 + word % 3] for word in range(V)])


@pytest.mark.parametrize(
    ("activation", "options"),
    [
        pytest.param("relu", {"tied": True, "labels": 2, "spellings": spellings()}, id="tied"),
        pytest.param("sigmoid", {"softmax": "adaptive"}, id="adaptive", marks=pytest.mark.slow),
    ],
)
def test_exported_kind_of_model_in_a_block_equals_the_model(activation: str, options: dict[str, Any]) -> None:
    shape = StackShape("elman", (16,), activation, block="residual")
    check(LanguageModel(V, 4, shape, unit_vectors="row", **options), 1 if "labels" in options else None)


def test_wrong_or_too_large_export_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(V, 4, StackShape("elman", (3,)))
    monkeypatch.setattr(onnx_step, "TOLERANCE", -1.0)
    with pytest.raises(RnnError, match=r"onnxruntime gives other numbers .*: nothing exported"):
        export_step(model, {})
    monkeypatch.setattr(onnx_step, "MAX_BYTES", 100)
    with pytest.raises(RnnError, match="larger than 2 GB"):
        export_step(model, {})


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_missing_library_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RnnError, match=r"pip install 'rnncli\[onnx\]'"):
        export_step(LanguageModel(V, 4, StackShape("elman", (3,))), {})
