"""`python -m benchmarks`: what it writes, what it says, and that its parts measure what they claim."""

from __future__ import annotations

import json
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import data, framing, harness, parts, results, timing
from benchmarks.parts import BenchError, Options
from benchmarks.timing import Candidate, Case, Row
from tksbench.data.registry import ensure_miniature
from tksbench.errors import TksbenchError
from tksbench.recipe import DataSpec
from tksbench.runs.record import load_record

README = Path(results.__file__).with_name("README.md")


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The only part there is: two candidates that do nothing."""
    both = [Candidate("theirs", lambda: None), Candidate("ours", lambda: None, values=lambda: {"bytes": 7.0})]
    fake = types.SimpleNamespace(NEEDS=(), cases=lambda options: iter([Case("nothing", both, "theirs")]))
    monkeypatch.setattr(timing, "MAX_CALLS", 1)
    monkeypatch.setattr(command, "PARTS", {"fake": "nothing"})
    monkeypatch.setattr(command, "load_part", lambda name: fake)
    return fake


def bench(out: Path, *words: str) -> dict[str, object]:
    """Run the command and read the one file that it writes."""
    assert command.main([*words, "--out", str(out)]) == 0
    (path,) = out.glob("*.json")
    return json.loads(path.read_text())


def test_the_committed_pages_are_those_of_their_figures_and_say_what_relu_is() -> None:
    for path in (Path(results.__file__).parents[1] / "results" / "bench").glob("*.json"):
        content = json.loads(path.read_text())
        page = path.with_suffix(".md").read_text()
        assert page == results.to_markdown(content)
        measured = {part["part"] for part in content["parts"] if part["rows"]}
        assert ("over the same T time steps, with ReLU" in page) == ("networks" in measured)


def test_json_has_the_documented_keys(tmp_path: Path, part: types.SimpleNamespace) -> None:
    content = bench(tmp_path, "fake")
    found = {*content, *content["machine"], *content["parts"][0], *content["parts"][0]["rows"][0]}
    documented = {line.split("`")[1] for line in README.read_text().splitlines() if line.startswith("| `")}
    assert found == documented


def test_rows_name_part_case_candidate_and_reference(tmp_path: Path, part: types.SimpleNamespace) -> None:
    first, second = bench(tmp_path)["parts"][0]["rows"]
    assert [first["candidate"], second["candidate"]] == ["theirs", "ours"]
    assert (second["part"], second["case"], second["reference"]) == ("fake", "nothing", "theirs")
    assert len(second["wall_s"]) == second["rounds"] == 7
    assert second["values"] == {"bytes": 7.0}


def test_markdown_lies_beside_and_shows_every_candidate(tmp_path: Path, part: types.SimpleNamespace) -> None:
    bench(tmp_path)
    (path,) = tmp_path.glob("*.md")
    text = path.read_text()
    assert "## fake" in text
    assert "**nothing**" in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:4] == ["theirs", "ours"]


def test_a_missing_package_is_told_and_its_part_skipped(
    tmp_path: Path, part: types.SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    part.NEEDS = ("no_such_package",)
    (only,) = bench(tmp_path)["parts"]
    wanted = "no_such_package is not installed; make bench EXTRAS=bench installs what it needs"
    assert (only["skipped"], only["rows"]) == (wanted, [])
    assert f"fake: skipped: {wanted}" in capsys.readouterr().out.splitlines()


def test_a_case_is_found_in_whatever_part_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = {}
    for name in ("first", "second"):
        made = [Case(f"a case of the {name}", [Candidate("ours", lambda: None)], "ours")]
        fakes[name] = types.SimpleNamespace(NEEDS=(), cases=lambda options, made=made: iter(made))
    monkeypatch.setattr(timing, "MAX_CALLS", 1)
    monkeypatch.setattr(command, "PARTS", fakes)
    monkeypatch.setattr(command, "load_part", fakes.__getitem__)
    assert [part["part"] for part in bench(tmp_path, "--case", "the second")["parts"]] == ["second"]  # type: ignore[attr-defined]
    with pytest.raises(BenchError, match="--case 'third': no case of first, second has this in its name"):
        command.main(["--case", "third", "--out", str(tmp_path)])


def test_what_was_not_measured_again_stays(tmp_path: Path, part: types.SimpleNamespace) -> None:
    old = results.make_part("older", [row(part="older")], full=True, started="then", before=results.conditions())
    about = results.machine()
    results.save(tmp_path / "x.json", about, [old])
    measured = results.make_part("fake", [row()], full=False, started="now", before=results.conditions())
    skipped = measured | {"rows": [], "skipped": "no"}
    results.save(tmp_path / "x.json", about, [measured])
    content = results.save(tmp_path / "x.json", about, [skipped])
    assert content["parts"] == [old, measured]
    assert content == json.loads((tmp_path / "x.json").read_text())


def row(**changes: object) -> Row:
    one = Case("a case", [Candidate("ours", lambda: None)], "ours")
    made = timing.make_row("fake", one, "ours", {"ours": [timing.Sample(1.0, 1.0)]}).to_json()
    return Row(**(made | changes))


def test_the_terminal_table_fits_80_columns_reference_first() -> None:
    wide = {f"wall_ratio_{key}": 12.34 for key in ("median", "low", "high", "min")}
    rows = [row(candidate="a name of twenty-four ch", cpu_ratio_median=12.34, wall_s_median=1e-6, **wide), row()]
    lines = results.table([one.to_json() for one in rows], "simple").splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[2:]] == ["ours", "a"]


def test_processors_of_one_name_have_files_of_their_own() -> None:
    named = [results.machine_name("AMD EPYC", 2, (), isa) for isa in ("AVX2", "AVX512_CORE_BF16", "")]
    assert named == ["amd-epyc-avx2-2-cores", "amd-epyc-avx512-2-cores", "amd-epyc-2-cores"]


@pytest.mark.parametrize(
    ("cpu", "cores", "gpus", "name"),
    [
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 2, [], "intel-xeon-platinum-8481c-2-cores"),
        ("AMD EPYC 9654 96-Core Processor", 1, ["NVIDIA H200"], "amd-epyc-9654-1-core-nvidia-h200"),
    ],
)
def test_a_machine_is_named_after_its_kind(cpu: str, cores: int, gpus: list[str], name: str) -> None:
    assert results.machine_name(cpu, cores, gpus) == name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["framming"], "no part 'framming'.*framing"),
        (["--rounds", "3"], "--rounds 3: fewer than 7"),
        (["--data", "nowhere"], "--data nowhere: no such folder"),
        (["--out", __file__], "--out .*: cannot be made: File exists"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_wrong_command_line_is_one_clear_error(words: list[str], message: str) -> None:
    with pytest.raises(TksbenchError, match=message):
        command.main(words)


def test_every_part_there_is_can_be_loaded() -> None:
    for name in parts.PARTS:
        assert isinstance(parts.load_part(name).NEEDS, tuple)


# ---- the parts


def test_framing_candidates_give_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tonic")
    monkeypatch.setattr(framing, "SMALL", 2)
    monkeypatch.setattr(framing, "_KINDS", tuple(kind._replace(n=500) for kind in framing._KINDS))
    found = list(framing.cases(Options(full=False, data=tmp_path / "none", scratch=tmp_path)))
    assert len(found) == 3
    for case in found:
        reference, *others = (np.asarray(candidate.run()) for candidate in case.candidates)
        assert reference.sum() > 0
        for frames in others:
            np.testing.assert_array_equal(frames, reference)


def test_framing_takes_real_recordings_where_the_data_root_has_them(tmp_path: Path) -> None:
    pytest.importorskip("tonic")
    kind, folder = framing._KINDS[0], tmp_path / "n_mnist" / "Test" / "3"
    folder.mkdir(parents=True)
    kind.write(folder / "00001.bin", framing.synthetic(300, 34, 34, np.random.default_rng(0)))
    case = next(framing.cases(Options(full=False, data=tmp_path, scratch=tmp_path)))
    assert case.name == "N-MNIST, 1 recordings of 300 events, T=10, 34x34"


@pytest.mark.parametrize("real", [False, True])
def test_data_candidates_read_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool) -> None:
    monkeypatch.setattr(data, "BATCHES", (2, 2))
    monkeypatch.setattr(data, "BATCH", 8)
    if real:  # the miniature has the format of the original, but not its checksums
        ensure_miniature("cifar10", tmp_path)
        monkeypatch.setattr(data, "DataSpec", partial(DataSpec, source="miniature"))
        (tmp_path / "cifar-10-batches-py").symlink_to(next((tmp_path / "miniature").rglob("cifar-10-batches-py")))
    found = list(data.cases(Options(full=False, data=tmp_path, scratch=tmp_path)))
    assert [case.name.split()[0] for case in found] == ["plain", "strong"]
    for case in found:
        assert ("16 images of CIFAR-10" in case.name) == real
        batches = [candidate.run() for candidate in case.candidates]
        for images, labels in batches:
            assert (images.shape, images.dtype) == ((8, 3, 32, 32), torch.float32)
            assert torch.equal(labels, batches[0][1])
        assert all(candidate.values()["images/s"] > 0 for candidate in case.candidates)


def test_synthetic_records_are_valid_and_differ_by_seed(tmp_path: Path) -> None:
    runs = harness.all_runs("mini")[:2]
    harness.write_records(runs, tmp_path, 5)
    records = [load_record(path) for path in (tmp_path / "records").iterdir()]
    assert sorted((record.name, record.seed - 42) for record in records) == sorted(
        [(runs[0].name, 0), (runs[0].name, 1), (runs[0].name, 2), (runs[1].name, 0), (runs[1].name, 1)]
    )


def test_tables_are_made_from_all_synthetic_records(tmp_path: Path) -> None:
    runs = harness.all_runs("mini")
    case = harness._tables(runs, "mini", tmp_path, len(runs), 2 * len(runs))
    assert not list(tmp_path.iterdir())  # they take a minute, and the case may not be asked for
    assert [candidate.name for candidate in case.candidates] == [f"{len(runs)} records", f"{2 * len(runs)} records"]
    case.candidates[1].run()
    table1 = (tmp_path / str(2 * len(runs)) / "tables" / "table1.md").read_text()
    assert "80.00 ± 0.00 | 80.00 ± 0.00 | 2 |" in " ".join(table1.split())


def test_a_command_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"-m tksbench.tables ended with status 2: .*table9"):
        harness._python(["-m", "tksbench.tables", "table9"], tmp_path)


def test_reading_a_record_needs_no_case_before_it(tmp_path: Path) -> None:
    _, reading = harness._one_record(harness.synthetic_record(harness.all_runs("smoke")[0]), tmp_path)
    for candidate in reading.candidates:
        candidate.run()


def test_a_record_is_written_and_read(tmp_path: Path) -> None:
    run = harness.all_runs("smoke")[0]
    for case in harness._one_record(harness.synthetic_record(run), tmp_path):
        for candidate in case.candidates:
            candidate.run()
    assert (tmp_path / f"{run.id}.json").stat().st_size > 1000
