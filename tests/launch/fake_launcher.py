"""A launcher with the fake trainer: `fake_launcher.py RECIPE RESULTS [GPU,GPU...] [SEEDS]`; its exit status as usual.

FAKE_HOST makes it another machine with another clock, FAKE_NO_LOCKS a machine whose file system has no locks.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from tests.launch.fake_machine import pretend
from tksbench.launch.local import LocalExecutor
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.view import PlainView
from tksbench.runs import Ledger

pretend()
recipe, results, gpus = sys.argv[1], Path(sys.argv[2]), [gpu for gpu in sys.argv[3].split(",") if gpu]
ledger = Ledger(results)
trainer = Path(__file__).with_name("fake_trainer.py")
executor = LocalExecutor(
    ledger,
    gpus,
    PlainView(Console()),
    command=lambda run_dir: [sys.executable, str(trainer), str(run_dir.path), "train"],
    lock_folder=results / "locks",
)
summary = executor.execute(make_plan(collect_runs([recipe], "paper", seeds=int((sys.argv[4:] or [2])[0])), ledger))
sys.exit(1 if summary.failed else 130 if summary.stopped else 0)
