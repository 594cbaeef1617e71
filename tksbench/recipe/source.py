"""The file of a component from outside the project, `module:name`; nothing of it is imported or run."""

from __future__ import annotations

import hashlib
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def source_file(name: str) -> Path | None:
    """The .py file of a component's module, or None; looks where an import would, and runs no code."""
    parts = name.partition(":")[0].split(".")
    folders: Sequence[str] | None = None
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), folders)
        if spec is None or (i + 1 < len(parts) and spec.submodule_search_locations is None):
            return None
        folders = spec.submodule_search_locations
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def source_digest(name: str) -> str | None:
    """SHA-256 of a component's source file, 16 hexadecimal digits as an id has; None where there is none to read."""
    path = source_file(name)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else None
    except OSError:
        return None
