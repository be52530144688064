"""`rnn export`: a file that says all that is needed to write on, and one line for what cannot be exported."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytestmark = pytest.mark.no_backend

TINY = "--hidden 4 --embedding 3 --epochs 1 --name mine"


def test_a_file_is_enough_to_go_on_with_a_text(rnn, home: Path, tmp_path: Path) -> None:
    text = tmp_path / "mine.txt"
    text.write_text("the cat sat on the mat.\n" * 30)
    assert rnn(f"train char-lm --corpus {text} --bptt 9 {TINY}").code == 0
    file = tmp_path / "model.onnx"
    ran = rnn(f"export mine --onnx {file} --json")
    assert ran.code == 0
    facts = json.loads(ran.out)
    assert facts["bytes"] == file.stat().st_size
    assert facts["difference"] < 1e-5
    session = onnxruntime.InferenceSession(file.read_bytes())
    said = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (said["task"], said["tokenizer"], said["cell"]) == ("char-lm", "char", "lstm:none")
    states = {name: np.float32([value]) for name, value in said["initial"].items()}
    nats = 0.0
    for read, wanted in zip("\nthe cat", "the cat", strict=False):
        token = np.array([said["vocabulary"].index(read)])
        logits, *after = session.run(None, {"tokens": token, **states})
        states = dict(zip(states, after, strict=True))
        nats -= logits[0, said["vocabulary"].index(wanted)] - np.log(np.exp(logits[0]).sum())
    scored = json.loads(rnn("score 'the cat' --from mine --json").out)
    assert nats == pytest.approx(-scored["texts"][0]["log_probability"], rel=1e-4)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("export odd", "say what to make of it: --onnx FILE"),
        ("export odd --onnx {}", "is a model of parity: --onnx exports language models"),
        ("export absent --onnx {}", "there is no run 'absent'"),
    ],
)
def test_what_cannot_be_exported_is_one_line(rnn, tmp_path: Path, words: str, refusal: str) -> None:
    assert rnn("train parity --epochs 1 --name odd").code == 0
    file = tmp_path / "model.onnx"
    ran = rnn(words.format(file))
    assert ran.code == 2
    assert refusal in ran.err
    assert not file.exists()
