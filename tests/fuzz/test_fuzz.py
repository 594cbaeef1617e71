"""Two thousand damaged files for each reader; `python -m tests.fuzz` gives them as many as there is time for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import generated
from tests.fuzz.driver import Outcome, Watched, feed
from tests.fuzz.readers import READERS


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_give_the_named_error_or_data(name: str, tmp_path: Path) -> None:
    outcome = Outcome()
    with Watched(READERS[name], tmp_path):
        feed(READERS[name], tmp_path, outcome, 1850)
        generated.explore(READERS[name], tmp_path, outcome, 150, 0)
    assert outcome.escaped == []
    assert outcome.inputs >= 2000
    assert 0 < outcome.refused < outcome.inputs  # else the seeds are no valid files
