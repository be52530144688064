"""`rnn serve`: the live page of a run on this machine, where the model writes and shows its probabilities."""

from typing import Annotated

import typer

from rnncli.cli.models import open_model
from rnncli.cli.screen import AsJson, CellCode, Device, From, Named, named, note, origin, print_json, print_text, warn
from rnncli.cli.verb import Verb
from rnncli.extras import need


def serve(
    run: Named = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0: any free port.")] = 8000,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    source: From = None,
    cell: CellCode = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Serve a run's page on this machine. There the model writes: type a prime, and see how likely each token was."""
    need("starlette", "uvicorn", what="rnn serve", extra="serve")
    from rnncli.analysis import connections, live

    source = named(run, source)
    with live.bound(port) as door:
        trained = open_model(
            "serve", source, lambda task: "generate" in task.uses, device=device, cell=cell, as_json=as_json
        )
        server = connections.Server(live.application(trained, live.live_page(trained)), warn)
        url = f"http://127.0.0.1:{door.getsockname()[1]}/"
        if as_json:
            print_json({"checkpoint": str(trained.source), "url": url, "writes": live.writes(trained)})
        else:
            note(f"{origin(trained)}; Ctrl-C stops it")
            print_text(url, flush=True)
        if show:
            import webbrowser

            webbrowser.open(url)
        server.run(sockets=[door])


VERB = Verb(serve, "rnn serve RUN --open")
