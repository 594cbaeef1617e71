"""Asks pip-audit for known weaknesses of the pinned packages; one line where its service cannot be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PIP_AUDIT = "pip-audit==2.9.0"


def main() -> int:
    """Audits constraints.txt with the uv given as the only argument; 1 if a package has a known weakness."""
    pins = Path(__file__).resolve().parent.parent / "constraints.txt"
    words = [sys.argv[1], "tool", "run", "--quiet", PIP_AUDIT, "--disable-pip", "--require-hashes", "-f", "json", "-r"]
    try:
        done = subprocess.run([*words, str(pins)], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
        packages = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
        packages = []
    asked = [package for package in packages if "skip_reason" not in package]
    weak = [package for package in asked if package["vulns"]]
    for package in weak:
        names = ", ".join(f"{found['id']} (mended in {found['fix_versions']})" for found in package["vulns"])
        sys.stdout.write(f"audit: {package['name']} {package['version']}: {names}\n")
    if len(asked) < len(packages) or not packages:
        left = f"{len(packages) - len(asked)} of {len(packages)} packages" if packages else "packages"
        sys.stdout.write(f"audit: {left} not audited: pip-audit or its service cannot be reached from here\n")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
