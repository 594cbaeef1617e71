"""`python -m tksbench.doctor.child MODULE:FUNCTION SECONDS`: makes one check, prints its findings in a line of JSON."""

from __future__ import annotations

import json
import pkgutil
import signal
import sys


def main() -> None:
    """Call the function that the command line names."""
    signal.alarm(int(sys.argv[2]))  # should nobody be left to end this
    findings = pkgutil.resolve_name(sys.argv[1])()
    sys.stdout.write("\n" + json.dumps([finding.to_json() for finding in findings]) + "\n")


if __name__ == "__main__":
    main()
