"""netemu: networks of real Linux namespaces whose every packet is recorded, followed and checked.

    async with Lab("nodeport") as lab:
        async with lab.record() as record:
            await lab.send("hello")
        assert lab.check(record).verdict == "pass"

What is listed in `__all__` is the public API; everything else may change. Names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netemu.check.lab import check_lab
    from netemu.check.report import Report, journey_json, report_json
    from netemu.check.sides_report import sides_json
    from netemu.check.verdict import Check, Verdict
    from netemu.errors import (
        CaptureError,
        Interrupted,
        KernelError,
        MachineError,
        NetemuError,
        PrivilegeError,
        RulesError,
        ServiceError,
        StoppedError,
        TopologyError,
        UsageError,
    )
    from netemu.kernel.machine.doctor import Feature
    from netemu.kernel.processes.handle import Process
    from netemu.kernel.processes.process import Completed
    from netemu.kernel.processes.running import ProcessFacts
    from netemu.kernel.spaces.userspace import enter_user_namespace
    from netemu.lab.capturing import Captured
    from netemu.lab.doctor import probe
    from netemu.lab.held import HeldLab, labs_up
    from netemu.lab.host import Host
    from netemu.lab.lab import Lab
    from netemu.lab.leftovers import Leftover, wipe
    from netemu.lab.sides import join_files
    from netemu.lab.supervisor import hold, run_once
    from netemu.lab.taps import Taps
    from netemu.lab.watching import Loss, Watched
    from netemu.netfilter.ruleset import Rule
    from netemu.record.arp import ArpExchange, ArpSighting
    from netemu.record.ask.latency import Latency
    from netemu.record.exchange import Exchange
    from netemu.record.flows import Flow
    from netemu.record.join.ends import End
    from netemu.record.join.quotes import Quote
    from netemu.record.join.rewrites import Rewrite
    from netemu.record.journeys import Journey
    from netemu.record.record import Record
    from netemu.record.sides.walks import SideFlow, SideJourney, Sides
    from netemu.record.sighting import Sighting
    from netemu.record.tracked import ConntrackEvent
    from netemu.topology.dump import to_yaml
    from netemu.topology.expectation import ConntrackExpectation, CounterExpectation, PacketExpectation
    from netemu.topology.generate import generate
    from netemu.topology.library import find, shipped
    from netemu.topology.load import load
    from netemu.topology.model import Topology
    from netemu.topology.points import Point
    from netemu.topology.schema import schema
    from netemu.topology.shards import sharded

_HOMES = {
    "ArpExchange": "netemu.record.arp",
    "ArpSighting": "netemu.record.arp",
    "CaptureError": "netemu.errors",
    "Captured": "netemu.lab.capturing",
    "Check": "netemu.check.verdict",
    "Completed": "netemu.kernel.processes.process",
    "ConntrackEvent": "netemu.record.tracked",
    "ConntrackExpectation": "netemu.topology.expectation",
    "CounterExpectation": "netemu.topology.expectation",
    "End": "netemu.record.join.ends",
    "Exchange": "netemu.record.exchange",
    "Feature": "netemu.kernel.machine.doctor",
    "Flow": "netemu.record.flows",
    "HeldLab": "netemu.lab.held",
    "Host": "netemu.lab.host",
    "Interrupted": "netemu.errors",
    "Journey": "netemu.record.journeys",
    "KernelError": "netemu.errors",
    "Lab": "netemu.lab.lab",
    "Latency": "netemu.record.ask.latency",
    "Leftover": "netemu.lab.leftovers",
    "Loss": "netemu.lab.watching",
    "MachineError": "netemu.errors",
    "NetemuError": "netemu.errors",
    "PacketExpectation": "netemu.topology.expectation",
    "Point": "netemu.topology.points",
    "PrivilegeError": "netemu.errors",
    "Process": "netemu.kernel.processes.handle",
    "ProcessFacts": "netemu.kernel.processes.running",
    "Quote": "netemu.record.join.quotes",
    "Record": "netemu.record.record",
    "Report": "netemu.check.report",
    "Rewrite": "netemu.record.join.rewrites",
    "Rule": "netemu.netfilter.ruleset",
    "RulesError": "netemu.errors",
    "ServiceError": "netemu.errors",
    "SideFlow": "netemu.record.sides.walks",
    "SideJourney": "netemu.record.sides.walks",
    "Sides": "netemu.record.sides.walks",
    "Sighting": "netemu.record.sighting",
    "StoppedError": "netemu.errors",
    "Taps": "netemu.lab.taps",
    "Topology": "netemu.topology.model",
    "TopologyError": "netemu.errors",
    "UsageError": "netemu.errors",
    "Verdict": "netemu.check.verdict",
    "Watched": "netemu.lab.watching",
    "check_lab": "netemu.check.lab",
    "enter_user_namespace": "netemu.kernel.spaces.userspace",
    "find": "netemu.topology.library",
    "generate": "netemu.topology.generate",
    "hold": "netemu.lab.supervisor",
    "join_files": "netemu.lab.sides",
    "journey_json": "netemu.check.report",
    "labs_up": "netemu.lab.held",
    "load": "netemu.topology.load",
    "probe": "netemu.lab.doctor",
    "report_json": "netemu.check.report",
    "run_once": "netemu.lab.supervisor",
    "schema": "netemu.topology.schema",
    "sharded": "netemu.topology.shards",
    "shipped": "netemu.topology.library",
    "sides_json": "netemu.check.sides_report",
    "to_yaml": "netemu.topology.dump",
    "wipe": "netemu.lab.leftovers",
}

__all__ = [
    "ArpExchange",
    "ArpSighting",
    "CaptureError",
    "Captured",
    "Check",
    "Completed",
    "ConntrackEvent",
    "ConntrackExpectation",
    "CounterExpectation",
    "End",
    "Exchange",
    "Feature",
    "Flow",
    "HeldLab",
    "Host",
    "Interrupted",
    "Journey",
    "KernelError",
    "Lab",
    "Latency",
    "Leftover",
    "Loss",
    "MachineError",
    "NetemuError",
    "PacketExpectation",
    "Point",
    "PrivilegeError",
    "Process",
    "ProcessFacts",
    "Quote",
    "Record",
    "Report",
    "Rewrite",
    "Rule",
    "RulesError",
    "ServiceError",
    "SideFlow",
    "SideJourney",
    "Sides",
    "Sighting",
    "StoppedError",
    "Taps",
    "Topology",
    "TopologyError",
    "UsageError",
    "Verdict",
    "Watched",
    "check_lab",
    "enter_user_namespace",
    "find",
    "generate",
    "hold",
    "join_files",
    "journey_json",
    "labs_up",
    "load",
    "probe",
    "report_json",
    "run_once",
    "schema",
    "sharded",
    "shipped",
    "sides_json",
    "to_yaml",
    "wipe",
]


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    """Load a public name's module when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'netemu' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
