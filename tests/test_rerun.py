"""A record made once more: equal to the bit, or told where not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.records import make
from tksbench import rerun
from tksbench.cli import run_command
from tksbench.errors import TksbenchError
from tksbench.exits import BAD_INPUT
from tksbench.launch.__main__ import main as launch
from tksbench.launch.local import Summary
from tksbench.recipe import expand, load_recipe
from tksbench.report.groups import ReportError
from tksbench.runs import Lease, Ledger, LedgerError, comparison, provenance
from tksbench.runs.code import Code, digest_of
from tksbench.runs.comparison import bits_expected, known_differences
from tksbench.runs.processor import PORTABLE, cpu_name, describe_cpu
from tksbench.runs.record import Record, load_record, save_record

ROOT = Path(__file__).resolve().parents[1]
RECIPE = """
protocol:
  data: {name: cifar10, source: miniature, augment: none, train_subset: 64, test_subset: 32, image_size: 16}
  model: {name: spiking_resnet19, T: 2, width: 0.0625}
  optim: {name: adamw, lr: 1e-3, weight_decay: 0.0, epochs: 2, batch_size: 16, warmup_epochs: 0}
methods: {tks: {}}
runs: [{method: tks}]
scales: {smoke: {execution: {device: cpu, threads: 1}}}
"""


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    Path("r.yaml").write_text(RECIPE)
    return Ledger()


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the code's own state is taken for."""
    said: dict[str, Any] = {"commit": "c0ffee00c0ffee", "dirty": True}

    def read() -> Code:
        return Code({}, said["commit"], ("tksbench/snn/losses.py",) if said["dirty"] else ())

    monkeypatch.setattr(provenance, "read_code", read)
    monkeypatch.setattr(comparison, "changed_since", lambda commit: () if commit == said["commit"] else None)
    monkeypatch.setattr(comparison, "files_here", dict)
    return said


def test_a_run_made_again_is_equal_and_one_that_is_not_is_told(
    ledger: Ledger, state: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(["r.yaml", "--scale", "smoke", "--seeds", "2"]) == 0
    second = next(one for one in ledger.run_dirs() if load_record(one.record).seed == 43)
    before = second.record.read_bytes()
    capsys.readouterr()
    state.update(commit="c0ffee00c0ffee", dirty=False)
    assert rerun.main([second.id[:6]]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nequal to the bit\n")
    assert "note: equal bits are to be expected (of this run they " in out
    (place,) = Path("build/rerun").iterdir()
    assert place.name.startswith("c0ffee00c0ff-")
    assert [one.id for one in Ledger(place).run_dirs()] == [second.id]  # its seed alone
    assert second.record.read_bytes() == before
    with pytest.raises(ReportError, match="lies where the run would be made again"):
        rerun.main([str((place / "runs" / second.id).absolute())])

    other = Path(f"{second.id}.json")
    save_record(other, load_record(second.record).model_copy(update={"weights_sha256": "0" * 64}))
    assert rerun.main([str(other.absolute())]) == 1
    out = capsys.readouterr().out
    assert "made again at this commit before, not trained now" in out
    assert "started on CPU" not in out
    top1 = load_record(second.record).metrics.last.top1
    assert f"different: weights\ntop-1 of the last epoch: {top1:.2f} for {top1:.2f}, within " in out
    assert out.endswith(", which one more seed gives with 95 % (from 2 seeds)\n")


def test_what_another_state_of_the_code_has_trained_is_no_proof(ledger: Ledger, state: dict[str, Any]) -> None:
    run = expand(load_recipe("r.yaml"), "smoke")[0]
    into = Path("again")
    state.update(commit="c0ffee00c0ffee", dirty=False)
    clean = rerun._place(into, run).prepare(run)
    clean.log.touch()
    assert rerun._place(into, run).run_dir(run.id).log.exists()  # goes on
    state.update(commit="beef00beef00")
    assert not rerun._place(into, run).run_dir(run.id).path.exists()
    for changed in ({"dirty": True}, {"commit": None, "dirty": None}):
        state.update(changed)
        rerun._place(into, run).prepare(run).log.touch()
        assert not rerun._place(into, run).run_dir(run.id).path.exists()  # begins anew
    assert clean.log.exists()


def test_a_rerun_that_is_being_trained_is_not_begun_anew(ledger: Ledger, state: dict[str, Any]) -> None:
    run = expand(load_recipe("r.yaml"), "smoke")[0]
    run_dir = rerun._place(Path("again"), run).prepare(run)
    with Lease.acquire(run_dir) as lease:
        with pytest.raises(LedgerError, match=f"again/uncommitted/runs/{run.id}: held by .*, process {os.getpid()}, "):
            rerun._place(Path("again"), run)
        assert lease.path.exists()
        assert not rerun._place(Path("elsewhere"), run).root.exists()
    rerun._place(Path("again"), run)
    assert not run_dir.path.exists()


@pytest.fixture
def record(ledger: Ledger) -> Record:
    """A record of this code on this machine."""
    made = make(expand(load_recipe("r.yaml"), "smoke")[0], 40.0, 0.0)
    proof = {"commit": "c0ffee00c0ffee", "dirty": False, "code": digest_of({}), "machine": describe_cpu()}
    cost = made.cost.model_copy(update={"device": cpu_name()})
    proof |= {"versions": provenance.versions(), "environment": comparison.environment.changing()}
    return made.model_copy(update={"provenance": made.provenance.model_copy(update=proof), "cost": cost})


def other(record: Record, **proof: Any) -> Record:
    return record.model_copy(update={"provenance": record.provenance.model_copy(update=proof)})


def test_of_the_same_code_machine_and_packages_nothing_is_known_to_differ(
    state: dict[str, Any], record: Record
) -> None:
    assert known_differences(record) == []
    assert known_differences(other(record, commit="beef00beef00")) == []  # commits of prose change no code


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        ({"processes": 2}, "the record was trained by 2 processes, this will be by one"),
        ({"versions": {"numpy": "1.0"}}, f"the record is of numpy 1.0 (here {provenance.versions()['numpy']})"),
        ({"machine": {"kind": "Zilog family 80"}}, "kind: the record's is Zilog family 80, here "),
        (
            {"environment": {"ATEN_CPU_CAPABILITY": "default"}},
            "ATEN_CPU_CAPABILITY: the record's is default, here not set",
        ),
        ({"code": "f" * 16, "commit": "beef00beef00"}, "the record is of commit beef00beef00, since then changed: "),
        ({"code": None, "commit": None}, "the record is of commit unknown, this is another state of the code"),
        (
            {"code": "f" * 16, "dirty": True, "diff": "diff --git a/tksbench/snn/losses.py b/tksbench/snn/losses.py\n"},
            "the record is of commit c0ffee00c0ff, since then changed: snn/losses.py",
        ),
        ({"dirty": True}, "the record is not of its commit alone"),
    ],
)
def test_what_is_known_to_differ_is_named(
    state: dict[str, Any], record: Record, proof: dict[str, Any], said: str
) -> None:
    assert any(line.startswith(said) for line in known_differences(other(record, **proof))), known_differences(
        other(record, **proof)
    )


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        ({}, "are to be expected (of this run they depend on the processor)"),
        ({"machine": {"kind": "Zilog family 80"}}, "are not to be expected: the record is of other processor"),
        (
            {"machine": {"kind": "Zilog 80", "bits": PORTABLE, "instructions": "AVX2"}},
            f"are to be expected (of this run they are {PORTABLE})",
        ),
        (
            {"machine": {"kind": "Zilog 80", "bits": PORTABLE, "instructions": "AVX512"}},
            "are not to be expected: the record is of other processor, variables",
        ),
        ({"machine": {}}, "are not to be expected: the record is of earlier code"),
        ({"code": "f" * 16, "commit": "beef00beef00"}, " if the changes of the code leave its arithmetic as it was"),
        ({"processes": 2, "versions": {"numpy": "1.0"}}, "expected: the record is of other packages, processes"),
    ],
)  # fmt: skip
def test_whether_equal_bits_can_be_expected_is_said(
    state: dict[str, Any], record: Record, proof: dict[str, Any], said: str
) -> None:
    assert said in bits_expected(other(record, **proof))


def test_a_gpus_record_asks_for_that_gpu(state: dict[str, Any], record: Record) -> None:
    cost = record.cost.model_copy(update={"device": "NVIDIA Z80", "gpu_hours": 1.0})
    assert "expected on NVIDIA Z80" in bits_expected(record.model_copy(update={"cost": cost}))


def test_a_result_that_no_seed_would_give_is_outside(ledger: Ledger) -> None:
    runs = expand(load_recipe("r.yaml"), "smoke", seeds=5)
    first, far = make(runs[0], 40.0, 0.0), make(runs[0], 90.0, 0.0)
    assert rerun._as_another_seed(first, far).endswith("90.00 for 40.00; no other seed has a record")
    ledger.published(runs[0].id).parent.mkdir(parents=True)
    for run in runs[1:]:
        save_record(ledger.published(run.id), make(run, 41.0, 0.0))
    assert "90.00 for 40.00, outside " in rerun._as_another_seed(first, far)


def test_a_record_of_another_processor_or_of_an_earlier_version_is_named(state: dict[str, Any], record: Record) -> None:
    cost = record.cost.model_copy(update={"device": "Z80"})
    earlier = other(record, code=None, machine={}, environment={}).model_copy(update={"cost": cost})
    assert known_differences(earlier) == [f"the record is of Z80, this is {cpu_name()}"]


def test_a_records_variables_are_taken_over_unless_they_are_set_here(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    rerun._take_over(other(record, environment={"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}))
    assert (os.environ["ONEDNN_MAX_CPU_ISA"], os.environ["ATEN_CPU_CAPABILITY"]) == ("AVX2", "default")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY")
    assert capsys.readouterr().out == "note: ATEN_CPU_CAPABILITY=default is set, as it was for the record\n"


@pytest.mark.parametrize("has", [True, False])
def test_instructions_that_torch_took_by_itself_are_taken_again_where_the_processor_has_them(
    has: bool, record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr("tksbench.runs.processor.has_avx512", lambda: has)
    rerun._take_over(other(record, environment={}, machine={"instructions": "AVX2"}))
    assert "ATEN_CPU_CAPABILITY" not in os.environ  # what trainers choose anyway
    rerun._take_over(other(record, environment={}, machine={"instructions": "AVX512"}))
    assert os.environ.get("ATEN_CPU_CAPABILITY") == ("avx512" if has else None)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert capsys.readouterr().out.startswith("note: ATEN_CPU_CAPABILITY=avx512 is set") == has


@pytest.mark.parametrize(
    ("summary", "status"),
    [
        (Summary(), 0),
        (Summary(failed=[None]), 1),  # type: ignore[list-item]
        (Summary(refused=[None]), 2),  # type: ignore[list-item]
        (Summary(interrupted=[None]), 130),  # type: ignore[list-item]
        (Summary(stopped=True), 130),
    ],
)
def test_the_exit_status_says_how_it_ended(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, summary: Summary, status: int
) -> None:
    monkeypatch.setattr("tksbench.launch.local.LocalExecutor.execute", lambda self, items: summary)
    assert rerun._train(expand(load_recipe("r.yaml"), "smoke")[0], ledger) == status


def test_it_is_executed_as_it_was(ledger: Ledger) -> None:
    run = expand(load_recipe("r.yaml"), "smoke", seeds=2)[1]
    record = make(run, 40.0, 0.0)
    proof = record.provenance.model_copy(update={"threads": 3})
    again = rerun.run_of(record.model_copy(update={"provenance": proof}))
    assert (again.id, again.seed, again.spec) == (run.id, 43, run.spec)
    assert (again.execution.device, again.execution.threads) == ("cpu", 3)
    again = rerun.run_of(make(run, 40.0, 0.5))
    assert (again.execution.device, again.execution.threads, again.execution.workers) == ("cuda", None, 4)


def test_what_cannot_be_made_again_is_one_message(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = expand(load_recipe("r.yaml"), "smoke")[0]
    run_dir = ledger.prepare(run)
    assert run_command(rerun.main, [run.id]) == BAD_INPUT
    assert "only what has a record can be made again" in capsys.readouterr().err
    save_record(run_dir.record, make(run, 40.0, 0.5))
    assert run_command(rerun.main, [run.id]) == BAD_INPUT
    assert "the record is of a GPU, and there is none here" in capsys.readouterr().err
    assert not Path("build").exists()


def test_a_folder_without_a_name_is_refused(ledger: Ledger) -> None:
    with pytest.raises(TksbenchError, match="--into: '' names no folder"):
        rerun.main(["d5df", "--into", ""])
