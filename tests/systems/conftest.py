from __future__ import annotations

import pytest

from tests.systems.digits import Digits, trained


@pytest.fixture(scope="session")
def digits() -> Digits:
    return trained()
