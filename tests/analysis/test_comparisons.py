"""The statistics of a comparison, against numpy and by hand."""

from dataclasses import replace

import pytest

from rnncli.analysis.comparisons import Outcome, Point, bands, check_alike, default_target, nearest, rows
from rnncli.errors import UsageError


def outcome(cell: str, values: list[float], metric: str = "accuracy", every: int = 10) -> Outcome:
    """The result of a run that is validated every `every` steps, one second each."""
    curve = [Point(every * place, every * place / 1.0, value) for place, value in enumerate(values, 1)]
    best = max(values) if metric == "accuracy" else min(values)
    return Outcome(
        run=cell,
        corpus="toy",
        fingerprint="f",
        cell=cell,
        hidden="4",
        seed=0,
        parameters=10,
        metric=metric,
        best=best,
        steps=curve[-1].step,
        seconds=curve[-1].seconds,
        tokens_a_second=None,
        restarts=0,
        finished="done",
        curve=curve,
    )


@pytest.mark.parametrize("wanted", [1, 2, 4, 7, 8, 11, 99, 100, 101, 5000])
def test_the_nearest_size_is_found(wanted: int) -> None:
    def count(size: int) -> int:
        return 3 * size * size + size

    best = min(range(1, 100), key=lambda size: abs(count(size) - wanted))
    assert nearest(count, wanted) == best


def test_greater_accuracy_is_better() -> None:
    runs = [outcome("gru", [0.2, 0.9, 0.8]), outcome("gru", [0.3, 0.4, 0.7]), outcome("lstm", [0.6, 0.5])]
    target = default_target(runs)
    assert target == 0.6
    gru, lstm = rows(runs, target)
    assert (gru.mean, gru.reached, gru.steps_to_target) == (pytest.approx(0.8), 2, 25)
    assert (lstm.mean, lstm.spread, lstm.reached, lstm.steps_to_target, lstm.tokens_a_second) == (
        0.6,
        None,
        1,
        10,
        None,
    )
    gru, lstm = rows(runs, 0.75)
    assert (gru.reached, gru.seconds_to_target, lstm.reached, lstm.seconds_to_target) == (1, 20.0, 0, None)


def test_smaller_perplexity_is_better() -> None:
    runs = [outcome("gru", [90, 40, 50], "perplexity"), outcome("gru", [80, 60], "perplexity")]
    assert default_target(runs) == 60
    (row,) = rows(runs, 60)
    assert (row.mean, row.reached, row.steps_to_target) == (50, 2, 20)


def test_bands_cover_every_run_and_extend_finished_ones() -> None:
    runs = [outcome("gru", [0.0, 1.0]), outcome("gru", [0.5, 0.1, 0.2, 0.4]), outcome("lstm", [0.3], every=7)]
    gru, lstm = bands(runs, "steps")
    assert gru.at == [10, 20, 30, 40]
    assert gru.low == [0.0, 0.1, 0.2, 0.4]
    assert gru.high == [0.5, 1.0, 1.0, 1.0]
    assert gru.mean == pytest.approx([0.25, 0.55, 0.6, 0.7])
    assert (lstm.at, lstm.mean) == ([7], [0.3])
    separate = bands([outcome("gru", [0.0, 1.0]), outcome("gru", [4.0], every=15)], "seconds")[0]
    assert (separate.at, separate.mean) == ([15, 20], [pytest.approx(2.25), pytest.approx(2.5)])


def test_runs_of_different_texts_are_not_compared() -> None:
    first = outcome("gru", [0.5])
    check_alike([first, first])
    with pytest.raises(UsageError, match="runs gru and lstm were trained on different texts"):
        check_alike([first, replace(outcome("lstm", [0.5]), fingerprint="g")])
