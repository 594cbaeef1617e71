"""All runs under one results folder: status, records, and what they have cost."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tksbench.runs.code import edited_files
from tksbench.runs.errors import LedgerError, RecordError
from tksbench.runs.files import read_json, write_json
from tksbench.runs.paths import RunDir, results_root
from tksbench.runs.status import Status, read_status

if TYPE_CHECKING:
    from pathlib import Path

    from tksbench.recipe import Run
    from tksbench.runs.record import Record


@dataclass(frozen=True)
class Finished:
    """The head of a record, read without checking all of it: enough to plan with.

    `spec` is as the record has it, unchecked; `threads` are those of a run on a CPU. `all_finished` alone fills both;
    `finished` alone fills `commit` and `code`, as a record's provenance has them, and `edited`, the files that its
    uncommitted changes are of.
    """

    id: str
    group: str
    hours: float
    gpu_hours: float
    energy_kwh: float | None
    epochs: int
    top1: float
    best_top1: float
    published: bool
    spec: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    threads: int | None = field(default=None, compare=False)
    commit: str | None = field(default=None, compare=False)
    code: str | None = field(default=None, compare=False)
    edited: tuple[str, ...] = field(default=(), compare=False)


class Ledger:
    """The runs and the published records of one results folder.

    Args:
        root: The results folder; None takes `results_root()`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or results_root()

    def run_dir(self, run: str) -> RunDir:
        """Directory of the run with this id, which need not exist."""
        return RunDir(self.root / "runs" / run)

    def published(self, run: str) -> Path:
        """Where the run's record lies once it is published."""
        return self.root / "records" / f"{run}.json"

    def run_dirs(self) -> list[RunDir]:
        """All runs that were ever prepared here, by id."""
        return [RunDir(path.parent) for path in sorted((self.root / "runs").glob("*/run.json"))]

    def prepare(self, run: Run) -> RunDir:
        """Make the directory of a run and write its run.json, unless that already says the same.

        Raises:
            LedgerError: If the results folder cannot be written.
        """
        run_dir = self.run_dir(run.id)
        try:
            _write_run(run_dir, run)
        except LedgerError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            # We have no lease. A trainer that took it just now has removed our half-written file, as a dead one's, or
            # one that was refused has removed the directory: each does so once.
            _write_run(run_dir, run)
        return run_dir

    def load_run(self, run_dir: RunDir) -> Run:
        """The run that a directory was prepared for.

        Raises:
            LedgerError: If run.json is missing or damaged.
            RecipeError: If its spec is none, or does not hash to its id.
        """
        from tksbench.recipe import Run

        plain = read_json(run_dir.run)
        if not isinstance(plain, dict) or plain.get("id") != run_dir.id:
            raise LedgerError(f"{run_dir.run}: is not the run {run_dir.id}")
        return Run.from_json(plain)

    def finished(self, run: str, problems: list[str] | None = None) -> Finished | None:
        """The head of a run's record, published or local, if that record is valid in every part; else None.

        Args:
            run: The run's id.
            problems: Gets a message for each file that should be its record and is none.
        """
        for path, published in ((self.published(run), True), (self.run_dir(run).record, False)):
            if not path.exists():
                continue
            from tksbench.runs.record import load_record

            try:
                return _head_of(load_record(path), published)
            except RecordError as error:
                if problems is not None:
                    problems.append(str(error))
        return None

    def weights(self, run: str) -> str | None:
        """SHA-256 of the weights that a run has ended with, by its record here before a published one; None if none."""
        from tksbench.runs.record import load_record

        for path in (self.run_dir(run).record, self.published(run)):
            with suppress(RecordError):
                return load_record(path).weights_sha256
        return None

    def all_finished(self) -> list[Finished]:
        """The heads of all records, published ones first, each run once."""
        heads: dict[str, Finished] = {}
        for path in self._record_files():
            head = _head(_peek(path), path.name != "record.json")
            if head:
                heads.setdefault(head.id, head)
        return list(heads.values())

    def status(self, run: str) -> Status:
        """State of one run, from the files on disk alone."""
        problems: list[str] = []
        done = self.finished(run, problems)
        if done is None:
            status = read_status(self.run_dir(run))
            reason = f"{'; '.join(problems)}; it will be made again"
            return replace(status, reason=reason) if problems and status.state != "running" else status
        reason = "record committed" if done.published else "finished here"
        return Status(
            run,
            "done",
            reason,
            epoch=done.epochs,
            epochs=done.epochs,
            percent=100.0,
            top1=done.top1,
            best_top1=done.best_top1,
            gpu_hours=done.gpu_hours,
            commit=done.commit,
            code=done.code,
            edited=done.edited,
        )

    def discard(self, run_dir: RunDir) -> None:
        """Remove the directory of a run that never began to train: nothing in it is worth keeping.

        Call it under the run's lease.
        """
        if not run_dir.attempts.exists() and not run_dir.checkpoints.exists():
            shutil.rmtree(run_dir.path, ignore_errors=True)
            with suppress(OSError):  # it holds other runs, or is not ours to remove
                run_dir.path.parent.rmdir()

    def records(self, problems: list[str] | None = None) -> list[Record]:
        """All valid records, by id; a run's published record goes before its local one.

        Args:
            problems: Gets one message for each file that is no record; such files are passed over.
        """
        from tksbench.runs.record import load_record

        found: dict[str, Record] = {}
        for path in self._record_files():
            try:
                record = load_record(path)
            except RecordError as error:
                if problems is not None:
                    problems.append(str(error))
                continue
            if found.setdefault(record.id, record) != record and problems is not None:
                problems.append(f"{path}: run {record.id} is published with other content, which counts: delete one")
        return [found[key] for key in sorted(found)]

    def _record_files(self) -> list[Path]:
        return sorted((self.root / "records").glob("*.json")) + sorted((self.root / "runs").glob("*/record.json"))


def _write_run(run_dir: RunDir, run: Run) -> None:
    content = run.to_json()
    try:
        run_dir.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{run_dir.path}: cannot be made: {error.strerror}") from error
    if _peek(run_dir.run) != content:
        write_json(run_dir.run, content)


def _peek(path: Path) -> Any:
    """A JSON file's content, or None: absent and damaged are the same to the caller."""
    try:
        return read_json(path)
    except LedgerError:
        return None


def _head_of(record: Record, published: bool) -> Finished:
    metrics, cost = record.metrics, record.cost
    return Finished(
        id=record.id,
        group=record.group,
        hours=cost.hours,
        gpu_hours=cost.gpu_hours,
        energy_kwh=cost.energy_kwh,
        epochs=record.spec.epochs,
        top1=metrics.last.top1,
        best_top1=metrics.best.top1,
        published=published,
        commit=record.provenance.commit,
        code=record.provenance.code,
        edited=edited_files(record.provenance.diff) if record.provenance.dirty else (),
    )


def _epochs(spec: Any) -> int:
    """As a record's spec has them, unchecked; what is not trained counts as one."""
    return 1 if "kind" in spec else int(spec["optim"]["epochs"])


def _head(plain: Any, published: bool) -> Finished | None:
    try:
        return Finished(
            id=str(plain["id"]),
            group=str(plain["group"]),
            hours=float(plain["cost"]["hours"]),
            gpu_hours=float(plain["cost"]["gpu_hours"]),
            energy_kwh=None if plain["cost"].get("energy_kwh") is None else float(plain["cost"]["energy_kwh"]),
            epochs=_epochs(plain["spec"]),
            top1=float(plain["metrics"]["last"]["top1"]),
            best_top1=float(plain["metrics"]["best"]["top1"]),
            published=published,
            spec=dict(plain["spec"]),
            threads=plain.get("provenance", {}).get("threads"),
        )
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
    ):  # `1e999` epochs, or four hundred digits of hours
        return None
