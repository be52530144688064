"""Runs on a Hugging Face hub: `push` one to a repository, and `pull` it elsewhere. Nothing else here uses a network."""

import hashlib
import html
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rnncli.errors import RnnError, UsageError
from rnncli.extras import need
from rnncli.files import check_name
from rnncli.restoring import check_header
from rnncli.task import Task
from rnncli.tasks import task_of
from rnncli.terminal import escaped
from rnncli.training import checkpoint
from rnncli.training.checkpoint import Checkpoint
from rnncli.training.loop import is_record, measured
from rnncli.training.runs import BEST, Run, check_new, new_run, tasks_of
from rnncli.version import __version__

METRICS, CARD = "metrics.jsonl", "README.md"

PIPELINES = {
    "generate": "text-generation",
    "classify": "text-classification",
    "tag": "token-classification",
    "translate": "translation",
}
"""The hub's names of kinds of models, by the verb that they have."""

_PUNCTUATION = re.compile(r"([!-%'-/:;=?@\[-`{-~])")


class Pushed(NamedTuple):
    """A run in a repository."""

    repo: str
    url: str
    private: bool
    files: dict[str, int]  # bytes by name
    sha256: str  # of the checkpoint's contents


class Pulled(NamedTuple):
    """A run made from a repository."""

    run: Run
    repo: str
    revision: str  # the commit
    sha256: str  # of the checkpoint's contents
    cell: str  # the class of a cell from outside, whose code the repository does not have; else empty


def push(run: Run, repo: str, *, public: bool = False) -> Pushed:
    """Upload a run's best checkpoint, its metrics and a model card to a repository, which is made if it is not there.

    A new repository is private, unless `public`. The token is the one that huggingface_hub finds. Raises UsageError for
    an invalid name, a missing token or permission, a run without a best checkpoint, an existing repository that is
    public or holds other files; RnnError for a damaged checkpoint, and if the hub cannot be reached or fails.
    """
    hub = _library("rnn push")
    _check_repo(repo)
    source = run.folder / BEST
    if not source.is_file():
        raise UsageError(f"run {run.name} has no {BEST} yet: train it until its first validation")
    data = source.read_bytes()
    found = checkpoint.from_bytes(data, source)
    task = task_of(found.header, source)
    label = check_header(task.Config, task.keeps, found.header, source).label
    files = {BEST: data, CARD: model_card(task, found, label, repo).encode()}
    if run.metrics.is_file():
        files[METRICS] = run.metrics.read_bytes()
    api = hub.HfApi(library_name="rnncli", library_version=__version__)
    with _one_line(hub, repo, "push to"):
        if hub.get_token() is None:
            raise UsageError("rnn push needs an access token of the hub: run `hf auth login`, or set HF_TOKEN")
        private = _place(hub, api, repo, public)
        additions = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=each) for name, each in files.items()]
        api.create_commit(repo, additions, commit_message=f"Push a run of {task.name}")
    sizes = {name: len(each) for name, each in files.items()}
    return Pushed(repo, f"{api.endpoint}/{repo}", private, sizes, found.sha256)


def _place(hub: Any, api: Any, repo: str, public: bool) -> bool:
    """Make the repository, or check an existing one; return whether it is private."""
    try:
        info = api.model_info(repo)
    except hub.errors.RepositoryNotFoundError:
        api.create_repo(repo, private=not public)
        return not public
    names = sorted({each.rfilename for each in info.siblings or ()} - {".gitattributes"})
    if names and BEST not in names:
        raise UsageError(f"{repo} holds other files ({names[0]}, …): push to a new repository")
    if not info.private and not public:
        raise UsageError(f"{repo} is public: add --public to push there, or push to a new repository")
    return bool(info.private)


def pull(repo: str, *, name: str | None = None, revision: str | None = None) -> Pulled:
    """Make a run from a repository that `push` wrote: its best checkpoint and its metrics.

    Its name is that of the repository, or `name`. Sizes and SHA-256 are those that the hub lists, and the checkpoint's
    own SHA-256 is verified, before anything is saved; no code of the repository runs. An interrupted pull leaves
    nothing. Raises UsageError for a repository that is missing, out of reach for the token, or holds no run, and a
    name that is impossible or taken; RnnError for other contents, and if the hub cannot be reached or fails.
    """
    hub = _library("rnn pull")
    _check_repo(repo)
    chosen = name or repo.rpartition("/")[2]
    check_name(chosen)
    api = hub.HfApi(library_name="rnncli", library_version=__version__)
    with _one_line(hub, repo, "pull"), TemporaryDirectory(prefix="rnn-pull-") as folder:
        info = api.model_info(repo, revision=revision, files_metadata=True)
        listed = {each.rfilename: each for each in info.siblings or ()}
        if BEST not in listed:
            raise UsageError(f"{repo} holds no run of rnn: it has no {BEST}")
        got = {each: _fetched(api, info, listed[each], folder) for each in (BEST, METRICS) if each in listed}
    source = Path(repo) / BEST
    found = checkpoint.from_bytes(got[BEST], source)
    task = task_of(found.header, source)
    config = check_header(task.Config, task.keeps, found.header, source)
    if task.name in tasks_of(chosen):
        raise UsageError(f"run {chosen!r} of {task.name} is already there: take another --name")
    history = _history(got[METRICS], repo) if METRICS in got else found.header["progress"]["history"]
    run = _save(new_run(task.name, config.label, chosen), history, got[BEST])
    kept = found.header.get("cell")
    return Pulled(run, repo, str(info.sha), found.sha256, str(kept["class"]) if isinstance(kept, Mapping) else "")


def _fetched(api: Any, info: Any, listed: Any, folder: str) -> bytes:
    """The contents of a file of a commit, checked against the size and the SHA-256 that the hub lists."""
    path = api.hf_hub_download(info.id, listed.rfilename, revision=info.sha, local_dir=folder)
    data = Path(path).read_bytes()
    sha256 = getattr(listed.lfs, "sha256", None)  # small files that Git itself holds have none
    if len(data) != listed.size or (sha256 is not None and hashlib.sha256(data).hexdigest() != sha256):
        raise RnnError(f"{listed.rfilename} of {info.id} is not what the hub lists: nothing was saved; pull it again")
    return data


def _history(data: bytes, repo: str) -> list[dict[str, Any]]:
    """The records of metrics.jsonl; raises RnnError for anything else."""
    try:
        records = [json.loads(line) for line in data.decode().splitlines()]
        if all(map(is_record, records)):
            return records
    except (ValueError, RecursionError):
        pass
    raise RnnError(f"{METRICS} of {repo} holds no records of validations: nothing was saved")


def _save(run: Run, history: list[dict[str, Any]], data: bytes) -> Run:
    """Write a new run, the checkpoint last: without it, a folder is no run."""
    with run.locked():
        check_new(run.task, run.name)  # another process may have taken the name
        try:
            run.write_metrics(history)
            run.save_best(data)
        except BaseException:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
    return run


def _library(verb: str) -> Any:
    """huggingface_hub, with progress bars only on a terminal."""
    hub = need("huggingface_hub", "huggingface_hub.errors", "huggingface_hub.utils", what=verb, extra="hub")
    if sys.stderr is None or not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    return hub


def _check_repo(repo: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise UsageError(f"{repo!r} is not a repository's name: write OWNER/NAME")


@contextmanager
def _one_line(hub: Any, repo: str, work: str) -> Iterator[None]:
    """Turn errors of the library, and of the network below it, into ours; a token never appears in them."""
    try:
        yield
    except RnnError:
        raise
    except Exception as error:  # the network library is not the same in all versions of the hub's
        token = hub.get_token()
        raise _translated(hub.errors, error, f"cannot {work} {repo}", token or "\0") from None


def _translated(errors: Any, error: BaseException, what: str, token: str) -> RnnError:
    causes = list(_causes(error))
    answered = next((each for each in causes if isinstance(each, errors.HfHubHTTPError)), None)
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"{what}: write OWNER/NAME with at most 96 letters, digits and . - _")
    if any(isinstance(each, errors.OfflineModeIsEnabled) for each in causes):
        return RnnError(f"{what}: HF_HUB_OFFLINE forbids the network: unset it")
    if isinstance(answered, errors.RevisionNotFoundError):
        return UsageError(f"{what}: it has no such revision")
    if isinstance(answered, errors.RepositoryNotFoundError):
        return UsageError(f"{what}: there is no such repository, or your token may not see it; `hf auth whoami`")
    if answered is not None and answered.response.status_code in (401, 403):
        return UsageError(f"{what}: your token has no permission ({answered.response.status_code}); `hf auth login`")
    if answered is not None:
        return RnnError(f"{what}: the hub answers {answered.response.status_code}; try again later")
    reason = (str(causes[-1]).strip().splitlines() or [type(causes[-1]).__name__])[0]
    return RnnError(f"{what}: {reason.replace(token, '…')}; check the network, and HF_ENDPOINT if it is set")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def model_card(task: Task, found: Checkpoint, cell: str, repo: str) -> str:
    """The README.md of a repository: what the model is, its measurements and its use; every text in it is escaped."""
    header, progress, name = found.header, found.header["progress"], repo.rpartition("/")[2]
    best: dict[str, Any] = next((each for each in progress["history"] if each["step"] == progress["best_step"]), {})
    weights = sum(each.numel() for key, each in found.tensors.items() if key.startswith("model."))
    rows = {
        "task": task.name,
        "corpus": header["payload"]["corpus"],
        "cell": cell,
        "hidden": header["config"].get("hidden"),
        "weights": f"{weights:,}",
        "steps": f"{progress['best_step']:,}",
        **{key.replace("_", " "): _figure(value) for key, value in measured(best).items()},
        "rnn": header["rnn"],
        "SHA-256": found.sha256,
    }
    kinds = [f"pipeline_tag: {PIPELINES[verb]}" for verb in task.actions if verb in PIPELINES][:1]
    verbs = [verb for verb in ("inspect", "evaluate", "generate") if verb == "inspect" or verb in task.actions]
    lines = ["---", "library_name: rnncli", *kinds, "tags:", "- rnn", f"- {json.dumps(task.name)}", "---", ""]
    lines += [f"# {inert(name)}", "", f"A model of the task {inert(task.name)}. {inert(task.summary)}", ""]
    lines += ["| model | |", "| --- | --- |"]
    lines += [f"| {inert(key)} | {inert(str(value))} |" for key, value in rows.items()]
    lines += [
        "",
        "```",
        "pip install 'rnncli[hub]'",
        f"rnn pull {repo}",
        *(f"rnn {verb} {name}" for verb in verbs),
        "```",
    ]
    lines += ["", f"`{BEST}` holds weights, settings and vocabulary, and no code. The SHA-256 is that of its contents."]
    if isinstance(outside := header.get("cell"), Mapping):
        class_name, sha256 = (inert(str(outside.get(part))) for part in ("class", "sha256"))
        lines.append(f"The code of its cell, class {class_name} (SHA-256 {sha256}), is not here: name it by `--cell`.")
    return "\n".join([*lines, ""])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def inert(text: str) -> str:
    """A text that Markdown and HTML show as it is: on one line, without markup, links or characters that act."""
    return html.escape(_PUNCTUATION.sub(r"\\\1", escaped(text, one_line=True)), quote=False)
