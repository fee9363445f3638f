"""`monagent sync`: run a backup job, or two directories, here and now."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings, values

if TYPE_CHECKING:
    from monagent.config.settings import Settings
    from monagent.sync.job import SyncJob
    from monagent.sync.progress import Look, Show
    from monagent.sync.report import Report

_STATE_HOME = "~/.local/state"
PAUSE_SECONDS = 0.2


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="JOB | SOURCE TARGET")
@click.option("--check", is_flag=True, help="Look whether the backup is equal; change nothing.")
@click.option("--full", is_flag=True, help="With --check: read every byte of both sides.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing, remember nothing.")
@click.option(
    "--accept", is_flag=True, help="Take both sides as they are now: another device, much less in the source."
)
@click.option("--history", is_flag=True, help="Show past runs of JOB, and how old the last full proof is.")
@click.option("--delete", is_flag=True, help="SOURCE TARGET: remove from TARGET what SOURCE does not have.")
@click.option("--max-delete", metavar="N|N%", help="More than that is not deleted.  [default: 10%]")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="SOURCE TARGET: as in a .gitignore; may be repeated.")
@click.option("--compare", type=click.Choice(["content", "stat"]), help="SOURCE TARGET: what is compared.")
@click.option("--html", "as_html", is_flag=True, help="Print the report as a page.")
@click.option("-q", "--quiet", is_flag=True, help="Print the last line alone.")
@config_option
@json_option
@click.pass_context
def sync(
    context: click.Context,
    what: tuple[str, ...],
    check: bool,
    full: bool,
    dry_run: bool,
    accept: bool,
    history: bool,
    delete: bool,
    max_delete: str | None,
    exclude: tuple[str, ...],
    compare: str | None,
    as_html: bool,
    quiet: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Make a backup directory equal to its source, and prove that it is.

    JOB is a [backup:JOB] section of the configuration; SOURCE and TARGET need none. Files are copied whole or not at all;
    what is deleted or overwritten goes to a dated bin beside the target. Exit 0: the backup holds what the source holds; 1:
    differences are left; more: trouble.
    """
    if not all(what):
        raise click.UsageError("a directory or a job needs a name: one of them is empty")
    _check_options(as_json=as_json, as_html=as_html, accept=accept, check=check, history=history)
    if max_delete and not delete:
        raise click.UsageError("--max-delete goes with --delete")
    job = _pair(what, delete, max_delete, exclude, compare) if len(what) == 2 else _job(what, config)
    if len(what) != 2 and (delete or max_delete or exclude or compare):
        raise click.UsageError("--delete, --max-delete, --exclude and --compare are options of the job in its section")
    if history:
        _show_history(job, as_json=as_json)
        return
    if (full and not check) or (check and dry_run):
        raise click.UsageError("--full goes with --check, and --check without --dry-run")
    from monagent.sync.job import CHECK, DRY_RUN, FULL_CHECK, SYNC  # noqa: PLC0415 - loads what no other command needs
    from monagent.sync.run import run  # noqa: PLC0415

    mode = DRY_RUN if dry_run else FULL_CHECK if full else CHECK if check else SYNC
    try:
        with _shown_progress(quiet=quiet) as show:
            report = run(job, mode, accept=accept, show=show)
    except KeyboardInterrupt:
        click.echo("monagent: interrupted; nothing is half copied, run it again", err=True)
        context.exit(130)
    try:
        _show(report, job, as_json=as_json, as_html=as_html, quiet=quiet)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough; how the run went is another matter
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    context.exit(report.exit_code)


def _check_options(*, as_json: bool, as_html: bool, accept: bool, check: bool, history: bool) -> None:
    if as_json and as_html:
        raise click.UsageError("give --json or --html, not both")
    if accept and check:
        raise click.UsageError("--accept is for a sync: a check changes nothing")
    if history and (as_html or accept or check):
        raise click.UsageError("--history goes with --json alone")


def _job(what: tuple[str, ...], config: Path) -> SyncJob:
    from monagent.agent.wiring import sync_jobs  # noqa: PLC0415

    if len(what) > 2:
        raise click.UsageError("give one JOB, or SOURCE and TARGET")
    if what[0] and not config.exists() and Path(what[0]).is_dir():
        raise click.UsageError(f"{what[0]} is a directory: which TARGET is its copy to be in?")
    loaded = settings.load(config)
    jobs = sync_jobs(loaded)
    if what[0] not in jobs:
        known = f"known: {', '.join(sorted(jobs))}" if jobs else "it has no [backup:JOB] section"
        raise click.UsageError(f"{config} defines no job {what[0]!r} ({known}); two directories need no job")
    _refuse_other_user(loaded, what[0])
    return jobs[what[0]]


def _refuse_other_user(loaded: Settings, name: str) -> None:
    """What one user leaves in the state and the bin, the agent's user could not use."""
    from monagent.errors import SyncStopped  # noqa: PLC0415

    state, user = loaded.agent.state, loaded.agent.user
    if state.exists():
        owner = state.stat().st_uid
    elif user:
        owner = pwd.getpwnam(user).pw_uid
    else:
        return
    if owner != os.geteuid():
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(owner).pw_name
        raise SyncStopped(
            f"{state} belongs to {user or f'uid {owner}'}: run it as that user (runuser -u {user or f'#{owner}'} -- "
            f"monagent sync {name} -c {loaded.file})",
            77,
        )


def _pair(
    what: tuple[str, ...], delete: bool, max_delete: str | None, exclude: tuple[str, ...], compare: str | None
) -> SyncJob:
    from monagent.sync.job import SyncJob  # noqa: PLC0415

    source, target = (Path(os.path.abspath(one)) for one in what)
    name = hashlib.sha256(os.fsencode(f"{os.path.realpath(source)}\0{os.path.realpath(target)}")).hexdigest()[:16]
    home = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser(_STATE_HOME))
    job = SyncJob(
        f"{what[0]} {what[1]}", source, target, home / "monagent" / "sync" / name, delete=delete, max_age=math.inf
    )
    try:
        return replace(
            job,
            exclude=values.patterns("\n".join(exclude), Path()),
            max_delete=values.share(max_delete, Path()) if max_delete else job.max_delete,
            compare=compare or job.compare,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _show(report: Report, job: SyncJob, *, as_json: bool, as_html: bool, quiet: bool) -> None:
    from monagent.sync.report import item_value, last_line, lines  # noqa: PLC0415
    from monagent.sync.report_html import page  # noqa: PLC0415
    from monagent.sync.tally import read_items  # noqa: PLC0415

    if as_json:
        head = json.dumps(report.outcome(), indent=2, ensure_ascii=False).removesuffix("\n}")
        click.echo(f'{head},\n  "items": [', nl=False)
        for number, item in enumerate(read_items(job.state)):
            click.echo(f"{',' if number else ''}\n    {json.dumps(item_value(item), ensure_ascii=False)}", nl=False)
        click.echo("\n  ]\n}")
    elif as_html:
        click.echo(page(report.outcome()))
    else:
        for line in [last_line(report)] if quiet else lines(report, read_items(job.state)):
            click.echo(line)


def _show_history(job: SyncJob, *, as_json: bool) -> None:
    import time  # noqa: PLC0415

    from monagent.sync.manifest import history  # noqa: PLC0415
    from monagent.sync.overdue import age, standing  # noqa: PLC0415
    from monagent.sync.report import mode_shown  # noqa: PLC0415

    runs, _ = history(job.state, 100)
    now = time.time()
    stands = standing(job, now)
    if as_json:
        reports = [past.report for past in runs]
        ages = {
            "last_success_age": None if stands.last_success is None else round(now - stands.last_success, 1),
            "last_full_proof_age": None if stands.last_full_proof is None else round(now - stands.last_full_proof, 1),
        }
        print_json({"job": job.name, "problem": stands.problem, **ages, "runs": reports})
        return
    for past in runs:
        when = datetime.fromtimestamp(past.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        click.echo(f"{when}  {mode_shown(past.mode):10}  {past.status:5}  {past.message}")
    for word, when_last in (("success", stands.last_success), ("full proof", stands.last_full_proof)):
        click.echo(f"last {word}: {'never' if when_last is None else f'{age(now - when_last)} ago'}")
    if stands.problem:
        click.echo(f"problem: {stands.problem}")


@contextlib.contextmanager
def _shown_progress(*, quiet: bool) -> Iterator[Show]:
    """A bar on a terminal, and nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _look: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    from monagent.sync.overdue import age  # noqa: PLC0415
    from monagent.sync.progress import every  # noqa: PLC0415
    from monagent.sync.report import readable  # noqa: PLC0415

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}")
    with Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("looking", total=None, told="")

        looks: list[Look] = []

        def update() -> None:
            if not looks:
                return
            progress = looks[-1]()
            rate = f"{readable(int(progress.bytes / max(progress.seconds, 0.1)))}/s"
            left = progress.seconds_left
            told = [f"{progress.entries:,} entries", readable(progress.bytes), rate]
            told += [f"{age(left)} left"] if left is not None else []
            bar.update(
                task,
                description=f"round {progress.round}",
                completed=progress.entries,
                total=progress.total or None,
                told=", ".join(told),
                refresh=True,
            )

        with every(PAUSE_SECONDS, update):
            yield looks.append
