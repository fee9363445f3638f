"""`monagent init`: a directory that an agent can be run from."""

from __future__ import annotations

from pathlib import Path

import click

from monagent.config.example import client_example
from monagent.sensors.stock import copy_stock_sensors


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--url", default="http://localhost:8081/xmlrpc/", show_default=True, help="The server to report to.")
def init(directory: Path, url: str) -> None:
    """Write a commented client.cfg, sensors/ and sensors_backup/ into DIRECTORY.

    What is there already stays as it is.
    """
    for folder in (directory, directory / "sensors", directory / "sensors_backup"):
        folder.mkdir(parents=True, exist_ok=True)
    config = directory / "client.cfg"
    if config.exists():
        click.echo(f"kept {config}", err=True)
    else:
        config.write_text(client_example(url), encoding="utf-8")
        click.echo(f"wrote {config}", err=True)
    copied = copy_stock_sensors(directory / "sensors")
    click.echo(f"copied {len(copied)} sensors: {', '.join(copied) or 'all were there'}", err=True)
    click.echo(f"next: monagent run -c {config}", err=True)
