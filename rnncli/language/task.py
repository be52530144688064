"""Make the task of a language model from its declaration: settings, readers and writer."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rnncli.data.tokenizers import KINDS, TOKENIZERS
from rnncli.language.activations import activations_action
from rnncli.language.baselines import NGrams
from rnncli.language.experiment import build, build_model
from rnncli.language.generate import WritingOptions, Written
from rnncli.language.last_step import last_step
from rnncli.language.reading import EvaluationReader, RereadText, TextOptions, TrainingReader, evaluation_name
from rnncli.language.score import SCORE
from rnncli.language.settings import resolve_texts
from rnncli.language.warm_start import KEEPS, WarmStartSettings, resolve_start, shape_of
from rnncli.language.words import WordSettings, resolve_words
from rnncli.task import Action, Task, Trained


def unchanged(config: Any) -> Any:
    """Return settings as they are."""
    return config


def language_task(
    name: str,
    summary: str,
    Config: type[WarmStartSettings],
    *,
    read: TrainingReader,
    read_other: EvaluationReader,
    evaluate: tuple[type[TextOptions], str],
    held_out: str,
    generate: tuple[type[WritingOptions], Callable[[Trained, Any], Written], str],
    baselines: NGrams,
    resolve_defaults: Callable[[Any], Any] = unchanged,
    **more: Any,
) -> Task:
    """Declare the task of a language model.

    `read` reads the training text, `read_other` another text to evaluate on, and `held_out` names the held-out part.
    `evaluate` is the verb's options and an example; `generate` is its options, its function and an example.
    `baselines` are n-grams for comparison. `resolve_defaults` completes the settings. `more` are fields of `Task`.
    """
    text = RereadText(read, read_other)
    Evaluate, evaluate_example = evaluate
    Generate, write, generate_example = generate
    return Task(
        name=name,
        short=name.removesuffix("-lm"),
        summary=summary,
        Config=Config,
        resolve_defaults=partial(_resolve, name, resolve_defaults),
        build=partial(build, read),
        build_model=build_model,
        keeps={**KEEPS, "tokenizer": TOKENIZERS if issubclass(Config, WordSettings) else KINDS},
        evaluate=Action(Evaluate, text.evaluate, evaluate_example, corpus=partial(evaluation_name, held_out)),
        uses={
            "generate": Action(Generate, write, generate_example),
            "score": SCORE,
            "activations": activations_action(text.held_out_text),
        },
        token_access=text,
        baselines=partial(baselines.measure, text),
        inherited=partial(shape_of, name, Config),
        last_step=last_step,
        **more,
    )


def _resolve(name: str, resolve_defaults: Callable[[Any], Any], config: Any) -> Any:
    """Complete the settings of a task: first its own, then texts, word vectors and the model to start from."""
    config = resolve_texts(resolve_defaults(config))
    return resolve_start(resolve_words(config) if isinstance(config, WordSettings) else config, name)
