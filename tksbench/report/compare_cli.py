"""`python -m tksbench.tables compare A B`: the paired difference of any two methods or runs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, cast

from tksbench.cli import CommandParser
from tksbench.progress import working
from tksbench.report.groups import SOURCES, candidates, check_scale, recipe_files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

    from tksbench.report.claims import Comparison
    from tksbench.report.compare import Place
    from tksbench.report.paper import Metric

NOTHING = 1
STAND_IN_HEADING = "On stand-in data: these show that it works, and say nothing about the data set"
TWIN_HEADING = "On a twin: simulated recordings, not those of the data set itself"
_HEADINGS = {"twin": TWIN_HEADING, "miniature": STAND_IN_HEADING}
_METRICS = {"top1": "top-1 (points)", "top5": "top-5 (points)", "aurc": "AURC (×10⁻³)"}
_ABOUT = """\
Compare two methods, or two runs, seed by seed: for each data set, network and
scale where both have runs of equal seed, the mean difference A less B with its
95 % interval, p (paired t test over seeds), p after Holm's correction over all
that is printed, and McNemar's exact test on the test samples (largest p over
the seeds)."""
_EXAMPLES = """\
A and B are a method (tks, or late.per_step of your own), a run's name
(cifar10/spiking_resnet19/tks), or a glob of names ('cifar100/*/tks-*').

examples:
  python -m tksbench.tables compare tks baseline
  python -m tksbench.tables compare late.per_step tks --scale smoke
  python -m tksbench.tables compare 'cifar100/*/tks-*' baseline --json

exit status: 0 compared, 1 there is nothing to compare, 2 bad input"""


def main(words: Sequence[str]) -> int:
    """Obey a command line; `words` begin with A.

    Returns:
        The exit status.

    Raises:
        TksbenchError: For anything that the user can put right.
    """
    options = _parse(words)
    with working("reading recipes and records"):
        from tksbench.report.compare import at_hand_of, compare_methods, find_runs
        from tksbench.report.evidence import gather
        from tksbench.runs import Ledger

        protocols = candidates(recipe_files())
        check_scale(options.scale, protocols)
        evidence = gather(Ledger(), protocols)
    for problem in dict.fromkeys(evidence.problems):
        sys.stderr.write(f"refused: {problem}\n")
    with working("comparing"):
        places = compare_methods(
            options.a, options.b, protocols, evidence, scale=options.scale, metric=cast("Metric", options.metric)
        )
    if options.json:
        sys.stdout.write(json.dumps([_plain(place) for place in places], indent=1, allow_nan=False) + "\n")
    else:
        from rich.console import Console

        show(places, options.metric, Console(highlight=False))
    if not places:
        at = f" at scale {options.scale}" * bool(options.scale)
        sys.stderr.write(f"nothing to compare: {options.a} and {options.b} have no runs of one protocol{at}\n")
        records = (*evidence.published, *evidence.local)
        for side in (options.a, options.b):
            at_hand = at_hand_of(find_runs(side, protocols), protocols, records)
            sys.stderr.write(f"  {side}: {at_hand or 'no finished run'}\n")
    return 0 if places else NOTHING


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m tksbench.tables compare", _ABOUT, _EXAMPLES)
    parser.add_argument("a", metavar="A", help="the method or run whose lead counts as positive")
    parser.add_argument("b", metavar="B", help="the other")
    parser.add_argument("--scale", metavar="SCALE", help="at this scale alone; else at each scale, on its own")
    parser.add_argument("--metric", choices=tuple(_METRICS), default="top1", help="top1 unless another is named")
    parser.add_argument("--json", action="store_true", help="all of it, as a list of objects")
    return parser.parse_args(words)


def show(places: Sequence[Place], metric: str, console: Console) -> None:
    """Print comparisons; those on twins, and then those on stand-in data, stand last, under headings of their own."""
    from rich.text import Text

    from tksbench.report.claims_table import HEADERS, machines_of, print_numbers, rows_of
    from tksbench.report.terminal import colour_of

    ordered = sorted(places, key=lambda place: list(SOURCES).index(place.source))
    for index, place in enumerate(ordered):
        if place.source in _HEADINGS and (index == 0 or ordered[index - 1].source != place.source):
            console.print(Text(_HEADINGS[place.source], style="bold"))
            console.print()
        console.print(Text(f"{place.where}, scale {place.scale}: {place.sides[0]} less {place.sides[1]}", style="bold"))
        best = place.best
        console.print(Text.assemble("  ", (place.verdict, colour_of(place.verdict)), machines_of(best)))
        if best:
            print_numbers(console, ("Epoch", _METRICS[metric], *HEADERS[2:]), rows_of(place))
        console.print()


def _plain(place: Place) -> dict[str, Any]:
    from tksbench.report.compare import CHOICES

    epochs = dict(zip(CHOICES, (place.best, place.last), strict=True))
    return {
        "a": place.a,
        "b": place.b,
        "scale": place.scale,
        "data": "stand-in" if place.source == "miniature" else place.source,
        "metric": place.metric,
        "verdict": place.verdict,
        **{choice: _numbers(compared) for choice, compared in epochs.items()},
    }


def _numbers(compared: Comparison | None) -> dict[str, Any] | None:
    if compared is None:
        return None
    return {
        "n": compared.n,
        "seeds": compared.seeds,
        "runs": compared.runs,
        "differences": compared.differences,
        "mean": compared.mean,
        "interval": compared.interval,
        "p": compared.p,
        "p_holm": compared.p_holm,
        "mcnemar": [test._asdict() for test in compared.mcnemar],
    }
