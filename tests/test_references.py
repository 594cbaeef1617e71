"""What comments, recipes and pages refer to exists: pages, their headings, files here, places in a named repository.

A page is referred to as `docs/protocol.md#the-loss`: path, and the anchor of a heading. A place in code that is not
here has a prefix of the legend in docs/protocol.md, such as `TKS:train_main.py:780`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEGEND = "docs/protocol.md"
ROOMS = ("tksbench", "recipes", "docs", "tests", "benchmarks", "slurm", ".ci")
AT_THE_TOP = ("README.md", "CHANGELOG.md", "Makefile", "mkdocs.yml", "pyproject.toml")
KINDS = {"", ".c", ".css", ".md", ".py", ".sh", ".tex", ".toml", ".txt", ".yaml", ".yml"}
GENERATED = ("docs/history.md", "docs/reference/commands.md", "docs/reference/recipe.md")  # by .ci/docs_hooks.py

URL = re.compile(r"https?://\S+")
PAGE = re.compile(r"(?<![\w*/.{<-])((?:\.\./)*(?:[\w.-]+/)*[\w.-]+\.md)\b(?:#([\w-]+))?")
WITHIN = re.compile(r"\]\(#([\w-]+)\)")
CODE = re.compile(r"(?:\b([A-Za-z][\w-]*):)?(?<![\w/.*{<-])((?:[\w-]+/)*[\w-]+\.(?:py|c|cu))\b(?::(\d+))?")
ANY = re.compile(r"\.(?:md|py|c|cu)\b|\bissues? #?\d|\b[0-9a-f]{7}\b", re.IGNORECASE)  # one of these, or a commit
ISSUE = re.compile(r"\bissues? #?\d+", re.IGNORECASE)


def files(root: Path) -> list[Path]:
    found = [root / name for name in AT_THE_TOP if (root / name).is_file()]
    for room in ROOMS:
        found += [path for path in sorted((root / room).rglob("*")) if path.is_file() and path.suffix in KINDS]
    return [path for path in found if not {"__pycache__", "node_modules"} & set(path.parts)]


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of what a file says in words: all of a page or a recipe, comments and docstrings of code."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a program or a picture without a suffix
        return
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    if not ANY.search(text):  # taking a program apart is what takes time
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from enumerate(node.value.value.splitlines(), node.lineno)


def anchors(page: Path) -> set[str]:
    """Anchors that a page's headings have on GitHub and in the built documentation alike."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "]", heading)).strip().lower()
        ascii_only = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        here, built = plain.replace(" ", "-"), re.sub(r"[-\s]+", "-", ascii_only)
        found |= {here} if here == built else set()
    return found


def legend(root: Path) -> dict[str, str]:
    """Prefix and commit of each repository that the legend lists."""
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| ([0-9a-f]{7,}) \|$", (root / LEGEND).read_text("utf-8"), re.MULTILINE)
    return dict(rows)


def problems(root: Path) -> list[str]:
    """Every reference to what does not exist, with its place."""
    places, sources = files(root), legend(root)
    pages = [path for path in (*places, *sorted((root / "results").rglob("*.md"))) if path.suffix == ".md"]
    headings = cache(anchors)
    found = []
    for path in places:
        for number, line in prose(path):
            where, text = f"{path.relative_to(root)}:{number}", URL.sub("", line)
            for name, anchor in PAGE.findall(text):
                target = page_of(name, path, root, pages)
                if target is None:
                    found.append(f"{where}: there is no page {name}")
                elif anchor and target.exists() and anchor not in headings(target):
                    found.append(f"{where}: {name} has no heading #{anchor}")
            if path.suffix == ".md":
                found += [f"{where}: no heading #{a}" for a in WITHIN.findall(text) if a not in headings(path)]
            for prefix, name, at in CODE.findall(text):
                if prefix not in sources and (at or not is_here(name, path, root, places)):
                    found.append(f"{where}: {name} has no prefix of the legend in {LEGEND}")
            found += [f"{where}: {number_of} of which project?" for number_of in ISSUE.findall(text)]
            if path != root / LEGEND:
                found += [f"{where}: {commit} stands in {LEGEND}" for commit in sources.values() if commit in text]
    return found


def page_of(name: str, path: Path, root: Path, pages: list[Path]) -> Path | None:
    """The page of that name as seen from a file: below the root, the file's folder or docs, or by its name alone."""
    for base in (root, path.parent, root / "docs"):
        page = (base / name).resolve()
        if page.is_file() or page in {root / generated for generated in GENERATED}:
            return page
    return next((page for page in pages if page.name == name), None)


def is_here(name: str, path: Path, root: Path, places: list[Path]) -> bool:
    if path.suffix == ".md":  # a page may name a file that its reader is to write
        return True
    return (path.parent / name).exists() or any(f"/{place.relative_to(root)}".endswith(f"/{name}") for place in places)


def test_everything_that_is_referred_to_exists() -> None:
    found = problems(ROOT)
    assert not found, "\n".join(found)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "tksbench").mkdir()
    page = "# The protocol\n\n| `TKS` | Brain-Cog-Lab/TKS | 52401db |\n\n## The loss\n\nSee [above](#the-protocol).\n"
    (tmp_path / LEGEND).write_text(page)
    (tmp_path / "tksbench" / "losses.py").write_text(
        '"""The loss (docs/protocol.md#the-loss)."""\n\nx = 1  # TKS:RCNN.py:103\ny = "any.md"\n'
    )
    return tmp_path


def test_a_sound_tree_has_no_problem(tree: Path) -> None:
    assert problems(tree) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("docs/protocol.md#the-loss", "design.md 1.2", "1: there is no page design.md"),
        ("docs/protocol.md#the-loss", "docs/protocol.md#loss", f"1: {LEGEND} has no heading #loss"),
        ("TKS:RCNN", "RCNN", f"3: RCNN.py has no prefix of the legend in {LEGEND}"),
        ("TKS:RCNN", "BC:RCNN", f"3: RCNN.py has no prefix of the legend in {LEGEND}"),
        ("TKS:RCNN.py:103", "RCNN.py", f"3: RCNN.py has no prefix of the legend in {LEGEND}"),
        ("TKS:RCNN.py:103", "losses.py:1", f"3: losses.py has no prefix of the legend in {LEGEND}"),
        ("TKS:RCNN.py:103", "issue 17", "3: issue 17 of which project?"),
        ("TKS:RCNN.py:103", "TKS @52401db", f"3: 52401db stands in {LEGEND}"),
    ],
)
def test_a_reference_to_what_does_not_exist_is_named(tree: Path, old: str, new: str, problem: str) -> None:
    file = tree / "tksbench" / "losses.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert problems(tree) == [f"tksbench/losses.py:{problem}"]


@pytest.mark.parametrize(
    ("heading", "problem"),
    [
        ("## The loss", f"tksbench/losses.py:1: {LEGEND} has no heading #the-loss"),
        ("# The protocol", f"{LEGEND}:7: no heading #the-protocol"),
    ],
)
def test_a_renamed_heading_is_noticed(tree: Path, heading: str, problem: str) -> None:
    page = tree / LEGEND
    page.write_text(page.read_text().replace(heading, f"{heading} and more"))
    assert problems(tree) == [problem]


def test_the_legend_is_read() -> None:
    assert legend(ROOT).items() >= {"TKS": "52401db", "BrainCog": "3998fd5"}.items()
