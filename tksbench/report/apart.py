"""Runs whose numbers stand apart from the paper's tables: on stand-in data, on twins, on other data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tksbench.report.cells import Summary, group_records
from tksbench.report.groups import named
from tksbench.report.listing import Listing
from tksbench.report.stats import mean_sd
from tksbench.report.tables import mean_sd_words

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record

TWINS, SMOKE_CHECKS = "twin", "smoke-checks"
SMOKE_TITLE = "Smoke checks on stand-in data"
_HEADERS = ("Run", "Scale", "n", "Best epoch", "Last epoch", "AURC")
_TWIN_NOTES = (
    "Twin: images of another data set before a simulated event camera, by the documented recording procedure of the "
    "real set, where the real recordings are not at hand. Its numbers are no numbers of the real set, and none of the "
    "paper's stands beside them; methods can be compared on it with each other.",
    "Best and last epoch: top-1 (%), mean ± standard deviation over n seeds; AURC (×10⁻³) at the best epoch, by mean "
    "logits. The best epoch is chosen on the test half, as in the paper.",
)
SMOKE_NOTES = (
    "Stand-in data: small sets of handwritten digits in the original's file format, used where the data set itself is "
    "not on the machine. A run on them passed if it was trained, evaluated and recorded: reader, network, loss and "
    "evaluation work together. Its accuracy, top-1 (%) over n seeds, is of the digits and says nothing about the data "
    "set that the run is named after.",
)


class Recorded(NamedTuple):
    """The records of one protocol of a run."""

    run: str
    candidate: Candidate
    records: Sequence[Record]

    @property
    def head(self) -> tuple[str, str, str]:
        """Name, scale and number of seeds: how each row begins."""
        return self.run, self.candidate.scale, str(len(self.records))

    @property
    def accuracies(self) -> tuple[str, str]:
        """Top-1 (%) of the best and of the last epoch, mean and deviation over seeds."""
        return self._words("best", "top1"), self._words("last", "top1")

    @property
    def aurc(self) -> str:
        """AURC (×10⁻³) of the best epoch, likewise."""
        return self._words("best", "aurc_logit")

    def _words(self, choice: str, metric: str) -> str:
        values = [float(getattr(getattr(record.metrics, choice), metric)) for record in self.records]
        return mean_sd_words(Summary(*mean_sd(values)))


def recorded(protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence) -> tuple[list[Recorded], str]:
    """What of some protocols is recorded, by run and from full scale down; and the stamp of the records.

    Args:
        protocols: By run, as `groups.candidates` has them, as far as they are wanted.
        evidence: From `evidence.gather`.
    """
    known = named(protocols)
    mine = evidence.of_groups(known).finished()
    found = group_records((*mine.published, *mine.local))
    rows = [Recorded(*known[group], records) for group, records in found.items()]
    return sorted(rows, key=lambda one: (one.run, one.candidate.rank)), mine.stamp()


def build_twins(
    protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, runs: Container[str] | None = None
) -> Listing:
    """List the runs on the twins of data sets that a recipe names and a record has.

    Args:
        protocols: From `groups.candidates`.
        evidence: From `evidence.gather`.
        runs: The names to list; None for all.
    """
    found, stamp = recorded(_on("twin", protocols, runs), evidence)
    rows = tuple((*one.head, *one.accuracies, one.aurc) for one in found)
    sets = {one.run.spec.data.name for of in _on("twin", protocols).values() for one in of}
    title = "; ".join(_title(name) for name in sorted(sets)) or "Twins of data sets"
    return Listing(TWINS, title, _HEADERS, rows, _TWIN_NOTES, stamp, _HEADERS[-1:])


def build_smoke_checks(
    protocols: Mapping[str, Sequence[Candidate]], evidence: Evidence, runs: Container[str] | None = None
) -> Listing:
    """List the runs on stand-in data, which show that everything works; arguments as for `build_twins`."""
    found, stamp = recorded(_on("miniature", protocols, runs), evidence)
    rows = tuple((*one.head, *one.accuracies) for one in found)
    return Listing(SMOKE_CHECKS, SMOKE_TITLE, _HEADERS[:-1], rows, SMOKE_NOTES, stamp)


def _on(
    source: str, protocols: Mapping[str, Sequence[Candidate]], runs: Container[str] | None = None
) -> dict[str, list[Candidate]]:
    """The protocols of some runs on one source of data."""
    return {
        run: [one for one in found if one.source == source]
        for run, found in protocols.items()
        if runs is None or run in runs
    }


def _title(name: str) -> str:
    from tksbench.data.registry import title_of

    return title_of(name, "twin")
