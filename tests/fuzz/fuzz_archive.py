"""Feed changed packages to the reader, guided by what they reach in it, until it breaks a rule or the time is over.

    python -m tests.fuzz.fuzz_archive -max_total_time=20

Options are libFuzzer's. The first byte of an input tells what the rest is: a tar archive, one whose checksums are made
right first, or a compressed package. What breaks a rule is left in the current directory as `crash-…`; give that file
as an argument to see it again.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["monagent.sensors"]):
    from monagent.errors import PackageRefused
    from monagent.sensors.archive import members_of, read_members, top_of
    from monagent.sensors.decompress import Limits

from tests.fuzz.running import run
from tests.unit.sensors.archives import GOOD, HOSTILE, PACKERS, check_rules, repaired, tarball

PLAIN, REPAIRED, COMPRESSED = range(3)
SEED_LIMIT = 8 * 1024  # bytes; small inputs go faster and find as much

# Within reach of small inputs, so that every limit is met.
LIMITS = Limits(compressed=6 * 1024, total=256 * 1024, ratio=100, members=9, depth=4, path=64, header=1024)


def one_input(data: bytes) -> None:
    """Read it; anything but a package by the rules or a refusal is a find."""
    kind, rest = data[0] % 3 if data else PLAIN, data[1:]
    with contextlib.suppress(PackageRefused):
        if kind == COMPRESSED:
            check_rules(read_members(rest, "a", LIMITS), LIMITS)
            assert top_of(rest, LIMITS) == "a"
        else:
            raw = repaired(rest) if kind == REPAIRED else rest
            check_rules(members_of(io.BytesIO(raw), "a", LIMITS), LIMITS)


def write_seeds(folder: Path) -> None:
    """Good and hostile archives to begin with."""
    tree: list[tuple[str, bytes | None, bool]] = [
        ("a", None, True),
        ("a/lib/größe", b"x" * 600, False),
        ("a/check", b"1", True),
    ]
    archives = [GOOD, *(tarball(tree, form).rstrip(b"\0") + bytes(1024) for form in range(3))]
    archives += [hostile.raw for hostile in HOSTILE if len(hostile.raw) <= SEED_LIMIT]
    for number, raw in enumerate(archives):
        (folder / f"plain-{number}").write_bytes(bytes([PLAIN]) + raw)
        (folder / f"repaired-{number}").write_bytes(bytes([REPAIRED]) + raw)
        if number < 4:
            for name, pack in PACKERS.items():
                (folder / f"{name}-{number}").write_bytes(bytes([COMPRESSED]) + pack(raw))
                (folder / f"{name}-{number}-twice").write_bytes(bytes([COMPRESSED]) + pack(raw[:700]) + pack(raw[700:]))


if __name__ == "__main__":
    run(write_seeds, one_input)
