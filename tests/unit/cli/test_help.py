"""What both programs say about themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import monagent
from monagent.cli.main import cli as agent_cli
from monagent.cli.server import cli as server_cli
from tests.unit.cli.program import run

PROGRAMS: dict[str, click.Command] = {"monagent": agent_cli, "monserver": server_cli}


def every_command(program: str) -> Iterator[tuple[str, ...]]:
    """Each command with the words that lead to it."""

    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in sorted(command.list_commands(context)):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, (*words, name))

    yield from walk(PROGRAMS[program], (program,))


COMMANDS = [words for program in PROGRAMS for words in every_command(program)]
FOR_SENSORS = (("monagent", "sensor", "run"), ("monserver", "check"))
"""Options that these do not know may be meant for the sensor."""


def said(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr: of a process, or for what is deeper down, of which there is much, in this one."""
    if len(words) <= 3:
        done = run(*words)
        return done.returncode, done.stdout, done.stderr
    result = CliRunner().invoke(PROGRAMS[words[0]], words[1:], prog_name=words[0])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    """On stdout, with exit code 0."""
    code, stdout, stderr = said(*words, "--help")

    assert (code, stderr) == (0, "")
    assert stdout.startswith("Usage: ")
    assert len(stdout.splitlines()) > 4


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in FOR_SENSORS], ids=" ".join)
def test_an_unknown_option_is_a_mistake_of_usage(words: tuple[str, ...]) -> None:
    """2, on stderr."""
    code, stdout, stderr = said(*words, "--no-such-option")

    assert (code, stdout) == (2, "")
    assert "--no-such-option" in stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_version_is_told(program: str) -> None:
    """By one line."""
    done = run(program, "--version")

    assert (done.returncode, done.stdout) == (0, f"{program}, version {monagent.__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("monagent",),
        ("monagent", "fly"),
        ("monagent", "init"),
        ("monagent", "sensor"),
        ("monagent", "sensor", "run"),
        ("monagent", "spool", "show"),
        ("monserver",),
        ("monserver", "host"),
        ("monserver", "host", "add", "web1"),
        ("monserver", "host", "add", "web1", "192.0.2.1", "--port", "0"),
        ("monserver", "host", "add", "web1", "192.0.2.1", "--from", "nonsense"),
        ("monserver", "send", "web1", "fly"),
        ("monserver", "check", "web1"),
    ],
    ids=" ".join,
)
def test_a_mistake_of_usage_ends_with_2(words: tuple[str, ...]) -> None:
    """And says what is missing or wrong, on stderr."""
    done = run(*words)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: " in done.stderr
