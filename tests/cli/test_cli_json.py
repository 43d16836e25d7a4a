"""What commands print with --json is what docs/json.md says: every key, of every command, of labs that are up."""

from __future__ import annotations

import click
import pytest
from json_outputs import outputs
from json_tables import Comparison, documented

from netemu.cli.main import cli

NEVER_MADE_HERE = {
    ("hosts.HOST.interfaces[]", "master"),  # no host has a bridge, unless somebody makes one there
    *(("journeys[].about", key) for key in ("proto", "src", "sport", "dst", "dport")),  # of errors that come late
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    return outputs(tmp_path_factory.mktemp("json"))


@pytest.mark.needs("vxlan")
def test_every_key_that_a_command_prints_is_documented_and_every_documented_key_is_printed(printed):
    pages = documented()
    assert printed.keys() == pages.keys()
    compared: dict[int, Comparison] = {}
    for command, values in printed.items():
        page, path = (pages["run"], "journeys[]") if command == "watch" else (pages[command], "")
        comparison = compared.setdefault(id(page), Comparison(page))
        for value in values:
            for each in value if isinstance(value, list) else [value]:
                comparison.hold(each, path)
    assert {fault for comparison in compared.values() for fault in comparison.faults} == set()
    assert {key for comparison in compared.values() for key in comparison.stale} - NEVER_MADE_HERE == set()


def test_every_command_that_takes_json_has_a_section():
    takes = {
        name
        for name, command in cli.commands.items()  # type: ignore[attr-defined]
        if any("--json" in option.opts for option in command.params if isinstance(option, click.Option))
    }
    assert documented().keys() == takes


def test_an_unknown_key_a_missing_one_and_a_stale_one_are_told():
    """The comparison itself, on the smallest page."""
    comparison = Comparison(documented()["wipe"])
    comparison.hold({"dry_run": True, "found": [{"kind": "name", "extra": 1}]})
    assert comparison.faults == {"found[] has no path", "found[] has an unknown key extra"}
    assert comparison.stale == {("found[]", "path")}
