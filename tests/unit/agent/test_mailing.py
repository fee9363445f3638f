"""Templates of a site, as check-config finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from monagent.agent.mailing import mail_problems
from monagent.config.settings import load

CONFIG = "[monitor]\nurl = http://m/\n[mail]\ntemplates = t\n[mail:ops]\nto = a@b.c\n"
ALERT = "[alert:x]\nsensor = load\ncritical = ~:5\nmail = ops\n"


def problems(directory: Path, config: str, files: dict[str, str]) -> list[str]:
    """What is said of a configuration with these templates."""
    (directory / "t").mkdir()
    for name, text in files.items():
        (directory / "t" / name).write_text(text)
    (directory / "client.cfg").write_text(config)
    return [f"[{one.section}] {one.option}: {one.message}" for one in mail_problems(load(directory / "client.cfg"))]


@pytest.mark.parametrize(
    ("more", "files", "words"),
    [
        ("", {"report.html": "{% if %}"}, "[mail:ops] template: the template"),
        ("", {"report.txt": "a\n{{ nosuch }}"}, "report.txt cannot be filled in (line 2): 'nosuch' is undefined"),
        ("", {"report.subject": "{{ title.__class__.__mro__ }}"}, "report.subject cannot be filled in"),
        ("template = own\n", {"own.txt": "x", "own.html": "y"}, "the template own.subject is not there"),
        ("template = own\n", {"own.txt": "x", "own.html": "{{", "own.subject": "z"}, "own.html, line 1: "),
        ("subject = {{ line\n", {}, "[mail:ops] subject: the template"),
        ("subject = {{ alerts }} {{ nosuch }}\n" + ALERT, {}, "[mail:ops] subject: the template subject cannot be"),
        (ALERT, {"alert.html": "{{ 1 / 0 }}"}, "alert.html cannot be filled in (line 1): division by zero"),
        ("", {"report.txt": "{% for a in range(10000000) %}x{% endfor %}"}, "report.txt cannot be filled in"),
    ],
)
def test_a_template_with_mistakes_is_told(tmp_path: Path, more: str, files: dict[str, str], words: str) -> None:
    """With its file, and its line where there is one."""
    (problem,) = problems(tmp_path, CONFIG + more, files)

    assert words in problem


@pytest.mark.parametrize(
    ("more", "files"),
    [
        ("", {"report.subject": "{{ host }}: {{ line }}"}),
        ("", {"alert.subject": "{{ nobody uses it }}"}),
        ("template = own\n", {"own.txt": "{{ whatever }}", "own.html": "y", "own.subject": "z"}),
        ("subject = {{ host }}\n" + ALERT, {}),
    ],
)
def test_templates_without_mistakes_are_taken(tmp_path: Path, more: str, files: dict[str, str]) -> None:
    """What nobody uses is not tried."""
    assert problems(tmp_path, CONFIG + more, files) == []


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "client.cfg").write_text(CONFIG.replace("= t\n", "= elsewhere\n"))
    (problem,) = mail_problems(load(tmp_path / "client.cfg"))

    assert problem.message == f"there is no directory {tmp_path}/elsewhere"
