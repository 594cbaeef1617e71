"""`python -m tksbench.train RUN_DIR`: train one run; what the executors start."""

from __future__ import annotations

import sys

from tksbench.train.job import main

if __name__ == "__main__":
    sys.exit(main())
