"""The page in a real Chromium: what a reader sees and does, with a mouse, a keyboard, on a phone, in the dark."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tksbench.report import __main__ as report
from tksbench.runs.record import save_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import World
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
MORE = """
claims:
  - {id: over, text: TKS beats the baseline, kind: difference, metric: top1, value: 3.1, where: text,
     a: {run: cifar10/spiking_resnet19/tks}, b: {run: cifar10/spiking_resnet19/baseline}}
figures:
  figure3a: {title: First steps, dataset: nmnist, stated: [
    {run: nmnist/vgg_snn/tks, steps: 1, value: 75, approximate: true},
    {run: nmnist/vgg_snn/tks, steps: 10, value: 85.3, approximate: false}]}
"""
CELL = "table1/cifar10/resnet19/tks"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture
def address(world: World) -> str:
    """A page with a cell that is reproduced, one below, one without a recipe, and a hostile record."""
    paper = world.root / "results" / "paper.yaml"
    paper.write_text(paper.read_text() + MORE)
    for seed, top1 in ((42, 79.0), (43, 80.0), (44, 81.5)):
        world.publish(world.run(seed=seed), top1)
        world.publish(world.run(seed=seed, method="baseline"), 60.0)
    run = world.run(seed=45)
    provenance = world.record(run).provenance.model_dump() | {"diff": HOSTILE, "command": HOSTILE, "commit": HOSTILE}
    save_record(world.ledger.run_dir(run.id).record, world.record(run, changes={"provenance": provenance}))
    assert report.main([]) == 0
    return (world.root / "results" / "report.html").as_uri()


class Reader:
    """A tab on the page, and all that went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def methods(self, table: str = "table3") -> list[str]:
        return self.page.locator(f"#{table} .row:visible .method").all_text_contents()

    def background(self) -> str:
        return str(self.page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.fixture
def reader(browser: Browser, address: str) -> Iterator[Reader]:
    """A desktop reader, who must not see an error or cause a request."""
    page = browser.new_page(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(10_000)
    reader = Reader(page)
    page.goto(address)
    yield reader
    assert reader.wrong == []
    assert {url.split("#")[0] for url in reader.asked} == {address}
    assert page.evaluate("window.broken") is None
    page.close()


def test_rows_are_sorted_and_put_back(reader: Reader) -> None:
    page = reader.page
    page.locator("#cited").check()
    head = page.locator("#table1 th", has_text="Paper").first
    cifar10 = page.locator("#table1 tbody").first.locator(".row .method")
    before = cifar10.all_text_contents()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert cifar10.all_text_contents() == ["TKS*", "Other_net & co [5]*", "Rate [36]"]  # the unknown value comes last
    head.get_by_role("button").click()
    assert cifar10.all_text_contents() == ["Other_net & co [5]*", "TKS*", "Rate [36]"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None and cifar10.all_text_contents() == before
    page.locator("#order").select_option("paper:-1")
    assert cifar10.all_text_contents() == ["TKS*", "Other_net & co [5]*", "Rate [36]"]


def test_rows_are_filtered_by_words_and_by_verdict(reader: Reader) -> None:
    page, count = reader.page, reader.page.locator("#count")
    assert count.inner_text() == "4 of 4 cells"
    assert page.locator(".row[data-kind=cited]:visible").count() == 0
    page.locator("#cited").check()
    assert page.locator(".row[data-kind=cited]:visible").count() == 2
    page.locator("#cited").uncheck()
    page.locator("#filter").fill("cifar100 tks")
    assert count.inner_text() == "1 of 4 cells" and not page.locator("#table3").is_visible()
    page.locator("#filter").fill("")
    page.get_by_role("button", name="below").click()
    assert reader.methods() == ["Baseline"] and count.inner_text() == "1 of 4 cells"
    page.locator("#filter").fill("no such thing")
    page.get_by_role("button", name="Show all").click()
    assert count.inner_text() == "4 of 4 cells"


def test_a_row_opens_what_stands_behind_it(reader: Reader) -> None:
    page, dialog = reader.page, reader.page.locator("#why")
    page.locator(f"[id='{CELL}']").click()
    told = dialog.inner_text()
    assert all(word in told for word in (CELL, "python -m tksbench.launch", "c0ffee", "torch 2.15.0", "test_batch"))
    assert HOSTILE in told and "reproduced" in told and "79.00 %" in told
    dialog.get_by_text("Full spec").click()
    assert "optim.epochs" in dialog.inner_text()
    page.locator("#next").click()
    assert "table3/cifar10/resnet19/baseline" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_everything_works_from_the_keyboard(reader: Reader) -> None:
    page, dialog = reader.page, reader.page.locator("#why")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.keyboard.type("baseline")
    assert page.locator("#count").inner_text() == "1 of 4 cells"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('a.why')"):
            break
    page.keyboard.press("Enter")
    assert dialog.is_visible() and "60.00" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible() and page.evaluate("document.activeElement.matches('a.why')")


def test_a_link_to_a_cell_opens_it(reader: Reader, address: str) -> None:
    reader.page.goto(f"{address}#{CELL}")
    reader.page.reload()
    assert CELL in reader.page.locator("#why").inner_text()


def test_a_chart_tells_its_values(reader: Reader) -> None:
    page, tip = reader.page, reader.page.locator("#tip")
    chart = page.locator("#figures svg[data-hover]").first
    chart.focus()
    page.keyboard.press("ArrowRight")
    assert "TKS, stated by the paper: about 75 %" in tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert "time steps used at test time 10" in tip.inner_text() and "85.3 %" in tip.inner_text()
    page.locator("h1").hover()
    assert not tip.is_visible()
    chart.hover(position={"x": 60, "y": 40})
    assert "about 75 %" in tip.inner_text()


def test_dark_follows_the_system_and_the_button_stays_pressed(reader: Reader) -> None:
    page, light = reader.page, reader.background()
    page.emulate_media(color_scheme="dark")
    dark = reader.background()
    assert dark != light
    page.locator("#theme").click()
    assert reader.background() == light
    page.reload()
    assert reader.background() == light
    page.locator("#theme").click()
    page.emulate_media(color_scheme="light")
    assert reader.background() == dark
    page.emulate_media(media="print")
    assert reader.background() == "rgb(255, 255, 255)" and not page.locator(".tools").is_visible()


def test_a_phone_never_scrolls_sideways(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.locator("#cited").check()

    def overhang(of: str) -> int:
        return int(page.evaluate(f"(one => one.scrollWidth - one.clientWidth)({of})"))

    assert overhang("document.documentElement") == 0 and page.evaluate("innerWidth") == 390
    page.locator(f"[id='{CELL}']").tap()
    assert page.locator("#why").is_visible() and overhang("document.querySelector('#why')") == 0
    page.close()


def test_rows_are_sorted_on_a_phone(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(address)
    page.locator("#cited").check()
    buttons = page.locator("#table1 thead button")
    buttons.first.scroll_into_view_if_needed()
    boxes = [one.bounding_box() for one in buttons.all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 32 for box in boxes)
    buttons.filter(has_text="Paper").tap()
    methods = page.locator("#table1 tbody").first.locator(".row .method")
    assert methods.all_text_contents() == ["TKS*", "Other_net & co [5]*", "Rate [36]"]
    assert page.locator("#table1 thead th[aria-sort=descending]").inner_text().startswith("Paper")
    page.close()


def test_without_javascript_everything_can_still_be_read(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".row:visible").count() == 6 and not page.locator(".tools").is_visible()
    page.locator("a.why").first.click()
    assert page.locator(".run summary").first.is_visible()
    context.close()
