"""`monserver status`: how everything is now."""

from __future__ import annotations

import json
import time
from pathlib import Path

from sqlalchemy import insert, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.migrate import prepare
from tests.support.server import define
from tests.unit.cli.program import monserver

NOW = 1_790_000_000.0


def test_the_worst_comes_first_and_decides_the_exit_code(tmp_path: Path) -> None:
    """For people and for programs; a probe without a reading is no problem."""
    config = tmp_path / "server.cfg"
    config.write_text("[server]\nport = 0\n")
    database = Database(f"sqlite:///{tmp_path}/monitor.db")
    prepare(database)
    definitions = {("sensor", "disk"): {}, ("host", "web1"): {"address": "127.0.0.1"}}
    definitions |= {("probe", name): {"sensor": "disk", "hosts": ["web1"]} for name in ("bad", "good", "new")}
    define(database, dict(definitions))
    with database.write() as db:
        for name, state in (("bad", "critical"), ("good", "ok")):
            values = {"state": state, "since": NOW, "finished": NOW, "data": "99", "ret_code": 0}
            db.execute(update(schema.host_probe).where(schema.host_probe.c.probe == name).values(values))
        db.execute(insert(schema.vigil).values(id=1, began=time.time(), looked=time.time()))
    shown, problems = (
        monserver("status", "-c", config),
        monserver("status", "web1", "--problems", "--json", "-c", config),
    )

    assert (shown.returncode, shown.stderr) == (1, "3 probes, 1 not well\n")
    assert [line.split()[:3] for line in shown.stdout.splitlines()] == [
        ["critical", "web1", "bad"], ["ok", "web1", "good"], ["waiting", "web1", "new"],
    ]  # fmt: skip
    assert [(one["probe"], one["state"], one["since"]) for one in json.loads(problems.stdout)] == [
        ("bad", "critical", "2026-09-21T14:13:20Z")
    ]
    assert monserver("status", "web9", "-c", config).returncode == 1
    with database.write() as db:
        db.execute(update(schema.vigil).values(looked=time.time() - 120))
    database.close()
    old = monserver("status", "-c", config)
    assert (old.returncode, len(old.stdout.splitlines())) == (69, 3)
    assert "no server has looked after this" in old.stderr
