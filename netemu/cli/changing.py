"""logs, restart and link: what services write, starting them again, what wires do."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from netemu import UsageError
from netemu.cli.held import named
from netemu.cli.output import Output


def logs(lab: str, host: str | None, service: str | None, follow: bool) -> None:
    """Print logs; with several services, each line with its service's name before it. What has none is told as well."""
    host, _, part = (host or "").partition(":")
    held, one = named(lab), service or part or None
    pieces = held.logs(host or None, one, follow=follow)
    rest: dict[str, bytes] = {}
    for name, piece in pieces:
        if Output.reader_gone:
            return
        *lines, rest[name] = (rest.get(name, b"") + piece).split(b"\n")
        if not piece:
            whole = f"{host}:{name}" if host else name
            click.echo(f"netemu: service {whole} has written nothing{' yet' if follow else ''}", err=True)
        elif one:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            _write(name, lines)
    if not rest:
        click.echo(f"netemu: {f'host {host}' if host else f'lab {held.name}'} has no services", err=True)
    elif not one:
        for name, line in rest.items():
            _write(name, [line] if line else [])


def _write(name: str, lines: list[bytes]) -> None:
    for line in lines:
        sys.stdout.buffer.write(name.encode() + b" | " + line + b"\n")
    sys.stdout.buffer.flush()


def restart(lab: str, service: str, as_json: bool) -> None:
    """Restart services, and tell how they are."""
    host, _, name = service.partition(":")
    states = named(lab).restart(host, name or None)
    if as_json:
        click.echo(json.dumps({"services": states}))
        return
    for state in states:
        click.echo(f"{state['host']}:{state['name']} is {state['state']}, process {state['pid']}")


def link(lab: str, point: str, way: Any, clear: bool, state: Any, given: dict[str, str | None], as_json: bool) -> None:
    """Change a link, and tell what holds then."""
    host, colon, interface = point.partition(":")
    if not colon or not interface:
        raise UsageError(f"'{point}' is no interface: write HOST:INTERFACE, as in B:eth0")
    wanted = {name: value for name, value in given.items() if value is not None}
    told = named(lab).link(host, interface, set=wanted, clear=clear, state=state, way=way)
    if as_json:
        click.echo(json.dumps(told))
        return
    both = told["properties"].get("in"), told["properties"].get("out")
    ways = {"both ways": both[0]} if both[0] == both[1] else {"in": both[0], "out": both[1]}
    said = [f"{name} {told_properties(properties)}" for name, properties in ways.items() if properties]
    down = " is down" if told["state"] == "down" else ""
    click.echo(f"{host}:{interface}{down}   {'; '.join(said) or 'no properties'}")


def told_properties(properties: dict[str, str]) -> str:
    """`delay 20ms, loss 1%`."""
    return ", ".join(f"{name} {value}" for name, value in properties.items())
