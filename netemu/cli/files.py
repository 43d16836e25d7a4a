"""validate, schema and generate."""

from __future__ import annotations

import json
from typing import Any

import click

from netemu import TopologyError, generate, to_yaml
from netemu import schema as topology_schema
from netemu.cli.console import counted
from netemu.cli.given import file_name, given


def validate(file: str, as_json: bool) -> int:
    """Say whether a topology can be built; the exit code."""
    path = file_name(file)
    try:
        topology, _ = given(file)
    except TopologyError as error:
        if not as_json:
            raise
        problems = [{"file": p.file, "line": p.line, "key": p.key, "message": p.message} for p in error.problems]
        click.echo(json.dumps({"file": path, "valid": False, "problems": problems}))
        return error.exit_code
    if as_json:
        click.echo(json.dumps({"file": path, "valid": True, "problems": []}))
    else:
        click.echo(
            f"{path} is fine: {topology.name}, {counted(len(topology.hosts), 'host')},"
            f" {counted(len(topology.networks), 'network')}, {counted(len(topology.links), 'link')},"
            f" {counted(len(topology.traffic), 'traffic item')}, {counted(len(topology.expect), 'expectation')}"
        )
    return 0


def generate_(shape: str, size: int, *, link: dict[str, str | None], **more: Any) -> None:
    """Print a generated topology as YAML."""
    properties = {key: value for key, value in link.items() if value is not None}
    click.echo(to_yaml(generate(shape, size, properties=properties, **more)), nl=False)  # type: ignore[arg-type]


def schema() -> None:
    """Print the topology file's JSON Schema."""
    click.echo(json.dumps(topology_schema(), indent=2))
