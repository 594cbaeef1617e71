"""The committed numbers of the paper: complete, and consistent between tables and with the text."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tksbench.report.paper import Paper
from tksbench.report.paper_file import load_paper

PAPER = Path(__file__).parents[1] / "results" / "paper.yaml"
VARIANT = r"(-plain|-T([1-9]))?"


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return yaml.safe_load(PAPER.read_text(encoding="utf-8"))


def rows_of(paper: dict[str, Any], table: str) -> list[dict[str, Any]]:
    return paper["tables"][table]["rows"]


def all_rows(paper: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for table in paper["tables"].values() for row in table["rows"]]


def own_rows(paper: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in all_rows(paper) if "cell" in row]


def value_of(paper: dict[str, Any], cell: str) -> float:
    (value,) = [row["value"] for row in own_rows(paper) if row["cell"] == cell]
    return value


def cited(paper: dict[str, Any], table: str, dataset: str, ref: str) -> list[dict[str, Any]]:
    return [r for r in rows_of(paper, table) if r["dataset"] == dataset and r.get("ref") == ref]


@pytest.mark.parametrize(
    ("table", "own", "others"), [("table1", 8, 23), ("table2", 2, 14), ("table3", 52, 0), ("table4", 36, 0)]
)
def test_every_printed_number_has_one_entry(paper: dict[str, Any], table: str, own: int, others: int) -> None:
    kinds = Counter("cell" in row for row in rows_of(paper, table))
    assert (kinds[True], kinds[False]) == (own, others)


@pytest.mark.parametrize(("table", "lines"), [("table3", 28), ("table4", 18)])
def test_printed_lines_of_the_two_tables_with_two_metrics(paper: dict[str, Any], table: str, lines: int) -> None:
    assert len({(r["dataset"], r["architecture"], r["method"]) for r in rows_of(paper, table)}) == lines


def test_aurc_is_printed_everywhere_but_on_imagenet(paper: dict[str, Any]) -> None:
    aurc = [r["dataset"] for r in rows_of(paper, "table3") if r["metric"] == "aurc"]
    assert len(aurc) == 24
    assert "imagenet" not in aurc


@pytest.mark.parametrize(
    ("table", "dataset", "refs"),
    [
        ("table1", "cifar10", ["36", "37", "38", "39", "40", "41", "5", "23", "24"]),
        ("table1", "cifar100", ["36", "42", "37", "40", "5", "23", "24"]),
        ("table1", "imagenet", ["36", "43", "5", "6", "6", "23", "24"]),
        ("table2", "dvs_cifar10", ["5", "44", "45", "45", "40", "7", "8", "23", "24"]),
        ("table2", "ncaltech101", ["8", "46", "47", "48", "49"]),
    ],
)
def test_cited_rows_stand_in_the_printed_order(
    paper: dict[str, Any], table: str, dataset: str, refs: list[str]
) -> None:
    found = [r["ref"] for r in rows_of(paper, table) if r["dataset"] == dataset and "ref" in r]
    assert found == refs
    assert set(found) <= set(paper["references"])


def test_cells_are_unique_and_named_after_their_place(paper: dict[str, Any]) -> None:
    cells = [row["cell"] for row in own_rows(paper)]
    assert len(set(cells)) == len(cells) == 98
    for table in paper["tables"]:
        for row in rows_of(paper, table):
            if "cell" in row:
                assert row["cell"].split("/")[:2] == [table, row["dataset"]]


def test_runs_deduplicate_to_the_48_trainings_behind_the_tables(paper: dict[str, Any]) -> None:
    runs = {row["run"] for row in own_rows(paper)}
    assert len(runs) == 48
    assert sum("-plain/" in run for run in runs) == 2


def test_run_names_are_dataset_model_method(paper: dict[str, Any]) -> None:
    models = "spiking_resnet19|sew_resnet(18|19|34|50)|vgg_snn"
    pattern = f"({'|'.join(paper['datasets'])})/({models}){VARIANT}/({'|'.join(paper['methods'])})"
    for row in own_rows(paper):
        assert re.fullmatch(pattern, row["run"]), row["run"]
        assert row["run"].startswith(f"{row['dataset']}/")
        assert row["run"].endswith(f"/{row['method']}")


def test_no_number_is_missing_or_out_of_range(paper: dict[str, Any]) -> None:
    assert len(all_rows(paper)) == 135
    assert all(0 < row["value"] <= 100 for row in all_rows(paper))


def test_every_cited_row_has_its_network_and_steps_but_the_two_that_have_none(paper: dict[str, Any]) -> None:
    cited_rows = [row for row in all_rows(paper) if "ref" in row]
    assert {row["label"] for row in cited_rows if row["T"] is None or row["architecture"] is None} == {
        "HATS [48]",
        "DART [49]",
    }
    assert all(row["label"].endswith(f" [{row['ref']}]") for row in cited_rows)


def test_all_61_references_are_there(paper: dict[str, Any]) -> None:
    assert list(paper["references"]) == [str(n) for n in range(1, 62)]
    assert all({"cite", "title"} <= set(one) for one in paper["references"].values())
    used = {row["ref"] for row in all_rows(paper) if "ref" in row}
    assert len(used) == 20
    assert all(paper["references"][ref]["short"] for ref in used)


def test_numbers_have_no_more_decimals_than_are_printed(paper: dict[str, Any]) -> None:
    for table in paper["tables"].values():
        for row in table["rows"]:
            assert round(row["value"], table["decimals"]) == row["value"], row


GOLDEN = {
    "table1/cifar10/resnet19/tks-plain": 95.30,
    "table1/cifar10/resnet19/tks": 96.35,
    "table1/cifar10/sew_resnet19/tks": 96.76,
    "table1/cifar100/resnet19/tks-plain": 76.20,
    "table1/cifar100/resnet19/tks": 79.89,
    "table1/cifar100/sew_resnet19/tks": 80.67,
    "table1/imagenet/sew_resnet34/tks": 69.60,
    "table1/imagenet/sew_resnet50/tks": 70.70,
    "table2/dvs_cifar10/vgg_snn/tks": 85.3,
    "table2/ncaltech101/vgg_snn/tks": 84.1,
}


@pytest.mark.parametrize(("cell", "value"), GOLDEN.items())
def test_own_numbers_of_tables_1_and_2(paper: dict[str, Any], cell: str, value: float) -> None:
    assert value_of(paper, cell) == value


@pytest.mark.parametrize("cell", [cell for cell in GOLDEN if not cell.endswith("-plain")])
def test_tables_1_and_2_repeat_table_3(paper: dict[str, Any], cell: str) -> None:
    place = cell.split("/", 1)[1]
    (here,) = [r for r in own_rows(paper) if r["cell"] == cell]
    (there,) = [r for r in own_rows(paper) if r["cell"] == f"table3/{place}/top1"]
    assert (here["value"], here["run"], here["T"]) == (there["value"], there["run"], there["T"])


@pytest.mark.parametrize(("ref", "gain"), [("23", 1.60), ("24", 1.32)])
def test_imagenet_gains_over_tet_and_tebn_match_the_text(paper: dict[str, Any], ref: str, gain: float) -> None:
    (other,) = cited(paper, "table1", "imagenet", ref)
    assert value_of(paper, "table1/imagenet/sew_resnet34/tks") - other["value"] == pytest.approx(gain)


def test_aurc_lies_between_the_best_and_the_random_ordering(paper: dict[str, Any]) -> None:
    """With error e, the best ordering gives e + (1-e) ln(1-e) and a random one e, both x 10^3."""
    rows = {row["cell"]: row["value"] for row in rows_of(paper, "table3")}
    known = [c for c, v in rows.items() if c.endswith("/aurc") and v is not None]
    assert known
    for cell in known:
        error = 1 - rows[cell.replace("/aurc", "/top1")] / 100
        best = error + (1 - error) * math.log1p(-error)
        assert 1000 * best <= rows[cell] <= 1000 * error


@pytest.mark.parametrize(
    ("dataset", "n"),
    [
        ("cifar10", 10000),
        ("cifar100", 10000),
        ("imagenet", 50000),
        ("dvs_cifar10", 1000),
        ("ncaltech101", 870),
        ("cub", 5794),
        ("dogs", 8580),
        ("cars", 8041),
    ],
)
def test_test_set_sizes(paper: dict[str, Any], dataset: str, n: int) -> None:
    assert paper["datasets"][dataset]["test_samples"] == n


def test_own_accuracies_are_counts_out_of_the_test_set_but_for_two_of_ncaltech101(paper: dict[str, Any]) -> None:
    """An accuracy printed to d decimals is k/N rounded for some whole k; no N near 870 fits the two that are not."""
    off = set()
    for table in paper["tables"].values():
        for row in (r for r in table["rows"] if "cell" in r and r["metric"] != "aurc"):
            n = paper["datasets"][row["dataset"]]["test_samples"]
            nearest = 100 * round(row["value"] * n / 100) / n
            if abs(nearest - row["value"]) > 0.5 * 10 ** -table["decimals"] + 1e-9:
                off.add(row["cell"])
    assert off == {f"table3/ncaltech101/vgg_snn/{method}/top1" for method in ("baseline", "tks")}


@pytest.fixture(scope="module")
def loaded() -> Paper:
    return load_paper(PAPER.parent)


def test_claims_and_figures_name_runs_that_a_table_or_figure_3b_has(paper: dict[str, Any], loaded: Paper) -> None:
    runs = {row["run"] for row in own_rows(paper)}
    figure = paper["figures"]["figure3b"]
    runs |= {f"dvs_cifar10/vgg_snn-T{steps}/{method}" for steps in range(1, 10) for method in figure["methods"]}
    used = {side.run for claim in loaded.claims if claim.own for side in (claim.a, claim.b) if side.run}
    for one in paper["figures"].values():
        used |= {s["run"] for s in one["stated"]} | set(one.get("runs", []))
    assert used
    assert used <= runs


def test_every_sentence_has_claims_or_says_why_it_has_none(loaded: Paper) -> None:
    with_claims = {claim.statement for claim in loaded.claims}
    assert all(number in with_claims or one.see or one.note for number, one in enumerate(loaded.statements))
    sections = [one.section for one in loaded.statements]
    assert sections == sorted(sections)
    assert {"4.1", "4.2", "4.3", "5.2", "5.3", "5.4", "5.5"} <= set(sections)


def test_claims_are_well_formed(loaded: Paper) -> None:
    kinds = {"difference", "drop", "per_step", "narrows", "first_lowest", "worst_class"}
    assert {claim.kind for claim in loaded.claims} == kinds
    for claim in loaded.claims:
        assert claim.where
        # what is carried over to another data set, or varied, is not the paper's, and nothing is stated of its size
        assert claim.own == (claim.statement is not None)
        assert claim.own or (claim.value is None and claim.where == "not in the paper")
        assert bool(claim.place) == claim.own


KEPT = """cifar100-resnet19-over-baseline cifar100-resnet19-over-label-smoothing cifar100-resnet19-over-tet
cifar10-resnet19-over-baseline imagenet-sew34-over-tet imagenet-sew34-over-tebn dvs-cifar10-over-baseline
dvs-cifar10-baseline-drop dvs-cifar10-one-step dvs-cifar10-gap-narrows dvs-cifar10-every-step dvs-cifar10-first-step
ncaltech101-every-step ncaltech101-first-step nmnist-over-baseline nmnist-baseline-drop nmnist-one-step
nmnist-gap-narrows nmnist-every-step nmnist-first-step cifar100-code-sum cifar100-code-t2 cifar100-code-gradient"""


def test_claims_keep_their_ids(loaded: Paper) -> None:
    assert set(KEPT.split()) <= {claim.id for claim in loaded.claims}


@pytest.mark.parametrize(
    ("section", "metric", "count"),
    [
        ("Table 1", "top1", 11),  # three data sets, TET and TEBN on two, SEW-ResNet-19 on two, ImageNet twice
        ("Table 2", "top1", 2),
        ("Table 3", "top1", 20),  # six networks against three methods, SEW-ResNet-34 on ImageNet against two
        ("Table 3", "aurc", 18),
        ("Table 4", "top1", 12),  # three sets, two networks, two methods
        ("Table 4", "top5", 12),
        ("figure 3(b)", "top1", 18),  # nine T, two methods; the tenth is in Table 3
    ],
)
def test_the_tables_imply_their_claims(loaded: Paper, section: str, metric: str, count: int) -> None:
    found = [one for one in loaded.claims if one.where.startswith(f"{section}, ") and one.metric == metric]
    assert len(found) == count


def test_stated_differences_follow_from_the_tables(paper: dict[str, Any], loaded: Paper) -> None:
    values = {(row["run"], row["metric"]): row["value"] for row in own_rows(paper)}
    stated = [claim for claim in loaded.claims if claim.kind == "difference" and claim.value is not None]
    assert len(stated) == 75
    for claim in stated:
        theirs = values[claim.b.run, claim.metric] if claim.b.run else loaded.cited(claim.b).value  # type: ignore[union-attr]
        assert values[claim.a.run, claim.metric] - theirs == pytest.approx(claim.value), claim.id


def test_baseline_drop_follows_from_figure_3a(paper: dict[str, Any], loaded: Paper) -> None:
    stated = paper["figures"]["figure3a"]["stated"]
    at = {s["steps"]: s["value"] for s in stated if s["run"].endswith("/baseline")}
    (claim,) = [one for one in loaded.claims if one.kind == "drop" and one.own]
    assert at[10] - at[1] == pytest.approx(claim.value, abs=0.5)
    assert at[10] == value_of(paper, "table3/dvs_cifar10/vgg_snn/baseline/top1")
