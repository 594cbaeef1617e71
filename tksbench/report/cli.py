"""`python -m tksbench.tables`: the command line of the tables.

Tables are built from the published records (results/records) and from this machine's finished runs. Those that show
anything of this machine go to results/local, which git ignores; `--publish` publishes what is finished and then builds
from published records alone, as `--only-published` does: their tables, in results/tables, are the ones to commit.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.cli import CommandParser
from tksbench.exits import FAILED
from tksbench.progress import working
from tksbench.report.catalog import TEXTS, Sources, all_tables, build_table, table_names
from tksbench.report.groups import ReportError, at_scale, candidates, check_scale, recipe_files
from tksbench.text import count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from tksbench.report.paper import Paper
    from tksbench.runs import Ledger

_FORMATS = (*TEXTS, "html")
_ABOUT = """\
Build the paper's tables from the logged runs: the paper's number, ours, both
error bars, a verdict."""
_EXAMPLES = """\
examples:
  python -m tksbench.tables             all tables, to results/tables, or to
                                        results/local with runs of this machine
  python -m tksbench.tables table1 --format tex
  python -m tksbench.tables table1 --ours
                                        without the rows of cited works
  python -m tksbench.tables table3 --scale smoke
                                        with our numbers of that scale
  python -m tksbench.tables figures     PDF, PNG and CSV, likewise
  python -m tksbench.tables paper       what the paper claims, and what its own
                                        numbers say of it
  python -m tksbench.tables --why table1/cifar10/resnet19/tks
  python -m tksbench.tables compare tks baseline
                                        two methods, run against run: compare
                                        --help
  python -m tksbench.tables --publish   records of finished runs to
                                        results/records, tables to commit
  python -m tksbench.tables --pack review.tar.gz
                                        published records, specs, logits, pins,
                                        checksums, tables
  python -m tksbench.tables --verify review.tar.gz
  python -m tksbench.tables --export runs.csv
                                        all numbers of all runs as data, a row
                                        a run and metric; or runs.parquet

exit status: 0 done (a record that is refused is named, the rest is used), 1 a
table or figure has drifted, --check or --publish refused a record, or a pack
differs, 2 bad input"""


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cyclic collector from walking over thousands of records, which hold no cycles, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_collector_paused()
def main(argv: list[str] | None = None) -> int:
    """Obey a command line.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit status.

    Raises:
        TksbenchError: For anything that the user can put right; nothing has been written then.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["compare"]:
        from tksbench.report.compare_cli import main as compare

        return compare(words[1:])
    options = _parse(words)
    with working("reading recipes"):
        from tksbench.report.added_rows import with_added_rows
        from tksbench.report.cited import with_cited_runs
        from tksbench.report.paper_file import load_paper
        from tksbench.runs import Ledger

        ledger = Ledger()
        paper = load_paper(ledger.root)
        protocols = candidates(recipe_files())
        paper = with_added_rows(with_cited_runs(paper, protocols), protocols)
        tables, figures = _names(options, paper)
    refused = _publish(ledger) if options.publish else []
    with working("reading records"):
        from tksbench.report.evidence import gather

        evidence = gather(ledger, protocols)
    if options.publish or options.only_published:
        evidence = evidence.only_published()
    check_scale(options.scale, protocols)
    if options.scale and figures:
        raise ReportError(f"--scale shows tables at one scale, no figures: leave out {figures[0]}")
    sources = Sources(paper, at_scale(protocols, options.scale), evidence, ledger)
    for problem in dict.fromkeys((*sources.evidence.problems, *refused)):
        sys.stderr.write(f"refused: {problem}\n")
    if options.export:
        return _export(Path(options.export), sources)
    if options.why:
        from tksbench.report.why import why

        with working("collecting the runs"):
            answer = why(options.why, *sources)
        sys.stdout.write(answer)
        return 0
    if options.pack:
        return _pack(Path(options.pack), sources)
    if options.verify:
        return _verify(Path(options.verify), sources)
    if options.check:
        return _check(tables, figures, options, sources)
    from tksbench.report import output

    if options.scale:
        output.print_tables([build_table(name, sources, evidence) for name in tables], sources, ours=options.ours)
        return 0
    texts = [name for name in options.format if name != "html"]
    built = output.write_tables(tables, texts, sources, ours=options.ours)
    output.write_figures(figures, sources)
    if "html" in options.format:
        output.write_page(built, sources)
    return FAILED if refused else 0


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser("python -m tksbench.tables", _ABOUT, _EXAMPLES)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="table1, latency, costs, claims, paper, twin, smoke-checks, figure4, ..., tables, figures; all tables if "
        "none is named (--check: figures too)",
    )
    parser.add_argument(
        "--format",
        default="md,tex",
        metavar="md,tex,html",
        help="files to write or check; html: the page of everything",
    )
    parser.add_argument(
        "--scale",
        metavar="SCALE",
        help="print the tables with our numbers of this scale alone, and write nothing; else each data set has those "
        "of the scale closest to the paper",
    )
    parser.add_argument("--ours", action="store_true", help="print the paper's own rows, not those of cited works")
    parser.add_argument(
        "--check", action="store_true", help="compare tables, and figures that are there, with the records"
    )
    parser.add_argument(
        "--why",
        metavar="CELL",
        help="show the runs behind a cell, a run's name or id, or a claim, and the command that makes them; "
        "a table's cells",
    )
    parser.add_argument(
        "--publish", action="store_true", help="copy finished runs' records to results/records, build from these alone"
    )
    parser.add_argument(
        "--only-published", action="store_true", help="build from published records alone, whatever was trained here"
    )
    parser.add_argument("--pack", metavar="FILE", help="write one archive for reviewers from the published records")
    parser.add_argument("--verify", metavar="FILE", help="check such an archive, and build its tables again")
    parser.add_argument(
        "--export", metavar="FILE", help="write all numbers of all runs as data: FILE ends in .csv or .parquet"
    )
    options = parser.parse_args(words)
    options.format = [name for name in options.format.split(",") if name]
    unknown = [name for name in options.format if name not in _FORMATS]
    if unknown or not options.format:
        raise ReportError(f"--format {','.join(options.format)}: expected md, tex and html, with commas between them")
    modes = ("check", "why", "publish", "pack", "verify", "export")
    if "" in (options.why, options.pack, options.verify, options.export):  # of a script's unset variable
        raise ReportError("--why, --pack, --verify and --export: '' names nothing")
    if sum(bool(getattr(options, mode)) for mode in modes) > 1:
        raise ReportError("--check, --why, --publish, --pack, --verify and --export exclude each other")
    if options.names and (options.pack or options.verify or options.export):
        raise ReportError(f"--pack, --verify and --export take everything; leave out {options.names[0]}")
    mode = next((name for name in (*modes, "only_published") if getattr(options, name)), None)
    if options.scale is not None and (mode or "html" in options.format):
        raise ReportError(f"--scale only prints tables: leave out {f'--{mode}' if mode else 'html'}".replace("_", "-"))
    if options.export:
        from tksbench.report.frame import check_export

        check_export(Path(options.export))
    if options.check and "html" in options.format:
        raise ReportError("--check compares md and tex; the page is made anew from the records, and not committed")
    return options


def _names(options: argparse.Namespace, paper: Paper) -> list[list[str]]:
    """Tables and figures that the command line names; all tables if it names nothing."""
    from tksbench.recipe import suggest
    from tksbench.report.figure_data import FIGURES
    from tksbench.report.figures import NAMES
    from tksbench.report.paper_claims import NAME as PAPER_CLAIMS

    possible = FIGURES if options.check else NAMES
    groups = {"tables": table_names(paper), "figures": [name for name in possible if name in paper.figures]}
    short = {"paper": [PAPER_CLAIMS]} if PAPER_CLAIMS in groups["tables"] else {}
    known = {*groups["tables"], *groups["figures"], *groups, *short}
    for name in options.names:
        if name in NAMES and name not in possible:
            raise ReportError(f"--check cannot compare {name}: it is made of the runs' features, which no record holds")
        if name not in known:
            raise ReportError(f"no table or figure '{name}'; {suggest(name, known)}")
    unnamed = ["tables", "figures"] if options.check else ["tables"]
    wanted = dict.fromkeys(one for name in options.names or unnamed for one in (groups | short).get(name, [name]))
    return [[name for name in wanted if name in group] for group in groups.values()]


def _publish(ledger: Ledger) -> list[str]:
    with working("checking finished runs"):
        from tksbench.report.publish import publish

        done = publish(ledger)
    more = f"; {done.dirty} not of the commit alone: --why says of what else" * bool(done.dirty)
    sys.stdout.write(f"{len(done.added)} records published, {done.present} were already{more}\n")
    return done.refused


def _export(path: Path, sources: Sources) -> int:
    with working("collecting the numbers"):
        from tksbench.report.frame import export, frame

        table = frame(sources.evidence, sources.protocols)
        export(table, path)
    runs = table["id"].nunique()
    sys.stdout.write(f"{path}: {len(table):,} rows of {runs:,} run{'s' * (runs != 1)}\n")
    return 0


def _pack(path: Path, sources: Sources) -> int:
    with working("packing"):
        from tksbench.report.pack import pack

        done = pack(path, sources.ledger, sources.evidence, lambda evidence: all_tables(sources, evidence))
    lines = [f"{path}: {done.records} records, {path.stat().st_size / 1e6:.1f} MB", f"SHA-256 {done.sha256}"]
    if done.without:
        lines.append(f"{len(done.without)} of the records without logits, for the reasons in its README.txt")
    if sources.evidence.local:
        lines.append(f"not published, so not in it: {len(sources.evidence.local)} finished (--publish)")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _verify(path: Path, sources: Sources) -> int:
    from tksbench.report.pack import verify

    render = functools.partial(all_tables, sources)
    with working("verifying"):
        told, differs = verify(path, sources.ledger.root, render, sources.protocols)
    for line in differs:
        sys.stderr.write(f"differs: {line}\n")
    sys.stdout.write(f"{path}: {f'not verified, {len(differs)} found' if differs else 'verified'}\n{told}\n")
    return FAILED if differs else 0


def _check(names: Sequence[str], figures: Sequence[str], options: argparse.Namespace, sources: Sources) -> int:
    """Compare the files of tables and figures with what the records give; problems go to standard error."""
    from tksbench.report.drift import figure_drift, table_drift

    with working("building tables and figures again"):
        found = [table_drift(name, suffix, sources) for name in names for suffix in options.format]
        found += [figure_drift(name, sources, wanted=name in options.names) for name in figures]
    records = sources.ledger.root / "records"
    drifts = [drift for drift in found if drift]
    drifts += [problem for problem in sources.evidence.problems if str(records) in problem]
    for drift in drifts:
        sys.stderr.write(f"drift: {drift}\n")
    if not drifts:
        drawn = [name for name in figures if (sources.ledger.root / "figures" / f"{name}.csv").exists()]
        parts = [count(n, word) for n, word in ((len(names), "table"), (len(drawn), "figure")) if n]
        agree = "agrees" if len(names) + len(drawn) == 1 else "agree"
        published = count(len(sources.evidence.published), "published record")
        sys.stdout.write(f"{' and '.join(parts)} {agree} with {published}\n" if parts else "nothing to compare\n")
        asked = {one.group for many in sources.protocols.values() for one in many}
        unasked = [record.id for record in sources.evidence.published if record.group not in asked]
        if unasked:
            sys.stdout.write(f"in none of them, as no recipe asks for such runs now: {', '.join(unasked)}\n")
    return FAILED if drifts else 0
