"""doctor."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from netemu import MachineError, probe


def doctor(as_json: bool) -> int:
    """Try what labs need; 0 if all that is needed is there, else 4."""
    found = probe()
    code = MachineError.exit_code if any(feature.needed and not feature.there for feature in found) else 0
    if as_json:
        click.echo(json.dumps({"ok": code == 0, "features": [asdict(feature) for feature in found]}))
        return code
    width = max(len(feature.name) for feature in found)
    for feature in found:
        mark = "ok" if feature.there else "MISSING" if feature.needed else "absent"
        remedy = f"; {feature.remedy}" if feature.remedy else ""
        click.echo(f"{mark:<8} {feature.name:<{width}}  {feature.detail}{remedy}")
    return code
