"""The Debian package: built, installed into a clean Debian, booted, used and purged."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.sensors_stock.runner import missing

ROOT = Path(__file__).parents[2]
SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")


@pytest.mark.timeout(290)
def test_the_package_installs_works_and_leaves_nothing(tmp_path: Path) -> None:
    """In a Debian 12 that has never seen it, as apt installs it."""
    tool = os.environ.get("MONAGENT_SYSTEMD_HOST", "")
    if os.geteuid() != 0 or not tool:
        missing("root, and a tool that boots a host ($MONAGENT_SYSTEMD_HOST),")
    for program in ("mmdebstrap", "dpkg-deb"):
        if not shutil.which(program):
            missing(program)
    built = _run([ROOT / "packaging" / "deb" / "build", tmp_path]).strip().splitlines()[-1]
    base = tmp_path / "debian"
    sources = [place for place in SOURCES if Path(place).is_file()]
    sources += [str(path) for path in sorted(Path(SOURCES[1]).glob("*"))] if Path(SOURCES[1]).is_dir() else []
    _run([
        "mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,procps",
        f"--customize-hook=copy-in {built} /",
        f'--customize-hook=chroot "$1" apt-get install --quiet --quiet --yes --no-install-recommends /{Path(built).name}',
        # What it needs stays, so that it can be installed again on the booted host, which has no network.
        '--customize-hook=test -L "$1/etc/systemd/system/multi-user.target.wants/monagent.service"',
        '--customize-hook=chroot "$1" dpkg --purge monagent',
        '--customize-hook=test ! -L "$1/etc/systemd/system/multi-user.target.wants/monagent.service"',
        "bookworm", base, *sources,
    ])  # fmt: skip
    script = ROOT / "tests" / "systemd" / "package.sh"
    told = _run(
        [
            tool,
            "run",
            "--root",
            base,
            "--bind",
            f"{script}:/package.sh:ro",
            "--timeout",
            "60",
            "--",
            "bash",
            "/package.sh",
        ]
    )

    assert told.strip().endswith("the package is fine")


def _run(command: list[str | Path]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=250, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}"
    return done.stdout
