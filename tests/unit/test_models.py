"""The records that travel between the parts."""

from __future__ import annotations

import dataclasses
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monagent import models
from monagent.models import Command, is_sensor_name


@pytest.mark.parametrize("name", ["a", "Z", "0", "_", "disk", "disk-io_2.5", "a" * 64, "a..", "a-", "x."])
def test_sensor_names(name: str) -> None:
    """Letters, digits, and inside also dots and dashes, up to 64 characters."""
    assert is_sensor_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".a",
        "-a",
        "a/b",
        "/a",
        "../a",
        "a b",
        "a\n",
        "\na",
        "a\0",
        "é",
        "\uff41",
        "٣",
        "a" * 65,
        "a:b",
        "a\\b",
        "a*",
        "~",
    ],
)
def test_what_could_leave_its_directory_is_no_sensor_name(name: str) -> None:
    """Nor what could be an option, or read differently elsewhere."""
    assert not is_sensor_name(name)


@given(st.text(max_size=70))
@settings(max_examples=200, deadline=None, database=None)
def test_a_sensor_name_is_always_one_plain_path_component(name: str) -> None:
    """Whatever the text, an accepted one is safe as a directory name and as an argument."""
    if is_sensor_name(name):
        assert set(name) <= set(string.ascii_letters + string.digits + "_.-")
        assert name[0] not in ".-"
        assert len(name) <= 64


@pytest.mark.parametrize("record", ["Command", "Job", "Result", "Run", "RunResult", "Sensor", "Head"])
def test_records_cannot_be_changed(record: str) -> None:
    """They are made once and passed on, and hold nothing besides their fields."""
    cls = getattr(models, record)

    assert cls.__dataclass_params__.frozen
    assert hasattr(cls, "__slots__")


def test_a_changed_record_is_an_error() -> None:
    """Not a surprise for whoever else holds it."""
    command = Command(ticket=1, method="m", arguments=[])

    with pytest.raises(dataclasses.FrozenInstanceError):
        command.ticket = 2  # type: ignore[misc]
