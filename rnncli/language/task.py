"""A language model's task out of its declaration: settings, how its text is read, and how it writes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rnncli.language.activations import watcher
from rnncli.language.baselines import NGrams
from rnncli.language.experiment import build, build_model
from rnncli.language.generate import Written
from rnncli.language.last_step import last_step
from rnncli.language.reading import Read, ReadOther, TextAgain, evaluated
from rnncli.language.score import SCORE
from rnncli.language.warm_start import KEEPS, StartedSettings, shape_of
from rnncli.task import Action, Task, Trained


def language_task(
    name: str,
    summary: str,
    Config: type[StartedSettings],
    *,
    settle: Callable[[Any], Any],
    read: Read,
    read_other: ReadOther,
    tokenizers: Any,
    held_out: str,
    evaluated: Callable[[str, Trained, Any], str] = evaluated,
    evaluate: type,
    generate: type,
    write: Callable[[Trained, Any], Written],
    examples: Mapping[str, str],
    baselines: NGrams,
    **more: Any,
) -> Task:
    """Declare the task of a language model.

    `read` reads the text to learn from, `read_other` another one to evaluate on, `write` writes with the model;
    `evaluate` and `generate` are the options of these verbs; `held_out` names what is held out, for `evaluated`, which
    says what was measured on. `baselines` are n-grams to measure next to it, `tokenizers` the names that a checkpoint
    may hold, and `more` are fields of `Task`.
    """
    text = TextAgain(read, read_other)
    return Task(
        name=name,
        short=name.removesuffix("-lm"),
        summary=summary,
        Config=Config,
        settle=settle,
        build=partial(build, read),
        build_model=build_model,
        keeps={**KEEPS, "tokenizer": tokenizers},
        evaluate=Action(evaluate, text.evaluate, examples["evaluate"], corpus=partial(evaluated, held_out)),
        uses={
            "generate": Action(generate, write, examples["generate"]),
            "score": SCORE,
            "activations": watcher(text.held_out_text),
        },
        token_access=text,
        baselines=partial(baselines.measured, text),
        inherited=partial(shape_of, name, Config),
        last_step=last_step,
        **more,
    )
