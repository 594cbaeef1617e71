"""Results of the bench: the machine, one JSON file a machine and day, and the same as Markdown."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from benchmarks.parts import NOTES
from tksbench.runs import read_json, write_bytes, write_json
from tksbench.runs.code import read_code
from tksbench.runs.environment import LIMITS
from tksbench.runs.processor import cpu_name, describe_cpu, onednn_isa
from tksbench.runs.provenance import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.timing import Row

SCHEMA = 1
COLUMNS = ("candidate", "ratio", "quartiles", "min", "CPU", "time", "CPU time")
_PEERS = ("tonic", "spikingjelly", "braincog")
_NOISE = re.compile(r"\((r|tm|c)\)|@.*|\b(cpu|processor|\d+-core)\b", re.IGNORECASE)


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that names the host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu, gpus, isa = cpu_name(), _gpus(), onednn_isa(os.environ)
    return {
        "name": machine_name(cpu, cores, gpus, isa),
        "cpu": cpu,
        "kind": describe_cpu().get("kind", ""),
        "instructions": isa,
        "variables": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "cores": cores,
        "gpus": gpus,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions() | _peers(),
    }


def machine_name(cpu: str, cores: int, gpus: Sequence[str] = (), isa: str = "") -> str:
    """A file name of the machine's kind: model of the processor, its instructions, its cores, and the GPU if any.

    Cloud providers give unlike processors one name, so the widest instruction set that oneDNN may use is part of it.
    """
    words = [_NOISE.sub(" ", cpu), isa.partition("_")[0], f"{cores} cores" if cores > 1 else "1 core", *gpus[:1]]
    return "-".join(re.findall(r"[a-z0-9]+", " ".join(words).lower()))


def conditions() -> dict[str, Any]:
    """How busy the machine is, and how many threads a candidate may use."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
    return {
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "threads": {name: os.environ[name] for name in names if name in os.environ},
    }


def make_part(
    name: str,
    rows: Sequence[Row],
    *,
    full: bool,
    started: str,
    before: Mapping[str, Any],
    skipped: str | None = None,
) -> dict[str, Any]:
    """A part's results with what they were measured under.

    Args:
        name: The part.
        rows: Its rows.
        full: Whether shapes were the full ones.
        started: Time, ISO 8601.
        before: `conditions()` when it began.
        skipped: Why there are no rows.
    """
    code = read_code()
    return {
        "part": name,
        "skipped": skipped,
        "full": full,
        "started": started,
        "commit": code.commit,
        "dirty": code.dirty,
        "threads": before["threads"],
        "load_average_before": before["load_average"],
        "load_average_after": conditions()["load_average"],
        "rows": [row.to_json() for row in rows],
    }


def save(path: Path, about: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the JSON file and the Markdown beside it.

    Parts of the file that were not measured now stay; a skipped part does not take the place of a measured one.

    Returns:
        The whole content.

    Raises:
        LedgerError: The folder cannot be written, or the file that is there is no JSON.
    """
    old = read_json(path)["parts"] if path.exists() else []
    kept = {part["part"]: part for part in old}
    for part in parts:
        if part["rows"] or part["part"] not in kept:
            kept[part["part"]] = part
    content = {"schema": SCHEMA, "machine": dict(about), "parts": list(kept.values())}
    write_json(path, content)
    write_bytes(path.with_suffix(".md"), to_markdown(content).encode())
    return content


def to_markdown(content: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    about = content["machine"]
    lines = [
        f"# Benchmarks on {about['name']}",
        "",
        f"{about['cpu']}, {about['cores']} cores, Python {about['python']}.",
    ]
    lines += [
        "",
        "Wall-clock ratios to the case's first line: median of the rounds' ratios, their quartiles, and the ratio of "
        "the fastest rounds; CPU: the median ratio of CPU time; the times are medians. Candidates took turns.",
    ]
    for part in content["parts"]:
        lines += ["", f"## {part['part']}", ""]
        if part["skipped"]:
            lines.append(f"Skipped: {part['skipped']}.")
            continue
        shapes = "full" if part["full"] else "small"
        load = part["load_average_before"][0]
        lines.append(f"{part['started']}, {shapes} shapes, {part['rows'][0]['rounds']} rounds, load average {load}.")
        if part["part"] in NOTES:
            lines += ["", NOTES[part["part"]]]
        for case, rows in _by_case(part["rows"]).items():
            lines += ["", f"**{case}**", "", table(rows, "github")]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, Any]], style: str) -> str:
    """Times of the rows of one case, the reference first, and below their other values; "simple" is 80 wide."""
    ordered = sorted(rows, key=lambda row: row["candidate"] != row["reference"])
    tables = [_table(COLUMNS, [_cells(row) for row in ordered], style)]
    keys = list(dict.fromkeys(key for row in ordered for key in row["values"]))
    if keys:
        columns = [[f"{row['values'][key]:.4g}" if key in row["values"] else "" for key in keys] for row in ordered]
        cells = [[row["candidate"], *values] for row, values in zip(ordered, columns, strict=True)]
        tables.append(_table(("candidate", *keys), cells, style))
    return "\n\n".join(tables)


def _table(headers: Sequence[str], cells: Sequence[Sequence[str]], style: str) -> str:
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(cells, headers=headers, tablefmt=style, colalign=align, disable_numparse=True)


def _cells(row: Mapping[str, Any]) -> list[str]:
    quartiles = "–"
    if row["candidate"] != row["reference"]:
        quartiles = f"{_ratio(row['wall_ratio_low'])}-{_ratio(row['wall_ratio_high'])}"
    return [
        row["candidate"],
        _ratio(row["wall_ratio_median"]),
        quartiles,
        _ratio(row["wall_ratio_min"]),
        _ratio(row["cpu_ratio_median"]),
        _seconds(row["wall_s_median"]),
        _seconds(row["cpu_s_median"]),
    ]


def _by_case(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    cases: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault(row["case"], []).append(row)
    return cases


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def _peers() -> dict[str, str]:
    installed = {}
    for name in _PEERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def _gpus() -> list[str]:
    """Names of the NVIDIA GPUs here."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []
