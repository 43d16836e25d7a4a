"""A topology's expectations held against a record of it: of the lab itself, or loaded from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netemu.check.explain import Surroundings
from netemu.check.report import Report, check_record
from netemu.errors import UsageError
from netemu.record.join.wires import Member
from netemu.record.record import Record
from netemu.topology.built import built, differences
from netemu.topology.expectation import Expectation
from netemu.topology.given import Given, given
from netemu.topology.keys import key_text
from netemu.topology.load import expectations_for
from netemu.topology.model import Topology
from netemu.topology.segments import segments

_TOLD = 5
"""How many differences are told."""


def check_lab(
    topology: Given, record: Record, expect: Sequence[Expectation | Mapping[str, Any]] | None = None
) -> Report:
    """Hold expectations against a record of a topology's lab: the topology's own, unless others are given.

    The topology is given as to `Lab`: also by a mapping, a file's path, or the name of one that netemu comes with.
    Other expectations are objects, or mappings as in a topology file. Raises TopologyError on one that this lab can't
    meet (an unknown key, host, traffic item or point), a topology with faults, or a `Path` that can't be read, and
    UsageError where a text names no topology, or the record is of another one: by its hosts, networks, links,
    addresses, routes, rules or traffic. What the lab was named does not count, nor what is expected, nor how it was
    looked at (`backend`, `trace`).
    """
    topology, _ = given(topology)
    _require_same(topology, record)
    forwarding = {name: host.forwarding for name, host in topology.hosts.items()}
    expectations = topology.expect if expect is None else expectations_for(topology, expect)
    return check_record(topology.name, record, expectations, Surroundings(forwarding))


def _require_same(topology: Topology, record: Record) -> None:
    """A record that was put together by hand, or never taken, says nothing of its lab."""
    raw = record.raw
    if not raw.captures:
        return
    recorded, wanted = {capture.host for capture in raw.captures}, set(topology.hosts)
    if recorded != wanted:
        only = [f"{', '.join(sorted(wanted - recorded))} not in the record"] if wanted - recorded else []
        only += [f"{', '.join(sorted(recorded - wanted))} only there"] if recorded - wanted else []
        raise UsageError(f"{_of_another(record, topology)}: {'; '.join(only)}")
    sent = {each.name for each in record.exchanges}
    if strange := sorted(sent - {item.name for item in topology.traffic}):
        raise UsageError(f"{_of_another(record, topology)}: this one sends no '{strange[0]}'")
    if raw.topology is not None:
        found = [f"{key_text(path)}: {what}" for path, what in differences(raw.topology, built(topology), sent)]
    else:  # a file from before records held that: who is on which wire is in all of them
        found = list(_wired_otherwise(raw.segment_of, topology))
    if found:
        more = [f"and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
        raise UsageError("\n  ".join([f"{_of_another(record, topology)}:", *found[:_TOLD], *more]))


def _of_another(record: Record, topology: Topology) -> str:
    return f"the record, of lab {record.raw.lab}, is of another topology than {topology.name}"


def _wired_otherwise(segment_of: Mapping[Member, str], topology: Topology) -> Iterator[str]:
    now = {member: name for name, members in segments(topology).items() for member in members}
    for member in sorted(segment_of.keys() | now.keys()):
        was, is_ = segment_of.get(member, "none"), now.get(member, "none")
        if was != is_:
            yield f"{':'.join(member)}: on {was} when it was recorded, on {is_} now"
