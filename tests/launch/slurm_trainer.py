"""A run's processes on a cluster, without training: `slurm_trainer.py MODE RUN_DIR`, once for each task.

Rank 0 behaves as `python -m tksbench.train` towards the ledger; the other ranks leave when they are told to, or
when it is done. MODE: train (FAKE_EPOCH_S seconds an epoch, none once the run's directory has a file "hurry"), fail (a
run that fails), bad (bad input).
The state after epoch n is a hash of the state after epoch n - 1: equal at the end only if each was trained once.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

from tests.records import make
from tksbench.runs import (
    Lease,
    LeaseHeld,
    Ledger,
    RunDir,
    append_jsonl,
    attempt_ended,
    attempt_started,
    read_jsonl,
    write_json,
)
from tksbench.runs.record import save_record

stopped: list[int] = []


def epoch_s(run_dir: RunDir) -> float:
    return 0.0 if (run_dir.path / "hurry").exists() else float(os.environ.get("FAKE_EPOCH_S", "0"))


def train(run_dir: RunDir, mode: str) -> int:
    ledger = Ledger(run_dir.path.parent.parent)
    run = ledger.load_run(run_dir)
    with Lease.acquire(run_dir):
        if ledger.finished(run.id):
            return 0
        rows = read_jsonl(run_dir.metrics)
        attempt_started(run_dir, len(rows))
        if mode == "fail":
            attempt_ended(run_dir, "failed", "loss is NaN in step 17")
            return 1
        epochs = run.spec.epochs
        for epoch in range(len(rows), epochs):
            for _ in range(10):
                time.sleep(epoch_s(run_dir) / 10)
                if stopped:
                    attempt_ended(run_dir, "interrupted", "stopped by a signal", epoch)
                    return 3
            before = read_jsonl(run_dir.metrics)[-1]["state"] if epoch else ""
            state = hashlib.sha256(f"{before}{epoch}".encode()).hexdigest()
            append_jsonl(run_dir.metrics, {"epoch": epoch, "test_top1": 10.0, "state": state})
            keys = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
            append_jsonl(run_dir.path / "trained.jsonl", {"epoch": epoch, **{key: os.environ[key] for key in keys}})
            write_json(run_dir.progress, {"epoch": epoch, "epochs": epochs})
        attempt_ended(run_dir, "done", "", epochs)
        save_record(run_dir.record, make(run, 40.0))
    return 0


def meet(run_dir: RunDir) -> None:
    """Wait for all ranks of this start, as the trainer's processes do before the first step."""
    start = "-".join(os.environ.get(key, "0") for key in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"))
    place = run_dir.path.parent.parent / "met" / f"{run_dir.id}-{start}"
    place.mkdir(parents=True, exist_ok=True)
    (place / os.environ["RANK"]).touch()
    while len(list(place.iterdir())) < int(os.environ["WORLD_SIZE"]) and not stopped:
        time.sleep(0.05)


def follow(run_dir: RunDir) -> int:
    while not run_dir.record.exists():
        if stopped:
            return 3
        time.sleep(0.1)
    return 0


def main() -> int:
    mode, run_dir = sys.argv[1], RunDir(Path(sys.argv[2]))
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.append(number))
    if mode == "bad":
        print("12:34:56 CIFAR-10: test_batch is cut", flush=True)  # noqa: T201
        Ledger(run_dir.path.parent.parent).discard(run_dir)
        return 2
    meet(run_dir)
    if int(os.environ["RANK"]) > 0:
        return follow(run_dir) if mode == "train" else 0
    try:
        return train(run_dir, mode)
    except LeaseHeld:
        return 4


if __name__ == "__main__":
    sys.exit(main())
