"""The command line on a site of several clusters whose Slurm is a few programs of our own: what users see and get."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tksbench.cli import run_command
from tksbench.launch.__main__ import main
from tksbench.launch.profile import load_profile
from tksbench.recipe.errors import RecipeError

if TYPE_CHECKING:
    from tksbench.runs import Ledger

NAMED = "cifar10/spiking_resnet19/tks"
SCALES = "scales: {paper: {}, smoke: {optim: {epochs: 1}}}\n"


class Site:
    """The clusters, and what was called."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def queue(self, cluster: str) -> list[str]:
        path = self.home / f"queue.{cluster}"
        return path.read_text().splitlines() if path.exists() else []

    def calls(self, command: str) -> list[str]:
        lines = (self.home / "calls").read_text().splitlines() if (self.home / "calls").exists() else []
        return [line for line in lines if line.startswith(command)]


@pytest.fixture
def site(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Site:
    home = tmp_path / "site"
    home.mkdir()
    program = home / "program"
    source = Path(__file__).with_name("fake_slurm.py").read_text()
    program.write_text(f"#!{sys.executable} -SE\n{source}")
    program.chmod(0o755)
    for name in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
        (home / name).symlink_to(program)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(home))
    monkeypatch.setenv("TKSBENCH_RESULTS", str(ledger.root))
    monkeypatch.chdir(tmp_path)
    return Site(home)


def profile(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text("gpus_per_node: 0\ncpus_per_task: 1\n" + text)
    return str(path)


@pytest.mark.parametrize("options", ["clusters: gpu", "cluster: gpu", "clusters: 'big,gpu'"])
def test_a_run_on_a_named_cluster_is_submitted_once_and_found_there(
    recipe: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    words = [recipe, "--only", NAMED]
    for _ in range(2):
        assert main([*words, "--slurm", profile(tmp_path, f"options: {{{options}}}")]) == 0
    assert len(site.queue("gpu")) == 1
    main([*words, "--status"])
    assert "job 100_0 on cluster gpu is PENDING" in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--cancel"]) == 0
    assert site.calls("scancel") == ["scancel --clusters=gpu 100_0"]
    assert site.queue("gpu") == []


def test_a_greeting_of_the_sites_own_sbatch_is_no_job_number(
    recipe: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [recipe, "--only", NAMED, "--slurm", profile(tmp_path, "")]
    monkeypatch.setenv("FAKE_SLURM_GREETING", "Welcome; 7 queues\n%s\n(no limits)")
    main(words)
    assert "job 100: 1 run" in capsys.readouterr().out
    main([recipe, "--only", NAMED, "--cancel"])
    assert site.calls("scancel") == ["scancel 100_0"]
    monkeypatch.setenv("FAKE_SLURM_GREETING", "Submitted batch job %s")
    assert run_command(main, words) == 2
    assert "sbatch printed Submitted batch job 101 in place of a job's number" in capsys.readouterr().err
    main(words)  # the job is there all the same
    assert len(site.calls("sbatch")) == 2


@pytest.mark.parametrize("options", ["clusters: gpu", "clusters: 'gpu,big'"])
def test_a_launcher_killed_after_sbatch_is_followed_by_one_that_looks_on_every_named_cluster(
    recipe: str, ledger: Ledger, site: Site, tmp_path: Path, options: str
) -> None:
    words = [recipe, "--only", NAMED, "--slurm", profile(tmp_path, f"options: {{{options}}}")]
    main(words)
    (known,) = (ledger.root / "slurm").glob("*/job.json")
    known.unlink()  # as if the launcher had died before it wrote what sbatch printed
    main(words)
    assert len(site.calls("sbatch")) == 1


def test_a_part_of_an_array_waits_on_the_cluster_that_got_the_part_before_it(
    recipe: str, site: Site, tmp_path: Path, ledger: Ledger
) -> None:
    main([recipe, "--slurm", profile(tmp_path, "max_array: 1\noptions: {clusters: 'gpu,big'}")])
    assert len(site.calls("sbatch")) == 2
    scripts = sorted((ledger.root / "slurm").glob("*/script.sh"), key=lambda path: path.stat().st_mtime_ns)
    assert {"#SBATCH --dependency=afterany:100", "#SBATCH --clusters=big"} <= set(scripts[1].read_text().splitlines())


def test_an_array_is_no_larger_than_the_named_cluster_allows(recipe: str, site: Site, tmp_path: Path) -> None:
    main([recipe, "--seeds", "2", "--slurm", profile(tmp_path, "options: {clusters: small}")])
    assert len(site.calls("sbatch")) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("clusters: all", "name them"),
        ("clusters: ", "name them"),
        ("cluster-constraint: big", "would be where the launcher does not look"),
        ("clust: gpu", "for sbatch the same as cluster-constraint"),
        ("test-only: true", "would submit nothing"),
        ("quiet: true", "would not print the job's number"),
        ("wait: true", "would wait for the end of every run"),
        ("export: NONE", "set variables in setup"),
        ("wrap: hostname", "the launcher sets it"),
        ("gres: 'gpu:a100:1'", "say gpus_per_node"),
        ("time: 60", "say minutes in the profile"),
        ("p: main", "no long name"),
        ("comment: 'a b'", "'comment': expected one word"),
    ],
)
def test_an_option_that_the_launcher_could_not_follow_is_refused_with_the_reason(
    tmp_path: Path, option: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        load_profile(profile(tmp_path, f"options: {{{option}}}"))


def test_an_option_may_have_no_value_and_gpus_a_type(
    recipe: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpus.yaml"
    path.write_text("gpus_per_node: a100:2\noptions: {exclusive: true, contiguous: , overcommit: false, nice: 10}\n")
    main([recipe, "--plan", "--slurm", str(path)])
    flags = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --gpus-per-node=a100:2", "#SBATCH --ntasks-per-node=2", "#SBATCH --exclusive"} <= set(flags)
    assert {"#SBATCH --contiguous", "#SBATCH --nice=10"} <= set(flags)
    assert not any("overcommit" in flag for flag in flags)


@pytest.mark.parametrize("gpus", ["a100", "a100:two", "':1'", "'a b:1'", "-1"])
def test_gpus_that_are_no_number_and_no_typed_number_are_refused(tmp_path: Path, gpus: str) -> None:
    path = tmp_path / "gpus.yaml"
    path.write_text(f"gpus_per_node: {gpus}\n")
    with pytest.raises(RecipeError, match="gpus_per_node: expected"):
        load_profile(str(path))


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("[module load cuda/99, touch REACHED]", "setup: 'module load cuda/99' ended with status 127"),
        (
            "[source /no/such/venv/bin/activate, touch REACHED]",
            "'source /no/such/venv/bin/activate' ended with status 1",
        ),
        ("['load() { return 4; }', load, touch REACHED]", "ended with status 4"),
        ("['if true; then', exit 3, fi, touch REACHED]", "setup: 'exit 3' ended with status 3"),
        ("['cd /no/such && export A=1', touch REACHED]", "setup: 'cd /no/such && export A=1' ended with status 1"),
        ("['exit 0', touch REACHED]", "setup: 'exit 0' ended with status 0"),
    ],
)
def test_a_line_of_the_setup_that_fails_ends_the_job_and_the_status_says_which(
    recipe: str,
    ledger: Ledger,
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setup: str,
    said: str,
) -> None:
    monkeypatch.setenv("FAKE_SLURM_RUN", "1")
    monkeypatch.setenv("COLUMNS", "200")
    main([recipe, "--only", NAMED, "--slurm", profile(tmp_path, f"setup: {setup}")])
    assert site.calls("srun") == []
    assert site.calls("ended")[0] != "ended 0"
    assert not (tmp_path / "REACHED").exists()
    main([recipe, "--only", NAMED, "--status"])
    shown = " ".join(capsys.readouterr().out.split())
    assert said in shown
    (log,) = ledger.root.glob("slurm/*/log/0.txt")
    assert f"log: {log.relative_to(tmp_path)}" in shown


def test_a_setup_that_may_fail_says_so_itself(
    recipe: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SLURM_RUN", "1")
    setup = "['module load cuda/99 || true', '[ -f none ] && source none', 'echo ok']"
    main([recipe, "--only", NAMED, "--slurm", profile(tmp_path, f"setup: {setup}")])
    assert site.calls("srun") == ["srun"]


def test_status_and_cancel_without_a_scale_find_jobs_of_every_scale_and_seed(
    recipe: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path(recipe).open("a") as file:
        file.write(SCALES)
    main([recipe, "--scale", "smoke", "--seeds", "2", "--slurm", profile(tmp_path, "")])
    capsys.readouterr()
    main([recipe, "--status"])
    shown = capsys.readouterr().out
    assert "4 runs: 4 new" in shown
    assert "never begun: 2 at scale paper" in shown
    assert main([recipe, "--cancel", "--only", "*/tks"]) == 0
    assert "2 jobs of 2 runs cancelled" in capsys.readouterr().out
    assert len(site.queue("login")) == 2


def test_a_cancel_that_matches_nothing_says_what_is_queued_and_exits_1(
    recipe: str, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([recipe, "--only", NAMED, "optim.lr=0.5", "--slurm", profile(tmp_path, "")])
    capsys.readouterr()
    assert main([recipe, "--cancel"]) == 1
    shown = capsys.readouterr().out
    assert "no job of these runs" in shown
    assert f"{NAMED} seed 42, scale paper optim.lr=0.5" in shown
    assert len(site.queue("login")) == 1


def test_a_cancel_finds_a_run_that_was_submitted_when_other_data_were_here(
    recipe: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(recipe).read_text()
    Path(recipe).write_text(text.replace("source: miniature", "source: auto"))
    main([recipe, "--only", NAMED, "--slurm", profile(tmp_path, "")])
    root = tmp_path / "data"
    monkeypatch.setenv("TKSBENCH_DATA", str(root))
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (root / "cifar-10-batches-py" / name).touch()
    assert main([recipe, "--cancel"]) == 0
    assert site.queue("login") == []


def test_an_override_need_not_fit_every_scale(recipe: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with Path(recipe).open("a") as file:
        file.write("scales: {paper: {}, smoke: {optim: {warmup_epochs: 3}}}\n")
    assert main([recipe, "--status", "optim.epochs=3"]) == 0  # warm-up at scale smoke takes all of them
    assert "never begun: 2 at scale paper (" in capsys.readouterr().out
    assert run_command(main, [recipe, "--status", "optim.epochs=0"]) == 2
