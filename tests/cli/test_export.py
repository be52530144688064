"""`rnn export`: a file with everything needed to continue a text, and one line for models that cannot be exported."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytestmark = pytest.mark.no_backend

TINY = "--hidden 4 --embedding 3 --epochs 1 --name mine"


def test_the_file_suffices_to_continue_a_text(rnn, home: Path, tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("the cat sat on the mat.\n" * 30)
    assert rnn(f"train char-lm --corpus {text} --bptt 9 {TINY}").code == 0
    file = tmp_path / "model.onnx"
    ran = rnn(f"export mine --onnx {file} --json")
    assert ran.code == 0
    (facts,) = json.loads(ran.out)["files"]
    assert facts["form"] == "onnx"
    assert facts["bytes"] == file.stat().st_size
    assert facts["difference"] < 1e-5
    session = onnxruntime.InferenceSession(file.read_bytes())
    message = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (message["task"], message["tokenizer"], message["cell"]) == ("char-lm", "char", "lstm:none")
    states = {name: np.float32([value]) for name, value in message["initial"].items()}
    nats = 0.0
    for read, wanted in zip("\nthe cat", "the cat", strict=False):
        token = np.array([message["vocabulary"].index(read)])
        logits, *after = session.run(None, {"tokens": token, **states})
        states = dict(zip(states, after, strict=True))
        nats -= logits[0, message["vocabulary"].index(wanted)] - np.log(np.exp(logits[0]).sum())
    scored = json.loads(rnn("score 'the cat' --from mine --json").out)
    assert nats == pytest.approx(-scored["texts"][0]["log_probability"], rel=1e-4)


ODD = Path(__file__).parents[1] / "checkpoints" / "parity-solved" / "best.safetensors"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (f"export {ODD}", "name the file to write: --onnx FILE"),
        (f"export {ODD} --onnx {{}}", "is a model of parity: --onnx exports language models"),
        ("export absent --onnx {}", "there is no run 'absent'"),
    ],
)
def test_a_refused_export_is_one_line(rnn, tmp_path: Path, words: str, refusal: str) -> None:
    file = tmp_path / "model.onnx"
    ran = rnn(words.format(file))
    assert ran.code == 2
    assert refusal in ran.err
    assert not file.exists()
