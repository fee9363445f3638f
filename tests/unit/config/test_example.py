"""The commented client.cfg that people start from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monagent.config.example import client_example
from monagent.config.manager import ConfigManager
from monagent.config.sections import NAMED_SECTIONS, PLAIN_SECTIONS
from monagent.config.settings import load
from monagent.config.table import options_of

URL = "http://monitor.example.org:8081/xmlrpc/"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The example as a file."""
    path = tmp_path / "client.cfg"
    path.write_text(client_example(URL), "utf-8")
    return path


def _uncommented(path: Path) -> None:
    text = re.sub(r"^# ", "", path.read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"^(source|target) =$", r"\1 = /somewhere/\1", text, flags=re.MULTILINE)
    report, alert = text.index("[mail:NAME]"), text.index("[alert:NAME]")
    text = text[:report] + text[report:alert].replace("to =\n", "to = a@b.c\n") + text[alert:]
    for name, value in (("sensor", "load"), ("critical", "~:8"), ("mail", "NAME")):
        text = text[:alert] + re.sub(rf"^{name} =$", f"{name} = {value}", text[alert:], flags=re.MULTILINE)
    path.write_text(text, "utf-8")


def test_the_example_says_what_no_file_at_all_would(path: Path, tmp_path: Path) -> None:
    """Every value in it is the default."""
    bare = tmp_path / "bare.cfg"
    bare.write_text(f"[monitor]\nurl = {URL}\n")
    shown, default = load(path), load(bare)

    assert [getattr(shown, name) for name in PLAIN_SECTIONS] == [getattr(default, name) for name in PLAIN_SECTIONS]
    assert (shown.sensors, shown.backups, shown.reports, shown.alerts) == ({}, {}, {}, {})


def test_the_example_shows_every_option(path: Path) -> None:
    """Those of the optional sections as comments, each after its meaning."""
    text = path.read_text("utf-8")
    for name, cls in {**PLAIN_SECTIONS, **{f"{prefix}NAME": cls for prefix, cls in NAMED_SECTIONS.items()}}.items():
        section = re.search(rf"^(?:# )?\[{re.escape(name)}\]\n((?:[^\n]+\n)*)", text, re.MULTILINE)

        assert section, name
        for option in options_of(cls).values():
            assert re.search(rf"^; {re.escape(option.meaning)}\n(?:# )?{option.name} =", section[1], re.MULTILINE), (
                option
            )


def test_the_commented_sections_are_valid_too(path: Path) -> None:
    """Taking the marks away, and filling in what must be given, is enough."""
    _uncommented(path)
    settings = load(path)

    assert (list(settings.sensors), list(settings.backups), list(settings.reports), list(settings.alerts)) == (
        ["NAME"],
    ) * 4
    assert settings.backups["NAME"].max_delete == "10%"
    assert settings.sensors["NAME"].timeout is None


def test_the_example_can_be_changed_by_program(path: Path) -> None:
    """All its comments survive."""
    before = path.read_text("utf-8")
    manager = ConfigManager(path)
    manager.monitor.url = "https://other/"
    manager.save_config()

    assert path.read_text("utf-8") == before.replace(f"url = {URL}", "url = https://other/")
