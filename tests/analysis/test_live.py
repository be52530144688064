"""The live page: the text of `rnn generate` token by token, one line per refusal, many clients at once."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.serving import JSON, Answer, ask, served

from rnncli.analysis import live
from rnncli.api import Model, Training, load
from rnncli.models import decoding
from rnncli.presets import resolve
from rnncli.tasks import TASKS

WRITERS = [name for name, task in TASKS.items() if "generate" in task.uses]
TEXT = "".join(f"the {a} of the {b} sat, là\n" for a in ("cat", "dog", "owl", "cow") for b in ("hill", "sea", "mat"))


def trained_on(task: str, home: Any, **more: Any) -> Model:
    (home / "mine.txt").write_text(TEXT * 3)
    settings: dict[str, Any] = {"hidden": "12", "embedding": 8, "epochs": 2, "corpus": (str(home / "mine.txt"),)}
    settings |= {"bptt": 20, "batch_size": 4} if task == "char-lm" else {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNN_HOME", str(home))
        training = Training.start(task, resolve(TASKS[task], settings | more), "test")
        training.train(lambda _: None, pytest.fail)
        return load(training.run.folder / "last.safetensors")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return trained_on("char-lm", tmp_path_factory.mktemp("letters"))


@pytest.fixture(scope="module")
def port(letters: Model) -> Iterator[int]:
    with served(letters) as port:
        yield port


@pytest.mark.parametrize(("task", "more"), [*((task, {}) for task in WRITERS), ("char-lm", {"tokens": "bytes"})])
@pytest.mark.parametrize("prime", ["", "the dog"])
def test_live_text_matches_rnn_generate(task: str, more: dict[str, Any], prime: str, tmp_path: Any) -> None:
    """Exactly equal, as a whole and token by token; the lines of verse grow in parallel."""
    trained = trained_on(task, tmp_path, **more)
    options = {"prime": prime, "length": 40, "seed": 5, "temperature": 0.9, "top_k": 20}
    with served(trained) as port:
        answers = [ask(port, options) for _ in range(2)]
    assert answers[0] == answers[1]
    *tokens, end = answers[0].events
    written = trained.generate(**options)
    assert (end["text"], end["seed"], end["unknown"]) == (written.texts[0], 5, written.unknown)
    lines = [""] * (1 + max(each["line"] for each in tokens))
    for each in tokens:
        lines[each["line"]] += each["token"]
    whole = prime + "".join(lines)
    assert whole.rstrip("\n") == end["text"].rstrip("\n") or (more and end["text"].startswith(whole))
    for each in tokens:
        names, probs = zip(*each["likeliest"], strict=True)
        assert 0 < len(names) == len(set(names)) <= decoding.LIKELIEST
        assert list(probs) == sorted(probs, reverse=True)
        assert 0 < each["probability"] <= probs[0]
        assert sum(probs) <= 1 + 1e-5


def test_probabilities_match_the_model(letters: Model, port: int) -> None:
    """The same probabilities as `rnn score` for the same tokens."""
    *tokens, end = ask(port, {"length": 12, "seed": 2, "temperature": 1.0}).events
    (scored,) = letters.score(end["text"])
    allowed = 1 - sum(_first_probs(letters)[:3])
    assert tokens[0]["probability"] == pytest.approx(2 ** -scored.tokens[0].bits / allowed, abs=1e-5)


def _first_probs(letters: Model) -> list[float]:
    """The probability of each token after a line feed; tokens that are never written come first."""
    import torch

    net: Any = letters.model
    with torch.inference_mode():
        logits, _ = net(torch.tensor([[letters.payload["vocabulary"].index("\n")]]))
    probs: list[float] = logits[0, 0].softmax(-1).tolist()
    return probs


BAD: list[tuple[Any, int, str]] = [
    (b"", 400, "the request is not JSON"),
    (b"{", 400, "the request is not JSON"),
    (b"[" * 60_000, 400, "the request is not JSON"),
    (b"\xff\xfe", 400, "the request is not JSON"),
    (b"9" * 5_000, 400, "the request is not JSON"),
    (b"[]", 400, "a request is a JSON object"),
    (b"null", 400, "a request is a JSON object"),
    (b'{"temperature": NaN}', 400, "temperature must be a finite number, not nan"),
    (b'{"temperature": 1e999}', 400, "temperature must be a finite number, not inf"),
    (b'{"temperature": 1%s}' % (b"0" * 400), 400, "temperature must be a number, not 1000"),
    ({"temperature": -1}, 400, "temperature must be at least 0, not -1"),
    ({"temperature": "warm"}, 400, "temperature must be a number, not 'warm'"),
    ({"temperature": True}, 400, "temperature must be a number, not True"),
    ({"length": 1.5}, 400, "length must be a whole number, not 1.5"),
    ({"length": 0}, 400, "length must be at least 1, not 0"),
    ({"length": 5_001}, 400, "5,001 tokens are too many at once: ask for at most 5,000"),
    ({"seed": -1}, 400, "seed must be at least 0, not -1"),
    ({"seed": 2**63}, 400, "seed must be at most"),
    ({"prime": 7}, 400, "prime must be text, not 7"),
    ({"prime": "\ud800"}, 400, "cannot be printed: give another text"),
    ({"prime": {}, "length": 1}, 400, "prime must be text"),
    ({"label": "frost"}, 400, "has no voices"),
    ({"beam": 3}, 400, "there is no option 'beam': the options are prime, "),
    ({"novelty": True}, 400, "there is no option 'novelty'"),
    ({"listen": "x"}, 400, "there is no option 'listen'"),
    ({"prime": "x" * 66_000}, 413, "a request has 65,536 bytes at most"),
    ({"x" * 60_000: 1}, 400, "there is no option 'xxx"),
]


@pytest.mark.parametrize(("body", "status", "complaint"), BAD, ids=[complaint for _, _, complaint in BAD])
def test_a_bad_request_is_one_line(body: Any, status: int, complaint: str, port: int) -> None:
    check_refused(ask(port, body), status, complaint)


def check_refused(answer: Answer, status: int, complaint: str) -> None:
    assert (answer.status, answer.kind) == (status, "application/json")
    assert answer.text.count("\n") == 1
    assert len(answer.text) < 800
    (event,) = answer.events
    assert list(event) == ["error"]
    assert complaint in event["error"]
    assert not event["error"].startswith("-")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "complaint"),
    [
        ("GET", "/write", JSON, 405, "/write takes no GET"),
        ("POST", "/", JSON, 405, "/ takes no POST"),
        ("GET", "/nowhere", {}, 404, "there is nothing at /nowhere"),
        ("OPTIONS", "/write", {"Origin": "http://else.example"}, 405, "/write takes no OPTIONS"),
        ("POST", "/write", {}, 415, "Content-Type must be application/json"),
        ("POST", "/write", {"Content-Type": "text/plain"}, 415, "Content-Type must be application/json"),
        ("POST", "/write", {**JSON, "Host": "else.example"}, 403, "only to 127.0.0.1 and localhost"),
        ("GET", "/", {"Host": "else.example:80"}, 403, "only to 127.0.0.1 and localhost"),
        ("GET", "/", {"Host": "localhost.else.example"}, 403, "only to 127.0.0.1 and localhost"),
        ("GET", "/", {"Host": ""}, 403, "only to 127.0.0.1 and localhost"),
    ],
)
def test_other_methods_paths_and_hosts_are_refused(
    method: str, path: str, headers: dict[str, str], status: int, complaint: str, port: int
) -> None:
    check_refused(ask(port, {}, method, path, headers), status, complaint)


def test_page_is_served_under_each_name_of_this_machine(port: int) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST:8000", f"127.0.0.1:{port}", "[::1]:80"):
        answer = ask(port, b"", "GET", "/", {"Host": name})
        assert answer == (200, "text/html; charset=utf-8", "the page")


def test_a_body_without_a_length_is_read_no_further_than_allowed(port: int) -> None:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/write", (b" " * 1_000 for _ in range(100)), JSON, encode_chunked=True)
    response = connection.getresponse()
    check_refused(
        Answer(response.status, response.getheader("Content-Type", ""), response.read().decode()), 413, "at most"
    )
    connection.close()


def test_a_prime_is_never_a_file(letters: Model, port: int) -> None:
    secret = letters.source.parent / "secret.txt"
    secret.write_text("of of of")
    for prime in (f"@{secret}", "@", "@@", "@the"):
        *_, end = ask(port, {"prime": prime, "length": 8, "seed": 1}).events
        assert end["text"] == letters.generate(prime=f"@{prime}", length=8, seed=1).texts[0]
        assert "@" in end["unknown"]


def test_model_error_is_one_line(letters: Model, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(decoding, "draw", fail)
    check_refused(ask(port, {"length": 3}), 500, "ZeroDivisionError: by hand (this is a bug in rnn)")
    monkeypatch.undo()
    assert ask(port, {"length": 3}).status == 200


def test_disconnected_client_stops_generation(letters: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, drawn, draw = threading.Event(), [], decoding.draw

    def counted(*arguments: Any) -> Any:
        if drawn:
            assert gone.wait(30)
        drawn.append(1)
        return draw(*arguments)

    monkeypatch.setattr(decoding, "draw", counted)
    writer = live.Writer(letters)

    async def leave() -> None:
        events = writer.write(live.options_of(letters, {"length": 5_000}))
        assert ["token" in event for event in await anext(events)] == [True]
        await events.aclose()
        gone.set()
        written = [event async for batch in writer.write(live.options_of(letters, {"length": 4})) for event in batch]
        assert len(written) == 5

    asyncio.run(leave())
    assert len(drawn) == 2 + 4  # one was in progress when the first client left


@pytest.mark.slow
def test_a_thousand_requests_from_twenty_clients_at_once(letters: Model, port: int) -> None:
    """Each answer is the same as without other clients."""
    wanted = {seed: letters.generate(length=4, seed=seed).texts[0] for seed in range(10)}

    def client(number: int) -> list[bool]:
        answers = [(turn % 10, ask(port, {"length": 4, "seed": turn % 10})) for turn in range(number, number + 50)]
        return [answer.status == 200 and answer.events[-1]["text"] == wanted[seed] for seed, answer in answers]

    with ThreadPoolExecutor(20) as clients:
        right = [each for some in clients.map(client, range(20)) for each in some]
    assert (len(right), all(right)) == (1_000, True)


def test_page_offers_the_options_that_a_request_may_set(tmp_path: Any) -> None:
    trained = trained_on("poetry-lm", tmp_path)
    panel = live.write_panel(trained)
    assert [each["name"] for each in panel["fields"]] == [name for name in live.OFFERED if name != "label"]
    defaults = {each["name"]: each["default"] for each in panel["fields"]}
    assert live.options_of(trained, defaults) == live.options_of(trained, {})
    assert json.loads(json.dumps(panel)) == panel
