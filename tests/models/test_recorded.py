"""Decoding by graphs, on a tape: the same tokens as without a recorder, whatever the options, streams and beams."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.tape import TapeRecorder

from rnncli.errors import RnnWarning
from rnncli.kernels.graphs import Graphs, recorder_on
from rnncli.models import decoding, recorded
from rnncli.models.decoding import (
    Choice,
    Ending,
    Length,
    Opening,
    beam_search,
    draw_streams,
    limited,
    read,
    restarting,
)
from rnncli.models.language_model import LanguageModel
from rnncli.models.recorded import RecordedStreams, graphs_on
from rnncli.models.sampling import Sampling
from rnncli.models.scoring import surprisals
from rnncli.models.stack import StackShape, States
from rnncli.training.metrics import running_metrics

START, END, UNKNOWN = 0, 1, 2
OPTIONS = (
    {},
    {"temperature": 0.0},
    {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.05},
    {"repetition_penalty": 1.3, "no_repeat": 3, "temperature": 0.7},
)


@pytest.fixture
def tape() -> TapeRecorder:
    return TapeRecorder()


def tiny_model() -> Any:
    torch.manual_seed(1)
    model: Any = LanguageModel(6, 4, StackShape("lstm", (6, 3))).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
        model.bias[END] = -1.0
    return model


def ending(length: int, *last: int) -> Ending:
    """Ends a stream with one of the `last` tokens, or with the token of that number."""
    left = iter(range(length - 1, -1, -1))
    return lambda token: next(left) == 0 or token in last


def sentences(model: Any) -> Opening:
    """The same model, which restarts after each END and ends a sentence after 6 tokens."""
    opening = read(model, [START])
    step = limited(restarting(opening.step, model.initial_states(1), START, END), END, 6)
    size = Length(torch.zeros(1, 1, dtype=torch.long, device=opening.logits.device))
    return Opening(step, opening.logits, [size, *opening.states])


def streams(
    opening: Opening,
    graphs: Graphs | None,
    count: int,
    *last: int,
    listen: Any = None,
    generator: torch.Generator | None = None,
    **options: float,
) -> list[list[tuple[int, int]]]:
    generator = (generator or torch.Generator()).manual_seed(5)
    drawn = draw_streams(
        opening,
        count,
        Sampling(**options),
        banned=(START, UNKNOWN),
        banned_first=(END,),
        generator=generator,
        ending=lambda: ending(20, *last),
        past=(3, 4),
        listen=listen,
        graphs=graphs,
    )
    return list(drawn)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("count", "last"), [(1, ()), (6, ()), (8, (END,))])
def test_replayed_steps_draw_the_same_tokens(
    options: dict[str, float], count: int, last: tuple[int, ...], tape: TapeRecorder
) -> None:
    opening = read(tiny_model(), [3, 4])
    by_tape = streams(opening, Graphs(tape), count, *last, **options)
    assert by_tape == streams(opening, Graphs(None), count, *last, **options)
    assert tape.replays > 5
    if not last:  # all streams run side by side to the end: as without graphs
        assert by_tape == streams(opening, None, count, **options)


def test_streams_that_ended_are_never_heard_of_again(tape: TapeRecorder) -> None:
    alive = set(range(9))
    for step in streams(read(tiny_model(), [3, 4]), Graphs(tape), 9, END):
        assert {number for number, _ in step} == alive
        alive -= {number for number, token in step if token == END}
    assert len(tape.recordings) <= 4  # of 9, 4, 2 and 1


@pytest.mark.parametrize("options", OPTIONS[2:])
def test_sentences_restart_and_end_within_a_graph(options: dict[str, float], tape: TapeRecorder) -> None:
    opening = sentences(tiny_model())
    by_tape = streams(opening, Graphs(tape), 3, **options)
    assert by_tape == streams(opening, None, 3, **options)
    assert tape.replays > 5
    for number in range(3):
        tokens = [token for step in by_tape for stream, token in step if stream == number]
        ends = [place for place, token in enumerate(tokens) if token == END]
        assert ends
        assert max(b - a for a, b in zip([-1, *ends], ends, strict=False)) <= 7


def test_batches_of_streams_follow_each_other(tape: TapeRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_STREAMS", 4)
    opening = read(tiny_model(), [3, 4])
    by_tape = streams(opening, Graphs(tape), 10, END)
    assert by_tape == streams(opening, Graphs(None), 10, END)
    assert {number for step in by_tape for number, _ in step} == set(range(10))


def test_listener_hears_the_same(tape: TapeRecorder) -> None:
    opening = read(tiny_model(), [3, 4])
    heard: list[list[Choice]] = [[], []]
    for graphs, each in zip((Graphs(tape), None), heard, strict=True):
        streams(opening, graphs, 3, listen=each.append)
    assert heard[0] == heard[1]
    assert len(heard[0]) == 60


class Two(tuple[torch.Tensor, torch.Tensor]):
    """A state whose second field is the first one of the step before."""

    def __new__(cls, *fields: torch.Tensor) -> "Two":
        return super().__new__(cls, fields)


def test_state_that_hands_a_field_on_is_not_overwritten_too_early(tape: TapeRecorder) -> None:
    def step(tokens: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
        ((h, before),) = states
        return before + 0, [Two(h + tokens[:, None], h)]

    def run(recorder: TapeRecorder | None) -> list[float]:
        states: States = [Two(torch.zeros(1, 2), torch.zeros(1, 2))]
        batch = RecordedStreams(step, None, torch.ones(1, dtype=torch.long), states, Graphs(recorder))
        return [float(batch.advance()[0][0, 0]) for _ in range(6)]

    assert run(tape) == run(None) == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("width", [1, 3, 5])
def test_beam_search_finds_the_same(width: int, tape: TapeRecorder) -> None:
    model = tiny_model()

    def found(graphs: Graphs | None) -> Any:
        return beam_search(
            model.stepper(),
            model.initial_states(3),
            start=START,
            end=END,
            width=width,
            max_length=[12, 9, 12],
            banned=(UNKNOWN,),
            sampling=Sampling(no_repeat=4),
            graphs=graphs,
        )

    by_tape, wanted = found(Graphs(tape)), found(None)
    assert [[each.tokens for each in some] for some in by_tape] == [[each.tokens for each in some] for some in wanted]
    assert tape.replays > 5


def test_option_that_waits_for_the_device_is_named_and_obeyed(
    tape: TapeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of another package."""
    monkeypatch.setattr(recorded, "recorder_on", lambda *_: tape)
    plain = decoding.token_probabilities

    def curious(logits: torch.Tensor, *others: Any) -> torch.Tensor:
        assert logits.max().item() < 1e9
        return plain(logits, *others)

    monkeypatch.setattr(decoding, "token_probabilities", curious)
    opening = read(tiny_model(), [3, 4])
    with pytest.warns(RnnWarning, match="no CUDA graph is used: aten::item"):
        drawn = streams(opening, graphs_on(torch.device("cpu")), 2)
    assert drawn == streams(opening, None, 2)
    assert not tape.replays


@pytest.mark.cuda
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("make", [lambda model: read(model, [3, 4]), sentences])
def test_card_draws_the_same_by_graphs(options: dict[str, float], make: Any) -> None:
    model, device = tiny_model().cuda(), torch.device("cuda")
    generator = torch.Generator(device)
    graphs = Graphs(recorder_on(device, generator))
    by_graphs = streams(make(model), graphs, 9, generator=generator, **options)
    assert not graphs.refused
    assert by_graphs == streams(make(model), Graphs(), 9, generator=generator, **options)
    listened: list[Choice] = []
    assert streams(make(model), graphs, 9, generator=generator, listen=listened.append, **options) == by_graphs
    assert len(listened) == sum(map(len, by_graphs))


@pytest.mark.cuda
def test_card_searches_and_scores_by_graphs_as_the_cpu_does() -> None:
    model = tiny_model()
    texts = [[START, *(3 + (7 * place + length) % 3 for place in range(length))] for length in range(1, 140)]
    ids = torch.tensor([each for text in texts for each in text]).numpy()

    def found() -> Any:
        device = next(model.parameters()).device
        (some,) = beam_search(
            model.stepper(), model.initial_states(1), start=START, end=END, width=4, max_length=[12],
            graphs=graphs_on(device),
        )  # fmt: skip
        return [each.tokens for each in some], surprisals(model, texts), running_metrics(model, ids)

    beams, costs, metrics = found()
    model.cuda()
    on_card = found()
    assert on_card[0] == beams
    for ours, wanted in zip(on_card[1], costs, strict=True):
        assert ours.tolist() == pytest.approx(wanted.tolist(), rel=1e-9)
    assert on_card[2] == pytest.approx(metrics, rel=1e-9)


@pytest.fixture(autouse=True)
def _no_mode_is_left() -> Iterator[None]:
    yield
    assert not torch.is_inference_mode_enabled()
