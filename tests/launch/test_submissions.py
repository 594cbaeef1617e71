"""Submitting to a Slurm of our own making, whose launcher dies wherever it hurts; and what stands in the scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from submitit.slurm.slurm import SlurmJobEnvironment

from tksbench.exits import FAILED, HELD, SAVED
from tksbench.launch import job, scheduler
from tksbench.launch.__main__ import main
from tksbench.launch.cluster import queue_notes, submit_jobs
from tksbench.launch.errors import LaunchError
from tksbench.launch.executor import NOTHING_TO_DO
from tksbench.launch.job import Element, begin, end
from tksbench.launch.plan import collect_runs, make_plan
from tksbench.launch.profile import SlurmProfile, load_profile
from tksbench.launch.scheduler import JobId, Task
from tksbench.launch.slurm import SlurmExecutor, look, with_queue
from tksbench.launch.submissions import Submission, all_submissions, write_once
from tksbench.recipe.errors import RecipeError
from tksbench.runs import append_jsonl, attempt_ended, attempt_started

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tksbench.recipe import Run
    from tksbench.runs import Ledger


class Killed(BaseException):
    """The launcher got SIGKILL."""


class FakeSlurm:
    """A queue; `die` says when the launcher dies: "before" or "after" the controller has the job."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.dependencies: list[str | None] = []
        self.die = ""
        self.max_array = 1001
        self.quota = 1000
        monkeypatch.setattr(scheduler, "submit", self.submit)
        monkeypatch.setattr(scheduler, "my_tasks", self.my_tasks)
        monkeypatch.setattr(scheduler, "max_array_size", lambda: self.max_array)
        monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")  # a machine that has sbatch

    def submit(self, script: Path) -> JobId:
        if self.die == "before":
            raise Killed
        if len(self.names) >= self.quota:
            raise LaunchError("sbatch: QOSMaxSubmitJobPerUserLimit")
        if self.die == "refuse":
            raise LaunchError("sbatch: invalid partition specified: nope")
        text = script.read_text()
        self.names += re.findall(r"^#SBATCH --job-name=(.+)$", text, re.MULTILINE)
        self.sizes += [int(last) + 1 for last in re.findall(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)]
        self.dependencies += re.findall(r"^#SBATCH --dependency=(.+)$", text, re.MULTILINE) or [None]
        if self.die == "after":
            raise Killed
        return JobId(str(len(self.names)))

    def my_tasks(self, names: Collection[str]) -> list[Task]:
        return [
            Task(str(job + 1), index, "PENDING", "Priority", name)
            for job, (name, size) in enumerate(zip(self.names, self.sizes, strict=True))
            for index in range(size)
            if name in names
        ]


def refuse(names: Collection[str]) -> list[Task]:
    raise LaunchError("squeue: no controller")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(monkeypatch)


@pytest.fixture
def runs(recipe: str) -> list[Run]:
    return collect_runs([recipe], "paper", seeds=6)


def submit(ledger: Ledger, runs: list[Run], **profile: object) -> None:
    SlurmExecutor(ledger, SlurmProfile.model_validate(profile)).execute(make_plan(runs, ledger))


def living(ledger: Ledger, slurm: FakeSlurm) -> Counter[str]:
    """How many jobs that may train each run has."""
    count: Counter[str] = Counter()
    for submission in all_submissions(ledger.root / "slurm"):
        if submission.name in slurm.names and submission.submitted("1"):
            count.update(submission.intent["runs"])
    return count


@contextmanager
def printing(submission: Submission) -> Iterator[None]:
    """As the script does: what an element prints goes to its log."""
    with submission.log(0).open("a") as log, redirect_stdout(log):
        yield


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_launcher_killed_around_sbatch_submits_each_run_once(
    when: str, ledger: Ledger, runs: list[Run], slurm: FakeSlurm
) -> None:
    slurm.die = when
    for _ in range(3):
        with pytest.raises(Killed):
            submit(ledger, runs, max_array=5)
    slurm.die = ""
    submit(ledger, runs, max_array=5)
    submit(ledger, runs, max_array=5)
    assert living(ledger, slurm) == Counter(run.id for run in runs)


def test_a_job_that_arrives_after_it_was_given_up_does_not_train(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm
) -> None:
    slurm.die = "before"
    with pytest.raises(Killed):
        submit(ledger, runs)
    (late,) = all_submissions(ledger.root / "slurm")
    slurm.die = ""
    submit(ledger, runs)
    assert not late.submitted("77")


def test_a_job_that_started_is_not_given_up(ledger: Ledger, runs: list[Run], slurm: FakeSlurm) -> None:
    submission = Submission.create(ledger.root / "slurm", runs, {})
    assert submission.submitted("77")
    assert not submission.abandon()
    assert submission.job == "77"


def test_a_job_that_never_began_is_told_unless_it_still_waits(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(ledger, runs[:2])
    (submission,) = all_submissions(ledger.root / "slurm")
    assert queue_notes(ledger)[runs[0].id] == f"job 1_0 is PENDING (Priority); log: {submission.log(0)}"
    submission.log(1).write_text("2026-01-01T00:00:00+00:00 tksbench: start 0 of it on n1 at 0 epochs, saved nothing\n")
    monkeypatch.setattr(scheduler, "my_tasks", lambda names: [])
    notes = queue_notes(ledger)
    assert notes.keys() == {runs[0].id}
    assert notes[runs[0].id] == f"job 1_0 is gone and never began: {submission.log(0)} may say why"
    monkeypatch.setattr(scheduler, "my_tasks", refuse)
    assert queue_notes(ledger) == {}  # nobody knows


def test_the_log_of_a_failed_and_of_a_waiting_run_is_named_with_its_last_line(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm
) -> None:
    submit(ledger, runs[:3])
    (submission,) = all_submissions(ledger.root / "slurm")
    submission.log(0).write_text("2026-01-01T00:00:00+00:00 tksbench: is to start again\n\n")
    run_dir = ledger.run_dir(runs[1].id)
    run_dir.log.write_text("12:00:00 epoch 1\n12:00:09 loss is NaN in step 17\n")
    attempt_ended(run_dir, "failed", "loss is NaN")
    notes = queue_notes(ledger)
    assert notes[runs[0].id].endswith(
        f"log: {submission.log(0)}: 2026-01-01T00:00:00+00:00 tksbench: is to start again"
    )
    assert notes[runs[1].id].endswith(f"log: {run_dir.log}: 12:00:09 loss is NaN in step 17")
    assert notes[runs[2].id].endswith(f"log: {submission.log(2)}")


def test_what_slurm_took_before_it_refused_the_rest_is_told(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.max_array = 4
    slurm.quota = 1
    items = make_plan(runs, ledger)
    with pytest.raises(LaunchError, match="QOSMaxSubmitJobPerUserLimit"):
        submit_jobs(Console(width=80), items, ledger, SlurmProfile())
    assert "job 1: 4 runs" in capsys.readouterr().out
    slurm.quota = 1000
    submit_jobs(Console(width=80), items, ledger, SlurmProfile(), "launch it")  # the first four are queued meanwhile
    shown = capsys.readouterr().out
    assert f"{len(runs)} runs asked for: {len(runs) - 4} submitted, 4 left to another" in shown
    assert "script.sh, log/0.txt to log/3.txt" in shown
    assert "watch:  launch it --status --watch\ncancel: launch it --cancel\n" in shown


def test_a_job_that_slurm_holds_after_a_failed_launch_is_released_by_the_same_command(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(ledger, runs[:3])
    reasons = ["launch failed requeued held", "JobHeldUser", "launch failed requeued held"]
    tasks = [Task("1", index, "PENDING", reason, slurm.names[0]) for index, reason in enumerate(reasons)]
    released: list[Task] = []
    monkeypatch.setattr(scheduler, "my_tasks", lambda names: tasks)
    monkeypatch.setattr(scheduler, "release", released.append)
    submit_jobs(Console(), make_plan(runs[:2], ledger), ledger, SlurmProfile())
    assert [task.id for task in released] == ["1_0"]  # not what a person holds, nor what was not asked for
    assert len(slurm.names) == 1


def test_a_job_gives_up_after_deaths_but_not_while_somebody_else_trains_its_run(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(ledger, runs[:1], retries=2)
    (submission,) = all_submissions(ledger.root / "slurm")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1")

    def start(number: int, code: int) -> int:
        with printing(submission):
            status = begin(Element(submission, 0, number, ledger, ledger.run_dir(runs[0].id)))
            print(f"now tksbench: rank 1 on n2 ended with status {code}: ")  # noqa: T201
        return status

    assert [start(number, HELD) for number in range(5)] == [0] * 5
    assert [start(number, -9) for number in range(5, 9)] == [0, 0, 0, FAILED]


def test_an_earlier_failure_does_not_end_what_was_submitted_again_for_it(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1")
    run_dir = ledger.prepare(runs[0])
    append_jsonl(run_dir.attempts, {"event": "start", "time": "2026-01-01T00:00:00+00:00"})
    row = {"event": "end", "outcome": "failed", "reason": "disk full", "time": "2026-01-01T01:00:00+00:00"}
    append_jsonl(run_dir.attempts, row)
    submit(ledger, runs[:1])
    (submission,) = all_submissions(ledger.root / "slurm")
    assert begin(Element(submission, 0, 0, ledger, run_dir)) == 0  # and is evicted
    assert begin(Element(submission, 0, 1, ledger, run_dir)) == 0
    attempt_started(run_dir)
    attempt_ended(run_dir, "failed", "loss is NaN")
    assert begin(Element(submission, 0, 2, ledger, run_dir)) == NOTHING_TO_DO


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:1234", True),
        ("torch.distributed.DistBackendError: NCCL error: remote process exited", True),
        ("RuntimeError: the loss is nan at epoch 3", False),
    ],
)
def test_a_process_that_has_lost_the_others_did_not_fail(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, said: str, again: bool
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    requeued: list[str] = []
    monkeypatch.setattr(SlurmJobEnvironment, "_requeue", lambda self, countdown: requeued.append(self.job_id))
    monkeypatch.setattr(job, "_WAIT_TO_DIE_S", 0)
    submit(ledger, runs[:1])
    (submission,) = all_submissions(ledger.root / "slurm")
    element = Element(submission, 0, 0, ledger, ledger.run_dir(runs[0].id))
    with printing(submission):
        assert begin(element) == 0
        attempt_started(element.run_dir)
        attempt_ended(element.run_dir, "failed", said)  # as the trainer takes it
        print(f"now tksbench: rank 0 on n1 ended with status {FAILED}: {said}")  # noqa: T201
    status = end(element, FAILED)
    assert (status, requeued) == ((SAVED, ["1_0"]) if again else (FAILED, []))
    assert ledger.status(runs[0].id).state == ("interrupted" if again else "failed")
    assert begin(Element(submission, 0, 1, ledger, element.run_dir)) == (0 if again else NOTHING_TO_DO)


def test_one_of_many_writes_a_file_once(tmp_path: Path) -> None:
    assert [write_once(tmp_path / "fate.json", {"n": n}) for n in range(3)] == [True, False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["fate.json"]


def test_a_launcher_leaves_files_alone_that_a_job_is_writing(ledger: Ledger, runs: list[Run], slurm: FakeSlurm) -> None:
    submit(ledger, runs[:1])
    half = all_submissions(ledger.root / "slurm")[0].folder / ".job.json.0123456789ab.tmp"
    half.touch()
    submit(ledger, runs)
    assert half.exists()


def test_arrays_are_no_larger_than_the_cluster_allows_and_follow_each_other(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm
) -> None:
    slurm.max_array = 5
    submit(ledger, runs)
    assert slurm.sizes == [5, 5, 2]
    assert slurm.dependencies == [None, "afterany:1", "afterany:2"]


def test_runs_that_ask_for_a_cpu_get_an_array_of_their_own(
    recipe: str, runs: list[Run], ledger: Ledger, slurm: FakeSlurm
) -> None:
    cpu = collect_runs([recipe], "paper", overrides=["execution.device=cpu", "model.T=2"])
    submit(ledger, [*runs, *cpu])
    assert slurm.sizes == [12, 2]
    texts = [(item.folder / "script.sh").read_text() for item in all_submissions(ledger.root / "slurm")]
    assert sorted("gpus-per-node=1" in text for text in texts) == [False, True]


def test_queued_runs_wait_in_the_plan(ledger: Ledger, runs: list[Run], slurm: FakeSlurm) -> None:
    submit(ledger, runs[:1])
    plan = with_queue(make_plan(runs[:2], ledger), look(ledger))
    assert [item.action for item in plan] == ["wait", "run"]
    assert plan[0].reason == "job 1_0 is PENDING (Priority)"


def test_what_slurm_refuses_is_told_and_may_be_submitted_again(
    ledger: Ledger, runs: list[Run], slurm: FakeSlurm
) -> None:
    slurm.die = "refuse"
    with pytest.raises(LaunchError, match="invalid partition"):
        submit(ledger, runs)
    slurm.die = ""
    submit(ledger, runs)
    assert living(ledger, slurm) == Counter(run.id for run in runs)


def test_nothing_in_a_path_becomes_a_command_or_an_option(
    recipe: str, ledger: Ledger, tmp_path: Path, slurm: FakeSlurm, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b'\"$(touch pwned)`touch pwned`\n#SBATCH --hold\ntouch pwned"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ledger.root = folder / "results"
    submit(ledger, runs[:1])
    script = all_submissions(ledger.root / "slurm")[0].folder / "script.sh"
    head = script.read_text().partition("\n\n")[0]
    assert "hold" not in head
    subprocess.run(["bash", "-c", 'srun() { :; }; export -f srun; bash "$0"', str(script)], check=False, timeout=60)
    assert not list(tmp_path.rglob("pwned"))


def test_a_profile_is_checked_with_file_line_and_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('partion: main\nminutes: x\nqos: "a\\n#SBATCH --hold"\noptions: {array: "1-9"}\n')
    with pytest.raises(RecipeError) as error:
        load_profile(str(path))
    told = str(error.value).splitlines()
    assert told[0] == f"{path}:1: partion: unknown key; did you mean 'partition'?"
    assert told[1].startswith(f"{path}:2: minutes: ")
    assert told[2].startswith(f"{path}:3: qos: ")
    assert "'array' is not an option" in told[3]
    path.write_text('options: {depend: "afterok:1"}\n')  # as sbatch may be told --dependency
    with pytest.raises(RecipeError, match=r"'depend' .* is not an option"):
        load_profile(str(path))


@pytest.mark.parametrize("name", ["default", "preemptible", "devcluster"])
def test_the_profiles_that_come_with_it_are_valid(name: str) -> None:
    load_profile(f"slurm/{name}.yaml")


def test_no_such_profile(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"no such profile; profiles here: slurm/default\.yaml"):
        main([recipe, "--plan", "--slurm", str(tmp_path / "none.yaml")])


def test_slurm_without_a_profile_says_which_it_takes_and_shows_the_script(
    recipe: str, capsys: pytest.CaptureFixture[str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    assert main(["--slurm", recipe, "--plan"]) == 0
    out, err = capsys.readouterr()
    assert "taking slurm/default.yaml" in err
    assert "#SBATCH --gpus-per-node=1\n" in out
    assert "#SBATCH --signal=USR2@180\n" in out
    assert not ledger.root.exists()
