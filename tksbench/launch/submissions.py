"""What was sent to Slurm, on disk: a folder for each job array, under `slurm/` of the results folder.

    intent.json     which runs, written before sbatch is called
    script.sh       what sbatch got
    job.json        the job's id, written after sbatch has told it
    fate.json       "started" (by the job) or "abandoned" (by a launcher): whoever writes it first
    cancelled/INDEX elements that the user has cancelled
    starts/INDEX.jsonl, ends/INDEX.RESTART.*, log/INDEX.txt    written by the job

A launcher that dies between intent and job.json leaves an open question. The next one asks Slurm for a job of
the submission's name (which holds a random token). Is there none, it abandons the submission; a job that
arrives after all (an sbatch may outlive its launcher) finds that fate and leaves. So no run is in two living
arrays, whenever the launcher dies.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tksbench.runs import LedgerError, append_jsonl, read_json, read_jsonl, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tksbench.recipe import Run

_PREFIX = "tks-"
_BAD_INPUT = 2  # exit status of a trainer that could not begin


def write_once(path: Path, obj: Any) -> bool:
    """Write a JSON file unless it is there; True for the one writer, of however many, who was first.

    Raises:
        LedgerError: If the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    write_json(temporary, obj)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise LedgerError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


@dataclass(frozen=True)
class Submission:
    """One job array."""

    folder: Path

    @classmethod
    def create(cls, root: Path, runs: Sequence[Run], facts: Mapping[str, Any]) -> Submission:
        """Write down what is about to be submitted.

        Args:
            root: The folder of all submissions.
            runs: The array's elements in order.
            facts: What the job has to know besides, see `tksbench.launch.node`.

        Raises:
            LedgerError: If the folder cannot be written.
        """
        self = cls(root / uuid.uuid4().hex[:16])
        try:
            for name in ("log", "starts", "ends", "cancelled"):
                (self.folder / name).mkdir(parents=True)
        except OSError as error:
            raise LedgerError(f"{self.folder}: cannot be made: {error.strerror}") from error
        write_json(self.folder / "intent.json", {**facts, "runs": [run.id for run in runs]})
        return self

    @property
    def name(self) -> str:
        """The job's name."""
        return _PREFIX + self.folder.name

    @property
    def intent(self) -> dict[str, Any]:
        """What was to be submitted.

        Raises:
            LedgerError: If it cannot be read.
        """
        plain = read_json(self.folder / "intent.json")
        if not isinstance(plain, dict) or not isinstance(plain.get("runs"), list):
            raise LedgerError(f"{self.folder / 'intent.json'}: is no submission")
        return plain

    @property
    def job(self) -> str | None:
        """The job's id if it is known: from the launcher, or from the job itself."""
        job = self._known("job")
        return None if job is None else str(job)

    @property
    def clusters(self) -> list[str | None]:
        """Where the job is, or may be if that is not known; None is the cluster that commands ask by default."""
        named: list[str | None] = list(self.intent.get("clusters") or [])
        cluster = self._known("cluster")
        return [str(cluster)] if cluster and named else named or [None]

    def _known(self, key: str) -> Any:
        for name in ("job.json", "fate.json"):
            if (self.folder / name).exists() and (value := read_json(self.folder / name).get(key)):
                return value
        return None

    @property
    def abandoned(self) -> bool:
        """Whether no job of it may train."""
        fate = self.folder / "fate.json"
        return fate.exists() and read_json(fate).get("fate") == "abandoned"

    @property
    def closed(self) -> bool:
        """Whether nothing of it is left in the queue."""
        return (self.folder / "closed").exists() or self.abandoned

    def write_script(self, text: str) -> Path:
        """Keep the script; returns its path."""
        path = self.folder / "script.sh"
        write_bytes(path, text.encode(errors="surrogateescape"))
        return path

    def submitted(self, job: str, cluster: str | None = None) -> None:
        """Note the job's id, and its cluster if one was named."""
        write_json(self.folder / "job.json", {"job": job} | ({"cluster": cluster} if cluster else {}))

    def started(self, job: str, cluster: str | None = None) -> bool:
        """Called by the job: whether it may train."""
        where = {"cluster": cluster} if cluster else {}
        write_once(self.folder / "fate.json", {"fate": "started", "job": job, **where})
        return not self.abandoned

    def abandon(self) -> bool:
        """Called by a launcher that finds no job: False if one has started after all."""
        write_once(self.folder / "fate.json", {"fate": "abandoned"})
        return self.abandoned

    def close(self) -> None:
        """Nothing of it is left in the queue: do not ask for it again."""
        (self.folder / "closed").touch()

    def cancel(self, index: int) -> None:
        """Elements marked so do nothing when they start, and are not requeued."""
        (self.folder / "cancelled" / str(index)).touch()

    def cancelled(self, index: int) -> bool:
        """Whether the user has cancelled an element."""
        return (self.folder / "cancelled" / str(index)).exists()

    def starts(self, index: int) -> list[dict[str, Any]]:
        """A row for each start of an element, oldest first."""
        return read_jsonl(self.folder / "starts" / f"{index}.jsonl")

    def add_start(self, index: int, row: Mapping[str, Any]) -> None:
        """Note a start."""
        append_jsonl(self.folder / "starts" / f"{index}.jsonl", row)

    def end(self, index: int, restart: int) -> None:
        """Note that a start came to an end that the job itself has seen; one that its node cut short has none."""
        (self.folder / "ends" / f"{index}.{restart}.over").touch()

    def ended(self, index: int, restart: int) -> bool:
        """Whether `end` was called for a start."""
        return (self.folder / "ends" / f"{index}.{restart}.over").exists()

    def first_end(self, index: int, restart: int) -> dict[str, Any] | None:
        """How the first process that ended badly did so, in one start of an element."""
        path = self.folder / "ends" / f"{index}.{restart}.json"
        return read_json(path) if path.exists() else None

    def add_end(self, index: int, restart: int, row: Mapping[str, Any]) -> bool:
        """Note that a process ended badly; only the first one's word counts."""
        return write_once(self.folder / "ends" / f"{index}.{restart}.json", dict(row))

    def log(self, index: int) -> Path:
        """What the job of an element has printed, besides the run's own log."""
        return self.folder / "log" / f"{index}.txt"


def refusals(root: Path, queue_known: bool) -> dict[str, str]:
    """Why the jobs of runs did not begin to train, by the run's id; of each run its last job counts.

    Args:
        root: The folder of all submissions.
        queue_known: Whether the caller knows which jobs are in the queue, and leaves those out: of a job that has
            not started it cannot be told here whether it waits or is gone, unless the submission is closed.
    """
    found: dict[str, str] = {}
    for submission in all_submissions(root):
        if submission.abandoned:
            continue
        gone = submission.job if queue_known or submission.closed else None
        for index, run in enumerate(submission.intent["runs"]):
            starts = submission.starts(index)
            last = submission.first_end(index, int(starts[-1]["restart"])) if starts else None
            found.pop(run, None)
            if last and last["code"] == _BAD_INPUT:
                found[run] = f"refused: {last['reason']}; log: {_shown(submission.log(index))}"
            elif gone and not starts and not submission.intent["link"] and not submission.cancelled(index):
                found[run] = f"job {gone}_{index} is gone and never began: {_shown(submission.log(index))} may say why"
    return found


def _shown(path: Path) -> Path:
    """A path from the working directory where it lies under it: absolute ones are folded in tables."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else path


def all_submissions(root: Path) -> list[Submission]:
    """Every submission whose intent was written, oldest first."""
    found = [path.parent for path in root.glob("*/intent.json")]
    return [Submission(folder) for folder in sorted(found, key=lambda path: (path / "intent.json").stat().st_mtime_ns)]
