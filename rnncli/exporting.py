"""Files of a trained model for programs without rnn: ONNX, weights, torch's layers, and n-grams of its text."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.errors import UsageError
from rnncli.files import write_file
from rnncli.language.voices import label_number
from rnncli.task import Trained
from rnncli.tasks import TASKS

if TYPE_CHECKING:
    from torch import Tensor

ORDER, MAX_ORDER = 5, 20
"""The default and the greatest length of n-grams."""

KEPT = ("vocabulary", "tokenizer", "bpe", "labels", "classes")
"""The parts of a payload that a program needs to name a net's inputs and outputs."""


class Exported(NamedTuple):
    """A file that was written."""

    form: str  # onnx, weights, torch or arpa
    file: Path
    bytes: int
    difference: float | None  # of another program's numbers from the model's, at most; None where none was run
    about: str


class _Content(NamedTuple):
    """What a file will hold."""

    data: bytes | Iterable[bytes]
    difference: float | None
    about: str


@dataclass(frozen=True)
class ExportOptions:
    """Choices for the files that have them."""

    label: str | None = None  # of onnx and torch: the voice
    order: int | None = None  # of arpa; None: 5
    corpus: tuple[str, ...] = ()  # of arpa; none: the training text


def export(trained: Trained, files: Mapping[str, Path | None], options: ExportOptions) -> list[Exported]:
    """Write files by their form: `onnx`, `weights`, `torch` and `arpa`; every one is made before the first is written.

    Raises UsageError for no file, one file for two forms, an option that no form uses, and a model that a form cannot
    hold; RnnError for a missing library, a file that cannot be written, and numbers that are not the model's.
    """
    wanted = {form: file for form, file in files.items() if file is not None}
    if not wanted:
        raise UsageError(f"name the file to write: {', '.join(f'--{form} FILE' for form in files)}")
    if len({file.absolute() for file in wanted.values()}) < len(wanted):
        raise UsageError(f"{' and '.join(f'--{form}' for form in wanted)} name the same file: give each its own")
    if options.label is not None and not wanted.keys() & {"onnx", "torch"}:
        raise UsageError("--label chooses the voice of --onnx and --torch: leave it out")
    if (options.order is not None or options.corpus) and "arpa" not in wanted:
        raise UsageError("--order and --corpus are for --arpa: leave them out")
    contents = {form: _CONTENTS[form](trained, options) for form in wanted}
    exported = []
    for form, (data, difference, about) in contents.items():
        write_file(wanted[form], data)
        exported.append(Exported(form, wanted[form], wanted[form].stat().st_size, difference, about))
    return exported


def _facts(trained: Trained) -> dict[str, Any]:
    """What the file says of the model: its task, its cell, and the names of its inputs and outputs."""
    kept = {name: trained.payload[name] for name in KEPT if name in trained.payload}
    return {"task": trained.task, "cell": trained.config.label, **kept}


def _onnx(trained: Trained, options: ExportOptions) -> _Content:
    from rnncli.models.language_model import LanguageModel
    from rnncli.models.onnx_step import check_onnx, export_step

    check_onnx()
    net: Any = trained.model
    if not isinstance(net, LanguageModel):
        raise UsageError(f"{trained.source} is a model of {trained.task}: --onnx exports language models")
    written, difference = export_step(net, _facts(trained), label_number(trained, options.label))
    return _Content(written, difference, f"onnxruntime gives the same numbers within {difference:.1g}")


def _weights(trained: Trained, options: ExportOptions) -> _Content:
    del options
    weights = trained.model.state_dict()
    count = sum(value.numel() for value in weights.values())
    return _Content(_safetensors(weights, _facts(trained)), None, f"{len(weights)} tensors, {count:,} numbers")


def _torch(trained: Trained, options: ExportOptions) -> _Content:
    from rnncli.models.torch_weights import torch_weights

    label = None if options.label is None else label_number(trained, options.label)
    weights, layers, difference = torch_weights(trained.model, label)
    names = " and ".join(dict.fromkeys(f"torch.nn.{each['layer']}" for each in layers.values()))
    about = f"{names} gives the same numbers within {difference:.1g}"
    return _Content(_safetensors(weights, {**_facts(trained), "layers": layers}), difference, about)


def _safetensors(weights: "Mapping[str, Tensor]", facts: Mapping[str, Any]) -> bytes:
    """A safetensors file with facts as its metadata, each as JSON."""
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    return save(plain, {name: json.dumps(value) for name, value in facts.items()})


def _arpa(trained: Trained, options: ExportOptions) -> _Content:
    from rnncli.language.arpa import arpa_text
    from rnncli.language.baselines import within_memory
    from rnncli.language.ngrams import KneserNey

    task, order = TASKS[trained.task], ORDER if options.order is None else options.order
    if task.token_access is None:
        raise UsageError(f"{trained.source} is a model of {trained.task}: --arpa takes the text of a language model")
    if not 1 <= order <= MAX_ORDER:
        raise UsageError(f"--order must be from 1 to {MAX_ORDER}, not {order}")
    if options.corpus:
        arrays = task.token_access.measured_arrays(trained, task.evaluate.Options(corpus=options.corpus))
    else:
        arrays = task.token_access.training_arrays(trained, "give --corpus")
    tokens = trained.codec.vocabulary.tokens
    model = KneserNey(within_memory(arrays), order, len(tokens))
    text = " + ".join(options.corpus) or trained.payload["corpus"]
    about = f"modified Kneser-Ney {order}-grams of {text}"
    return _Content((part.encode() for part in arpa_text(model, tokens)), None, about)


_CONTENTS: Mapping[str, Callable[[Trained, ExportOptions], _Content]] = {
    "onnx": _onnx,
    "weights": _weights,
    "torch": _torch,
    "arpa": _arpa,
}
"""The makers of files, by form."""
