"""Imported last by the process that trainers are forked from: what is loaded by now is known to be what it was.

Whatever is written afterwards counts only for files that a trainer loads later.
"""

from __future__ import annotations

from tksbench.train.job import WITNESS

WITNESS.look()
