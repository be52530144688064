"""Every verb of every task on a fake and a real CUDA device, compared with the CPU."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.pretended import OnCard, pretended_card

from rnncli.analysis.gradients import of_model
from rnncli.api import Model, load

FOLDER = Path(__file__).parents[1] / "checkpoints"
WOODS = "the woods are lovely\nand dark"
VERBS: list[tuple[str, str, Mapping[str, Any]]] = [
    ("parity-solved", "evaluate", {"bits": 4}),
    ("parity-solved", "activations", {"text": "1011\n01"}),
    ("parity-solved", "gradients", {"text": "101101"}),
    ("parity-mlp", "evaluate", {}),
    ("verse-voices", "evaluate", {"corpus": "a file"}),
    ("verse-spelled", "score", {"texts": WOODS}),
    ("verse-spelled", "activations", {"text": WOODS}),
    ("verse-book", "generate", {"lines": 2, "seed": 3}),
    ("verse-book", "generate", {"beam": 3}),
    ("verse-book", "gradients", {"text": WOODS}),
    ("verse-adaptive", "score", {"texts": WOODS}),
    ("prose-sentences", "evaluate", {"corpus": "a file"}),
    ("prose-sentences", "activations", {"text": WOODS}),
    ("prose-vectors", "score", {"texts": WOODS}),
    ("prose-running", "evaluate", {"corpus": "a file"}),
    ("chars-voices", "evaluate", {"corpus": "a file"}),
    ("chars-voices", "generate", {"length": 8, "seed": 3}),
    ("classify-held-out", "classify", {"texts": WOODS}),
    ("classify-held-out", "activations", {"text": WOODS}),
    ("tags", "evaluate", {}),
    ("tags", "tag", {"texts": WOODS}),
    ("tags", "activations", {"text": WOODS}),
    ("dates", "evaluate", {"beam": 1, "source": "a file", "target": "a file"}),
    ("dates", "translate", {"texts": "3 may 1999", "nbest": 2}),
]


def done(model: Model, verb: str, options: Mapping[str, Any]) -> Any:
    """The result of a verb, as plain values."""
    if verb == "gradients":
        return plain(of_model(model, **options, length=5))
    found = getattr(model, verb)(**options)
    return plain("".join(found.pieces) if verb == "generate" else found)


def plain(value: Any) -> Any:
    """Results as lists and mappings of strings and numbers."""
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    else:
        yield value


def assert_alike(found: Any, wanted: Any, relative: float) -> None:
    ours, theirs = list(leaves(found)), list(leaves(wanted))
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, float) and isinstance(other, float):
            assert one == pytest.approx(other, rel=relative, abs=relative, nan_ok=True)
        else:
            assert one == other


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A text file that replaces "a file" in options."""
    path = tmp_path / "woods.txt"
    path.write_text((WOODS + "\n") * 20, encoding="utf-8")
    return str(path)


def with_file(options: Mapping[str, Any], file: str) -> dict[str, Any]:
    return {name: file if value == "a file" else value for name, value in options.items()}


def file_of(name: str) -> Path:
    """A checkpoint; skips the test if it needs a missing package."""
    if name in ("classify-held-out", "tags"):
        pytest.importorskip("nltk", reason="waits for nltk, which splits texts into words")
    return next((FOLDER / name).glob("*.safetensors"))


@pytest.mark.parametrize(("name", "verb", "options"), VERBS)
def test_fake_card_equals_the_cpu(
    name: str, verb: str, options: Mapping[str, Any], file: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor on the CPU is combined with tensors of the net."""
    options = with_file(options, file)
    wanted = done(load(file_of(name), device="cpu"), verb, options)
    with pretended_card(monkeypatch):
        there = load(file_of(name), device="cuda")
        assert all(isinstance(each, OnCard) for each in there.model.state_dict().values())
        assert_alike(done(there, verb, options), wanted, 1e-5)


def test_fake_card_refuses_tensors_of_two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_card(monkeypatch):
        x = torch.ones(2, 3, device="cuda")
        assert (x @ torch.ones(3, 1).to("cuda")).tolist() == [[3.0], [3.0]]
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            x @ torch.ones(3, 1)
        with pytest.raises(RuntimeError, match="numpy"):
            x.numpy()


@pytest.mark.parametrize(
    "words",
    [
        *("evaluate parity", "generate poetry", "score woods", "classify woods", "tag woods", "translate woods"),
        *("activations", "gradients", "report", "serve --port 0", "train parity", "compare parity"),
    ],
)
def test_every_verb_that_computes_takes_a_device(words: str, rnn: Any) -> None:
    ran = rnn(f"{words} --device tpu")
    assert (ran.code, ran.err) == (2, "rnn: error: --device must be one of auto, cpu, cuda, mps, not 'tpu'\n")


@pytest.mark.cuda
@pytest.mark.parametrize(("name", "verb", "options"), VERBS)
def test_cuda_equals_the_cpu(name: str, verb: str, options: Mapping[str, Any], file: str, home: Path) -> None:
    options = with_file(options, file)
    there = load(file_of(name), device="cuda")
    assert there.device == "cuda"
    drawn = verb == "generate" and "beam" not in options  # with a generator of the device
    wanted = None if drawn else done(load(file_of(name), device="cpu"), verb, options)
    found = done(there, verb, options)
    if drawn:
        assert found.strip()
    else:
        assert_alike(found, wanted, 1e-3)
