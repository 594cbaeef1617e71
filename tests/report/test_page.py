"""The page as text: whole, self-contained, the same each time, and safe whatever a record says."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from tksbench import tables
from tksbench.errors import TksbenchError
from tksbench.report import __main__ as report
from tksbench.report.page.charts import nice_ticks, thin
from tksbench.report.page.model import KINDS, kind_of
from tksbench.runs.record import save_record

if TYPE_CHECKING:
    from conftest import World

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror=alert(1)>"


def page(world: World) -> str:
    assert report.main([]) == 0
    return (world.root / "results" / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(world: World) -> None:
    world.publish(world.run())
    html = page(world)
    assert not re.search(
        r"\b(?:src|srcset|action|poster)=[\"']|<(?:link|iframe|object|embed|base)\b|@import|url\(", html
    )
    assert {url.split("/")[2] for url in re.findall(r"https?://[^\s\"'<>]+", html)} <= {"arxiv.org"}
    assert not (world.root / "results" / "tables").exists()


def test_only_its_own_script_may_run(world: World) -> None:
    html = page(world)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; script-src 'sha256-"
    assert f'content="{policy}{digest}\'">' in html


def test_what_a_record_says_stays_text(world: World) -> None:
    run = world.run()
    plain = world.record(run).model_dump(mode="json")
    plain["cost"]["device"] = plain["provenance"]["command"] = plain["provenance"]["commit"] = HOSTILE
    plain["provenance"] |= {"diff": HOSTILE, "versions": {HOSTILE: HOSTILE}, "data": {HOSTILE: HOSTILE}}
    hostile = world.record(run, changes={key: plain[key] for key in ("cost", "provenance")})
    save_record(world.ledger.run_dir(run.id).record, hostile)
    world.ledger.run_dir(run.id).log.write_text(HOSTILE)
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(
        paper.read_text().replace("Other_net & co", HOSTILE).replace("{title: T}", f'{{title: "{HOSTILE}"}}')
    )
    html = page(world)
    assert html.count("<script") == 1 and "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 9


def test_the_same_records_give_the_same_page(world: World) -> None:
    for seed in (42, 43, 44):
        world.publish(world.run(seed=seed), 79.0 + seed % 3)
    assert page(world) == page(world)


def test_the_summary_counts_verdicts_and_what_is_missing(world: World) -> None:
    assert "None of the paper’s 3 own numbers is judged yet." in page(world)
    for seed in (42, 43, 44):
        world.publish(world.run(seed=seed), 78.0 + seed % 3)
        world.publish(world.run(seed=seed, method="baseline"), 60.0)
    html = " ".join(page(world).split())
    assert "<b>one is reproduced</b>; ours is better in none and worse in one." in html
    paper = world.root / "results" / "paper.yaml"  # of AURC, too much is worse
    paper.write_text(paper.read_text().replace("metric: aurc, value: null", "metric: aurc, value: 0.1"))
    assert "ours is better in none and worse in two." in (worse := " ".join(page(world).split()))
    assert worse.count('class="row less"') == 1
    assert "Six finished runs by two protocols (paper: 6), 6.0 hours of training, 3.0 GPU-hours" in html


def test_many_seeds_are_counted_but_not_all_told(world: World) -> None:
    for seed in range(42, 52):
        world.publish(world.run("mini", seed=seed))
    html = page(world)
    assert "10 finished runs at scale mini" in html and "And 5 more" in html
    assert html.count("<dt>Record</dt>") == 5


def test_a_refused_record_is_named(world: World) -> None:
    record = world.publish(world.run())
    path = world.ledger.published(record.id)
    path.write_text(path.read_text().replace('"top1": 80.0', '"top1": 81.0', 1))
    html = page(world)
    assert "One record that cannot be true" in html and record.id in html


def test_the_page_comes_with_the_tables_or_alone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["table1", "--format", "md,html"]) == 0
    assert sorted(path.name for path in (world.root / "results" / "tables").iterdir()) == ["table1.md"]
    assert "Table 3" in (world.root / "results" / "report.html").read_text()
    assert capsys.readouterr().out.endswith("written to results/report.html\n")
    with pytest.raises(TksbenchError, match="--check compares md and tex"):
        tables.main(["--check", "--format", "html"])


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        ("reproduced", "reproduced"),
        ("undecided (n=2)", "undecided"),
        ("not comparable (scale mini)", "not comparable"),
        ("running 62 %", "running"),
        ("failed (out of memory)", "failed"),
        ("not run (about 9 GPU-h)", "not run"),
        ("holds at scale mini (n=3)", "reproduced"),
        ("does not hold (n=3)", "below"),
    ],
)
def test_every_verdict_has_a_kind(verdict: str, kind: str) -> None:
    assert kind in KINDS and kind_of(verdict) == kind


def test_every_kind_has_a_shape_of_its_own(world: World) -> None:
    shapes = dict(re.findall(r'<symbol id="v-([\w-]+)"[^>]*>(.*?)</symbol>', page(world)))
    assert shapes.keys() == {kind.replace(" ", "-") for kind in KINDS}
    assert len(set(shapes.values())) == len(KINDS)


def test_a_long_curve_keeps_its_ends_and_its_best_epoch() -> None:
    kept = thin(range(600), [577], 48)
    assert len(kept) <= 49 and {0, 577, 599} <= set(kept)
    assert thin(range(5), [], 48) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("low", "high"), [(61, 97), (0.02, 0.03), (97, 97), (0, 0), (-10.4, 9.7), (1e3, 2e5)])
def test_ticks_are_round_and_cover_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 4)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
    assert all(len(f"{tick:g}") <= 6 for tick in ticks)


def test_a_claim_that_is_not_the_papers_is_marked_and_the_mark_explained(world: World) -> None:
    sides = "a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}"
    rest = f"kind: difference, metric: top1, value: null, {sides}, where: somewhere"
    paper = world.root / "results" / "paper.yaml"
    own = f"claims:\n  - {{id: own, text: One beats two, {rest}}}\n"
    plain = paper.read_text()
    paper.write_text(plain + own)
    assert "One further claim has no runs on real data yet" in page(world)
    for method in ("tks", "baseline"):
        world.publish(world.run("mini", method), 60.0)
    html = page(world)
    assert "carried over" not in html and "corrected over these alone" not in html
    more = f"  - {{id: far, text: Also elsewhere, extends: own, {rest}}}\n"
    more += f"  - {{id: code, text: The sum is better, variant: method.agg, {rest}}}\n"
    paper.write_text(plain + own + more)
    html = page(world)
    for text in ("One beats two <small>", "Also elsewhere + <small>", "The sum is better ++ <small>varies method.agg"):
        assert text in html
    assert "+: not in the paper; its claim carried over" in html
    assert "corrected over these alone" in html
    assert "The paper’s claim</th>" not in html and "over all claims" not in html
