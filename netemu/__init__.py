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
    from netemu.check.report import Report, report_json
    from netemu.check.verdict import Check, Verdict
    from netemu.errors import (
        CaptureError,
        KernelError,
        MachineError,
        NetemuError,
        PrivilegeError,
        RulesError,
        ServiceError,
        TopologyError,
        UsageError,
    )
    from netemu.kernel.process import Completed
    from netemu.lab.host import Host
    from netemu.lab.lab import Lab
    from netemu.record.record import Record
    from netemu.topology.load import load
    from netemu.topology.model import Topology, schema

_HOMES = {
    "CaptureError": "netemu.errors",
    "Check": "netemu.check.verdict",
    "Completed": "netemu.kernel.process",
    "Host": "netemu.lab.host",
    "KernelError": "netemu.errors",
    "Lab": "netemu.lab.lab",
    "MachineError": "netemu.errors",
    "NetemuError": "netemu.errors",
    "PrivilegeError": "netemu.errors",
    "Record": "netemu.record.record",
    "Report": "netemu.check.report",
    "RulesError": "netemu.errors",
    "ServiceError": "netemu.errors",
    "Topology": "netemu.topology.model",
    "TopologyError": "netemu.errors",
    "UsageError": "netemu.errors",
    "Verdict": "netemu.check.verdict",
    "load": "netemu.topology.load",
    "report_json": "netemu.check.report",
    "schema": "netemu.topology.model",
}

__all__ = [
    "CaptureError",
    "Check",
    "Completed",
    "Host",
    "KernelError",
    "Lab",
    "MachineError",
    "NetemuError",
    "PrivilegeError",
    "Record",
    "Report",
    "RulesError",
    "ServiceError",
    "Topology",
    "TopologyError",
    "UsageError",
    "Verdict",
    "load",
    "report_json",
    "schema",
]


def __getattr__(name: str) -> Any:
    """Load a public name's module when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'netemu' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
