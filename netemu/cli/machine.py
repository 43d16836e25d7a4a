"""doctor and wipe."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from netemu import MachineError, PrivilegeError, enter_user_namespace, probe, wipe


def doctor(as_json: bool) -> int:
    """Try what labs need; 0 if all that is needed is there, else 4."""
    found = probe()
    code = MachineError.exit_code if any(feature.needed and not feature.there for feature in found) else 0
    if as_json:
        click.echo(json.dumps({"ok": code == 0, "features": [asdict(feature) for feature in found]}))
        return code
    width = max(len(feature.name) for feature in found)
    for feature in found:
        mark = "ok" if feature.there else "untried" if not feature.tried else "MISSING" if feature.needed else "absent"
        remedy = f"; {feature.remedy}" if feature.remedy else ""
        click.echo(f"{mark:<8} {feature.name:<{width}}  {feature.detail}{remedy}")
    return code


def wipe_(dry_run: bool, as_json: bool) -> None:
    """Remove, or only tell, what dead labs left."""
    try:
        found = wipe(dry_run=dry_run)
    except PrivilegeError as error:
        if not isinstance(error.__cause__, PermissionError) or not enter_user_namespace():
            raise
        found = wipe(dry_run=dry_run)  # of services that ran as other users, whose numbers only that namespace has
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "found": [asdict(leftover) for leftover in found]}))
        return
    for leftover in found:
        click.echo(f"{'found' if dry_run else 'removed'}  {leftover.path}")
    if not found:
        click.echo("no lab that was killed has left anything")
