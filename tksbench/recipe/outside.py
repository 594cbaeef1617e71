"""Methods from outside the project, `module:function`: found and hashed by their file, never imported here.

What a method computes is part of a run's identity, so the hash of its source file is in the spec: an edited loss is
another method, with runs of its own.
"""

from __future__ import annotations

import hashlib
import re
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.recipe.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tksbench.recipe.yamltree import Node

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def check_outside(name: Node) -> Iterator[Problem]:
    """What is wrong with the name of a method from outside; nothing for the project's own methods."""
    if not (isinstance(name.value, str) and ":" in name.value):
        return
    if not _NAME.fullmatch(name.value):
        yield Problem(name.where, f"method '{name.value}': one from outside is written module:function")
        return
    if source_file(name.value) is None:
        module = name.value.partition(":")[0]
        hint = "install it, or use python -m tksbench.launch in the folder that holds it"
        yield Problem(name.where, f"method '{name.value}': there is no module '{module}' with a source file; {hint}")


def source_file(name: str) -> Path | None:
    """The .py file of a method's module, or None; looks where an import would, and runs no code."""
    parts = name.partition(":")[0].split(".")
    folders: Sequence[str] | None = None
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), folders)
        if spec is None or (i + 1 < len(parts) and spec.submodule_search_locations is None):
            return None
        folders = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def source_digest(name: str) -> str | None:
    """SHA-256 of a method's source file, 16 hexadecimal digits as an id has; None where there is none to read."""
    path = source_file(name)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else None
    except OSError:
        return None
