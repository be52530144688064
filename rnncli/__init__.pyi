"""Train, use and explain recurrent networks on text: tests/support/option_types.py writes this file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Unpack, overload

from torch import nn

from rnncli.analysis.history import History as History
from rnncli.api import Model as Model
from rnncli.api import load as load
from rnncli.data.vectors import WordVectors as WordVectors
from rnncli.errors import RnnError as RnnError
from rnncli.errors import RnnWarning as RnnWarning
from rnncli.errors import UsageError as UsageError
from rnncli.language.generate import Written as Written
from rnncli.language.score import Scored as Scored
from rnncli.library import Callback, Option
from rnncli.library import ComparisonResult as ComparisonResult
from rnncli.library import Run as Run
from rnncli.library import add_corpus as add_corpus
from rnncli.library import get_data as get_data
from rnncli.library import list_runs as list_runs
from rnncli.options import (
    TrainCharLm,
    TrainParity,
    TrainPoetryClassify,
    TrainPoetryLm,
    TrainTag,
    TrainTranslate,
    TrainWikiLm,
)
from rnncli.recording import Recording as Recording
from rnncli.results import Classified as Classified
from rnncli.results import Evaluation as Evaluation
from rnncli.results import Tagged as Tagged
from rnncli.results import Translation as Translation
from rnncli.task import Task
from rnncli.training.loop import Event as Event
from rnncli.training.loop import Restarted as Restarted
from rnncli.training.loop import Stepped as Stepped
from rnncli.training.loop import Validated as Validated
from rnncli.version import __version__ as __version__

__all__ = [
    "Classified",
    "ComparisonResult",
    "Evaluation",
    "Event",
    "History",
    "Model",
    "Recording",
    "Restarted",
    "RnnError",
    "RnnWarning",
    "Run",
    "Scored",
    "Stepped",
    "Tagged",
    "Translation",
    "UsageError",
    "Validated",
    "WordVectors",
    "Written",
    "__version__",
    "add_corpus",
    "compare",
    "get_data",
    "list_runs",
    "load",
    "train",
]

@overload
def train(
    task: Literal["parity"],
    /,
    *,
    name: str | None = None,
    preset: Literal["book", "foil"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainParity],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Literal["poetry-lm"],
    /,
    *,
    name: str | None = None,
    preset: Literal["book"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainPoetryLm],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Literal["poetry-classify"],
    /,
    *,
    name: str | None = None,
    preset: Literal["book", "tags", "ulmfit"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainPoetryClassify],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Literal["tag"],
    /,
    *,
    name: str | None = None,
    preset: Literal["large", "ulmfit"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainTag],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Literal["wiki-lm"],
    /,
    *,
    name: str | None = None,
    preset: Literal["book", "running"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainWikiLm],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Literal["char-lm"],
    /,
    *,
    name: str | None = None,
    preset: Literal["best"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainCharLm],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Literal["translate"],
    /,
    *,
    name: str | None = None,
    preset: Literal["sentences"] | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Unpack[TrainTranslate],
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def train(
    task: Task,
    /,
    *,
    name: str | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    **options: Option,
) -> Model:
    """Train a model of a task, and return the best one: the one that the run's `best.safetensors` holds.

    `options` are those of `rnn train TASK`, with underscores. `corpus` also takes texts, pairs, or a data set. `name`
    names the run; with `resume` the run of that name, or the newest unfinished one, continues. `config` is a TOML file
    of options. Each of the `callbacks` receives every event; if one returns True, the training ends, and the run is
    saved and can be resumed. `progress` shows the text, the net and a bar on standard error.

    Raises UsageError for an unknown or invalid option, RnnError for a text that cannot be read or a loss that is not
    finite, and KeyboardInterrupt, after everything is saved, for Ctrl-C.
    """

@overload
def compare(
    task: Literal["parity"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["book", "foil"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainParity],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Literal["poetry-lm"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["book"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainPoetryLm],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Literal["poetry-classify"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["book", "tags", "ulmfit"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainPoetryClassify],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Literal["tag"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["large", "ulmfit"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainTag],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Literal["wiki-lm"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["book", "running"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainWikiLm],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Literal["char-lm"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["best"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainCharLm],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Literal["translate"],
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: Literal["sentences"] | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Unpack[TrainTranslate],
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """

@overload
def compare(
    task: Task,
    /,
    *,
    cells: Sequence[str | type[nn.Module]] | None = None,
    sizes: Sequence[int | str | Sequence[int]] = (),
    seeds: int = 3,
    match: str = "hidden",
    goal: float | None = None,
    name: str = "compare",
    preset: str | None = None,
    config: str | Path | None = None,
    progress: bool = True,
    **options: Option,
) -> ComparisonResult:
    """Train a task with several cells, sizes and seeds, and compare them; the same call continues an interrupted one.

    `cells` are by default the four classic ones, or with `init_from` that model's, which the runs then share. `sizes`
    are hidden sizes, each as the option `hidden`. `match` is what all cells share with the first: `hidden`,
    `params` or `time`. `goal` is the value of the metric that runs are timed to. The names of the runs begin with
    `name`. `options` are those of `rnn train TASK`. Raises as `train`.
    """
