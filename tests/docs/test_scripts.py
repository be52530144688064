"""docs/scripts.md: a Russian text with stress marks, from the file to the pictures, by characters and by BPE."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from support.docs import run_page

from rnncli.data.marks import is_mark
from rnncli.data.text import read_text


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.parametrize(
    "tokens", ["--tokens char", pytest.param("--tokens bpe --vocab-size 400", marks=pytest.mark.slow)]
)
def test_text_with_marks_from_file_to_pictures(
    tokens: str, rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("scripts.md")
    text = read_text(tmp_path / "lake.txt")
    assert (len(text), text.count("\n"), sum(map(is_mark, text))) == (19_427, 400, 2_221)

    (tmp_path / "lake.txt").write_text("".join(text.splitlines(keepends=True)[:60]), encoding="utf-8")
    size = "--hidden 4 --embedding 4 --batch-size 16 --epochs 1 --precision float32 --quiet"
    ran = rnn(f"train char-lm --corpus lake.txt {tokens} {size} --name lake")
    assert ran.code == 0, ran.err
    line = "Ве́чером стари́к ви́дит ло́дку."
    score = rnn(f"score '{line}' --from lake").out.splitlines()
    assert score[1].endswith(line)
    assert ("◌\u0301:" in score[2]) == (tokens == "--tokens char")
    *_, above, below = rnn(f"activations lake --text '{line}' --unit h1:1").out.splitlines()
    assert above == line or tokens != "--tokens char"  # a bpe shows parts of letters by number
    assert len(below) <= cell_len(above)
    written = rnn("generate lake --length 50 --seed 1")
    assert (written.code, "\ufffd" in written.out[-2:]) == (0, False)
    plotted = rnn("embeddings plot --from lake --out vectors.png")
    assert "no font here has" not in plotted.err
    assert (tmp_path / "vectors.png").read_bytes().startswith(b"\x89PNG")
