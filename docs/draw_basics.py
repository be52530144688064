"""Draw the pictures of docs/basics.md: `python docs/draw_basics.py`, or `python docs/draw_basics.py FOLDER`."""

import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

BLUE, ORANGE, GREY, PALE, INK = "#1f5fa8", "#c2571a", "#9aa4b2", "#dce8f5", "#1c2430"
LINES = (
    "the gate stood open and the field was white",
    "the field was open and the night was near",
    "the night came over and the gate was shut",
)


def new_figure(width, height, panels=1, **options):
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, panels, **options)


def blank(axes, width, height):
    """Axes without a frame, in units of one step across and one row up."""
    axes.set(xlim=(-0.7, width - 0.3), ylim=(-0.7, height - 0.3), aspect="equal")
    axes.set_axis_off()


def box(axes, x, y, text, color=PALE, ink=INK, size=10):
    style = {"boxstyle": "round,pad=0.28", "fc": color, "ec": "none"}
    axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink, bbox=style, zorder=3)


def arrow(axes, start, end, color=GREY, bend=0.0, dashes="-"):
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.4, "ls": dashes, "shrinkA": 13, "shrinkB": 13}
    axes.annotate("", end, start, arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"}, zorder=2)


def markov():
    """The words that follow each word, and what a prediction may depend on."""
    figure, (table, graph) = new_figure(9.6, 4.4, 2, width_ratios=[1, 1.15])
    sentences = [["START", *line.split(), "END"] for line in LINES]
    counts = Counter(pair for words in sentences for pair in pairwise(words))
    order = [word for word, _ in Counter(word for words in sentences for word in words).most_common()]
    before, after = [w for w in order if w != "END"], [w for w in order if w != "START"]
    rows = np.array([[counts[one, other] for other in after] for one in before], float)
    rows /= rows.sum(1, keepdims=True)
    table.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    table.set_xticks(range(len(after)), after, rotation=90, fontsize=9)
    table.set_yticks(range(len(before)), before, fontsize=9)
    table.set(xlabel="next word", ylabel="word", title="a Markov model: p(next | word)")
    for row, name in enumerate(
        ("recurrent net: a state carries them", "chain rule: all words before", "Markov: the word before")
    ):
        dependencies(graph, 2.1 * row, name)
    graph.set(xlim=(-0.8, 4.6), ylim=(-0.8, 5.3))
    graph.set_axis_off()
    return figure


def dependencies(axes, y, name):
    """What the fourth word may depend on."""
    places = [(1.3 * place, y) for place in range(4)]
    axes.text(-0.25, y + 0.72, name, fontsize=10.5, color=INK)
    for number, place in enumerate(places, start=1):
        box(axes, *place, f"$x_{number}$", *((ORANGE, "white") if number == 4 else (PALE, INK)))
    if name.startswith("Markov"):
        arrow(axes, places[2], places[3], ORANGE)
    elif name.startswith("chain"):
        for number, place in enumerate(places[:3]):
            arrow(axes, place, places[3], ORANGE, 0.09 * (3 - number))
    else:
        states = [(x + 0.65, y + 0.35) for x, _ in places[:3]]
        for number, (place, state) in enumerate(zip(places, states, strict=False), start=1):
            box(axes, *state, f"$h_{number}$", BLUE, "white")
            arrow(axes, place, state)
        for one, other in pairwise(states):
            arrow(axes, one, other, BLUE)
        arrow(axes, states[-1], places[3], ORANGE)


def underflow():
    """The product of probabilities reaches 0; the sum of logarithms does not."""
    figure, axes = new_figure(7.6, 3.6)
    steps = np.arange(1, 241)
    axes.plot(steps, -2.0 * steps, color=BLUE, lw=2, label="sum of logarithms")
    for dtype, color in ((np.float32, ORANGE), (np.float64, "#3d7a3d")):
        product = np.cumprod(np.full(len(steps), 0.01, dtype), dtype=dtype)
        alive = product > 0
        axes.plot(
            steps[alive], np.log10(product[alive]), color=color, lw=5, alpha=0.45, label=f"product in {dtype.__name__}"
        )
        last = int(alive.sum())
        axes.annotate(
            f"0 from word {last + 1} on",
            (last, np.log10(product[alive][-1])),
            (12, 2),
            textcoords="offset points",
            fontsize=10,
            color=color,
        )
        axes.plot(last, np.log10(product[alive][-1]), "x", color=color, ms=9, mew=2)
    axes.set(xlabel="words, each with probability 0.01", ylabel="log10 of the probability", xlim=(0, 240))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left")
    return figure


def embeddings():
    """A one-hot matrix times the embedding is a choice of rows."""
    words = ["and", "field", "gate", "night", "open", "the", "was"]
    line = ["the", "gate", "was", "open"]
    vectors = np.random.default_rng(3).uniform(-1, 1, (len(words), 3))
    one_hot = np.array([[float(word == each) for each in words] for word in line])
    figure, panels = new_figure(9.2, 3.6, 3, width_ratios=[7, 3, 3])
    figure.get_layout_engine().set(wspace=0.1)
    names = ("one-hot rows (T, V)", "embedding We (V, D)", "rows of We (T, D)")
    labels = ((line, words), (words, None), (line, None))
    for axes, matrix, name, (down, across) in zip(
        panels, (one_hot, vectors, one_hot @ vectors), names, labels, strict=True
    ):
        axes.imshow(matrix, cmap="Blues" if across else "PuOr", vmin=0 if across else -2, vmax=2)
        for row, column in np.ndindex(matrix.shape):
            value = f"{matrix[row, column]:.0f}" if across else f"{matrix[row, column].round(1) + 0.0:.1f}"
            axes.text(column, row, value, ha="center", va="center", fontsize=9.5, color=INK)
        axes.set_yticks(range(len(down)), down, fontsize=10)
        axes.set_xticks(range(len(across or ())), across or (), rotation=45, fontsize=10)
        axes.set_title(name, fontsize=11)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for word in line:
        panels[1].add_patch(Rectangle((-0.5, words.index(word) - 0.5), 3, 1, fill=False, ec=ORANGE, lw=2))
    return figure


def cross_entropy():
    """Softmax turns scores into probabilities; the loss is the logarithm of one of them."""
    figure, (bars, curve) = new_figure(9.2, 3.5, 2)
    words, logits = ["white", "open", "near", "shut", "the"], np.array([2.0, 1.0, 0.0, 0.0, -3.0])
    probs = np.exp(logits) / np.exp(logits).sum()
    at = np.arange(len(words))
    drawn = bars.bar(at, probs, 0.6, color=[ORANGE, *[BLUE] * 4])
    bars.bar_label(drawn, [f"{p:.3f}" for p in probs], fontsize=9)
    bars.set_xticks(at, [f"{word}\n{logit:g}" for word, logit in zip(words, logits, strict=True)])
    bars.set(ylabel="probability", title="softmax of the scores below the words", ylim=(0, 0.75))
    p = np.linspace(0.005, 1, 400)
    curve.plot(p, -np.log(p), color=BLUE, lw=2)
    curve.plot(probs[0], -np.log(probs[0]), "o", color=ORANGE, ms=9)
    curve.annotate(
        f"white: {-np.log(probs[0]):.2f} nats\n= {-np.log2(probs[0]):.2f} bits",
        (probs[0], -np.log(probs[0])),
        (8, 14),
        textcoords="offset points",
        color=ORANGE,
    )
    curve.set(
        xlabel="probability of the word that came",
        ylabel="loss (nats)",
        title="cross-entropy: -ln p",
        xlim=(0, 1),
        ylim=(0, 5),
    )
    bits = curve.secondary_yaxis("right", functions=(lambda nats: nats / np.log(2), lambda bits: bits * np.log(2)))
    bits.set_ylabel("bits")
    curve.grid(alpha=0.25)
    return figure


def units():
    """The same mean loss in nats, in bits, and as a perplexity."""
    figure, axes = new_figure(8.6, 2.5)
    guesses = {"a coin": 2, "a die": 6, "27 letters": 27, "256 bytes": 256, "1,000 words": 1000}
    for row, (name, ticks, to_nats) in enumerate(
        (
            ("perplexity", (1, 2, 6, 27, 100, 256, 1000), np.log),
            ("bits", range(11), lambda bits: np.multiply(bits, np.log(2))),
            ("nats", range(8), np.asarray),
        )
    ):
        axes.plot([0, 7], [row, row], color=GREY, lw=1.2)
        axes.text(-0.15, row, name, ha="right", va="center", fontsize=11, color=BLUE)
        for tick in ticks:
            axes.plot([to_nats(tick)] * 2, [row - 0.09, row + 0.09], color=INK, lw=1.2)
            axes.text(to_nats(tick), row + 0.14, f"{tick:,}", ha="center", va="bottom", fontsize=9.5, color=INK)
    for name, choices in guesses.items():
        axes.plot([np.log(choices)] * 2, [-0.15, 2.1], color=ORANGE, lw=1, ls=":")
        axes.text(np.log(choices), -0.2, name, ha="center", va="top", fontsize=9.5, color=ORANGE)
    axes.text(-0.15, -0.2, "guessing", ha="right", va="top", fontsize=9.5, color=ORANGE)
    axes.set(xlim=(-1.4, 7.2), ylim=(-0.6, 2.5))
    axes.set_axis_off()
    return figure


def ends():
    """Inputs and targets of a line, and the share of lines that have ended, by the Markov model of the page."""
    figure, (pairs, curve) = new_figure(9.6, 2.9, 2, width_ratios=[1.25, 1])
    words = ["the", "gate", "was", "shut"]
    for row, (name, line) in enumerate((("targets", [*words, "END"]), ("inputs", ["START", *words]))):
        pairs.text(-0.75, -row, name, ha="right", va="center", fontsize=10.5, color=INK)
        for place, word in enumerate(line):
            box(pairs, place, -row, word, *((PALE, INK) if row else (ORANGE, "white")), size=9.5)
    for place in range(5):
        arrow(pairs, (place, -1), (place, 0))
    pairs.set(xlim=(-1.7, 4.6), ylim=(-1.6, 0.6))
    pairs.set_axis_off()
    sentences = [["START", *line.split(), "END"] for line in LINES]
    counts = Counter(pair for each in sentences for pair in pairwise(each))
    states = list(dict.fromkeys(word for each in sentences for word in each))
    table = np.array([[counts[one, other] for other in states] for one in states], float)
    table[states.index("END"), states.index("END")] = 1
    table /= table.sum(1, keepdims=True)
    reached = [np.linalg.matrix_power(table, step)[0, states.index("END")] for step in range(41)]
    curve.step(range(41), reached, where="post", color=BLUE, lw=2)
    curve.set(xlabel="steps", ylabel="probability of END so far", xlim=(0, 40), ylim=(0, 1.03))
    curve.grid(alpha=0.25)
    return figure


def unrolled(axes, inputs, outputs, title):
    """A net over time: inputs below, states in the middle, predictions above (None: no prediction)."""
    gap = 1.75
    for place, (below, above) in enumerate(zip(inputs, outputs, strict=True)):
        x = place * gap
        box(axes, x, 0, below, size=9)
        box(axes, x, 1.3, "h", BLUE, "white")
        arrow(axes, (x, 0), (x, 1.3))
        if place:
            arrow(axes, (x - gap, 1.3), (x, 1.3), BLUE)
        if above is not None:
            box(axes, x, 2.6, above, ORANGE, "white", size=9)
            arrow(axes, (x, 1.3), (x, 2.6), ORANGE)
    axes.set_title(title, fontsize=11, color=INK)
    axes.set(xlim=(-0.9, gap * (len(inputs) - 1) + 0.9), ylim=(-0.5, 3.1))
    axes.set_axis_off()


def ways():
    """The three ways of predicting, on one line."""
    figure, panels = new_figure(11.5, 2.9, 3, width_ratios=[4, 4, 5])
    line = ["the", "gate", "was", "shut"]
    unrolled(panels[0], line, [None, None, None, "hillside"], "label the sequence")
    unrolled(panels[1], line, ["DT", "NN", "VBD", "JJ"], "label every step")
    unrolled(panels[2], ["START", *line], [*line, "END"], "predict the next token")
    return figure


def teacher_forcing():
    """In training the net reads the true words; when it writes, it reads its own."""
    figure, panels = new_figure(10.5, 3.1, 2)
    true, drawn = ["the", "gate", "was", "shut"], ["the", "night", "was", "near"]
    unrolled(panels[0], ["START", *true], [*true, "END"], "training: inputs are the true words")
    unrolled(panels[1], ["START", *drawn], [*drawn, "END"], "writing: inputs are the words drawn before")
    for place in range(4):
        arrow(panels[1], (place * 1.75, 2.6), ((place + 1) * 1.75, 0), ORANGE, -0.12, "--")
    return figure


def batches():
    """Lines of unequal length in a batch, in the order of the text and sorted by length."""
    figure, panels = new_figure(10, 3.3, 2)
    lengths = np.array([9, 3, 7, 4, 8, 2, 9, 3, 6, 4, 8, 3])
    orders = (("in the order of the text", lengths), ("sorted by length", np.sort(lengths)[::-1]))
    for axes, (name, order) in zip(panels, orders, strict=True):
        tops = [int(order[begin : begin + 4].max()) for begin in range(0, len(order), 4)]
        for row, length in enumerate(order):
            for step in range(tops[row // 4]):
                color = (BLUE if row // 4 % 2 == 0 else "#3d7a3d") if step < length else "#e4e7eb"
                axes.add_patch(Rectangle((step, row + 0.6 * (row // 4)), 0.9, 0.85, color=color))
        steps, padding = int(order.sum()), 4 * sum(tops) - int(order.sum())
        axes.set_title(f"{name}: {padding} of {steps + padding} steps are padding", fontsize=11)
        axes.set(xlim=(-0.2, 9.2), ylim=(13.6, -0.3), xlabel="steps", yticks=[])
        axes.spines[:].set_visible(False)
        for batch in range(3):
            axes.text(-0.25, 4.6 * batch + 2, f"batch {batch + 1}", rotation=90, ha="right", va="center", fontsize=10)
    return figure


PICTURES = {
    "markov": markov,
    "underflow": underflow,
    "embeddings": embeddings,
    "cross-entropy": cross_entropy,
    "units": units,
    "ways": ways,
    "ends": ends,
    "teacher-forcing": teacher_forcing,
    "batches": batches,
}


def draw(folder):
    """Write every picture into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        figure = picture()
        figure.savefig(folder / f"basics-{name}.png", dpi=100)


if __name__ == "__main__":
    try:
        draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
    except OSError as error:
        sys.exit(f"{error.filename}: no picture can be written: {error.strerror}")
