"""Push and pull by the real huggingface_hub against a hub on this machine: contents, privacy, one line per failure."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.hub import Hub, Repo, serving_hub

import rnncli
from rnncli import hub as module
from rnncli.errors import RnnError
from rnncli.hub import inert, pull
from rnncli.tasks import TASKS
from rnncli.training import checkpoint
from rnncli.training.runs import Run

pytestmark = [
    pytest.mark.no_backend,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # the library's own upload without xet
]

FIXTURES = Path(__file__).parent / "checkpoints"
PAGE = Path(__file__).parents[1] / "docs" / "hub.md"
RECORDS = [{"step": 100, "epoch": 1.0, "seconds": 1.5, "loss": 0.5, "bits": None}]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that the library uses in place of the real one, with the token of `me`."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        address = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "tokens"))
        monkeypatch.setenv("HF_TOKEN", "hf_mine")
        yield served


def make_run(home: Path, fixture: str = "parity-solved", task: str = "parity", name: str = "mine") -> Run:
    run = Run(home / "checkpoints" / task / name)
    run.folder.mkdir(parents=True)
    shutil.copyfile(FIXTURES / fixture / "best.safetensors", run.folder / "best.safetensors")
    run.write_metrics(RECORDS)
    return run


def test_a_pulled_run_is_the_run_that_was_pushed(rnn, home: Path, hub: Hub) -> None:
    run = make_run(home, "verse-book", "poetry-lm")
    ran = rnn("push mine me/verse")
    assert (ran.code, ran.out) == (0, f"{hub.url}/me/verse\n")
    assert ran.err.startswith("poetry-lm/mine: best.safetensors (68.1 kB), README.md (")
    assert ran.err.endswith("; private\n")
    repo = hub.repos["me/verse"]
    assert repo.private
    assert set(repo.files) == {"best.safetensors", "metrics.jsonl", "README.md"}
    ran = rnn("pull me/verse --json")
    facts = json.loads(ran.out)
    assert (facts["task"], facts["run"], facts["revision"], facts["cell"]) == ("poetry-lm", "verse", repo.sha, "")
    pulled = Run(Path(facts["folder"]))
    for name in ("best.safetensors", "metrics.jsonl", "metrics.csv"):
        assert (pulled.folder / name).read_bytes() == (run.folder / name).read_bytes()
    assert rnncli.load("verse").source == pulled.folder / "best.safetensors"
    assert {each.name for each in pulled.folder.parent.iterdir()} == {"mine", "verse"}  # and no lock
    ran = rnn("pull me/verse --name again --revision main")
    assert (ran.code, ran.out) == (0, "poetry-lm/again\n")
    assert f"me/verse at {repo.sha}; SHA-256 {facts['sha256']} verified" in ran.err
    assert "hf_mine" not in ran.err


def test_the_program_of_the_docs_pushes_and_pulls(home: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home, name="small")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(program, {})
    sha256 = checkpoint.read(home / "checkpoints" / "parity" / "copy" / "best.safetensors").sha256
    pushed, pulled = capsys.readouterr().out.splitlines()
    assert pushed == f"{hub.url}/me/small True {sha256}"
    assert pulled == f"{home / 'checkpoints' / 'parity' / 'copy'} {hub.repos['me/small'].sha}"


def test_the_card_has_the_facts_of_the_run(rnn, home: Path, hub: Hub) -> None:
    import yaml

    make_run(home, "verse-book", "poetry-lm")
    assert rnn("push mine me/verse").code == 0
    card = hub.repos["me/verse"].files["README.md"].decode()
    _, front, text = card.split("---\n", 2)
    tags = ["rnn", "poetry-lm"]
    assert yaml.safe_load(front) == {"library_name": "rnncli", "pipeline_tag": "text-generation", "tags": tags}
    facts = json.loads(rnn("inspect mine --json").out)
    assert f"| SHA\\-256 | {facts['sha256']} |" in text
    assert "| corpus | hillside |" in text
    assert "rnn pull me/verse\nrnn inspect verse\nrnn evaluate verse\nrnn generate verse\n" in text


def test_no_text_of_a_run_acts_in_its_card() -> None:
    evil = "</td><script>x</script> | a `b` [c](http://d.e) **f**\n# g\x1b[31m ![h](i) https://j.k \u202e"
    shown = inert(evil)
    assert "\n" not in shown
    assert not set(shown) & {"<", ">", "\x1b", "\u202e"}
    source = FIXTURES / "parity-solved" / "best.safetensors"
    found = checkpoint.read(source)
    header = {**found.header, "payload": {"corpus": evil}, "cell": {"class": evil, "sha256": evil}, "rnn": evil}
    card = module.model_card(TASKS["parity"], checkpoint.Checkpoint(header, found.tensors), evil, "me/name")
    plain = module.model_card(
        TASKS["parity"], checkpoint.Checkpoint({**header, **found.header}, found.tensors), "x", "me/name"
    )
    assert len(card.splitlines()) == len(plain.splitlines())
    assert card.count("<") == 0
    for sign in "`*[]()!|#:":
        for place, each in enumerate(shown):
            assert each != sign or shown[place - 1] == "\\", sign


def test_a_new_repository_is_public_only_on_request(rnn, home: Path, hub: Hub) -> None:
    make_run(home)
    assert rnn("push mine me/open --public").err.endswith("; public\n")
    assert not hub.repos["me/open"].private
    before = dict(hub.repos["me/open"].files)
    ran = rnn("push mine me/open")
    assert (ran.code, ran.err) == (
        2,
        "rnn: error: me/open is public: add --public to push there, or push to a new repository\n",
    )
    hub.repos["me/other"] = Repo(True, {".gitattributes": b"", "config.json": b"{}"})
    ran = rnn("push mine me/other")
    assert (ran.code, ran.err) == (
        2,
        "rnn: error: me/other holds other files (config.json, …): push to a new repository\n",
    )
    assert hub.repos["me/open"].files == before


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("push mine open", "'open' is not a repository's name: write OWNER/NAME"),
        ("push mine me/-open", "cannot push to me/-open: write OWNER/NAME with at most 96 letters, digits and . - _"),
        ("push mine you/theirs", "cannot push to you/theirs: your token has no permission (403); `hf auth login`"),
        ("push nobody me/name", "there is no run 'nobody'"),
        ("push empty me/name", "run empty has no best.safetensors yet: train it until its first validation"),
        ("pull me/nothing", "cannot pull me/nothing: there is no such repository, or your token may not see it"),
        ("pull you/private", "cannot pull you/private: there is no such repository, or your token may not see it"),
        ("pull me/else", "me/else holds no run of rnn: it has no best.safetensors"),
        ("pull me/pickle", "me/pickle/best.safetensors is a pickle, which can run code when opened"),
        ("pull me/bad", "me/bad/best.safetensors is damaged: its contents do not match its SHA-256"),
        ("pull me/curve", "metrics.jsonl of me/curve holds no records of validations: nothing was saved"),
        ("pull me/good --name mine", "run 'mine' of parity is already there: take another --name"),
        ("pull me/good --name a/b", "--name 'a/b' cannot be a folder's name"),
        ("pull me/good --revision old", "cannot pull me/good: it has no such revision"),
    ],
)
def test_a_refusal_is_one_line_and_leaves_nothing(rnn, home: Path, hub: Hub, words: str, refusal: str) -> None:
    data = (make_run(home).folder / "best.safetensors").read_bytes()
    unvalidated = home / "checkpoints" / "parity" / "empty"
    unvalidated.mkdir()
    (unvalidated / "last.safetensors").write_bytes(data)
    hub.repos |= {
        "you/private": Repo(True, {"best.safetensors": data}),
        "me/else": Repo(True, {"model.bin": b""}),
        "me/pickle": Repo(True, {"best.safetensors": b"\x80\x04\x95"}),
        "me/bad": Repo(True, {"best.safetensors": data[:-1] + bytes([data[-1] ^ 1])}),
        "me/curve": Repo(True, {"best.safetensors": data, "metrics.jsonl": b'{"step": "many"}\n'}),
        "me/good": Repo(True, {"best.safetensors": data}),
    }
    before = sorted(home.rglob("*"))
    ran = rnn(words)
    assert ran.code in (1, 2)
    assert ran.err.count("\n") == 1, ran.err
    assert refusal in ran.err
    assert sorted(each for each in home.rglob("*") if each.name != ".rnn") == before


def test_contents_other_than_listed_are_refused(home: Path, hub: Hub) -> None:
    data = (FIXTURES / "parity-solved" / "best.safetensors").read_bytes()
    other = (FIXTURES / "parity-mlp" / "best.safetensors").read_bytes()
    hub.repos["me/good"] = Repo(True, {"best.safetensors": data})
    hub.served["best.safetensors"] = other + b"\0" * (len(data) - len(other))  # of the same size
    with pytest.raises(RnnError, match=r"best\.safetensors of me/good is not what the hub lists: nothing was saved"):
        pull("me/good")
    assert not (home / "checkpoints").exists()


def test_an_interrupted_pull_leaves_no_run(home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (FIXTURES / "parity-solved" / "best.safetensors").read_bytes()
    hub.repos["me/good"] = Repo(True, {"best.safetensors": data})

    def interrupted(run: Run, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(Run, "save_best", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pull("me/good")
    assert not [each for each in (home / "checkpoints").rglob("*") if each.is_file() and each.name != ".rnn"]
    pulled = pull("me/good").run
    assert pulled.table.exists()  # of the checkpoint's own history, without metrics.jsonl


def test_failures_of_the_hub_are_one_line(rnn, home: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(home)
    hub.fails["GET /api/models/me/down"] = 503
    assert rnn("pull me/down").err == "rnn: error: cannot pull me/down: the hub answers 503; try again later\n"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    ran = rnn("pull me/name")
    assert ran.code == 1
    assert "cannot pull me/name: " in ran.err
    assert ran.err.endswith("; check the network, and HF_ENDPOINT if it is set\n")
    monkeypatch.delenv("HF_TOKEN")
    ran = rnn("push mine me/name")
    assert ran.err == "rnn: error: rnn push needs an access token of the hub: run `hf auth login`, or set HF_TOKEN\n"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    ran = rnn("pull me/name")
    assert ran.err == "rnn: error: cannot pull me/name: HF_HUB_OFFLINE forbids the network: unset it\n"


def test_without_the_library_one_line_names_the_extra(rnn, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(home)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for words, verb in (("push mine me/name", "rnn push"), ("pull me/name", "rnn pull")):
        missing = f"{verb} needs huggingface_hub, which is not installed: pip install 'rnncli[hub]'"
        assert rnn(words).err == f"rnn: error: {missing}\n"


def test_a_cell_from_outside_is_named_and_its_code_is_not_run(rnn, home: Path, hub: Hub) -> None:
    found = checkpoint.read(FIXTURES / "parity-solved" / "best.safetensors")
    config = {**found.header["config"], "cell": "/nowhere/mine.py:Mine"}
    header = {**found.header, "config": config, "cell": {"class": "Mine", "sha256": "0" * 64}}
    data = checkpoint.to_bytes(header, found.tensors)
    hub.repos["me/own"] = Repo(True, {"best.safetensors": data, "mine.py": b"raise SystemExit(9)"})
    ran = rnn("pull me/own")
    assert (ran.code, ran.out) == (0, "parity/own\n")
    assert "its cell Mine is from outside: name its code by --cell PATH.py:Mine" in ran.err
    assert "GET /me/own/resolve/" + hub.repos["me/own"].sha + "/mine.py" not in hub.requests
    assert rnn("push own me/again").code == 0
    card = hub.repos["me/again"].files["README.md"].decode()
    assert "The code of its cell, class Mine (SHA-256" in card
    assert "nowhere" not in card


@pytest.mark.slow
def test_the_command_uses_the_hub_of_the_environment(home: Path, tmp_path: Path) -> None:
    """In processes of their own, with nothing of the library replaced."""
    make_run(home)
    with serving_hub() as served:
        own = {
            "HF_ENDPOINT": served.url,
            "HF_TOKEN": "hf_mine",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "hf"),
        }
        for words in ("push mine me/name", "pull me/name"):
            command = [sys.executable, "-m", "rnncli", *words.split()]
            ran = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "parity/name\n"
