"""Disks that fail and bits that flip: each fault is noticed and named, and the run then ends as if it had not been."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.kill import Killer, die_at_fsync
from tksbench.runs import Ledger, RunDir


class Faults(Killer):
    """Faults of disks and of single bits, on the run that `Killer` knows the undisturbed end of.

    A fault's method returns what happened in words; it raises AssertionError where something goes unnoticed.
    """

    def broken_off(self, name: str) -> RunDir:
        """A run that was killed with two thirds of its files written."""
        run_dir = self.world.prepare(name)
        self.world.train(run_dir, die_at_fsync, 2 * self.fsyncs // 3, False, self.fsyncs)
        assert len(list(run_dir.checkpoints.glob("epoch*"))) >= 2
        return run_dir

    def mended(self, run_dir: RunDir) -> str:
        """Train to the end, which must be the undisturbed run's."""
        from tests.torture.world import outcome

        code = self.world.train(run_dir)
        assert code == 0, self.world.log(run_dir).read_text()
        assert outcome(run_dir) == self.want
        assert not self.world.temporaries(run_dir)
        return "then equal to the bit"

    def refused(self, run_dir: RunDir, *words: str) -> str:
        """Train, which must fail with a line that holds all the words, no traceback, and no record."""
        log = self.world.log(run_dir)
        before = len(log.read_text()) if log.exists() else 0
        code = self.world.train(run_dir)
        said = log.read_text()[before:]
        assert code in (1, 2), (code, said)
        assert not run_dir.record.exists()
        assert "Traceback" not in said, said
        assert all(word in said.splitlines()[-1] for word in words), said
        return f"refused: {words[0]}"

    def full_disk(self) -> str:
        """A results folder on a file system that is full before the run's end."""
        whole = self.world.folder / "whole"
        size = sum(path.stat().st_blocks * 512 for path in (whole / "runs").rglob("*") if path.is_file())
        with small_disk(self.world.folder / "full", f"{size // 2}") as resize:
            run_dir = self.world.prepare("full")
            told = self.refused(run_dir, "No space left on device")
            assert all(path.suffix != ".tmp" for path in run_dir.path.rglob("*"))
            resize("remount,size=64m")
            return f"{told}; with more space {self.mended(run_dir)}"

    def full_cache(self) -> str:
        """A frame cache on a file system that has no room for it."""
        run_dir = self.world.prepare("fullcache")
        cache = self.world.cache(run_dir)
        with small_disk(cache, "16k") as resize:
            assert self.world.train(run_dir) == 2
            assert not list(cache.iterdir())
            resize("remount,size=64m")
            self.world.prepare("fullcache")
            return f"refused, nothing left; with more space {self.mended(run_dir)}"

    def read_only_disk(self) -> str:
        """A results folder that becomes read-only between two attempts."""
        with small_disk(self.world.folder / "readonly", "64m") as remount:
            run_dir = self.broken_off("readonly")
            before = {path: path.read_bytes() for path in run_dir.path.rglob("*") if path.is_file()}
            remount("remount,ro")
            told = self.refused(run_dir, "Read-only file system")
            assert before == {path: path.read_bytes() for path in before}
            remount("remount,rw")
            return f"{told}, nothing changed; writable again {self.mended(run_dir)}"

    def failing_disk(self) -> str:
        """A disk with an input/output error at a checkpoint."""
        run_dir = self.world.prepare("failing")
        assert self.world.train(run_dir, fail_at_fsync, self.fsyncs // 2) == 1
        assert "Input/output error" in self.world.log(run_dir).read_text()
        return f"failed: Input/output error; {self.mended(run_dir)}"

    def slow_disk(self) -> str:
        """A disk that takes its time for every file."""
        run_dir = self.world.prepare("slow")
        assert self.world.train(run_dir, slow_fsync, 0.05) == 0
        return self.mended(run_dir)

    def vanished_data(self) -> str:
        """A data root that is gone when the run goes on."""
        run_dir = self.broken_off("vanished")
        aside = self.world.data.with_name("aside")
        self.world.data.rename(aside)
        try:
            told = self.refused(run_dir, "no such folder")
        finally:
            aside.rename(self.world.data)
        return f"{told}; back again {self.mended(run_dir)}"

    def flipped_checkpoint(self) -> str:
        """A bit of the newest checkpoint."""
        run_dir = self.broken_off("checkpoint")
        newest = max(run_dir.checkpoints.glob("epoch*"))
        flip(newest, -100)
        end = self.mended(run_dir)
        assert f"{newest.name}: its checksum does not match" in self.world.log(run_dir).read_text()
        return f"named, the previous one goes on; {end}"

    def flipped_checkpoints(self) -> str:
        """A bit of each checkpoint."""
        run_dir = self.broken_off("checkpoints")
        for path in run_dir.checkpoints.glob("epoch*"):
            flip(path, -100)
        told = self.refused(run_dir, "its checksum does not match", "remove")
        shutil.rmtree(run_dir.checkpoints)
        return f"{told}; checkpoints removed as it says, {self.mended(run_dir)}"

    def flipped_metrics(self) -> str:
        """A digit of the metrics log."""
        return self._flipped_log("metrics.jsonl")

    def flipped_losses(self) -> str:
        """A digit of the losses log."""
        return self._flipped_log("losses.jsonl")

    def _flipped_log(self, name: str) -> str:
        run_dir = self.broken_off(name)
        flip(run_dir.path / name, -4)
        told = self.refused(run_dir, "were altered or damaged", name)
        shutil.rmtree(run_dir.checkpoints)
        return f"{told}; checkpoints removed as it says, {self.mended(run_dir)}"

    def flipped_best_logits(self) -> str:
        """A bit of the best epoch's logits, before the run is over."""
        run_dir = self.broken_off("best")
        for path in run_dir.checkpoints.glob("best*"):
            flip(path, -1)
        told = self.refused(run_dir, "missing or altered", "remove")
        shutil.rmtree(run_dir.checkpoints)
        return f"{told}; checkpoints removed as it says, {self.mended(run_dir)}"

    def flipped_attempts(self) -> str:
        """A bit of the history of attempts."""
        run_dir = self.broken_off("attempts")
        run_dir.attempts.write_bytes(run_dir.attempts.read_bytes().replace(b"start", b"stbrt"))
        return f"the row is left out; {self.mended(run_dir)}"

    def flipped_run(self) -> str:
        """A digit of the run's specification."""
        run_dir = self.broken_off("run")
        whole = run_dir.run.read_bytes()
        run_dir.run.write_bytes(whole.replace(b"0.01", b"0.03", 1))
        told = self.refused(run_dir, "hash")
        self.world.prepare("run")
        return f"{told}; the launcher writes it anew, {self.mended(run_dir)}"

    def flipped_record(self) -> str:
        """A digit of a finished run's record."""
        run_dir = self.world.prepare("record")
        self.mended(run_dir)
        run_dir.record.write_bytes(run_dir.record.read_bytes().replace(b'"ece": 0.', b'"ece": 1.', 1))
        status = Ledger(run_dir.path.parent.parent).status(run_dir.id)
        assert status.state != "done"
        assert "its checksum does not match" in status.reason
        return f"named, no longer done, made again; {self.mended(run_dir)}"

    def flipped_cache(self) -> str:
        """A bit of a frame cache."""
        run_dir = self.broken_off("cache")
        for path in self.world.cache(run_dir).glob("*.npy"):
            flip(path, 5000)
        return f"rebuilt; {self.mended(run_dir)}"

    def flipped_image_file(self) -> str:
        """A bit of a CIFAR file."""
        from tksbench.data.errors import DataError
        from tksbench.data.registry import ensure_miniature, load
        from tksbench.recipe import DataSpec

        spec = DataSpec(name="cifar10", source="miniature", augment="none")
        home = ensure_miniature("cifar10", self.world.data)
        path = home / "cifar-10-batches-py" / "data_batch_2"
        flip(path, 5000)
        try:
            load(spec, 2, 42, self.world.data)
        except DataError as error:
            assert str(path) in str(error) and "altered or truncated" in str(error)
            return "refused: altered or truncated"
        finally:
            flip(path, 5000)
        raise AssertionError("not noticed")


DISK = ("full_disk", "full_cache", "read_only_disk", "failing_disk", "slow_disk", "vanished_data")
BITS = tuple(name for name in vars(Faults) if name.startswith("flipped"))
MOUNTS = ("full_disk", "full_cache", "read_only_disk")


def can_mount() -> bool:
    """Whether small file systems can be mounted here."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own in a folder; what it gives takes mount options, to change it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield lambda options: subprocess.run(["mount", "-o", options, str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def flip(path: Path, place: int) -> None:
    """Flip the lowest bit of a byte; size and time of change stay."""
    before = path.stat()
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def fail_at_fsync(number: int) -> None:
    """From this wait for the disk on there are only errors."""
    real, seen = os.fsync, [0]

    def failing(descriptor: int) -> None:
        seen[0] += 1
        if seen[0] >= number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    os.fsync = failing


def slow_fsync(seconds: float) -> None:
    """Every wait for the disk takes so much longer."""
    real = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds)
        real(descriptor)

    os.fsync = slow
