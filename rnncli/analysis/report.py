"""A self-contained HTML page about a run: its curves, samples, surprisal and units, without network access.

A panel is a plain dictionary with a `kind`, which selects how the page's script draws it.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from rnncli.analysis.activations import Ranking, rank
from rnncli.analysis.curves import loss_unit, read_records
from rnncli.data.text import visible
from rnncli.data.vocabulary import END, SPECIALS
from rnncli.errors import RnnError
from rnncli.panels import Panel, samples
from rnncli.recording import Recording
from rnncli.records import json_line
from rnncli.task import Trained
from rnncli.tasks import TASKS
from rnncli.training.machine import matmul_policy
from rnncli.training.monitoring import shown_metric
from rnncli.training.runs import Run

TEMPERATURES = (0.5, 0.8, 1.0)
TOKENS, UNITS, WORDS = 1_500, 100, 400
"""The most that a page has: tokens of text, units, and words on its map."""

TRIES, MIN_INK = 5, 0.1
"""Seeds that are tried for a sample whose visible characters make up at least this part of it."""

LAGS = 100
MAX_BITS = 16.0
"""The end of the colour scale of surprisal; half of it for a character model."""


def page(
    trained: Trained, maker: str = "rnn report", first: Sequence[Panel] = (), reach: str = "'none'"
) -> tuple[str, list[Panel]]:
    """The page of a trained model, and its panels; a panel that fails becomes a note with the reason.

    The panels of `first` come before all others; see `document` for `reach`.
    """
    found = [*first, *panels(trained)]
    return document(trained, found, maker, reach), found


def document(trained: Trained, panels: Sequence[Panel], maker: str, reach: str = "'none'") -> str:
    """A page with panels about a trained model; `reach` is the content security policy for its script's requests."""
    facts = {
        "title": f"{trained.task}, {trained.source.parent.name}",
        "about": f"{trained.source.name}, trained on {trained.payload['corpus']}",
        "maker": maker,
        "panels": panels,
    }
    parts = files("rnncli.analysis").joinpath("page")
    html, css, js = (parts.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    filled = html.replace("/*STYLE*/", css).replace("/*SCRIPT*/", js).replace("/*REACH*/", reach)
    return filled.replace("/*DATA*/", embedded(facts))


def embedded(value: Any) -> str:
    """JSON for a script element of an HTML page: nothing in it ends the script, or begins a tag or an entity."""
    text = json_line(value)  # ASCII: other characters are escaped
    return "".join(f"\\u{ord(sign):04x}" if sign in "<>&" else sign for sign in text)


def panels(trained: Trained) -> list[Panel]:
    """All panels of a model: those of every run, those of its verbs, and those that its task declares."""
    task, found = TASKS[trained.task], [*_curves(trained), _facts(trained)]
    makers: dict[str, Callable[[Trained], Iterable[Panel]]] = {}
    if "generate" in task.actions:
        makers["Samples"] = _samples
    if "activations" in task.actions:
        makers["Units"] = _recorded
    if hasattr(trained.model, "word_vectors"):
        makers["Map of the vectors"] = _map
    makers |= {title: partial(_declared, maker) for title, maker in task.panels.items()}
    for title, maker in makers.items():
        try:
            found += maker(trained)
        except RnnError as error:
            found.append({"kind": "note", "title": title, "about": f"left out: {error}"})
    return found


def _declared(maker: Callable[[Trained], Iterable[Panel]], trained: Trained) -> list[Panel]:
    """Make the panels that a task declares, with the thread and precision settings that suit the net."""
    with matmul_policy(trained.model):
        return list(maker(trained))


def _do(trained: Trained, verb: str, **given: Any) -> Any:
    action = TASKS[trained.task].actions[verb]
    return action.run(trained, action.Options(**given))


def _curves(trained: Trained) -> Iterator[Panel]:
    """Losses against steps, and the displayed metric if it is not the loss."""
    history = _history(trained)
    metric = shown_metric(trained.header["monitor"], history[-1]) if history else "loss"
    pictures = {"Loss": {"train_loss": "training", "loss": "validation"}}
    if metric != "loss":
        pictures[metric.replace("_", " ").capitalize()] = {metric: "validation"}
    for title, names in pictures.items():
        lines = [
            {"name": shown, "points": [[record["step"], record.get(name)] for record in history]}
            for name, shown in names.items()
            if any(record.get(name) is not None for record in history)
        ]
        if lines:
            up = loss_unit(history[-1]) if title == "Loss" else title.lower()
            best = trained.header["progress"]["best_step"]
            yield {"kind": "curves", "title": title, "across": "steps", "up": up, "best": best, "lines": lines}


def _history(trained: Trained) -> list[dict[str, Any]]:
    """All validations of the run; if its file is missing or damaged, those up to the checkpoint."""
    try:
        return read_records(Run(trained.source.parent))
    except RnnError:
        known: list[dict[str, Any]] = trained.header["progress"]["history"]
        return known


def _facts(trained: Trained) -> Panel:
    progress = trained.header["progress"]
    rows: list[list[Any]] = [
        ["task", trained.task],
        ["net", f"{trained.config.label} {trained.config.hidden}"],
        ["parameters", sum(each.numel() for each in trained.model.parameters())],
        ["steps", progress["step"]],
        ["seconds", round(progress["seconds"], 1)],
    ]
    rows += [
        [name.replace("_", " "), _setting(value)]
        for name, value in trained.header["config"].items()
        if value not in (None, [], "")
    ]
    return {"kind": "facts", "title": "Settings", "rows": rows}


def _setting(value: Any) -> str | int | float:
    """A setting as it is displayed; paths are cut to their name, since pages are shared with other people."""
    if isinstance(value, list):
        return ", ".join(str(_setting(each)) for each in value)
    if isinstance(value, str):
        return Path(value).name if Path(value).is_absolute() else value
    return value if isinstance(value, int | float) else json.dumps(value)


def _samples(trained: Trained) -> Iterator[Panel]:
    written = []
    for number, heat in enumerate(TEMPERATURES, 1):
        seed, text = _sample(trained, heat, number)
        written.append([f"temperature {heat:g}, seed {seed}", text])
    yield samples("What it writes", "", written)


def _sample(trained: Trained, heat: float, seed: int) -> tuple[int, str]:
    """A text at a temperature, and its seed: if it is nearly blank, that of a later seed, which no other sample has."""
    for each in range(seed, seed + TRIES * len(TEMPERATURES), len(TEMPERATURES)):
        text = "\n".join(_do(trained, "generate", temperature=heat, seed=each).texts).strip("\n")
        if len("".join(text.split())) > MIN_INK * len(text):
            return each, text
    return seed, f"nothing but blanks, with {TRIES} seeds"


def _recorded(trained: Trained) -> Iterator[Panel]:
    """All that is made of a text which the net reads: surprises, the horizon of its gradient, and its units."""
    recording: Recording = _do(trained, "activations", max_tokens=TOKENS)
    if "score" in TASKS[trained.task].actions:
        yield _surprisal(trained, recording)
    if TASKS[trained.task].last_step:
        yield _horizon(trained, recording)
    yield units_panel(rank(recording))


def _surprisal(trained: Trained, recording: Recording) -> Panel:
    scored = _do(trained, "score", texts=(recording.text,))
    by_line = scored[0].tokens[-1].token == SPECIALS[END]  # otherwise a text is one stream
    spaced = by_line or trained.payload.get("tokenizer") == "spaced"
    if by_line:
        scored = _do(trained, "score", texts=tuple(line for line in recording.text.split("\n") if line.strip()))
    tokens: list[list[Any]] = []
    for each in scored:
        for place, token in enumerate(each.tokens):
            last = by_line and place == len(each.tokens) - 1
            blank = " " if spaced and place and each.tokens[place - 1].token != "\n" != token.token else ""
            tokens.append([" ↵\n" if last else blank + visible(token.token, keep=" \n"), round(token.bits, 3)])
    mean = sum(bits for _, bits in tokens) / len(tokens)
    return {
        "kind": "surprisal",
        "title": "How surprising each token is",
        "about": f"{mean:.2f} bits per token; warmer colours are more surprising",
        "most": MAX_BITS if by_line else MAX_BITS / 2,
        "tokens": tokens,
    }


def _horizon(trained: Trained, recording: Recording) -> Panel:
    from rnncli.analysis.gradients import of_model

    text = recording.text if "score" in TASKS[trained.task].actions else None
    flows = of_model(trained, text, length=LAGS)
    states = list(dict.fromkeys(flow.state for flow in flows))
    return {
        "kind": "horizon",
        "title": "How far back a loss is felt",
        "about": "the gradient of a loss at each earlier state; dashed: before training",
        "across": "steps back",
        "up": "norm of the gradient",
        "log": True,
        "floor": 1e-12,
        "lines": [
            {
                "name": f"{flow.state}, {flow.name.rsplit(', ', 1)[-1]}",
                "dashed": flow.name.endswith("fresh"),
                "colour": states.index(flow.state),
                "points": list(enumerate(flow.norms)),
            }
            for flow in flows
        ],
    }


def units_panel(ranking: Ranking) -> Panel:
    """A text, and the values after each token of the units that track its features most closely."""
    shown = []
    for name, follows in list(ranking.by_feature.items())[:UNITS]:
        values = ranking.values[:, ranking.names.index(name)]
        peak = float(np.abs(values).max())
        rounded = np.rint(values * (127 / max(peak, 1e-30))).astype(np.int8)
        tracked = [[unit.tracks, unit.r] for unit in follows]
        encoded = base64.b64encode(rounded.tobytes()).decode()
        shown.append({"name": name, "follows": tracked, "most": peak, "values": encoded})
    pieces = ranking.recording.pieces
    return {
        "kind": "units",
        "title": "What its units do",
        "about": f"{len(shown):,} of {len(ranking.names):,} units, the best one of each feature first, with its "
        "correlation; choose one",
        "pieces": [visible(piece, keep=" \n") for piece in pieces],
        "units": shown,
    }


def _map(trained: Trained) -> Iterator[Panel]:
    from rnncli.analysis.vectors import default_layer, project, shown_vectors

    vectors = shown_vectors(trained, default_layer(trained))
    words = vectors.words[:WORDS]
    points = project(vectors.matrix[:WORDS], "pca").round(4).tolist()
    yield {
        "kind": "map",
        "title": "Map of the vectors",
        "about": f"the {len(words)} most frequent of {len(vectors.words):,}, by their two principal components; names "
        "where there is room",
        "points": [[visible(word), x, y] for word, (x, y) in zip(words, points, strict=True)],
    }
