"""`--rehearse`: every protocol, with the code that it takes at full size, in two short epochs."""

from __future__ import annotations

import functools
import json
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.records import make
from tksbench.data.registry import DATASETS
from tksbench.launch import rehearsal
from tksbench.launch.__main__ import main
from tksbench.launch.errors import LaunchError
from tksbench.launch.profile import SlurmProfile
from tksbench.launch.rehearsal import Train, by_job, by_launcher, rehearse, rehearsed, scratch, way, ways
from tksbench.recipe import Run, expand, load_recipe
from tksbench.runs.record import save_record
from tksbench.train import job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tksbench.launch.plan import Item
    from tksbench.runs import Ledger

ROOT = Path(__file__).parents[2]
# Where two of a protocol's parts meet in the code. Of the protocols, so many are rehearsed here that each part that
# occurs meets each part of the other kind that it occurs with.
MEET = (
    ("data", "model"),
    ("data", "execution"),
    ("data", "optim"),
    ("data", "numerics"),
    ("data", "loss"),
    ("model", "numerics"),
    ("model", "loss"),
    ("method", "numerics"),
)

NARROW = {"width": 0.04, "T": 2}


def parts(run: Run) -> dict[str, str]:
    spec, execution = json.loads(way(run))
    kinds = {kind: spec[kind] for kind in ("data", "optim", "numerics", "method")}
    kinds |= {"model": spec["model"]["name"], "loss": spec["method"]["name"], "execution": execution}
    return {kind: json.dumps(part, sort_keys=True) for kind, part in kinds.items()}


@functools.cache
def protocols() -> list[Run]:
    """Every run of every recipe at the scales of full size, first seeds; of one that has two names, the first."""
    recipes = [load_recipe(path) for path in sorted((ROOT / "recipes").glob("*.yaml"))]
    found = [
        run
        for recipe in recipes
        for scale in ("paper", "budget")
        for run in expand(recipe, scale, seeds=1, has_real=lambda name: True)
    ]
    return list({run.id: run for run in reversed(found)}.values())[::-1]


@functools.cache
def chosen() -> list[Run]:
    """As few of them as meet in all ways, the one with most that is new first."""
    meetings = {}
    for run in protocols():
        of = parts(run)
        meetings[run.id] = {(*kinds, *(of[kind] for kind in kinds)) for kinds in MEET}
    by_id, left, found = {run.id: run for run in protocols()}, set().union(*meetings.values()), []
    while left:
        best = max(meetings, key=lambda id_: len(meetings[id_] & left))
        left -= meetings[best]
        found.append(by_id[best])
    return found


def the(name: str) -> Run:
    return next(run for run in protocols() if run.name == name and run.scale == "paper")


def nowhere(name: str) -> bool:
    """Whether a data set's real files are there."""
    return False


def differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key in one.keys() | other.keys():
        if isinstance(one.get(key), dict):
            found |= differences(one[key], other[key], f"{prefix}{key}.")
        elif one.get(key) != other.get(key):
            found.add(f"{prefix}{key}")
    return found


def trained(item: Item, ledger: Ledger) -> str:
    """Trains nothing, and has a record."""
    save_record(ledger.prepare(item.run).record, make(item.run, 40.0))
    return ""


@pytest.fixture
def in_this_process() -> Iterator[Train]:
    """Trains as `python -m tksbench.train` does."""

    def train(item: Item, ledger: Ledger) -> str:
        code = job.run_job(ledger.prepare(item.run).path)
        return "" if code == job.DONE else f"status {code}: {ledger.status(item.run.id).reason}"

    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    yield train
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.parametrize("name", DATASETS)
def test_every_protocol_trains_saves_reads_back_and_tests(
    name: str,
    stand_in: Callable[..., Path],
    in_this_process: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TKSBENCH_DATA", str(stand_in(name)))
    ended, networks = [], set()
    with scratch() as root:
        for run in chosen():
            if run.spec.data.name == name:
                network = (run.spec.model.name, run.spec.numerics)
                # As narrow as still takes the same code, and read back once for each kind of network.
                ended += rehearse([run], root, in_this_process, False, nowhere, network not in networks, **NARROW)
                networks.add(network)
    assert ended
    assert [one for one in ended if not one.ok] == []


@functools.cache
def cited() -> list[Run]:
    """As few runs of cited systems at full size as have each kind of run and each component, most that is new first.

    Not those that start from another run on ImageNet, whose parents alone take minutes: other data have their code.
    """
    recipes = [load_recipe(path) for path in sorted((ROOT / "recipes" / "cited").glob("*.yaml"))]
    at = [(recipe, scale) for recipe in recipes for scale in ("paper", "budget") if scale in recipe.scales]
    found = {run.id: run for recipe, scale in at for run in expand(recipe, scale, seeds=1)}
    has = {id_: {*run.spec.components(), ("kind", run.spec.kind)} for id_, run in found.items()}
    has = {id_: parts for id_, parts in has.items() if not (found[id_].parent and ("data", "imagenet") in parts)}
    left, picked = set().union(*has.values()), list[Run]()
    while left:
        best = max(has, key=lambda id_: len(has[id_] & left))
        left -= has[best]
        picked.append(found[best])
    return picked


@pytest.mark.parametrize("name", sorted({run.spec.data.name for run in cited()}))
def test_the_parts_of_cited_systems_train_convert_and_classify(
    name: str, stand_in: Callable[..., Path], in_this_process: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TKSBENCH_DATA", str(stand_in(name)))
    chains = dict.fromkeys(one.id for run in cited() if run.spec.data.name == name for one in run.chain)
    runs = {one.id: one for run in cited() for one in run.chain}
    with scratch() as root:
        ended = [rehearse([runs[id_]], root, in_this_process, False, nowhere, False, **NARROW)[0] for id_ in chains]
    assert ended
    assert [one for one in ended if not one.ok] == []


def test_the_protocols_that_are_rehearsed_stand_for_all() -> None:
    assert {run.spec.data.name for run in chosen()} == set(DATASETS)
    for kind in ("data", "model", "method", "optim", "numerics", "execution"):
        assert {parts(run)[kind] for run in chosen()} == {parts(run)[kind] for run in protocols()}
    assert {run.spec.numerics.precision for run in chosen()} == {"fp32", "bf16"}
    assert any(run.execution.workers > 1 and run.spec.data.augment == "strong" for run in chosen())


@pytest.mark.parametrize("executor", ["launcher", "job"])
def test_strong_augmentation_in_workers_through_both_executors(
    executor: str, stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TKSBENCH_DATA", str(stand_in("cifar100")))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    train = by_launcher([]) if executor == "launcher" else by_job(SlurmProfile(), [])
    run = the("cifar100/spiking_resnet19/tks")
    with scratch() as root:
        (ended,) = rehearse([run], root, train, False, nowhere, executor == "launcher", **NARROW)
        assert ended.ok, ended.reason


def test_a_rehearsal_differs_from_its_run_in_length_alone() -> None:
    run = the("imagenet/sew_resnet34/tks")
    short = rehearsed(run, real=True, on_gpu=True)
    changed = differences(run.spec.model_dump(), short.spec.model_dump())
    assert changed == {"data.train_subset", "data.test_subset", "optim.epochs", "optim.warmup_epochs"}
    assert short.spec.data.train_subset == 2 * run.spec.optim.batch_size
    assert short.execution.workers == run.execution.workers
    on_cpu = rehearsed(run, real=False, on_gpu=False)
    changed |= {"data.source", "optim.batch_size", "evaluation.batch_size"}
    assert differences(run.spec.model_dump(), on_cpu.spec.model_dump()) == changed
    assert (on_cpu.spec.data.source, on_cpu.spec.optim.batch_size) == ("miniature", 4)


def test_replicas_of_a_batch_stay_several() -> None:
    run = the("cifar10/spiking_resnet19/tks")
    optim = run.spec.optim.model_copy(update={"replica_batch": 32})
    short = rehearsed(replace(run, spec=run.spec.model_copy(update={"optim": optim})), real=True, on_gpu=False)
    assert (short.spec.optim.batch_size, short.spec.optim.replica_batch) == (4, 1)


def test_runs_that_differ_in_numbers_share_a_rehearsal_and_others_do_not() -> None:
    runs = [run for run in protocols() if run.spec.data.name == "cifar100" and run.scale == "paper"]
    seeds = [replace(run, id=f"{run.id}-2", seed=43) for run in runs]
    groups = ways([*runs, *seeds])
    assert sum(map(len, groups)) == len({run.group for run in runs})
    together = {run.name: number for number, group in enumerate(groups) for run in group}
    tks = "cifar100/spiking_resnet19/tks"
    assert together[f"{tks}-alpha0.1-tau1"] == together[f"{tks}-alpha0.3-tau5"] == together[tks]
    assert together[f"{tks}-detach"] != together[tks] != together["cifar100/spiking_resnet19-plain/tks"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty results and data folders, and a folder for scratch."""
    for name in ("data", "scratch"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TKSBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("TKSBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr("tksbench.devices.find_gpus", list)
    return tmp_path


def test_the_command_prints_a_line_for_each_run_and_leaves_nothing(
    folders: Path, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rehearsal, "by_launcher", lambda gpus: trained)
    assert main([recipe, "--rehearse", "--seeds", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: on stand-in data, because the real data are not there: cifar10",
        "note: on the CPU with 4 images a step: whether a GPU's memory holds the runs is not rehearsed",
        "ok      cifar10/spiking_resnet19/tks: 0 s",
        "ok      cifar10/spiking_resnet19/baseline: 0 s",
        "2 runs: 2 ok",
    ]
    assert not (folders / "results").exists()
    assert list((folders / "scratch").iterdir()) == []


def test_a_failure_is_named_with_its_log_and_the_others_go_on(
    folders: Path, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(item: Item, ledger: Ledger) -> str:
        if "tks" not in item.run.name:
            return trained(item, ledger)
        run_dir = ledger.prepare(item.run)
        run_dir.log.write_text("a traceback\n")
        run_dir.checkpoints.mkdir()
        return "AttributeError: Can't pickle local object"

    monkeypatch.setattr(rehearsal, "by_launcher", lambda gpus: train)
    assert main([recipe, "--rehearse"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "FAILED  cifar10/spiking_resnet19/tks: AttributeError: Can't pickle local object"
    log = Path(lines[3].partition("log: ")[2])
    assert log.read_text() == "a traceback\n"
    assert not (log.parent / "checkpoints").exists()
    assert lines[4:] == ["ok      cifar10/spiking_resnet19/baseline: 0 s", "2 runs: 1 ok, 1 failed"]
    assert main([recipe, "--rehearse", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["ok"], row["data"], row["batch"], row["like"]) for row in rows] == [
        (False, "stand-in", 4, None),
        (True, "stand-in", 4, None),
    ]
    assert rows[0]["reason"] == "AttributeError: Can't pickle local object"


def test_weights_that_come_back_otherwise_are_a_failure(
    folders: Path, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = iter("0123")

    def train(item: Item, ledger: Ledger) -> str:
        record = make(item.run, 40.0).model_copy(update={"weights_sha256": next(weights) * 64})
        save_record(ledger.prepare(item.run).record, record)
        return ""

    monkeypatch.setattr(rehearsal, "by_launcher", lambda gpus: train)
    assert main([recipe, "--rehearse"]) == 1
    assert "what was read back from the checkpoint is not what was saved" in capsys.readouterr().out


def test_stopped_it_says_how_far_it_came(
    folders: Path, recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(item: Item, ledger: Ledger) -> str:
        if "tks" in item.run.name:
            return trained(item, ledger)
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsal, "by_launcher", lambda gpus: train)
    assert main([recipe, "--rehearse"]) == 130
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 1 ok, 1 not rehearsed"
    assert list((folders / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--plan"], "--rehearse goes with recipes"),
        (["--slurm"], "--rehearse submits nothing: with a profile's job it goes as --cluster local"),
    ],
)
def test_what_does_not_go_with_it(recipe: str, words: list[str], reason: str) -> None:
    with pytest.raises(LaunchError, match=reason):
        main([recipe, "--rehearse", *words])
