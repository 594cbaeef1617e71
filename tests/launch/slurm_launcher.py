"""Submits with the fake trainer: `slurm_launcher.py RECIPE RESULTS PROFILE SEEDS`; something to kill."""

from __future__ import annotations

import sys
from pathlib import Path

from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.profile import load_profile
from tksbench.launch.slurm import SlurmExecutor
from tksbench.runs import Ledger

recipe, results, profile, seeds = sys.argv[1:]
ledger = Ledger(Path(results))
trainer = [sys.executable, str(Path(__file__).with_name("slurm_trainer.py")), "train"]
plan = make_plan(collect_runs([recipe], "paper", seeds=int(seeds)), ledger)
SlurmExecutor(ledger, load_profile(profile), trainer).execute(plan)
