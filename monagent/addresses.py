"""Say whether a text is a mail address, and write it as mail servers take it."""

from __future__ import annotations

import re
from email.utils import formataddr, parseaddr

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
LOCAL_LIMIT, LIMIT = 64, 254
"""Characters before the @, and of the whole (RFC 5321, 4.5.3.1)."""


def address(text: str) -> str:
    """The address in ASCII: a domain in other letters becomes `xn--…`.

    Raises:
        ValueError: it is none; says why.
    """
    local, at, domain = text.rpartition("@")
    example = "(example: admin@example.org)"
    if not at or not local or not domain:
        raise ValueError(f'"{text[:80]}" is not a mail address {example}')
    if not _LOCAL.fullmatch(local) or len(local) > LOCAL_LIMIT:
        raise ValueError(f'"{text[:80]}": what stands before the @ cannot be part of a mail address {example}')
    written = _domain(domain)
    if written is None or len(local) + 1 + len(written) > LIMIT:
        raise ValueError(f'"{text[:80]}": what stands behind the @ is no domain {example}')
    return f"{local}@{written}"


def _domain(text: str) -> str | None:
    try:
        ascii_text = text.encode("idna").decode("ascii") if not text.isascii() else text
    except UnicodeError:
        return None
    labels = ascii_text.split(".")
    return ascii_text if all(_LABEL.fullmatch(label) for label in labels) else None


def named_address(text: str) -> tuple[str, str]:
    """Name (may be empty) and address of `Name <a@b.c>` or `a@b.c`.

    Raises:
        ValueError: the address is none.
    """
    name, found = parseaddr(text) if "<" in text else ("", text)
    return name, address(found)


def shown(name: str, found: str) -> str:
    """Both as a header holds them."""
    return formataddr((name, found), "utf-8")
