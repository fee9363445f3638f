"""A fleet to be watched, on both databases."""

from __future__ import annotations

import pytest

from monagent.server.database import Database
from tests.support.alerting import Fleet


@pytest.fixture
def fleet(database: Database) -> Fleet:
    """Empty."""
    return Fleet(database)
