"""Parts from files of one's own in the loop of training: an optimizer and a schedule, an encoder and a surrogate."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_docs import ROOT, titled
from tests.train.conftest import MakeRun
from tests.train.test_loop import Enlarged, outcome, train
from tksbench.data.base import Data
from tksbench.runs.files import read_jsonl
from tksbench.train.checkpoint import weights_digest
from tksbench.train.errors import Interrupted

LION = ("optim.name=lion:Lion", "optim.beta1=0.8", "optim.schedule={name: lion:halved, every: 1}")


def test_an_optimizer_and_a_schedule_from_outside_end_the_same_wherever_the_run_is_stopped(
    make_run: MakeRun, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((title, code),) = titled(ROOT / "docs/how-to/add-an-optimizer.md", "python")
    (tmp_path / title).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lion", raising=False)
    run, whole = make_run("whole", *LION)
    want = outcome(whole, train(run, whole, tiny_data))
    assert [row["lr"] for row in read_jsonl(whole.metrics)] == pytest.approx([1e-6, 5e-3, 2.5e-3])
    run, broken = make_run("broken", *LION)
    for stop_after in (4, 3):  # within the second epoch, then within the third
        with pytest.raises(Interrupted):
            train(run, broken, tiny_data, stop_after)
    assert outcome(broken, train(run, broken, tiny_data)) == want


MINE = """
from tksbench.snn.encoder import Encoder
from tksbench.snn.surrogate import spike

class Scaled(Encoder):
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, images, steps):
        return self.scale * images.expand(steps, *images.shape)

class Wide:
    def __init__(self, *, width: float = 1.0):
        self.width = width

    def __call__(self, x):
        return spike(x, lambda x: (1 - x.abs() / self.width).clamp(min=0))
"""


def test_an_encoder_and_a_surrogate_from_outside_are_trained_and_each_value_of_theirs_is_another_run(
    make_run: MakeRun, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    for scale, width in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0)):
        neuron = f"{{name: lif, surrogate: {{name: parts_of_mine:Wide, width: {width}}}}}"
        encoder = f"{{name: parts_of_mine:Scaled, scale: {scale}}}"
        model = f"model={{name: biasfree_resnet20, T: 2, width: 0.03, neuron: {neuron}, encoder: {encoder}}}"
        run, run_dir = make_run(
            f"{scale}-{width}", model, "data.image_size=16", "optim.epochs=1", "optim.warmup_epochs=0"
        )
        data = replace(tiny_data, train=Enlarged(60, 0, True), test=Enlarged(25, 1, False))
        found[run.id] = weights_digest(train(run, run_dir, data).model)
    assert len(found) == len(set(found.values())) == 3
