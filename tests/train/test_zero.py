"""DeepSpeed's ZeRO: the same run as without, and clear words where it cannot be."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.train import ranks
from tests.train.conftest import MakeRun
from tests.train.test_parallel import losses
from tksbench.recipe import Execution, OptimSpec, extras
from tksbench.runs.paths import RunDir
from tksbench.runs.record import load_record
from tksbench.train import job
from tksbench.train.batch_shares import BatchShares
from tksbench.train.checkpoint import list_checkpoints
from tksbench.train.errors import TrainError
from tksbench.train.join import join
from tksbench.train.parallel import ALONE

needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed: make env EXTRAS=deepspeed"
)
# A network that does learn: one that is silent gets the right loss from wrong gradients.
LEARNS = ("model.name=sew_resnet18", "model.width=0.1", "model.T=4", "optim.epochs=2", "optim.warmup_epochs=0")
SGD = ("optim.name=sgd", "optim.lr=1e-2")
REPLICAS = "optim.replica_batch=4"


@pytest.fixture(autouse=True)
def no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def newest(run_dir: RunDir) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(run_dir.checkpoints)[0])


@needs_deepspeed
@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        (1, (*SGD, REPLICAS, "optim.drop_last=false")),  # the last batch gives one process one pass, the other two
        (2, ("optim.name=adamw", "optim.lr=2e-3", REPLICAS)),
        (3, SGD),
    ],
)
def test_same_run_with_zero_which_resumes_to_the_bit(stage: int, overrides: tuple[str, ...], make_run: MakeRun) -> None:
    divided = (*LEARNS, *overrides, f"execution.zero={stage}")
    _, plain = make_run("plain", *LEARNS, *overrides)
    assert ranks.run_ranks(plain.path, 2) == [0, 0]
    _, whole = make_run("whole", *divided)
    assert ranks.run_ranks(whole.path, 2, ranks.divide_all) == [0, 0], whole.log.read_text()
    assert losses(whole) == pytest.approx(losses(plain), abs=1e-5)
    torch.testing.assert_close(newest(whole), newest(plain), rtol=1e-4, atol=1e-5)
    _, broken = make_run("broken", *divided)
    assert ranks.run_ranks(broken.path, 2, ranks.divide_all_and_stop) == [job.SAVED] * 2
    assert ranks.run_ranks(broken.path, 2, ranks.divide_all) == [0, 0]
    assert load_record(broken.record).weights_sha256 == load_record(whole.record).weights_sha256
    assert broken.losses.read_bytes() == whole.losses.read_bytes()


@needs_deepspeed
def test_run_goes_on_without_zero(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = tmp_path / "compiled"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(compiled))
    overrides = (*LEARNS, *SGD, "execution.zero=2")
    _, whole = make_run("whole", *overrides)
    assert ranks.run_ranks(whole.path, 1) == [0]
    _, run_dir = make_run("results", *overrides)
    assert ranks.run_ranks(run_dir.path, 2, ranks.stop_process_1) == [job.SAVED] * 2
    assert ranks.run_ranks(run_dir.path, 1) == [0]
    torch.testing.assert_close(newest(run_dir), newest(whole), rtol=1e-4, atol=1e-5)
    assert not compiled.exists()  # DeepSpeed would build a library that training has no use for


def test_missing_package_is_one_clear_error(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    _, run_dir = make_run("results", "execution.zero=2")
    before = sorted(run_dir.path.rglob("*"))
    with caplog.at_level(logging.INFO, "tksbench.train"):
        assert job.run_job(run_dir.path) == job.BAD_INPUT
    (message,) = caplog.messages
    assert message.startswith("execution.zero 2 needs DeepSpeed: make env EXTRAS=deepspeed")
    assert sorted(run_dir.path.rglob("*")) == before


def test_one_process_trains_without(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: SimpleNamespace())
    with caplog.at_level(logging.INFO, "tksbench.train"):
        assert join(Execution(zero=2), lambda verdict: None) is ALONE
    assert "this run is one, and trains without" in caplog.text


def test_unlike_numbers_of_passes_are_refused() -> None:
    class Two(type(ALONE)):  # type: ignore[misc]
        size = 2
        even_passes = True

    options = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0, "epochs": 9, "batch_size": 16, "replica_batch": 4}
    with pytest.raises(TrainError, match="last batch of an epoch has 3 replica batches, not as many for each of 2"):
        BatchShares(28, OptimSpec.model_validate({**options, "drop_last": False}), torch.nn.Identity(), Two())
    BatchShares(24, OptimSpec.model_validate({**options, "drop_last": False}), torch.nn.Identity(), Two())
