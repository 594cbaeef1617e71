"""On the two-node Slurm that `slurm/devcluster` starts: real jobs, a trainer that only keeps the books."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.launch.devcluster import SCRIPT, until
from tksbench.doctor.slurm import on_node
from tksbench.launch import scheduler
from tksbench.launch.cluster import queue_notes
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.profile import SlurmProfile
from tksbench.launch.slurm import SlurmExecutor, cancel, look
from tksbench.launch.status import noted
from tksbench.launch.submissions import all_submissions
from tksbench.runs import Ledger, read_attempts, read_jsonl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tksbench.recipe import Run

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("devcluster")]

HERE = Path(__file__).parent
PROFILE = SlurmProfile(gpus_per_node=0, cpus_per_task=1, minutes=10, signal_seconds=60, parallel=2)
CHAIN = """
protocol: {data: {name: cifar10, source: miniature, augment: none}}
runs:
  - name: ann
    method: baseline
    model: {name: spiking_resnet19, T: 1, neuron: {name: relu}}
    optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 3, batch_size: 128, warmup_epochs: 0}
  - {name: converted, kind: convert, T: 8, start: {run: ann, convert: {name: "toys:convert"}}}
"""
NASTY = "a b'\"$(touch pwned)`touch pwned`\n#SBATCH --hold\n%j"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / NASTY / "results")


@pytest.fixture
def submit(ledger: Ledger) -> Callable[..., None]:
    def start(runs: list[Run], mode: str = "train", profile: SlurmProfile = PROFILE) -> None:
        trainer = [sys.executable, str(HERE / "slurm_trainer.py"), mode]
        SlurmExecutor(ledger, profile, trainer).execute(make_plan(runs, ledger))

    return start


def settled(ledger: Ledger) -> bool:
    return not look(ledger)


def epochs(ledger: Ledger, run: Run) -> list[int]:
    """Epochs that were trained, in order: each once if nothing went wrong."""
    return [row["epoch"] for row in read_jsonl(ledger.run_dir(run.id).path / "trained.jsonl")]


def final_state(ledger: Ledger, run: Run) -> str:
    return str(read_jsonl(ledger.run_dir(run.id).metrics)[-1]["state"])


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def resumed() -> bool:
    """Whether node2 is back; Slurm refuses to resume a node that is so by itself, or is not down yet."""
    command = ["scontrol", "update", "nodename=node2", "state=resume"]
    told = subprocess.run(["scontrol", "show", "node", "node2"], check=True, capture_output=True, text=True).stdout
    return "State=DOWN" not in told or subprocess.run(command, check=False, capture_output=True).returncode == 0


def written(ledger: Ledger) -> int:
    """Files about submissions that launchers have written."""
    return sum(path.name in ("intent.json", "script.sh", "job.json") for path in (ledger.root / "slurm").glob("*/*"))


def trainer_pids(ledger: Ledger, run: Run) -> list[int]:
    """Process of each rank of a run's trainer."""
    found = subprocess.run(["pgrep", "-f", f"^[^ ]*python[^ ]* .*slurm_trainer.py .*{run.id}"], capture_output=True)
    return [int(word) for word in found.stdout.split()]


def test_a_run_on_two_nodes_is_told_who_is_who(
    recipe: str, submit: Callable[..., None], ledger: Ledger, tmp_path: Path
) -> None:
    run = collect_runs([recipe], "paper")[0]
    submit([run], profile=PROFILE.model_copy(update={"nodes": 2}))
    until(lambda: settled(ledger))
    row = read_jsonl(ledger.run_dir(run.id).path / "trained.jsonl")[0]
    assert (row["RANK"], row["WORLD_SIZE"], row["LOCAL_RANK"], row["MASTER_ADDR"]) == ("0", "2", "0", "node1")
    assert ledger.status(run.id).state == "done"
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("pwned").exists()


def test_signals_at_the_time_limit_lead_to_the_same_end_in_three_starts(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "1.5")
    run, other = collect_runs([recipe], "paper")[:2]
    submit([run, other], profile=PROFILE.model_copy(update={"nodes": 2}))
    for start in (1, 2):  # what Slurm does before the limit, which is at least a minute away
        until(lambda start=start: len(epochs(ledger, run)) >= start)
        task = look(ledger)[run.id].task
        subprocess.run(["scancel", "--signal=USR2", task.id], check=True)
        until(lambda: read_attempts(ledger.run_dir(run.id))[-1]["event"] == "end")
    until(lambda: settled(ledger))
    rows = read_attempts(ledger.run_dir(run.id))
    starts = [row for row in rows if row["event"] == "start"]
    assert [row["reason"] for row in rows if row["event"] == "end"] == ["stopped by a signal"] * 2 + [""]
    assert [row["job"] for row in starts] == [task.id] * 3
    assert epochs(ledger, run) == [0, 1, 2, 3]
    assert final_state(ledger, run) == final_state(ledger, other)


def test_a_run_waits_for_the_one_it_starts_from_and_leaves_the_queue_if_that_fails(
    submit: Callable[..., None], ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "1")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toys.py").write_text("def convert(network, images, T):\n    return network\n")
    (tmp_path / "chain.yaml").write_text(CHAIN)
    runs = collect_runs([str(tmp_path / "chain.yaml")], "paper", seeds=2)
    for mode in ("train", "fail"):
        (parent, child) = [run for run in runs if run.seed == {"train": 42, "fail": 43}[mode]]
        assert child.parent_id == parent.id
        submit([parent, child], mode)
        assert "afterok:" in "".join(path.read_text() for path in (ledger.root / "slurm").glob("*/script.sh"))
        until(lambda: settled(ledger))
        if mode == "train":
            assert [ledger.status(run.id).state for run in (parent, child)] == ["done", "done"]
            rows = [read_attempts(ledger.run_dir(run.id)) for run in (parent, child)]
            assert rows[1][0]["time"] >= rows[0][-1]["time"]
        else:
            assert [ledger.status(run.id).state for run in (parent, child)] == ["failed", "new"]


def test_a_killed_process_and_a_dead_node_are_retried_with_their_reason(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "2")
    run = collect_runs([recipe], "paper")[0]
    submit([run], profile=PROFILE.model_copy(update={"nodes": 2}))
    until(lambda: len(epochs(ledger, run)) >= 1)
    os.kill(trainer_pids(ledger, run)[-1], signal.SIGKILL)  # of either rank
    until(lambda: sum(row["event"] == "start" for row in read_attempts(ledger.run_dir(run.id))) == 2)
    scontrol("update", "nodename=node2", "state=down", "reason=test")
    until(resumed)
    until(lambda: settled(ledger))
    reasons = [row["reason"] for row in read_attempts(ledger.run_dir(run.id)) if row["event"] == "end"]
    assert any("killed by SIGKILL" in reason and "on node" in reason for reason in reasons)
    assert any("node failure or preemption" in reason for reason in reasons)
    assert epochs(ledger, run) == [0, 1, 2, 3]


def test_a_node_whose_daemon_dies_is_started_again(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "15")
    run = collect_runs([recipe], "paper")[0]
    submit([run], profile=PROFILE.model_copy(update={"nodes": 2}))
    until(lambda: len(epochs(ledger, run)) >= 1)
    root = Path(os.environ["SLURM_CONF"]).parents[1]
    os.kill(int((root / "run" / "slurmd-node2.pid").read_text()), signal.SIGKILL)
    try:  # the node is given up after SlurmdTimeout, 15 s, and the job waits for another one
        until(lambda: look(ledger)[run.id].task.state == "PENDING")
        (ledger.run_dir(run.id).path / "hurry").touch()
    finally:
        subprocess.run([SCRIPT, "start-node", "2"], check=True)
    until(lambda: settled(ledger))
    rows = read_attempts(ledger.run_dir(run.id))
    assert sum(row["event"] == "start" for row in rows) == 2
    assert [row["reason"] for row in rows if row["event"] == "end"][-1] == ""
    assert any("node failure or preemption" in row["reason"] for row in rows if row["event"] == "end")
    assert epochs(ledger, run) == [0, 1, 2, 3]


def test_the_real_time_limit_is_hit_twice(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The signal comes up to a minute early, so a start lasts 40 s at most, and this is 88 s of work.
    monkeypatch.setenv("FAKE_EPOCH_S", "4")
    run, other = collect_runs([recipe], "paper", overrides=["optim.epochs=22"])[:2]
    submit([run], profile=PROFILE.model_copy(update={"minutes": 1, "signal_seconds": 20}))
    submit([other])
    run_dir = ledger.run_dir(run.id)
    until(lambda: sum(row["event"] == "end" for row in read_attempts(run_dir)) >= 2, 500)
    for path in (run_dir.path, ledger.run_dir(other.id).path):
        (path / "hurry").touch()  # the third start has nothing more to show
    until(lambda: settled(ledger), 500)
    rows = read_attempts(run_dir)
    starts, ends = ([row for row in rows if row["event"] == event] for event in ("start", "end"))
    assert [row["reason"] for row in ends] == ["stopped by a signal"] * (len(starts) - 1) + [""]
    assert len(starts) >= 3
    assert epochs(ledger, run) == list(range(22))
    assert final_state(ledger, run) == final_state(ledger, other)


def test_a_preempted_run_saves_and_goes_on_afterwards(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "2")
    run = collect_runs([recipe], "paper")[0]
    submit([run], profile=PROFILE.model_copy(update={"nodes": 2}))
    until(lambda: epochs(ledger, run))
    urgent = ["srun", "--partition=urgent", "--nodes=2", "--exclusive", "--job-name=urgent", "sleep", "5"]
    subprocess.run(urgent, check=True, timeout=120)
    until(lambda: settled(ledger))
    rows = read_attempts(ledger.run_dir(run.id))
    assert [row["reason"] for row in rows if row["event"] == "end"] == ["stopped by a signal", ""]
    assert epochs(ledger, run) == [0, 1, 2, 3]


def test_a_failed_run_is_not_tried_again_by_itself(recipe: str, submit: Callable[..., None], ledger: Ledger) -> None:
    run = collect_runs([recipe], "paper")[0]
    submit([run], mode="fail")
    until(lambda: settled(ledger))
    status = ledger.status(run.id)
    assert (status.state, status.reason) == ("failed", "loss is NaN in step 17")
    assert len(all_submissions(ledger.root / "slurm")[0].starts(0)) == 1


def test_without_requeue_the_next_job_of_the_chain_goes_on(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "1")
    run = collect_runs([recipe], "paper")[0]
    submit([run], profile=PROFILE.model_copy(update={"requeue": False, "chain": 1}))
    until(lambda: epochs(ledger, run))
    subprocess.run(["scancel", "--signal=USR2", look(ledger)[run.id].task.id], check=True)
    until(lambda: settled(ledger))
    assert ledger.status(run.id).state == "done"
    jobs = [row["job"] for row in read_attempts(ledger.run_dir(run.id)) if row["event"] == "start"]
    assert len(set(jobs)) == 2
    assert epochs(ledger, run) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"python": "/no/such/python"}, "execve(): /no/such/python"),
        ({"srun": ["--no-such-option"], "retries": 0}, "unrecognized option '--no-such-option'"),
        ({"setup": ["exit 3"]}, "setup: 'exit 3' ended with status 3"),
    ],
)
def test_a_job_that_cannot_start_its_processes_says_why(
    recipe: str, submit: Callable[..., None], ledger: Ledger, profile: dict[str, Any], reason: str
) -> None:
    run = collect_runs([recipe], "paper")[0]
    submit([run], profile=PROFILE.model_copy(update=profile))
    until(lambda: settled(ledger))
    assert reason in noted(ledger.status(run.id), queue_notes(ledger)).reason


def test_cancel_takes_the_named_runs_alone(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "0.5")
    run, other = collect_runs([recipe], "paper")[:2]
    submit([run, other])
    assert [queued.run for queued in cancel(ledger, [run])] == [run.id]
    until(lambda: settled(ledger))
    assert ledger.status(run.id).state != "done"
    assert ledger.status(other.id).state == "done"


def test_runs_are_each_trained_once_though_the_launcher_is_killed_ten_times(
    recipe: str, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TKSBENCH_SWEEP=1000 is the size of a large sweep, which takes an hour here; it prints its figures."""
    count = int(os.environ.get("TKSBENCH_SWEEP", "12"))
    parallel = 2 if count < 100 else 4
    profile = tmp_path / "profile.yaml"
    profile.write_text(
        "gpus_per_node: 0\ncpus_per_task: 1\nminutes: 10\nsignal_seconds: 60\n"
        f"parallel: {parallel}\nmax_array: {-(-count // 3)}\n"
    )
    command = [sys.executable, str(HERE / "slurm_launcher.py"), recipe, str(ledger.root), str(profile), str(count // 2)]
    dice = random.Random(7)  # noqa: S311
    most = 0  # runs at a time of one array, which is what the profile limits

    def queued() -> int:
        nonlocal most
        items = look(ledger).values()
        most = max(most, *Counter(item.task.job for item in items if item.task.state == "RUNNING").values(), 0)
        return len(items)

    def reached(aim: int, launcher: subprocess.Popen[bytes]) -> bool:
        queued()
        return written(ledger) >= aim or launcher.poll() is not None

    began = time.monotonic()
    for _ in range(10):
        aim = written(ledger) + dice.randint(1, 3)  # an intent, its script, the job's id: anywhere around sbatch
        launcher = subprocess.Popen(command)
        until(partial(reached, aim, launcher))
        launcher.kill()
        launcher.wait()
    subprocess.run(command, check=True)
    submitted = time.monotonic() - began
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    asked: list[str] = []
    call = scheduler.call
    monkeypatch.setattr(scheduler, "call", lambda *words: (asked.append(words[0]), call(*words))[1])
    began = time.monotonic()
    look(ledger)
    seen = time.monotonic() - began
    assert asked == ["squeue"]
    while queued():
        time.sleep(0.3 if count < 100 else 5)
    look(ledger, settle=True)
    runs = collect_runs([recipe], "paper", seeds=count // 2)
    print(f"{count} runs: submitted, ten launchers killed, in {submitted:.0f} s; queue read in {seen:.2f} s; ", end="")  # noqa: T201
    print(f"launcher's memory {memory:.0f} MB; {len(list(ledger.root.glob('runs/*/record.json')))} records")  # noqa: T201
    assert len(runs) == count
    assert [epochs(ledger, run) for run in runs] == [[0, 1, 2, 3]] * count
    assert all(ledger.status(run.id).state == "done" for run in runs)
    assert all(sum(row["event"] == "start" for row in read_attempts(ledger.run_dir(run.id))) == 1 for run in runs)
    assert 1 <= most <= parallel


def test_the_controller_may_be_restarted_and_the_same_command_completes(
    recipe: str, submit: Callable[..., None], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EPOCH_S", "4")
    run = collect_runs([recipe], "paper")[0]
    submit([run])
    until(lambda: epochs(ledger, run))
    root = Path(os.environ["SLURM_CONF"]).parents[1]
    # One that had not saved that the job runs would start it again, on a node that knows its id, and drain the node:
    # that is Slurm's own, and seconds long. It saves after a change only; a comment is one.
    seen, saved = time.time(), root / "state" / "job_state"
    scheduler.call("scontrol", "update", f"JobId={look(ledger)[run.id].task.job}", "Comment=runs")
    until(lambda: saved.exists() and saved.stat().st_mtime > seen)
    os.kill(int((root / "run" / "slurmctld.pid").read_text()), signal.SIGKILL)
    time.sleep(1)
    subprocess.run([SCRIPT, "start-controller"], check=True)
    until(lambda: settled(ledger))
    if ledger.status(run.id).state != "done":  # the controller has killed the job all the same
        subprocess.run([SCRIPT, "up"], check=True)
        submit([run])
        until(lambda: settled(ledger))
    assert epochs(ledger, run) == [0, 1, 2, 3]
    assert ledger.status(run.id).state == "done"


def test_the_doctor_reports_from_a_compute_node() -> None:
    report = on_node(PROFILE)
    states = {finding["check"]: finding["state"] for finding in report["checks"]}
    assert report["host"] in ("node1", "node2"), report
    assert (states["gloo"], states["requeue"], states["training"]) == ("ok", "ok", "ok")
