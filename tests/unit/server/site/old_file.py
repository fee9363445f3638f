"""Makes a monitor.db as the original tutorial system has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

TABLES = """
create table sensor(id integer primary key, name text);
create table probe(id integer primary key, sensor_id integer, name text, parameter text, warning float, error float);
create table host(id integer primary key, name text, address text, port text);
create table hostprobe(id integer primary key, probe_id integer, host_id integer, warning float, error float);
create table probingschedule(id integer primary key, hostprobe_id integer, probeinterval integer);
create table probereading(id integer primary key, hostprobe_id integer, timestamp text, probe_value float, ret_code integer);
create table hostparams(id integer primary key, host_id integer, param text, value text);
create table systemparams(name text primary key, value text);
create table ticketqueue(id integer primary key, hostprobe_id integer, timestamp text, dispatched integer);
"""
ROWS = """
insert into sensor values (1, 'cpu_load'), (2, 'disk space'), (3, 'cpu_load');
insert into probe values (1, 1, 'CPU load', '1', 5, 10.5), (2, 2, 'root', '-p "/ x" 80', 80, null), (3, 9, 'gone', '', 1, 2),
    (4, 3, 'CPU load', 'it''s', null, 'high');
insert into host values (1, 'My laptop', 'localhost', '8080'), (2, 'web1', '192.0.2.1', '8081'), (3, 'My-laptop', '127.0.0.1', null);
insert into hostprobe values (1, 1, 1, null, null), (2, 1, 2, 6, null), (3, 2, 1, null, null), (4, 2, 99, null, null),
    (5, 1, 3, null, null), (6, 1, 1, 1, 1);
insert into probingschedule values (1, 1, 5), (2, 2, 5), (3, 5, 1), (4, 3, 'x');
insert into hostparams values (1, 1, 'monitor_url', 'http://other.example.org:8081/xmlrpc/'), (2, 2, 'x', 'y');
insert into systemparams values ('monitor_url', 'http://localhost:8081/xmlrpc/');
insert into ticketqueue values (1, 1, '2009-08-02T10:00:00', 1);
insert into probereading values (1, 1, '2009-08-02T10:00:00', 4.5, 0), (2, 1, '20090802T10:01:00', 6, 0),
    (3, 6, '2009-08-02 10:02:00', 12.25, 0), (4, 1, '2009-08-02T10:03:00', null, 1), (5, 2, '2009-08-02T10:00:00+02:00', 7, 0),
    (6, 4, '2009-08-02T10:00:00', 1, 0), (7, 1, 'noon', 1, 0), (8, 1, '2999-01-01T00:00:00', 1, 0);
"""


def old_file(directory: Path, statements: str = TABLES + ROWS) -> Path:
    """A file with these tables and rows."""
    path = directory / "old.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(statements)
    return path
