"""No protocol has lost its identity."""

from __future__ import annotations

from tests.golden.protocols import kept_protocols, protocols_of_today


def test_runs_of_the_committed_recipes_keep_their_ids_and_groups() -> None:
    kept = kept_protocols()
    assert len(kept) == 889
    assert sorted(kept - protocols_of_today()) == []
