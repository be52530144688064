"""One step of a language model, with its state, as an ONNX graph for programs without torch.

Shapes: B streams, D input, M hidden, V words.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any, cast

import torch
from torch import Tensor, nn

from rnncli.errors import RnnError
from rnncli.extras import need
from rnncli.models.language_model import LanguageModel
from rnncli.models.stack import States

STEPS, STREAMS = 5, (1, 3)
"""An exported graph is tested on this many steps of these numbers of streams."""

TOLERANCE = 1e-5
"""The greatest difference allowed, absolute or relative to the model's own number."""

MAX_BYTES = (1 << 31) - 1
"""The greatest size of an ONNX file."""


class OnnxStep(nn.Module):
    """Maps tokens (B,) and the fields of all states, (B, M) each, to logits (B, V) and the fields after the step."""

    def __init__(self, model: LanguageModel, label: int | None = None) -> None:
        super().__init__()
        self.model, self.vectors = model, nn.Embedding.from_pretrained(model.input_vectors(label))

    def forward(self, tokens: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        cells: Any = list(self.model.stack.cells)
        rest = iter(fields)
        states = [cell.State(*(next(rest) for _ in cell.state_fields)) for cell in cells]
        stack = self.model.stack
        top, after = stack.step(stack.prepare(0, self.vectors(tokens)), states)
        return (self.model.readout.logits(self.model.projection(top)), *flat(after))


def flat(states: States) -> list[Tensor]:
    """List the fields of all states, layer by layer."""
    return [field for state in states for field in state]


def state_names(model: LanguageModel) -> list[str]:
    """List the names of these fields: `state.LAYER.FIELD`."""
    cells: Any = model.stack.cells
    return [f"state.{layer}.{field}" for layer, cell in enumerate(cells) for field in cell.state_fields]


def check_onnx() -> None:
    """Raise RnnError where the libraries are not installed."""
    need("onnx", "onnxruntime", "onnxscript", what="--onnx", extra="onnx")


@torch.no_grad()
def export_step(model: LanguageModel, facts: Mapping[str, Any], label: int | None = None) -> tuple[bytes, float]:
    """Export a model's step as an ONNX file, checked by onnxruntime; return it with the greatest difference.

    Inputs are `tokens` (B,) and `state.LAYER.FIELD` (B, M), outputs `logits` (B, V) and `next.LAYER.FIELD`. The
    metadata hold `initial`, the states before the first step by name, and `facts`, each as JSON. Raises RnnError
    without the libraries, for a model too large for one file, and where the graph does not compute what the model
    computes.
    """
    check_onnx()
    step = OnnxStep(model.eval(), label).eval()
    names = state_names(model)
    first = [
        field.clone() for field in flat(model.initial_states(2))
    ]  # exported with one stream, the graph would only accept one
    batch = torch.export.Dim("B")
    try:
        with _quietly():
            program = cast(Any, torch.onnx.export)(
                step,
                (torch.zeros(2, dtype=torch.long), *first),
                dynamo=True,
                dynamic_shapes=({0: batch}, tuple({0: batch} for _ in first)),
                input_names=["tokens", *names],
                output_names=["logits", *(name.replace("state", "next") for name in names)],
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        cell: Any = model.stack.cells[0]
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise RnnError(f"torch cannot write the step of cell {cell.kind} as a graph: {reason}") from error
    proto = program.model_proto
    if proto.ByteSize() > MAX_BYTES:
        raise RnnError("the model is larger than 2 GB, the limit of an ONNX file")
    initial = {name: field[0].tolist() for name, field in zip(names, first, strict=True)}
    for name, value in {**facts, "initial": initial}.items():
        proto.metadata_props.add(key=name, value=json.dumps(value, ensure_ascii=False))
    written: bytes = proto.SerializeToString()
    return written, _difference(step, written, names)


def _difference(step: OnnxStep, written: bytes, names: list[str]) -> float:
    """Return the greatest difference from the file's results; raise RnnError where it exceeds rounding."""
    import onnxruntime

    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    generator, greatest = torch.Generator().manual_seed(0), 0.0
    words = step.vectors.num_embeddings
    for streams in STREAMS:
        ours = flat(step.model.initial_states(streams))
        theirs = ours
        for _ in range(STEPS):
            tokens = torch.randint(words, (streams,), generator=generator)
            wanted = step(tokens, *ours)
            given = [tokens, *theirs]
            inputs = {name: value.numpy() for name, value in zip(("tokens", *names), given, strict=True)}
            found = [torch.from_numpy(value) for value in session.run(None, inputs)]
            for ours_one, theirs_one in zip(wanted, found, strict=True):
                difference = (ours_one - theirs_one).abs()
                if not bool((difference <= TOLERANCE + TOLERANCE * ours_one.abs()).all()):
                    raise RnnError(
                        f"onnxruntime gives other numbers (off by {float(difference.max()):.2g}): nothing exported"
                    )
                greatest = max(greatest, float(difference.max()))
            ours, theirs = list(wanted[1:]), found[1:]
    return greatest


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence torch's exporter while inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
