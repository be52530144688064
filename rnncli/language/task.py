"""A language model's task out of its declaration: settings, how its text is read, and how it writes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rnncli.data.tokenizers import KINDS, TOKENIZERS
from rnncli.language.activations import watcher
from rnncli.language.baselines import NGrams
from rnncli.language.experiment import build, build_model
from rnncli.language.generate import WritingOptions, Written
from rnncli.language.last_step import last_step
from rnncli.language.reading import Read, ReadOther, TextAgain, TextOptions, measured_name
from rnncli.language.score import SCORE
from rnncli.language.settings import settle_texts
from rnncli.language.warm_start import KEEPS, StartedSettings, settle_start, shape_of
from rnncli.language.words import WordSettings, settle_words
from rnncli.task import Action, Task, Trained


def unchanged(config: Any) -> Any:
    """Return settings as they are."""
    return config


def language_task(
    name: str,
    summary: str,
    Config: type[StartedSettings],
    *,
    read: Read,
    read_other: ReadOther,
    evaluate: tuple[type[TextOptions], str],
    held_out: str,
    generate: tuple[type[WritingOptions], Callable[[Trained, Any], Written], str],
    baselines: NGrams,
    settle: Callable[[Any], Any] = unchanged,
    **more: Any,
) -> Task:
    """Declare the task of a language model.

    `read` reads the text to learn from, `read_other` another one to evaluate on, and `held_out` names what is held out.
    `evaluate` has the options of that verb and an example, `generate` the same and the function that writes.
    `baselines` are n-grams to measure next to it, `settle` completes settings, and `more` are fields of `Task`.
    """
    text = TextAgain(read, read_other)
    Evaluate, evaluate_example = evaluate
    Generate, write, generate_example = generate
    return Task(
        name=name,
        short=name.removesuffix("-lm"),
        summary=summary,
        Config=Config,
        settle=partial(_settle, name, settle),
        build=partial(build, read),
        build_model=build_model,
        keeps={**KEEPS, "tokenizer": TOKENIZERS if issubclass(Config, WordSettings) else KINDS},
        evaluate=Action(Evaluate, text.evaluate, evaluate_example, corpus=partial(measured_name, held_out)),
        uses={
            "generate": Action(Generate, write, generate_example),
            "score": SCORE,
            "activations": watcher(text.held_out_text),
        },
        token_access=text,
        baselines=partial(baselines.measured, text),
        inherited=partial(shape_of, name, Config),
        last_step=last_step,
        **more,
    )


def _settle(name: str, settle: Callable[[Any], Any], config: Any) -> Any:
    """Complete the settings of a task: its own first, then texts, word vectors and the model to start from."""
    config = settle_texts(settle(config))
    return settle_start(settle_words(config) if isinstance(config, WordSettings) else config, name)
