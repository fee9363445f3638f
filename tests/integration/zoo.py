"""The animals: sensors that misbehave, each in a way of its own, and how to see what they leave behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 1.0
"""Seconds that an animal gets where its section says nothing else."""
OUTPUT_LIMIT = 65536

# What waits for ever shows its mark in its arguments, too, for those that lose their environment.
_WAIT = "sh -c 'kill -STOP $$; : MARK'"


@dataclass(frozen=True)
class Animal:
    """A sensor, and the reading that it must end with.

    `script` is a shell's; MARK in it becomes the mark by which its processes are found again. `said` is a part of what
    the reading says to people, `options` are lines of its section.
    """

    script: str
    code: int = -9
    error: str = "timeout"
    data: str = "nan"
    said: str = ""
    options: str = ""


def marked(script: str, mark: str) -> str:
    """A shell's script as a program that carries a mark in its environment; MARK in it becomes the mark."""
    return f'#!/bin/sh\n[ "$ZOO" ] || ZOO={mark} exec "$0" "$@"\n{script.replace("MARK", mark)}\n'


ZOO = {
    # What never ends.
    "hang": Animal("sleep 1000; :"),
    "deaf": Animal("trap '' TERM INT HUP; sleep 1000; sleep 1000"),
    "still": Animal("kill -STOP $$; sleep 1000"),
    "spin": Animal("while :; do :; done"),
    "mute": Animal("exec <&- >&- 2>&-; sleep 1000; :"),
    "flood": Animal("exec yes"),
    "brood": Animal(
        "trap '' TERM; sh -c 'sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &); sleep 1000' & sleep 1000"
    ),
    # What ends, and leaves something behind.
    "holder": Animal("sleep 1000 & echo 5", 0, "", "5"),
    "daemon": Animal(f"(setsid {_WAIT} <&- >&- 2>&- &); sleep 0.1; echo 5", 0, "", "5"),
    "masked": Animal(f"env -i setsid {_WAIT} & env -i {_WAIT} & sleep 0.1; echo 5", 0, "", "5"),
    "mayfly": Animal(
        '[ "$2" ] || { setsid "$0" 1 child & sleep 0.2; echo 5; exit; }\nsleep 0.01; setsid "$0" 1 child &', 0, "", "5"
    ),
    # What prints too much, or what is no text.
    "shout": Animal("head -c 5000000 /dev/zero", 0, "output-too-long", said="it printed 5000000 bytes"),
    "grumble": Animal("head -c 5000000 /dev/zero >&2; echo 5", 0, "", "5"),
    "binary": Animal(r"printf '\000\033[2J\377\376\r\n5\n'", 0, "not-a-number"),
    "silent": Animal("exec >&- 2>&-; exit 3", 3, "not-a-number"),
    # What takes too much; a moment after its start, for its limits are set right after that.
    "glutton": Animal(
        "sleep 0.1; exec dd if=/dev/zero of=/dev/null bs=512M count=1",
        1,
        "not-a-number",
        said="memory",
        options="memory = 64M",
    ),
    "scribe": Animal(
        'sleep 0.1; f=$(mktemp) && exec 9> "$f" && rm "$f" && exec head -c 3000000 /dev/zero >&9',
        -25,
        "signal",
        options="file_size = 1M",
    ),
    "hoarder": Animal(
        "sleep 0.1; exec tee $(yes /dev/null | head -50) < /dev/null",
        1,
        "not-a-number",
        said="open files",
        options="files = 16",
    ),
    "burner": Animal("while :; do :; done", -24, "signal", options="cpu = 1\ntimeout = 60"),
}
BOMB = Animal("b() { b | b & }; b; exec sleep 1000", options="processes = 64")
"""Only ever with its limit, and never as root, for whom that limit does not count."""


def write_animals(directory: Path, mark: str, names: Sequence[str]) -> str:
    """Put animals into an agent's directory; returns their sections."""
    sections = []
    for name in names:
        animal = BOMB if name == "bomb" else ZOO[name]
        program = directory / "sensors" / name / "check"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(marked(animal.script, mark))
        program.chmod(0o755)
        sections.append(f"[sensor:{name}]\n{animal.options}\n")
    return "".join(sections)


def alive(mark: str) -> dict[int, str]:
    """The processes that carry a mark in their environment or their arguments, with these."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            arguments = _content(f"/proc/{entry}/cmdline")
            if mark.encode() in arguments or f"ZOO={mark}\0".encode() in _content(f"/proc/{entry}/environ"):
                found[int(entry)] = arguments.replace(b"\0", b" ").decode("utf-8", "replace")
    return found


def children(pid: int) -> list[int]:
    """The processes whose parent that one is, and that have not ended."""
    found = []
    for entry in os.listdir("/proc"):
        fields = _content(f"/proc/{entry}/stat").rpartition(b")")[2].split() if entry.isdigit() else []
        if fields and fields[0] not in b"ZX" and int(fields[1]) == pid:
            found.append(int(entry))
    return sorted(found)


def spawners(agent: int) -> list[int]:
    """The first processes of the programs that run an agent's sensors."""
    return [pid for pid in children(agent) if b"monagent.sensors.spawner" in _content(f"/proc/{pid}/cmdline")]


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
