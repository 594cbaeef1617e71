"""Disks that fail and bits that flip: each fault is noticed and named, and the run then ends as if it had not been."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture.kill import Killer, die_at_fsync
from tksbench.runs import Ledger, RunDir

if TYPE_CHECKING:
    import torch

    from tksbench.data.base import Batch


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

    def full_start(self) -> str:
        """A results folder on a file system that is full when a run goes on."""
        with small_disk(self.world.folder / "fullstart", "16m"):
            run_dir = self.broken_off("fullstart")
            filler = run_dir.path.parent / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            before = sorted(path.name for path in run_dir.path.rglob("*"))
            told = self.refused(run_dir, "No space left on device")
            assert before == sorted(path.name for path in run_dir.path.rglob("*"))
            filler.unlink()
            began = time.monotonic()
            mended = self.mended(run_dir)
            assert time.monotonic() - began < 90  # not waiting for a lease that nobody holds
            return f"{told}, nothing left; with more space {mended}"

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
        """A letter of a finished run's record: still a record, but not the one that was written."""
        run_dir = self.world.prepare("record")
        self.mended(run_dir)
        run_dir.record.write_bytes(run_dir.record.read_bytes().replace(b'"Linux ', b'"Linuy ', 1))
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

    def flipped_recording(self) -> str:
        """A bit of an event recording, its size and time as they were, and the frame cache gone."""
        run_dir = self.broken_off("recording")
        shutil.rmtree(self.world.cache(run_dir))
        recording = min(self.world.data.rglob("Train/**/*.bin"))
        flip(recording, 0)
        try:
            told = self.refused(run_dir, "not the data that the run began with", "train recordings")
        finally:
            flip(recording, 0)
        shutil.rmtree(self.world.cache(run_dir))
        return f"{told}; put right {self.mended(run_dir)}"

    def flipped_logits(self) -> str:
        """A bit of a finished run's logits."""
        return self._flipped_result("logits_last")

    def flipped_features(self) -> str:
        """A bit of a finished run's features."""
        return self._flipped_result("features_last")

    def _flipped_result(self, name: str) -> str:
        from tksbench.report.publish import publish

        run_dir = self.world.prepare(name)
        self.mended(run_dir)
        path = getattr(run_dir, name)
        flip(path, -20)
        done = publish(Ledger(run_dir.path.parent.parent))
        assert not done.added
        (why,) = done.refused
        assert f"{path.name} is not the file that the record was made from" in why
        flip(path, -20)
        assert publish(Ledger(run_dir.path.parent.parent)).added == [run_dir.id]
        return "not published: not the file that the record was made from; put right it is"

    def flipped_published_record(self) -> str:
        """A letter of a published record, beside the sound local one."""
        run_dir = self.world.prepare("published")
        self.mended(run_dir)
        ledger = Ledger(run_dir.path.parent.parent)
        published = ledger.published(run_dir.id)
        published.parent.mkdir()
        published.write_bytes(run_dir.record.read_bytes().replace(b'"Linux ', b'"Linuy ', 1))
        problems: list[str] = []
        assert [record.to_bytes() for record in ledger.records(problems)] == [run_dir.record.read_bytes()]
        (why,) = problems
        assert f"{published}: its checksum does not match" in why
        return "named, left out of the tables; the local record counts"

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

    def nan_loss(self) -> str:
        """The loss becomes NaN at a step."""
        run_dir = self.world.prepare("nan")
        told = self._stopped(run_dir, "the loss is nan at epoch 1, step 2", nan_at, 9)
        return f"{told}; without it {self.mended(run_dir)}"

    def infinite_loss(self) -> str:
        """The loss becomes infinite at a step."""
        run_dir = self.world.prepare("infinite")
        told = self._stopped(run_dir, "the loss is inf at epoch 1, step 2", nan_at, 9, "inf")
        return f"{told}; without it {self.mended(run_dir)}"

    def exploding_membrane(self) -> str:
        """A membrane goes beyond all numbers at a step."""
        run_dir = self.world.prepare("exploding")
        told = self._stopped(run_dir, "at epoch 1, step 3", explode_at, 9)
        return f"{told}; without it {self.mended(run_dir)}"

    def dead_network(self) -> str:
        """All neurons fall silent for good."""
        return self._stopped(self.world.prepare("dead"), "the network is dead at epoch 0, step 6", silence)

    def _stopped(self, run_dir: RunDir, reason: str, fault: Callable[..., None], *args: object) -> str:
        """Train with a fault of numbers, which must end the run with this reason and leave sound checkpoints."""
        import torch

        from tksbench.train.checkpoint import read_checkpoint

        assert self.world.train(run_dir, fault, *args) == 1
        status = Ledger(run_dir.path.parent.parent).status(run_dir.id)
        assert status.state == "failed"
        assert reason in status.reason, status.reason
        assert "the checkpoints before it are kept" in status.reason
        paths = sorted(run_dir.checkpoints.glob("epoch*"))
        assert len(paths) == 2
        for path in paths:
            tensors = read_checkpoint(path, run_dir.id)[1].values()
            assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        return f"stopped, recorded: {status.reason}"

    def equal_runs(self) -> str:
        """Two runs of the same specification, in folders of their own: `tksbench.diff`."""
        import contextlib
        import io

        from tksbench.diff import main

        paths = []
        for name in ("one", "two"):
            run_dir = self.world.prepare(name)
            assert self.world.train(run_dir) == 0
            paths.append(str(run_dir.path))
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(paths) == 0, out.getvalue()
        return "status 0: spec and results equal to the bit"


DISK = ("full_disk", "full_start", "full_cache", "read_only_disk", "failing_disk", "slow_disk", "vanished_data")
BITS = tuple(name for name in vars(Faults) if name.startswith("flipped"))
NUMBERS = ("nan_loss", "infinite_loss", "exploding_membrane", "dead_network", "equal_runs")
ALL = (*DISK, *BITS, *NUMBERS)
MOUNTS = ("full_disk", "full_start", "full_cache", "read_only_disk")


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


def nan_at(number: int, value: str = "nan") -> None:
    """The loss of this step is no number."""
    from tksbench.train.loop import Trainer

    real, seen = Trainer._forward, [0]

    def forward(self: Trainer, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss, correct = real(self, images, labels)
        seen[0] += 1
        return (loss * float(value) if seen[0] == number else loss), correct

    Trainer._forward = forward  # type: ignore[method-assign]


def explode_at(number: int) -> None:
    """Before this step the gain of the first normalisation is multiplied until currents overflow."""
    import torch

    from tksbench.train.loop import Trainer

    real, seen = Trainer._step, [0]

    def step(self: Trainer, batches: list[Batch]) -> None:
        seen[0] += 1
        if seen[0] == number:
            gain = next(module.weight for module in self.model.modules() if isinstance(module, torch.nn.BatchNorm2d))
            gain.data.mul_(3e38)
        real(self, batches)

    Trainer._step = step  # type: ignore[method-assign]


def silence() -> None:
    """After each step all weights are zero; and the watch does not wait for a thousand steps."""
    import torch

    from tksbench.train import health
    from tksbench.train.loop import Trainer

    real = Trainer._step
    health.PATIENCE = health.STEPS = 1

    def step(self: Trainer, batches: list[Batch]) -> None:
        real(self, batches)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.zero_()

    Trainer._step = step  # type: ignore[method-assign]
