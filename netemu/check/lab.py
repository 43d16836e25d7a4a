"""A topology's expectations held against a record of it: of the lab itself, or loaded from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netemu.check.explain import Surroundings
from netemu.check.report import Report, check_record
from netemu.errors import UsageError
from netemu.record.record import Record
from netemu.topology.expectation import Expectation
from netemu.topology.load import expectations_for
from netemu.topology.model import Topology


def check_lab(
    topology: Topology, record: Record, expect: Sequence[Expectation | Mapping[str, Any]] | None = None
) -> Report:
    """Hold expectations against a record of a topology's lab: the topology's own, unless others are given.

    Others are objects, or mappings as in a topology file. Raises TopologyError on one that this lab can't meet (an
    unknown key, host, traffic item or point), and UsageError if the record is of another lab: by its name, its hosts
    or its traffic.
    """
    _require_same(topology, record)
    forwarding = {name: host.forwarding for name, host in topology.hosts.items()}
    expectations = topology.expect if expect is None else expectations_for(topology, expect)
    return check_record(topology.name, record, expectations, Surroundings(forwarding))


def _require_same(topology: Topology, record: Record) -> None:
    """A record that was put together by hand, or never taken, says nothing of its lab."""
    raw = record.raw
    if not raw.captures:
        return
    if raw.lab != topology.name:
        raise UsageError(f"the record is of lab '{raw.lab}', not of '{topology.name}'")
    recorded, wanted = {capture.host for capture in raw.captures}, set(topology.hosts)
    if recorded != wanted:
        only = [f"{', '.join(sorted(wanted - recorded))} not in the record"] if wanted - recorded else []
        only += [f"{', '.join(sorted(recorded - wanted))} only there"] if recorded - wanted else []
        raise UsageError(f"the record is of another lab {topology.name}: {'; '.join(only)}")
    strange = [each.name for each in record.exchanges if each.name not in {item.name for item in topology.traffic}]
    if strange:
        raise UsageError(f"the record is of another lab {topology.name}: this one sends no '{strange[0]}'")
