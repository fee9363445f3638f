"""Carriers that end with the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from monagent.server.alerts.carriers.outbox import Carrier, Channel
from monagent.server.alerts.carriers.webhook import WebhookChannel
from monagent.server.database import Database
from tests.unit.server.alerts.carriers.receiver import Receiver

StartCarrier = Callable[..., Carrier]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Hears webhooks."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def carry() -> Iterator[StartCarrier]:
    """Starts carriers."""
    started: list[Carrier] = []

    def start(database: Database, **channels: Channel) -> Carrier:
        carrier = Carrier(database, channels or {"webhook": WebhookChannel()})
        carrier.start()
        started.append(carrier)
        return carrier

    yield start
    for carrier in started:
        carrier.stop(time.monotonic() + 10)
