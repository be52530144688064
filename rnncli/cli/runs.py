"""`rnn runs`: list runs, delete them, and make them smaller."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.completing import complete_run
from rnncli.cli.screen import AsJson, confirm, figure, note, print_json, print_table, size, warn
from rnncli.cli.verb import Verb
from rnncli.errors import RnnError, UsageError
from rnncli.home import checkpoints_dir

if TYPE_CHECKING:
    from rnncli.training.runs import Run


def runs(context: typer.Context, as_json: AsJson = False) -> None:
    """List trained runs, delete them, or make them smaller."""
    if context.invoked_subcommand is None:
        list_runs(as_json)
    elif as_json:
        raise UsageError("--json comes after the command: `rnn runs list --json`")


def list_runs(as_json: AsJson = False) -> None:
    """List every run: task, corpus, state, best metric, date, size."""
    from rnncli.cli.per_task import first_task
    from rnncli.training.runs import all_runs

    facts = [_facts(run) for run in all_runs()]
    if as_json:
        print_json({"runs": facts})
    elif not facts:
        note(f"no runs in {checkpoints_dir().absolute()} yet: `rnn train {first_task()}` makes one")
    else:
        rows = [_row(each) for each in facts]
        print_table(["task", "run", "corpus", "state", "best", "date", "size"], rows)


def delete_runs(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Names from `rnn runs`, or TASK/RUN.", autocompletion=complete_run),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
) -> None:
    """Delete runs with all their files."""
    from rnncli.training.runs import delete_run, find_run

    found = [find_run(name) for name in names]  # checks all names before it deletes anything
    for run in found:
        if yes or confirm(f"Delete {run.task}/{run.name} ({size(run.size)})?"):
            delete_run(run)
            note(f"deleted {run.task}/{run.name}")


def prune_runs(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]…", help="Runs from `rnn runs`; else all.", autocompletion=complete_run),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove the `previous` checkpoint of runs whose `last` is sound."""
    from rnncli.training.runs import PREVIOUS, all_runs, find_run, prune_run

    found = [find_run(name) for name in names] if names else all_runs()
    waiting = [run for run in found if (run.folder / PREVIOUS).exists()]
    freed, kept = 0, 0
    for run in waiting:
        its_size = size((run.folder / PREVIOUS).stat().st_size)
        if not (yes or confirm(f"Remove {PREVIOUS} of {run.task}/{run.name} ({its_size})?")):
            continue
        try:
            freed += prune_run(run)
        except RnnError as error:
            kept += 1
            warn(f"{error}: {PREVIOUS} of {run.task}/{run.name} stays")
    note(f"freed {size(freed)}" if waiting else f"no run has a {PREVIOUS}: nothing to remove")
    if kept:
        raise typer.Exit(1)


def _row(facts: dict[str, Any]) -> list[Any]:
    best = f"{facts['metric'].replace('_', ' ')} {figure(facts['best'])}" if facts["metric"] else None
    date = facts["saved"] and facts["saved"][:10]
    first = [facts["task"], facts["run"], facts["corpus"], facts["state"]]
    return [*first, best, date, size(facts["bytes"])]


def _facts(run: "Run") -> dict[str, Any]:
    summary = run.summary
    state = "unreadable"
    if summary is not None:
        state = summary.finished or ("training" if run.is_trained else "unfinished")
    return {
        "task": run.task,
        "run": run.name,
        "corpus": summary and summary.corpus,
        "state": state,
        "metric": summary and summary.metric,
        "best": summary and summary.best,
        "steps": summary and summary.steps,
        "saved": run.saved and run.saved.isoformat(timespec="seconds"),
        "bytes": run.size,
    }


VERB = Verb(
    runs,
    example="rnn runs delete my-run",
    commands=lambda: {
        "list": Verb(list_runs, "rnn runs --json"),
        "delete": Verb(delete_runs, "rnn runs delete my-run"),
        "prune": Verb(prune_runs, "rnn runs prune --yes"),
    },
)
