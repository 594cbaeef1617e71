"""Runs whose numbers stand apart from the paper's tables: on stand-in data, on twins, on other data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tksbench.report.cells import Summary, group_records
from tksbench.report.groups import named
from tksbench.report.stats import mean_sd
from tksbench.report.tables import mean_sd_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.report.evidence import Evidence
    from tksbench.report.groups import Candidate
    from tksbench.runs.record import Record


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
