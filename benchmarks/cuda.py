"""One report on a CUDA card: whether all cells are right, the time of whole training steps, and the speed of each cell.

Six sections share `--seconds`: the checks (tests marked `cuda`; without pytest, every cell's values and gradients
against float64), training steps of char-lm, wiki-lm and translate next to a plain `nn.LSTM` model with fused AdamW,
both also by CUDA graphs, the output layer next to torch's, writing next to `nn.LSTM` one step at a time, cells that
torch lacks, and cells next to cuDNN with flattened weights. The report is rewritten after each section. A section that
fails or runs out of time leaves its rows and a line with the reason; the exit status is 1 if anything failed. Needs
torch, numpy and the package's dependencies except nltk and numba; needs no installation.
Without a card, or with `--device cpu`, every part runs on tiny shapes: a trial of the script, not a measurement.
Run: python benchmarks/cuda.py [--out cuda-report.md] [--seconds 280] [--device cuda|cpu]
"""

import argparse
import importlib.util
import math
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "cuda":  # torch looks for a package of this name, and scripts of this folder would give it this file
    raise ImportError("benchmarks/cuda.py is a script, not the package cuda")
SCRIPT = Path(__file__).resolve()
ROOT = SCRIPT.parents[1]
sys.path[:] = [str(ROOT), *(place for place in sys.path if Path(place).resolve() != SCRIPT.parent)]

import torch  # noqa: E402  # after sys.path is set
from torch import Tensor, nn  # noqa: E402  # the same
from torch.nn import functional as F  # noqa: E402  # the same

Say = Callable[[str], None]
"""Adds a line to a section of the report."""

LAYERS: dict[str, Any] = {"elman": nn.RNN, "rated": nn.GRU, "gru": nn.GRU, "lstm": nn.LSTM}
KINDS = ("lstm:none", "elman", "gru:reset-before", "lstm:full", "rated", "gru:reset-after", "lstm:diagonal")
TYPES = ("float32", "float16", "bfloat16")
LIMITS = {"float32": 1e-5, "float16": 0.05, "bfloat16": 0.05}
SHAPES = ((100, 64, 512), (1024, 16, 256), (1024, 16, 768), (1024, 16, 64), (35, 20, 650), (128, 64, 1024))
TINY = ((2, 2, 4),)
OWN = (
    ("mgu", (100, 64, 512), "the Python loop", 10),
    ("tests/support/outside.py:CoupledLSTM", (100, 64, 512), "the Python loop", 10),
    ("mingru", (4096, 8, 512), "nn.GRU", 20),
)
"""Cells that torch lacks, one of a user's file: a shape, the rival, and how many times as fast they are to be."""
OWN_TESTS = ("Deep", "CoupledLSTM", "MultiplicativeRNN", "Normalised", "ProjectedLSTM", "Rotating", "mingru", "lnlstm")
"""Words in the names of the tests of other cells."""
CHECKED = {"cuda": ((40, 33, 64), (20, 64, 200), (20, 64, 512)), "cpu": TINY}
WORKERS = max(1, min(16, os.cpu_count() or 1))

TEST_FILES = (
    *("tests/training/test_reduced.py", "tests/tasks/test_devices.py", "tests/tasks/test_all_tasks.py"),
    *("tests/kernels/test_scan.py", "tests/kernels/test_linear.py", "tests/training/test_loop.py"),
    *("tests/kernels/test_graphs.py", "tests/training/test_recorded.py", "tests/models/test_recorded.py"),
)
TRITON_TESTS = "tests/kernels/test_triton.py"

RESULT = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)
"""A line of pytest's: a test and its result."""

FOUND_WRONG = 3
"""The exit status of a section that ran to completion, with something wrong in its lines."""

GRACE = 10.0
"""Seconds that a section may take to write its last lines."""

PRECISIONS = {"cuda": ("auto", "float32", "bfloat16", "float16"), "cpu": ("auto", "float32")}
"""The precisions of whole training steps; on a card, `auto` is TF32 in all timed tasks."""

SPENT_MS, MOST_RUNS = 120, 20
"""The maximum seconds and number of the runs behind one figure on a card, after three runs to warm up."""


class Job(NamedTuple):
    """A process of the checks: its name and its command."""

    name: str
    command: list[str]


def main(arguments: list[str] | None = None) -> None:
    """Write the report, or, with the hidden --section, the lines of one section to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("cuda-report.md"), help="the report (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=280, help="for everything (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda if there is a card")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # of a section, by `time.time`
    options = parser.parse_args(arguments)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("cuda.py: torch finds no CUDA device here; leave --device out for a trial on the CPU")
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    if options.section:
        end = time.monotonic() + (options.until - time.time() if options.until else options.seconds)
        if not run_section(options.section, device, end, lambda line: print(line, flush=True)):
            sys.exit(FOUND_WRONG)
        return
    right = write_report(options.out, device, options.seconds)
    print(options.out.read_text(encoding="utf-8"))
    print(f"report  {options.out.absolute()}")
    if not right:
        sys.exit("cuda.py: something failed: see the report")


def write_report(path: Path, device: str, seconds: float) -> bool:
    """Run all sections in order, and rewrite the report after each; returns whether all went well."""
    end = time.monotonic() + seconds
    path.parent.mkdir(parents=True, exist_ok=True)
    lines, right = heading(device), True
    for name, share in FRACTIONS.items():
        begun = [*lines, f"The section {name} began and did not end.", ""]
        path.write_text("\n".join(begun), encoding="utf-8")
        began = time.monotonic()
        found, well = in_child(name, share * (end - began)) if device == "cuda" else in_process(name, end)
        right &= well
        lines += [*found, "", f"({name}: {time.monotonic() - began:.0f} s)", ""]
        path.write_text("\n".join(lines), encoding="utf-8")
    return right


def heading(device: str) -> list[str]:
    """The heading of the report: card, versions, machine."""
    card, driver = card_and_driver() if device == "cuda" else ("no card, tiny shapes on the CPU: a trial", "none")
    packages = [f"{name} {version_of(name)}" for name in ("torch", "triton", "numpy", "numba", "pytest")]
    return [
        f"# Recurrent cells: {card}",
        "",
        f"{date.today()}, driver {driver}, torch's CUDA {torch.version.cuda}, {', '.join(packages)}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores.",
        "",
    ]


def version_of(package: str) -> str:
    """The installed version, or "absent"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def card_and_driver() -> tuple[str, str]:
    """The first card's name and its driver's version, from the tool that does not occupy the card."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        card, driver = output.split("\n")[0].rsplit(",", 1)
    except (OSError, ValueError, subprocess.SubprocessError):
        return torch.cuda.get_device_name(), "unknown"
    return card.strip(), driver.strip()


def run_section(name: str, device: str, end: float, say: Say) -> bool:
    """Run a section; float32 is exact in it, except where a precision is chosen. Returns whether all went well."""
    from rnncli.kernels.precision import using

    with using("float32"):
        return SECTIONS[name](device, end, say)


def in_process(name: str, end: float) -> tuple[list[str], bool]:
    """The lines of a section, and whether all went well; an error becomes the last line."""
    lines: list[str] = []
    try:
        return lines, run_section(name, "cpu", end, lines.append)
    except Exception as error:
        lines += ["", f"The section {name} failed: {in_a_line(error)}"]
        return lines, False


def in_child(name: str, seconds: float, device: str = "cuda") -> tuple[list[str], bool]:
    """The same in a separate process: a fault of the card may end it, and it is stopped when it is late."""
    command = [sys.executable, str(SCRIPT), "--device", device, *until(name, time.time() + seconds)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        code = run_for(seconds + GRACE, command, stdout=out, stderr=err)
        out.seek(0)
        err.seek(0)
        lines, complaint = out.read().splitlines(), err.read().strip().splitlines()
    if code is None:
        lines += ["", f"The section {name} was stopped after {seconds + GRACE:.0f} s."]
    elif code not in (0, FOUND_WRONG):
        lines += ["", f"The section {name} failed: {complaint[-1] if complaint else f'exit status {code}'}"]
    return lines, code == 0


def until(name: str, end: float) -> list[str]:
    """Arguments of this script that run a section until a time of day, however long the import of torch takes."""
    return ["--section", name, "--until", f"{end:.1f}"]


def run_for(seconds: float, command: list[str], **options: Any) -> int | None:
    """The exit status of a command; None if it was too late, and was killed with all processes that it started."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def in_a_line(error: BaseException) -> str:
    """The class and the first line of an error, without bars, which would end a table's cell."""
    output = str(error).strip().splitlines()
    return f"{type(error).__name__}: {output[0] if output else ''}".replace("|", "/")


# The checks


def checks(device: str, end: float, say: Say) -> bool:
    """The tests marked `cuda`, or without pytest every cell's values and gradients; meanwhile kernels compile."""
    say("## Checks\n")
    if device == "cpu":
        say("The tests marked `cuda` wait for a card; here every cell by its backend on the CPU.\n")
        return check_cells(device, end, say)
    if not importlib.util.find_spec("pytest"):
        say("pytest is absent: values and gradients of every cell, checked by this script.\n")
        return check_cells(device, end, say)
    stop = time.time() + end - time.monotonic()
    compilers = [Job("", [sys.executable, str(SCRIPT), *until(f"warm {part}", stop)]) for part in range(PARTS)]
    return run_tests([*cuda_tests(), *compilers], end, say)


def cuda_tests() -> list[Job]:
    """Tests marked `cuda` that need no corpus and no further package; those of kernels by cell, side by side."""
    options = ["-m", "cuda", "-v", "-o", "addopts=--import-mode=importlib", "-W", "default", "--tb=line"]
    command = [sys.executable, "-m", "pytest", *options]
    words = [*(f"{kind}-" for kind in KINDS), *(OWN_TESTS if KINDS else ())]
    kernels = [Job(word.strip("-"), [*command, TRITON_TESTS, "-k", word]) for word in words]
    return [*(Job(Path(file).stem, [*command, file]) for file in TEST_FILES), *kernels]


def run_tests(jobs: list[Job], end: float, say: Say) -> bool:
    """Run jobs side by side until the end; a row of results for each, then the tests that failed."""
    say("| tests | passed | failed | skipped | |\n| --- | --- | --- | --- | --- |")
    wrong: list[str] = []
    right = True
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda job: output_of(job.command, end), jobs)
        for job, (text, note) in zip(jobs, found, strict=True):
            if job.name:
                results = RESULT.findall(text)
                passed, skipped = (sum(how == each for _, how in results) for each in ("PASSED", "SKIPPED"))
                failed = [test for test, how in results if how in ("FAILED", "ERROR")]
                say(f"| {job.name} | {passed} | {len(failed)} | {skipped} | {note} |")
                wrong += [*failed, *re.findall(r"^\S+:\d+: .*(?:Error|Exception).*", text, re.MULTILINE)]
                right &= not failed and not note
    say("")
    for line in wrong:
        say(f"- `{line.replace('`', '')}`")
    return right


def output_of(command: list[str], end: float) -> tuple[str, str]:
    """The output of a process until the end, and a note if it failed or was stopped."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        return "", "left out: no time"
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        code = run_for(seconds, command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        out.seek(0)
        text = out.read()
    if code == 0 or (code == 1 and RESULT.search(text)):
        return text, ""
    last = (text.strip().splitlines() or [""])[-1].replace("|", "/")
    return text, f"stopped after {seconds:.0f} s" if code is None else f"exit status {code}: {last}"


def check_cells(device: str, end: float, say: Say) -> bool:
    """Each cell in each precision: the largest error of a value or gradient, norm-wise, against float64."""
    right = True
    limits = ", ".join(f"{LIMITS[name]:g} in {name}" for name in TYPES)
    shapes = "; ".join(" ".join(map(str, shape)) for shape in CHECKED[device])
    say(f"The largest error of values and gradients against the reference in float64, norm-wise; T B M: {shapes}.")
    say(f"An error beyond {limits} is wrong. By the backend {best_backend(device, 'float32')}.\n")
    say(f"| cell | {' | '.join(TYPES)} |\n| --- | --- | --- | --- |")
    for kind in KINDS:
        found = [guarded(lambda kind=kind, dtype=dtype: checked(kind, dtype, device), end) for dtype in TYPES]
        say(f"| {kind} | {' | '.join(found)} |")
        right &= all(map(went_well, found))
    return right


def checked(kind: str, dtype: str, device: str) -> str:
    """The largest error of a cell over some shapes, and whether that is right."""
    worst = max(error(kind, dtype, shape, device) for shape in CHECKED[device])
    return f"{worst:.1e}" if worst <= LIMITS[dtype] else f"**{worst:.1e} {WRONG}**"


def error(kind: str, dtype: str, shape: tuple[int, int, int], device: str) -> float:
    """The largest norm-wise error of outputs, last state and gradients; sequences end early."""
    T, B, M = shape
    torch.manual_seed(0)
    x, lengths = torch.randn(T, B, M), torch.randint(1, T + 1, (B,))
    exact = values_and_gradients(new_cell(kind, M).double(), x.double(), lengths, device, "reference")
    as_type, backend = getattr(torch, dtype), best_backend(device, dtype)
    ours = values_and_gradients(new_cell(kind, M).to(as_type), x.to(as_type), lengths, device, backend)
    errors = [(a.double() - b).norm() / b.norm().clamp(min=1e-3) for a, b in zip(ours, exact, strict=True)]
    return float(torch.stack(errors).nan_to_num(nan=float("inf")).max())


def new_cell(kind: str, M: int) -> Any:
    """A cell with D = M and the same drawn weights at every call."""
    from rnncli.cells import make_cell, use_cell

    torch.manual_seed(7)
    cell: Any = make_cell(use_cell(str(ROOT / kind) if ".py:" in kind else kind), M, M)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 1.5 / M**0.5)
    return cell


def values_and_gradients(cell: Any, x: Tensor, lengths: Tensor, device: str, backend: str) -> list[Tensor]:
    """Outputs, last state and all gradients."""
    from rnncli.kernels.scan import scan

    cell, x = cell.to(device), x.to(device).requires_grad_()
    outputs, last = scan(cell, x, cell.initial_state(x.shape[1]), lengths, backend)
    loss = outputs.float().square().sum() + sum((k + 2) * field.float().sum() for k, field in enumerate(last))
    loss.backward()
    return [outputs.detach(), *(field.detach() for field in last), x.grad, *(each.grad for each in cell.parameters())]


def best_backend(device: str, dtype: str) -> str:
    """The project's kernels if triton is here, compiled on a card, else interpreted; without triton `auto`'s choice."""
    from rnncli.kernels.triton import trouble

    as_type = getattr(torch, dtype)
    is_interpretable = as_type != torch.bfloat16  # numpy, which triton interprets with, lacks this type
    return "triton" if not trouble(device, as_type) and (device == "cuda" or is_interpretable) else "auto"


FAILED, WRONG, LATE = "failed:", "WRONG", "no time"
"""Marks in a table, in place of a figure or next to it."""


def guarded(make: Callable[[], str], end: float) -> str:
    """A piece of a table, or the reason why there is none."""
    if time.monotonic() > end:
        return LATE
    try:
        return make()
    except Exception as error:
        return f"{FAILED} {in_a_line(error)}"


def went_well(piece: str) -> bool:
    """Whether a piece of a table has its figure, or was left out for lack of time."""
    return FAILED not in piece and WRONG not in piece


# Whole training steps


class StepCase(NamedTuple):
    """A measured task: its flags, preset, and the plain model of the same sizes."""

    task: str
    preset: str | None
    flags: dict[str, Any]
    plain: Callable[[Any, Any], "Plain"]  # of settings and experiment


def steps(device: str, end: float, say: Say) -> bool:
    """Training steps of three tasks, in the precision of `rnn train` and in others, and of plain models."""
    say("## Whole training steps\n")
    say("Median ms per step: `rnn train`, batches included, with `--no-graphs` and with `--graphs`; an `nn.LSTM` model")
    say("of the same sizes with clipping and fused AdamW on one batch, in the same precision (under autocast torch")
    say("computes its layers in float16, and the loss is not scaled); the same captured in one CUDA graph.")
    say("Ratios: plain over ours. First each task's default.")
    say("" if device == "cuda" else "\nCUDA graphs need a card: they are skipped.\n")
    say("| task | T B | precision, backend | ours | plain | ratio | ours, graphs | plain, captured | ratio |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    slowest, right = 0.0, True
    with tempfile.TemporaryDirectory() as folder, home_in(folder):
        cases = [make(Path(folder), device) for make in (char_steps, wiki_steps, translate_steps)]
        for case, precision in [(case, name) for name in PRECISIONS[device] for case in cases]:
            began = time.monotonic()
            row = steps_of(case, precision, device, end - slowest)  # the last row that begins runs to completion
            say(row)
            slowest = max(slowest, time.monotonic() - began)
            right &= went_well(row)
    return right


@contextmanager
def home_in(folder: str) -> Iterator[None]:
    """Inside this context, runs go to a temporary folder."""
    before = os.environ.get("RNN_HOME")
    os.environ["RNN_HOME"] = folder
    try:
        yield
    finally:
        os.environ.pop("RNN_HOME")
        if before is not None:
            os.environ["RNN_HOME"] = before


def steps_of(case: StepCase, precision: str, device: str, end: float) -> str:
    """A row of the table, or the reason why there is none."""
    found = guarded(lambda: measured_steps(case, precision, device, end), end)
    return f"| {case.task} | {found} |" if "|" in found else f"| {case.task} | | {precision}: {found} | | | | | | |"


def measured_steps(case: StepCase, precision: str, device: str, end: float) -> str:
    """The cells of a row after its task."""
    from rnncli.kernels.precision import training_precision, using

    training, ours = trained_steps(case, precision, device, "off")
    plain = case.plain(training.config, training.experiment)
    taken = training.trainer.settings.precision
    with using(taken), training_precision():
        theirs = timed_plain(plain, device)
        captured = guarded(lambda: f"{timed_captured(plain):.2f}", end) if device == "cuda" else "skipped"
    recorded = guarded(lambda: timed_graphs(case, precision), end) if device == "cuda" else "skipped"
    how = f"{taken}, {training.backend}"
    eager = f"{ours:.2f} | {theirs:.2f} | {theirs / ours:.2f}"
    return f"{plain.shape} | {how} | {eager} | {recorded} | {captured} | {quotient(captured, recorded)}"


def timed_graphs(case: StepCase, precision: str) -> str:
    """The median ms of steps by graphs, or which part of them was not recorded."""
    training, ours = trained_steps(case, precision, "cuda", "on")
    refused = "; ".join(f"no graph of {part}: {reason}" for part, reason in training.trainer.graphs.refused.items())
    return f"{ours:.2f} **{WRONG}: {refused}**" if refused else f"{ours:.2f}"


def quotient(above: str, below: str) -> str:
    """The ratio of two figures of a table; empty where one of them is none."""
    try:
        return f"{float(above) / float(below):.2f}"
    except ValueError:
        return ""


class Enough(Exception):
    """Ends a training whose steps have been timed."""


def trained_steps(case: StepCase, precision: str, device: str, graphs: str) -> tuple[Any, float]:
    """A training after some steps, and the median of their ms; time between two steps counts."""
    from rnncli.api import Training
    from rnncli.presets import resolve
    from rnncli.tasks import TASKS
    from rnncli.training.loop import Stepped

    flags = {"device": device, "precision": precision, "graphs": graphs, "epochs": 100_000, **case.flags}
    training = Training.start(case.task, resolve(TASKS[case.task], flags, case.preset), f"{precision}-{graphs}")
    lost, wanted = (40, 60) if device == "cuda" else (1, 2)  # graphs are recorded in the first ones
    moments: list[float] = []
    times: list[float] = []

    def listen(event: object) -> None:
        if not isinstance(event, Stepped):
            moments.clear()
            return
        moments.append(time.perf_counter())
        times.extend(later - before for before, later in pairwise(moments[-2:]))
        if len(times) == lost + wanted:
            raise Enough

    try:
        training.train(listen, lambda _: None)
    except Enough:
        return training, 1e3 * statistics.median(times[lost:])
    raise AssertionError("a training without end has ended")


class Plain:
    """A model of torch's own modules on one batch, whose steps are timed in the precision in use."""

    def __init__(self, modules: nn.ModuleDict, loss: Callable[[nn.ModuleDict], Tensor], shape: str) -> None:
        self.modules, self.loss, self.shape = modules, loss, shape
        self.device = next(modules.parameters()).device.type

    def optimizer(self, *, capturable: bool) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.modules.parameters(), 1e-3, fused=True, capturable=capturable)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        from rnncli.kernels.precision import forward_pass

        optimizer.zero_grad(set_to_none=True)
        with forward_pass(self.device):
            loss = self.loss(self.modules)
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        optimizer.step()


def plain_language_model(config: Any, experiment: Any) -> Plain:
    """Embedding, `nn.LSTM` with flattened weights, linear layer; states are not carried, which costs nothing."""
    device = next(experiment.model.parameters()).device
    V, (M, *others), T, B = len(experiment.payload["vocabulary"]), config.sizes, config.bptt, config.batch_size
    modules = nn.ModuleDict({
        "embedding": nn.Embedding(V, config.embedding),
        "lstm": nn.LSTM(config.embedding, M, 1 + len(others)),
        "output": nn.Linear(M, V),
    }).to(device)  # fmt: skip
    if config.tied:
        modules["output"].weight = modules["embedding"].weight
    flatten(modules)
    tokens, targets = torch.randint(V, (2, T, B), device=device)

    def loss(parts: nn.ModuleDict) -> Tensor:
        return F.cross_entropy(
            parts["output"](parts["lstm"](parts["embedding"](tokens))[0]).flatten(0, 1), targets.flatten()
        )

    return Plain(modules, loss, f"{T} {B}")


def plain_translator(config: Any, experiment: Any) -> Plain:
    """Encoder in both directions, decoder, dot-product attention, all of torch's own modules, on full sequences."""
    from rnncli.data.batching import built

    device = next(experiment.model.parameters()).device

    pair = next(built(experiment.batches(0))).inputs
    V, E, M = len(experiment.payload["vocabulary"]), config.embedding, config.sizes[0]
    modules = nn.ModuleDict({
        "embedding": nn.Embedding(V, E),
        "encoder": nn.LSTM(E, M, bidirectional=True),
        "key": nn.Linear(2 * M, M),
        "decoder": nn.LSTM(E, M),
        "join": nn.Linear(3 * M, M),
        "output": nn.Linear(M, V),
    }).to(device)  # fmt: skip
    flatten(modules)
    source, target = (torch.randint(V, each.shape, device=device) for each in (pair.source, pair.target))

    def loss(parts: nn.ModuleDict) -> Tensor:
        encoded = parts["encoder"](parts["embedding"](source))[0].transpose(0, 1)
        h = parts["decoder"](parts["embedding"](target))[0].transpose(0, 1)
        looked = (h @ parts["key"](encoded).transpose(1, 2)).softmax(-1) @ encoded
        scores = parts["output"](parts["join"](torch.cat([h, looked], -1)).tanh())
        return F.cross_entropy(scores.flatten(0, 1), target.t().flatten())

    return Plain(modules, loss, f"{len(source)}+{len(target)} {source.shape[1]}")


def flatten(modules: nn.ModuleDict) -> None:
    """Store the weights of recurrent layers in one block, as cuDNN requires."""
    for layer in modules.values():
        if isinstance(layer, nn.RNNBase):
            layer.flatten_parameters()


def timed_plain(plain: Plain, device: str) -> float:
    optimizer = plain.optimizer(capturable=False)
    return median(lambda: plain.step(optimizer), device)


def timed_captured(plain: Plain) -> float:
    """One graph of a whole step; a few steps run before on a separate stream, as torch requires."""
    optimizer = plain.optimizer(capturable=True)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            plain.step(optimizer)
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plain.step(optimizer)
    return median(graph.replay, "cuda")


def char_steps(folder: Path, device: str) -> StepCase:
    """char-lm's recipe on 65 characters, as many as Shakespeare has."""
    small = {"hidden": "4,4", "batch_size": 2, "bptt": 4, "embedding": 4}
    symbols = "".join(map(chr, range(33, 97))) + " "
    drawn = torch.randint(
        len(symbols), (400_000 if device == "cuda" else 400,), generator=torch.Generator().manual_seed(0)
    )
    text = folder / "characters.txt"
    text.write_text("".join(symbols[number] for number in drawn.tolist()))
    flags = {"corpus": (str(text),), **({} if device == "cuda" else small)}
    return StepCase("char-lm", None, flags, plain_language_model)


def wiki_steps(folder: Path, device: str) -> StepCase:
    """wiki-lm's preset for running text on 10,000 words with Zipf's frequencies, as the Penn Treebank has them."""
    small = {"hidden": "4", "embedding": 4, "batch_size": 2, "bptt": 4}
    V, lines = (10_000, 10_000) if device == "cuda" else (50, 40)
    words = torch.arange(1, V + 1)
    drawn = torch.multinomial(
        1 / words.double(), 20 * lines, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    drawn[:V] = words - 1  # every word occurs
    text = folder / "words.txt"
    text.write_text(
        "\n".join(" ".join(f"w{letters(number)}" for number in line) for line in drawn.view(lines, 20).tolist())
    )
    flags = {"corpus": (str(text),), **({} if device == "cuda" else small)}
    return StepCase("wiki-lm", "running", flags, plain_language_model)


def letters(number: int) -> str:
    """A number as a word that no tokenizer recognises as a number."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


def translate_steps(folder: Path, device: str) -> StepCase:
    """The recipe of translate for dates."""
    del folder
    small = {"hidden": "4", "embedding": 4, "batch_size": 2}
    return StepCase("translate", None, {"corpus": ("dates",), **({} if device == "cuda" else small)}, plain_translator)


# The output layer


OUTPUTS = {
    "cuda": ((2048, 256, 100), (2048, 256, 10_000), (2048, 256, 250_000), (512, 256, 1_000_000)),
    "cpu": ((128, 4, 10_000),),
}
"""N predictions, M features, V words; on the CPU the smallest that is computed in blocks."""


class Output(NamedTuple):
    """An output layer and its predictions."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    targets: Tensor


def output_layer(device: str, end: float, say: Say) -> bool:
    """The output layer with its loss next to torch's separate operations, and to torch's own blocks."""
    say("## The output layer\n")
    say("Ms of forward and backward, medians after warming up, and on a card the MB at the peak above those before; in")
    say("every precision of `rnn train`. Ratio: the separate operations over ours. Torch's blocks are")
    say("`F.linear_cross_entropy` with its options for chunks, which newer versions have.\n")
    say("| N M V | precision | ours, MB | F.linear and F.cross_entropy, MB | torch's blocks, MB | ratio |")
    say("| --- | --- | --- | --- | --- | --- |")
    right = True
    precisions = ("tf32", "float32", "bfloat16", "float16") if device == "cuda" else ("float32",)
    for shape in OUTPUTS[device]:
        for precision in precisions:
            row = guarded(lambda: measured_output(shape, precision, device), end)  # noqa: B023  # called at once
            say(f"| {' '.join(map(str, shape))} | {precision} | {row} |")
            right &= went_well(row)
    return right


def measured_output(shape: tuple[int, int, int], precision: str, device: str) -> str:
    """The end of a row."""
    from rnncli.kernels.linear import linear_cross_entropy
    from rnncli.kernels.precision import forward_pass, training_precision, using

    N, M, V = shape
    targets = torch.randint(V, (N,), device=device)
    layer = Output(
        *(torch.randn(*size, device=device).mul_(0.1).requires_grad_() for size in ((N, M), (V, M), (V,))), targets
    )
    chunks = getattr(nn, "LinearCrossEntropyOptions", None)

    def separate(each: Output) -> Tensor:
        return F.cross_entropy(F.linear(*each[:3]), each.targets, reduction="sum")

    def torchs_blocks(each: Output) -> Tensor:
        fused: Any = getattr(F, "linear_cross_entropy", None)
        loss: Tensor = fused(
            each.hidden, each.weight, each.targets, linear_bias=each.bias, reduction="sum", options=chunks and chunks()
        )
        return loss

    def timed(loss: Callable[[Output], Tensor]) -> tuple[str, float]:
        def step() -> None:
            with forward_pass(device):
                value = loss(layer)
            torch.autograd.grad(value, layer[:3])

        with using(precision), training_precision():
            ms, peak = median(step, device), peak_of(step, device)
        return f"{ms:.2f}, {peak}", ms

    ours, theirs = timed(lambda each: linear_cross_entropy(*each)), timed(separate)
    blocks = guarded(lambda: timed(torchs_blocks)[0], math.inf) if chunks else "absent"
    return f"{ours[0]} | {theirs[0]} | {blocks.removeprefix(FAILED).strip()} | {theirs[1] / ours[1]:.2f}"


def peak_of(step: Callable[[], None], device: str) -> str:
    """The MB that a step holds at its peak above those before it; on a CPU torch does not count them."""
    if device == "cpu":
        return "not measured"
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return f"{(torch.cuda.max_memory_allocated() - before) / 2**20:.0f}"


# Writing


STREAMS = {"cuda": ((1, 256, 2_000), (1024, 256, 500)), "cpu": ((1, 4, 8), (4, 4, 8))}
"""B streams, M units, characters of each."""
CHARACTERS = 100
"""V of the models that write."""
WANTED_STREAMS = {1: "3 times as fast", 1024: "1,000,000"}


def writing(device: str, end: float, say: Say) -> bool:
    """Characters per second of `rnn generate`, by graphs and without, next to nn.LSTM one step at a time."""
    say("## Writing\n")
    say(f"Characters per second, the best of three texts; one LSTM, V {CHARACTERS}, float32. Rival: nn.Embedding,")
    say("nn.LSTM and nn.Linear one step at a time, with `torch.multinomial`. Ratio: ours by graphs over the rival.")
    say("" if device == "cuda" else "\nA CUDA graph needs a card: the graphs are skipped.\n")
    say("| streams, M | by graphs | without | nn.LSTM | ratio | wanted |")
    say("| --- | --- | --- | --- | --- | --- |")
    right = True
    for B, M, length in STREAMS[device]:
        row = guarded(lambda: measured_writing(B, M, length, device), end)  # noqa: B023  # called at once
        say(f"| {B}, {M} | {row} | {WANTED_STREAMS.get(B, '')} |")
        right &= went_well(row)
    return right


def measured_writing(B: int, M: int, length: int, device: str) -> str:
    """The middle of a row."""
    from rnncli.models.decoding import draw_streams, read
    from rnncli.models.language_model import LanguageModel
    from rnncli.models.recorded import graphs_on
    from rnncli.models.sampling import Sampling
    from rnncli.models.stack import StackShape

    model = LanguageModel(CHARACTERS, M, StackShape("lstm:none", (M,))).to(device).eval()
    generator = torch.Generator(device)

    def ours(*, by_graphs: bool) -> None:
        graphs = graphs_on(torch.device(device), generator) if by_graphs else None
        drawn = draw_streams(
            read(model, [0]),
            B,
            Sampling(),
            banned=(0, 1),
            generator=generator,
            ending=lambda: ends_after(length),
            graphs=graphs,
        )
        for _ in drawn:
            pass

    rival = plain_writer(M, device)
    found = [
        characters_per_second(run, B * length) if run else None
        for run in (
            partial(ours, by_graphs=True) if device == "cuda" else None,
            partial(ours, by_graphs=False),
            lambda: rival(B, length),
        )
    ]
    shown = ["skipped" if each is None else f"{each:.0f}" for each in found]
    return " | ".join([*shown, "" if found[0] is None else f"{found[0] / (found[2] or 1):.1f}"])


def ends_after(length: int) -> Callable[[int], bool]:
    """An ending of a stream: with the token of that number."""
    left = iter(range(length - 1, -1, -1))
    return lambda _: next(left) == 0


def plain_writer(M: int, device: str) -> Callable[[int, int], None]:
    """A model of torch's own modules that writes B streams, and reads each token on the host."""
    embedding, lstm, output = (
        each.to(device) for each in (nn.Embedding(CHARACTERS, M), nn.LSTM(M, M), nn.Linear(M, CHARACTERS))
    )

    @torch.inference_mode()
    def write(B: int, length: int) -> None:
        token, state = torch.zeros(1, B, dtype=torch.long, device=device), None
        for _ in range(length):
            h, state = lstm(embedding(token), state)
            token = torch.multinomial(output(h[0]).softmax(-1), 1).t()
            token.tolist()

    return write


def characters_per_second(write: Callable[[], None], characters: int) -> float:
    """The best of three texts, after one to warm up."""
    write()
    return 1e3 * characters / min(clocked(write) for _ in range(3))


# Cells that torch lacks


def own_cells(device: str, end: float, say: Say) -> bool:
    """A cell that no library has next to its Python loop, and one without matrices next to torch's GRU; float32."""
    say("## Cells that torch lacks\n")
    say("Ms, medians after warming up; D = M; float32. Ratio: the rival's over ours, both ways.\n")
    say("| cell | T B M | ours by | forward | both ways | rival | forward | both ways | ratio | wanted |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    right = True
    for kind, shape, rival, wanted in OWN:
        shape = shape if device == "cuda" else TINY[0]
        row = guarded(lambda: measured_own(kind, shape, rival, device), end)  # noqa: B023  # called at once
        say(f"| {kind.rpartition(':')[2]} | {' '.join(map(str, shape))} | {row} | {wanted} |")
        right &= went_well(row)
    return right


def measured_own(kind: str, shape: tuple[int, int, int], rival: str, device: str) -> str:
    """The middle of a row."""
    from rnncli.kernels.scan import scan

    T, B, M = shape
    cell = new_cell(kind, M).to(device)
    x = torch.randn(T, B, M, device=device, requires_grad=True)
    layer = nn.GRU(M, M).to(device)

    def unrolled(backend: str) -> list[float]:
        return both_ways(lambda: scan(cell, x, cell.initial_state(B), None, backend)[0], x, cell, device)

    backend = best_backend(device, "float32")
    ours = unrolled(backend)
    theirs = both_ways(lambda: layer(x)[0], x, layer, device) if rival == "nn.GRU" else unrolled("reference")
    how = tier(cell, torch.float32) if backend == "triton" else backend
    figures = [f"{forward:.2f} | {both:.2f}" for forward, both in (ours, theirs)]
    return f"{how} | {figures[0]} | {rival} | {figures[1]} | {theirs[1] / ours[1]:.1f}"


# Cells next to cuDNN


def cells(device: str, end: float, say: Say) -> bool:
    """Cells by the project's kernels next to torch's layers."""
    rival = "cuDNN with flattened weights" if device == "cuda" else "torch's layers on the CPU"
    say("## Cells\n")
    say(f"Ms, medians after warming up; D = M; next to the layer of `nn` with as many gates, or one more ({rival}).")
    say("Forward without gradients; both ways with those of input and weights. float32 is not TF32. Ratio: the layer's")
    say("over ours.\n")
    say("| cell | T B M | precision | `auto` takes | ours by | forward | layer | ratio | both ways | layer | ratio |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rivals: dict[tuple[Any, ...], list[float]] = {}
    missing, right = 0, True
    for kind, dtype, shape in rows_of(device):
        row = guarded(lambda: measured(kind, dtype, shape, device, rivals), end)  # noqa: B023  # called at once
        if row == LATE:
            missing += 1
            continue
        say(f"| {kind} | {' '.join(map(str, shape))} | {dtype} | {row} |")
        right &= went_well(row)
    if missing:
        say(f"\nLeft out for lack of time: {missing} rows.")
    return right


def rows_of(device: str) -> list[tuple[str, str, tuple[int, int, int]]]:
    """All rows, the most important ones first."""
    shapes = SHAPES if device == "cuda" else TINY
    return [
        (kind, dtype, shape)
        for kinds in (KINDS[:4], KINDS[4:])
        for shape in shapes
        for kind in kinds
        for dtype in TYPES
    ]


def measured(
    kind: str, dtype: str, shape: tuple[int, int, int], device: str, rivals: dict[tuple[Any, ...], list[float]]
) -> str:
    """A row of the table; a layer is timed once, for all cells next to it."""
    from rnncli.kernels.scan import choose_backend, scan

    T, B, M = shape
    as_type = getattr(torch, dtype)
    cell = new_cell(kind, M).to(device, as_type)
    x = torch.randn(T, B, M, device=device, dtype=as_type, requires_grad=True)
    Layer = LAYERS[kind.partition(":")[0]]
    key = (Layer, dtype, shape)
    if key not in rivals:
        layer = Layer(M, M).to(device, as_type)
        layer.flatten_parameters()
        rivals[key] = both_ways(lambda: layer(x)[0], x, layer, device)
    backend = best_backend(device, dtype)
    ours = both_ways(lambda: scan(cell, x, cell.initial_state(B), None, backend)[0], x, cell, device)
    figures = [f"{mine:.2f} | {other:.2f} | {other / mine:.2f}" for mine, other in zip(ours, rivals[key], strict=True)]
    taken = choose_backend(cell, "auto", device, as_type)
    return f"{taken} | {tier(cell, as_type) if backend == 'triton' else backend} | {' | '.join(figures)}"


def tier(cell: Any, dtype: torch.dtype) -> str:
    """How the kernels run the cell: on chip, or with launches at each step."""
    from rnncli.kernels.triton.build import kernels_of
    from rnncli.kernels.triton.tiers import choose_tier

    return choose_tier(kernels_of(cell), dtype, next(cell.parameters()).device).name.lower()


def both_ways(run: Callable[[], Tensor], x: Tensor, module: nn.Module, device: str) -> list[float]:
    """Median ms forward, and forward and backward."""

    def forward() -> None:
        with torch.no_grad():
            run()

    def training() -> None:
        x.grad = None
        module.zero_grad(set_to_none=True)
        run().sum().backward()

    return [median(forward, device), median(training, device)]


def median(run: Callable[[], Any], device: str) -> float:
    """Median ms by the card's own clock; on a CPU, where no figure counts, one run."""
    if device == "cpu":
        return clocked(run)
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    runs = max(3, min(MOST_RUNS, int(SPENT_MS / max(1e-3, by_events(run)))))
    return statistics.median(by_events(run) for _ in range(runs))


def clocked(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def by_events(run: Callable[[], Any]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


# Compiling beforehand

PARTS = 8
"""Processes that compile the kernels of the table of cells while the tests run; triton keeps them on disk."""


def compile_part(part: int, device: str, end: float, say: Say) -> bool:
    """Run every PARTS-th row of the table of cells once, without timing it; the table shows what fails."""
    del say
    for kind, dtype, shape in rows_of(device)[part::PARTS]:
        guarded(lambda: run_once(kind, dtype, shape, device), end)  # noqa: B023  # called at once
    return True


def run_once(kind: str, dtype: str, shape: tuple[int, int, int], device: str) -> str:
    """Forward without gradients, then both ways; triton compiles the same kernels for few steps as for many."""
    from rnncli.kernels.scan import scan

    _, B, M = shape
    cell = new_cell(kind, M).to(device, getattr(torch, dtype))
    x = torch.randn(2, B, M, device=device, dtype=getattr(torch, dtype), requires_grad=True)
    backend = best_backend(device, dtype)
    with torch.no_grad():
        scan(cell, x, cell.initial_state(B), None, backend)
    scan(cell, x, cell.initial_state(B), None, backend)[0].sum().backward()
    return ""


Section = Callable[[str, float, Say], bool]
"""Prints its lines for a device until an end; returns whether all went well."""

FRACTIONS = {"checks": 0.4, "steps": 0.4, "output": 0.3, "writing": 0.3, "own": 0.4, "cells": 1.0}
"""Sections in the order of their importance, and the share of the remaining time that each may take."""

SECTIONS: dict[str, Section] = {
    "checks": checks,
    "steps": steps,
    "output": output_layer,
    "writing": writing,
    "own": own_cells,
    "cells": cells,
    **{f"warm {part}": partial(compile_part, part) for part in range(PARTS)},
}

if __name__ == "__main__":
    main()
