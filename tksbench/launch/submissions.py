"""What was sent to Slurm, on disk: a folder for each job array, under `slurm/` of the results folder.

    intent.json     which runs, written before sbatch is called
    script.sh       what sbatch got
    INDEX.pkl       what submitit runs in each process of an element
    job.json        the job's id, or none if a launcher has given it up: whoever writes it first decides
    cancelled/INDEX elements that the user has cancelled
    log/INDEX.txt   what the job of an element has printed; what it says of itself is read again from there

A launcher that dies between intent and job.json leaves an open question. The next one asks Slurm for a job of
the submission's name (which holds a random token). Is there none, it abandons the submission; a job that
arrives after all (an sbatch may outlive its launcher) finds that and leaves. So no run is in two living arrays,
whenever the launcher dies.
"""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tksbench.launch.scheduler import JobId
from tksbench.runs import LedgerError, read_json, write_bytes, write_json
from tksbench.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tksbench.recipe import Run

_PREFIX = "tks-"
_START = re.compile(r"^\S+ tksbench: start ", re.MULTILINE)
_SAYS = re.compile(r"^\S+ tksbench: ", re.MULTILINE)
REFUSED = "refused: "  # begins what a job says whose run could not begin


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
            facts: What the job has to know besides, see `tksbench.launch.job`.

        Raises:
            LedgerError: If the folder cannot be written.
        """
        self = cls(root / uuid.uuid4().hex[:16])
        try:
            for name in ("log", "cancelled"):
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
    def _fate(self) -> dict[str, Any]:
        path = self.folder / "job.json"
        return dict(read_json(path)) if path.exists() else {}

    @property
    def job(self) -> str | None:
        """The job's id if it is known: from the launcher, or from the job itself."""
        return self._fate.get("job")

    @property
    def at(self) -> JobId | None:
        """The job and its cluster, as far as they are known."""
        return JobId(self.job, self._fate.get("cluster")) if self.job else None

    @property
    def clusters(self) -> list[str | None]:
        """Where the job is, or may be if that is not known; None is the cluster that commands ask by default."""
        named: list[str | None] = list(self.intent.get("clusters") or [])
        cluster = self._fate.get("cluster")
        return [cluster] if cluster and named else named or [None]

    @property
    def abandoned(self) -> bool:
        """Whether no job of it may train."""
        fate = self._fate
        return bool(fate) and fate["job"] is None

    @property
    def closed(self) -> bool:
        """Whether nothing of it is left in the queue."""
        return (self.folder / "closed").exists() or self.abandoned

    def write_script(self, text: str) -> Path:
        """Keep the script; returns its path."""
        path = self.folder / "script.sh"
        write_bytes(path, text.encode(errors="surrogateescape"))
        return path

    def submitted(self, job: str, cluster: str | None = None) -> bool:
        """Note the job's id and cluster, once sbatch has printed them or the job runs: whether it may train."""
        write_once(self.folder / "job.json", {"job": job, "cluster": cluster})
        return not self.abandoned

    def abandon(self) -> bool:
        """Called by a launcher that finds no job: False if one has started after all."""
        write_once(self.folder / "job.json", {"job": None})
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

    def log(self, index: int) -> Path:
        """What the job of an element has printed, besides the run's own log."""
        return self.folder / "log" / f"{index}.txt"

    def starts(self, index: int) -> list[str]:
        """What an element has printed in each start that was allowed to train, oldest first, from "START of RUN" on.

        The log is the one place that all processes of a job reach: srun writes it, on one node.
        """
        path = self.log(index)
        return _START.split(path.read_text(errors="replace") if path.exists() else "")[1:]

    def last_word(self, index: int) -> str:
        """What an element has said of itself last; empty if nothing."""
        path = self.log(index)
        said = _SAYS.split(path.read_text(errors="replace") if path.exists() else "")[1:]
        return said[-1].splitlines()[0] if said else ""


def refusals(root: Path, queue_known: bool) -> dict[str, str]:
    """Why the jobs of runs did not begin to train, by the run's id; of each run its last job counts.

    Args:
        root: The folder of all submissions.
        queue_known: Whether the caller knows which jobs are in the queue, and leaves those out: of a job that has
            not started it cannot be known here whether it waits or is gone, unless the submission is closed.
    """
    found: dict[str, str] = {}
    for submission in all_submissions(root):
        if submission.abandoned:
            continue
        gone = submission.job if queue_known or submission.closed else None
        for index, run in enumerate(submission.intent["runs"]):
            said, log = submission.last_word(index), shown(submission.log(index))
            found.pop(run, None)
            if said.startswith(REFUSED):
                found[run] = f"{said}; log: {log}"
            elif gone and not said and not submission.intent["link"] and not submission.cancelled(index):
                found[run] = f"job {gone}_{index} is gone and never began: {log} may say why"
    return found


def all_submissions(root: Path) -> list[Submission]:
    """Every submission whose intent was written, oldest first."""
    found = [path.parent for path in root.glob("*/intent.json")]
    return [Submission(folder) for folder in sorted(found, key=lambda path: (path / "intent.json").stat().st_mtime_ns)]
