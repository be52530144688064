"""`rnn runs`: list runs, and delete them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnncli.cli.screen import AsJson, confirm, figure, note, print_json, print_table, size
from rnncli.cli.verb import Verb
from rnncli.errors import UsageError
from rnncli.home import checkpoints_dir

if TYPE_CHECKING:
    from rnncli.training.runs import Run


def runs(context: typer.Context, as_json: AsJson = False) -> None:
    """List trained runs, or delete them."""
    if context.invoked_subcommand is None:
        list_runs(as_json)
    elif as_json:
        raise UsageError("--json comes after the command: `rnn runs list --json`")


def list_runs(as_json: AsJson = False) -> None:
    """List every run: task, state, best metric, steps, size."""
    from rnncli.cli.actions import first_task
    from rnncli.training.runs import all_runs

    facts = [_facts(run) for run in all_runs()]
    if as_json:
        print_json({"runs": facts})
    elif not facts:
        note(f"no runs in {checkpoints_dir()} yet: `rnn train {first_task()}` makes one")
    else:
        rows = [_row(each) for each in facts]
        print_table(["task", "run", "state", "best", "steps", "size"], rows)


def delete_runs(
    names: Annotated[list[str], typer.Argument(metavar="RUN", help="Names from `rnn runs`, or TASK/RUN.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
) -> None:
    """Delete runs with all their files."""
    from rnncli.training.runs import delete_run, find_run

    found = [find_run(name) for name in names]  # checks all names before it deletes anything
    for run in found:
        if yes or confirm(f"Delete {run.task}/{run.name} ({size(run.size)})?"):
            delete_run(run)
            note(f"deleted {run.task}/{run.name}")


def _row(facts: dict[str, Any]) -> list[Any]:
    best = f"{facts['metric'].replace('_', ' ')} {figure(facts['best'])}" if facts["metric"] else None
    return [facts["task"], facts["run"], facts["state"], best, facts["steps"], size(facts["bytes"])]


def _facts(run: "Run") -> dict[str, Any]:
    summary = run.summary
    state = "unreadable"
    if summary is not None:
        state = summary.finished or ("training" if run.is_trained else "unfinished")
    return {
        "task": run.task,
        "run": run.name,
        "state": state,
        "metric": summary and summary.metric,
        "best": summary and summary.best,
        "steps": summary and summary.steps,
        "bytes": run.size,
    }


VERB = Verb(
    runs,
    example="rnn runs delete my-run",
    commands=lambda: {
        "list": Verb(list_runs, "rnn runs --json"),
        "delete": Verb(delete_runs, "rnn runs delete my-run"),
    },
)
