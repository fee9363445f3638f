"""Make typed values of the text in a configuration file. Each reader raises ValueError saying what would do."""

from __future__ import annotations

import base64
import os
import pwd
import re
import shlex
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from monagent.addresses import address as checked_address
from monagent.addresses import named_address
from monagent.alarms.quiet import Quiet
from monagent.alarms.quiet import parse as parse_hours
from monagent.alarms.ranges import parse as parse_range

Reader: TypeAlias = Callable[[str, Path], Any]
"""Takes the text and the directory that relative paths start from."""

_BOOLEANS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False, "1": True, "0": False}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([smhd]?)", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,12})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_CREDENTIAL = "credential:"
CREDENTIALS_PLACE = "/run/credentials/monagent.service"
_MAIL_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?))(?::([0-9]{1,5}))?")
_SHARE = re.compile(r"(?:([0-9]{1,3})\s*%|([0-9]{1,9}))")


def text(value: str, _base: Path) -> str:
    """Any text, also none."""
    return value


def user(value: str, _base: Path) -> str:
    """A user of this system, or nobody in particular."""
    if value:
        try:
            pwd.getpwnam(value)
        except KeyError:
            raise ValueError(f'there is no user "{value}" on this system') from None
    return value


def words(value: str, _base: Path) -> tuple[str, ...]:
    """Words separated by blanks, commas or new lines."""
    return tuple(value.replace(",", " ").split())


def lines(value: str, _base: Path) -> tuple[str, ...]:
    """One item a line."""
    return tuple(line.strip() for line in value.splitlines() if line.strip())


def patterns(value: str, base: Path) -> tuple[str, ...]:
    """Patterns as in a `.gitignore`, one a line."""
    found = lines(value, base)
    if found:
        from pathspec import GitIgnoreSpec  # noqa: PLC0415 - most files have none

        for pattern in found:
            try:
                GitIgnoreSpec.from_lines([pattern])
            except ValueError as error:
                raise ValueError(f'"{pattern}" is no pattern as in a .gitignore: {error}') from None
    return found


def command(value: str, base: Path) -> tuple[str, ...]:
    """A program and its arguments, split as a shell would; a program with a slash is relative to the file."""
    try:
        argv = shlex.split(value)
    except ValueError:
        raise ValueError("has an unbalanced quote") from None
    if not argv:
        return ()
    if "/" not in argv[0]:
        raise ValueError(f'"{argv[0]}" must be a path to a program (example: /usr/lib/nagios/plugins/check_load)')
    return (str(base / argv[0]), *argv[1:])


def boolean(value: str, _base: Path) -> bool:
    """Yes or no."""
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise ValueError(f'"{value}" is neither yes nor no') from None


def duration(value: str, _base: Path) -> float:
    """Seconds, or a number with s, m, h or d."""
    match = _DURATION.fullmatch(value)
    if not match or not float(match[1]):
        raise ValueError(f'"{value}" is not a duration (examples: 30, 1.5s, 10m, 26h, 7d)')
    return float(match[1]) * _SECONDS[match[2].lower()]


def size(value: str, _base: Path) -> int:
    """Bytes, or a number with K, M, G or T (1024 each)."""
    match = _SIZE.fullmatch(value)
    if not match or not int(match[1]):
        raise ValueError(f'"{value}" is not a size (examples: 65536, 64K, 256M)')
    return int(match[1]) * _BYTES[match[2].lower()]


def size_or_none(value: str, base: Path) -> int:
    """A size, or -1 for `none`."""
    return -1 if value == "none" else size(value, base)


def count_or_none(lowest: int, highest: int) -> Reader:
    """A whole number within bounds, or -1 for `none`."""
    reader = count(lowest, highest)

    def read(value: str, base: Path) -> int:
        return -1 if value == "none" else int(reader(value, base))

    return read


def niceness(value: str, _base: Path) -> int:
    """How willing to give way: -20 to 19."""
    if re.fullmatch(r"[+-]?[0-9]{1,2}", value) and -20 <= int(value) <= 19:
        return int(value)
    raise ValueError(f'"{value}" is not a whole number from -20 to 19')


_IO_CLASSES = {"realtime": 1, "best-effort": 2, "idle": 3}


def io_priority(value: str, _base: Path) -> int:
    """A class of ionice(1), with its level where it has one; as ioprio_set(2) counts them, -1 for none."""
    if value in ("", "none"):
        return -1
    name, _, level = value.partition(":")
    if name in _IO_CLASSES and re.fullmatch(r"[0-7]?", level) and not (level and name == "idle"):
        return _IO_CLASSES[name] << 13 | int(level or (0 if name == "idle" else 4))
    raise ValueError(f'"{value}" is no I/O priority (examples: idle, best-effort, best-effort:7)')


def io_priority_text(priority: int) -> str:
    """As it is written in a file."""
    names = {number: name for name, number in _IO_CLASSES.items()}
    name, level = names.get(priority >> 13, "none"), priority & 7
    return f"{name}:{level}" if name in ("realtime", "best-effort") else name


def share(value: str, _base: Path) -> str:
    """A number of items or a percentage, kept as written."""
    match = _SHARE.fullmatch(value)
    if not match or (match[1] and int(match[1]) > 100):
        raise ValueError(f'"{value}" is neither a number nor a percentage (examples: 100, 10%)')
    return value


def count(lowest: int, highest: int) -> Reader:
    """A whole number within bounds, both included."""

    def read(value: str, _base: Path) -> int:
        if re.fullmatch(r"[0-9]{1,9}", value) and lowest <= int(value) <= highest:
            return int(value)
        raise ValueError(f'"{value}" is not a whole number from {lowest} to {highest}')

    return read


def or_none(reader: Reader) -> Reader:
    """What the reader makes of it, or None where nothing is given."""

    def read(value: str, base: Path) -> Any:
        return reader(value, base) if value else None

    return read


def choice(*allowed: str) -> Reader:
    """One of a few words."""

    def read(value: str, _base: Path) -> str:
        if value in allowed:
            return value
        raise ValueError(f'"{value}" is none of: {", ".join(allowed)}')

    return read


def path(value: str, base: Path) -> Path:
    """A path; relative ones start at the configuration file's directory."""
    if not value:
        raise ValueError("needs a path")
    return base / value


def optional_path(value: str, base: Path) -> Path | None:
    """A path, or nothing."""
    return base / value if value else None


def secret_path(value: str, base: Path) -> Path | None:
    """A path, or nothing, or `credential:NAME` for what systemd hands to the service (LoadCredential=)."""
    if not value.startswith(_CREDENTIAL):
        return optional_path(value, base)
    name = value.removeprefix(_CREDENTIAL)
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f'"{name}" is not the name of a credential (example: {_CREDENTIAL}agent.key)')
    # People who try the configuration on a terminal have no such variable; they look where the service's are.
    return Path(os.environ.get("CREDENTIALS_DIRECTORY") or CREDENTIALS_PLACE, name)


def address(value: str, _base: Path) -> tuple[str, str]:
    """Name and address of `Name <a@b.c>` or `a@b.c`; both empty where nothing is given."""
    return named_address(value) if value else ("", "")


def recipients(value: str, _base: Path) -> tuple[str, ...]:
    """Mail addresses, separated by blanks, commas or new lines; each once."""
    return tuple(dict.fromkeys(map(checked_address, value.replace(",", " ").split())))


def mail_hosts(value: str, _base: Path) -> tuple[tuple[str, int], ...]:
    """Mail servers in order: HOST, HOST:PORT or [IPV6]:PORT; port 0 stands for `[mail] port`."""
    found = []
    for word in value.replace(",", " ").split():
        match = _MAIL_HOST.fullmatch(word)
        if not match or int(match[3] or 1) not in range(1, 65536):
            raise ValueError(
                f'"{word}" is no mail server (examples: mail.example.org, mail.example.org:587, [2001:db8::1]:25)'
            )
        found.append((match[1] or match[2], int(match[3] or 0)))
    if not found:
        raise ValueError("needs a mail server (example: localhost)")
    return tuple(found)


def threshold(value: str, _base: Path) -> str:
    """A range of Nagios-style plug-ins, or nothing; as it is written."""
    parse_range(value)
    return value


def hours(value: str, _base: Path) -> Quiet | None:
    """From one time of the day to another, or nothing."""
    return parse_hours(value)


def amount(value: str, _base: Path) -> float:
    """A number that is not negative."""
    if re.fullmatch(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", value):
        return float(value)
    raise ValueError(f'"{value}" is not a number that is 0 or more (examples: 0, 2.5)')


def duration_or_none(value: str, base: Path) -> float:
    """A duration, or 0 for `none`."""
    return 0.0 if value in ("", "none") else duration(value, base)


def arguments(value: str, _base: Path) -> tuple[str, ...]:
    """Arguments, split as a shell would."""
    try:
        return tuple(shlex.split(value))
    except ValueError:
        raise ValueError("has an unbalanced quote") from None


WHEN = ("never", "changes", "problems", "always")


def mail_when(value: str, _base: Path) -> tuple[str, str]:
    """A report and when it is sent; a report alone is sent for problems. Both empty where nothing is given."""
    report, _, when = value.partition(" ")
    when = when.strip() or ("problems" if report else "")
    if report and when not in WHEN:
        raise ValueError(f'"{value}" is not REPORT WHEN (example: nightly problems; when is one of {", ".join(WHEN)})')
    return report, when


def networks(value: str, _base: Path) -> tuple[IPv4Network | IPv6Network, ...]:
    """Addresses and networks, separated by blanks or commas."""
    found = []
    for word in value.replace(",", " ").split():
        try:
            found.append(_unmapped(ip_network(word)))
        except ValueError:
            raise ValueError(f'"{word}" is not a network (example: {_network_example(word)})') from None
    return tuple(found)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Callers are judged by their IPv4 address even when they come as ::ffff:192.0.2.1."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return IPv4Network((mapped, network.prefixlen - 96)) if mapped and network.prefixlen >= 96 else network


def _network_example(word: str) -> str:
    try:
        return str(ip_network(word, strict=False))
    except ValueError:
        return "2001:db8::/32" if ":" in word else "10.0.0.0/8"


def public_key(value: str, _base: Path) -> bytes:
    """The 32 bytes of an Ed25519 public key, or none; written in base64."""
    if not value:
        return b""
    # The text is not repeated: it may be a private key that was pasted here.
    if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", value):
        raise ValueError("is not 32 bytes in base64 (monagent sensor keygen makes a key and prints the line for here)")
    key = base64.b64decode(value)
    if len(set(key)) <= 2:
        raise ValueError("is a placeholder that anybody could sign for (monagent sensor keygen makes a key)")
    return key


def url(value: str, _base: Path) -> str:
    """An http or https URL without user information."""
    example = "(example: http://monitor.example.org:8081/xmlrpc/)"
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError(f"needs a URL {example}")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f'"{value}" is not a URL {example}') from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(f'"{value}" is not an http or https URL {example}')
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or a password")
    if parts.fragment:
        raise ValueError("must not hold a fragment (#...)")
    return value


def database(value: str, base: Path) -> str:
    """A SQLAlchemy URL; a relative SQLite path starts at the configuration file's directory."""
    if value.startswith("sqlite:///"):
        return f"sqlite:///{base / value.removeprefix('sqlite:///')}"
    if not re.fullmatch(r"[a-z]+(?:\+[a-z0-9]+)?://[\x21-\x7e]*", value):
        raise ValueError(f'"{value}" is not a database URL (example: sqlite:///monitor.db)')
    return value
