"""How fast and how correct is `rnn serve` with twenty clients at once? Counts texts, errors and waiting times.

    python benchmarks/serve.py RUN [--requests 1000] [--clients 20] [--length 20]

Every text is compared with the text that the model writes in this process with the same seed.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import rnncli

SEEDS = 10


def ask(port: int, length: int, seed: int) -> tuple[str, float]:
    """The text or the error, and the seconds that it took."""
    begin = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        body = json.dumps({"length": length, "seed": seed})
        connection.request("POST", "/write", body, {"Content-Type": "application/json"})
        last = json.loads(connection.getresponse().read().splitlines()[-1])
        return last.get("text", last.get("error")), time.perf_counter() - begin
    except (OSError, ValueError) as error:
        return repr(error), time.perf_counter() - begin
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--length", type=int, default=20)
    arguments = parser.parse_args()
    model = rnncli.load(arguments.run)
    wanted = [model.generate(length=arguments.length, seed=seed).texts[0] for seed in range(SEEDS)]
    command = [sys.executable, "-m", "rnncli", "serve", arguments.run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r":(\d+)/", server.stdout.readline())
        assert found, "the server did not start"
        begin = time.perf_counter()
        with ThreadPoolExecutor(arguments.clients) as clients:
            seeds = [number % SEEDS for number in range(arguments.requests)]
            answers = list(clients.map(lambda seed: ask(int(found[1]), arguments.length, seed), seeds))
        seconds = time.perf_counter() - begin
        server.terminate()
    wrong = [text for (text, _), seed in zip(answers, seeds, strict=True) if text != wanted[seed]]
    waits = sorted(each for _, each in answers)
    requests, length = arguments.requests, arguments.length
    print(f"{requests:,} requests of {length} tokens by {arguments.clients} clients: {len(wrong)} wrong")
    print(f"{requests / seconds:,.0f} per second, {requests * length / seconds:,.0f} tokens per second")
    print(
        f"an answer takes {statistics.median(waits):.3f} s, the slowest of a hundred {waits[-len(waits) // 100]:.3f} s"
    )
    for text in wrong[:3]:
        print(f"for example: {text[:200]!r}")


if __name__ == "__main__":
    main()
