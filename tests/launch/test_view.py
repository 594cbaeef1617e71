from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tksbench.launch.plan import collect_runs
from tksbench.launch.view import Active, LiveView, PlainView, live_table, make_view
from tksbench.runs import Status
from tksbench.text import duration, make_table, print_table

if TYPE_CHECKING:
    from tksbench.recipe import Run


@pytest.fixture
def run(recipe: str) -> Run:
    return collect_runs([recipe], "paper")[0]


def _active(run: Run, epoch: int) -> Active:
    status = Status(run.id, "running", epoch=epoch, epochs=4, top1=41.5, loss=1.25, images_per_s=812.4, eta_s=200.0)
    return Active(run, "GPU 0", status)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (5.2, "5 s"), (59.4, "59 s"), (200, "3 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_tell_an_epoch_once(run: Run) -> None:
    console = Console(file=io.StringIO(), width=80)
    view = PlainView(console)
    view.update([_active(run, 0)], {})
    view.update([_active(run, 1)], {})
    view.update([_active(run, 1)], {})
    assert console.file.getvalue() == (  # type: ignore[attr-defined]
        "cifar10/spiking_resnet19/tks seed 42: epoch 1/4, newest loss 1.250, top-1 41.50 %, 812 images/s, ETA 3 min\n"
    )


def test_the_live_table_shows_everything_at_80_columns(run: Run) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(live_table([_active(run, 3)]))
    header, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert header.split() == ["run", "seed", "epoch", "loss", "top-1", "images/s", "ETA", "on"]
    figures = ["42", "3/4", "1.250", "41.50", "812", "3", "min", "GPU", "0"]
    assert row.split() == ["cifar10/spiking_resnet19/tks", *figures]


def test_a_live_view_leaves_only_its_events_behind(run: Run) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, legacy_windows=False)
    view = make_view(console)
    assert isinstance(view, LiveView)
    view.update([_active(run, 3)], {"running": 1})
    view.event("done", "it is done")
    view.close()
    assert "it is done" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_has_to_be_done_first_is_said_once_in_a_pipe() -> None:
    console = Console(file=io.StringIO(), width=80)
    view = PlainView(console)
    for _ in range(3):
        view.update([], {"to go": 1}, "loading torch")
    view.update([], {"to go": 1})
    assert console.file.getvalue() == "note: loading torch\n"  # type: ignore[attr-defined]


def test_what_has_to_be_done_first_has_a_moving_bar_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, legacy_windows=False)
    view = make_view(console)
    view.update([], {"to go": 2}, "loading torch")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 to go" in shown
    assert "━" in shown
    assert "loading torch" in shown
    assert "0:00:00" in shown
    view.close()


def test_a_pipe_gets_plain_lines() -> None:
    assert isinstance(make_view(Console(file=io.StringIO())), PlainView)


@pytest.mark.parametrize("fold", [(), ("run",), ("reason",)])
@pytest.mark.parametrize("width", [30, 60, 80, 140])
def test_a_long_table_is_printed_as_rich_prints_it(width: int, fold: tuple[str, ...]) -> None:
    table = make_table(("action", "run"), ("seed", "GPU-h"), ("reason",), fold)
    table.add_row("[bold cyan]run[/]", "cifar10/spiking_resnet19/tks\n[dim]failed before; resume[/]", "42", "0.5", "")
    table.add_row(
        "[green]skip[/]", "a/b", "4242", "", r"data \[here]: 日本語 and further words, which are to be folded"
    )
    both = []
    for show in (Console.print, print_table):
        console = Console(file=io.StringIO(), width=width, highlight=False)
        show(console, table)
        both.append(console.file.getvalue())
    assert both[0] == both[1]
