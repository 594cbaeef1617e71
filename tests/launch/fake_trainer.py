"""Behaves as `python -m tksbench.train` towards the ledger, without training: `fake_trainer.py RUN_DIR MODE`.

MODE: train (SECONDS an epoch in FAKE_EPOCH_S, of patience with a silent holder elsewhere in FAKE_TAKEOVER_S),
fail (a run that fails), crash (a traceback), bad (bad input), killed (by SIGKILL), empty (success without a record).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.launch.fake_machine import pretend
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

stopped = []


def train(run_dir: RunDir, mode: str) -> int:
    ledger = Ledger(run_dir.path.parent.parent)
    run = ledger.load_run(run_dir)
    with Lease.acquire(run_dir, takeover_s=float(os.environ.get("FAKE_TAKEOVER_S", "180"))):
        if ledger.finished(run.id):
            return 0
        attempt_started(run_dir)
        if mode == "fail":
            attempt_ended(run_dir, "failed", "loss is NaN in step 17")
            return 1
        epochs = run.spec.optim.epochs
        for epoch in range(len(read_jsonl(run_dir.metrics)), epochs):
            if stopped:
                attempt_ended(run_dir, "interrupted", "stopped by a signal", epoch)
                return 3
            (run_dir.path / "in-epoch").touch()
            time.sleep(float(os.environ.get("FAKE_EPOCH_S", "0")))
            append_jsonl(run_dir.metrics, {"epoch": epoch, "test_top1": 10.0 * (epoch + 1)})
            append_jsonl(run_dir.path / "trained.jsonl", {"epoch": epoch, "gpu": os.environ["CUDA_VISIBLE_DEVICES"]})
            write_json(run_dir.progress, {"epoch": epoch, "epochs": epochs, "loss": 1.0, "images_per_s": 5.0})
        save_record(run_dir.record, make(run, 10.0 * epochs))
    return 0


def main() -> int:
    pretend()
    run_dir, mode = RunDir(Path(sys.argv[1]).absolute()), sys.argv[2]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.append(number))
    if mode == "crash":
        raise RuntimeError("no such kernel")
    if mode == "bad":
        sys.stderr.write("12:34:56 CIFAR-10: test_batch is cut\n")
        Ledger(run_dir.path.parent.parent).discard(run_dir)
        return 2
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "empty":
        return 0
    try:
        return train(run_dir, mode)
    except LeaseHeld:
        return 4


sys.exit(main())
