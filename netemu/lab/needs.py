"""Whether this machine has what a plan takes, and place for its files: asked before anything is built, told by name."""

from __future__ import annotations

import os

from netemu.errors import MachineError, TopologyError
from netemu.kernel.machine.features import missing, require_nf_tables
from netemu.kernel.rules.loading import program
from netemu.topology.document import Path
from netemu.topology.load import Source
from netemu.topology.model import Topology
from netemu.topology.needs import needs_of
from netemu.topology.steps import LoadRules, Step
from netemu.topology.verify_places import THE_KERNELS


def require_all(steps: tuple[Step, ...], source: Source, *, taps: bool) -> None:
    """Raise MachineError that names every feature and tool that `steps` take and this machine lacks.

    `taps` is whether hosts are recorded from the start: rules and taps need nf_tables, which takes 4 ms to try.
    """
    if taps or any(isinstance(step, LoadRules) for step in steps):
        require_nf_tables()
    wanted: dict[str, Path] = {need.feature: need.path for need in needs_of(steps)}
    lacking = missing(wanted)
    problems = [
        source.problem(f"this kernel has no {feature} ({said})", wanted[feature]) for feature, said in lacking.items()
    ]
    loads = {(step.tool, step.backend): step.path for step in steps if isinstance(step, LoadRules)}
    for (tool, backend), path in loads.items():
        if path in (wanted[feature] for feature in lacking):
            continue
        try:
            program(tool, "restore", backend)
        except MachineError as error:
            problems.append(source.problem(str(error), path))
    if problems:
        raise MachineError("\n".join(str(problem) for problem in problems))


def require_places(topology: Topology, source: Source) -> None:
    """Raise TopologyError that names every file and folder of a host for which the machine's own leave no place."""
    problems = []
    for name, host in topology.hosts.items():
        wanted: list[tuple[str, Path]] = [(_why_no_file(target), ("files", target)) for target in host.files]
        wanted += [
            (_why_no_folder(folder) or _leads_astray(folder), ("tmpfs", index))
            for index, folder in enumerate(host.tmpfs)
        ]
        problems += [source.problem(f"host {name}: {why}", ("hosts", name, *path)) for why, path in wanted if why]
    if problems:
        raise TopologyError(problems)


def _why_no_file(target: str) -> str:
    place = os.path.realpath(target)
    if os.path.isdir(place):
        return f"{place} is a folder: a file can't be placed over it"
    return _why_no_folder(os.path.dirname(place)) or _leads_astray(target)


def _why_no_folder(folder: str) -> str:
    place = os.path.realpath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    return "" if os.path.isdir(place) else f"{place} is no folder"


def _leads_astray(target: str) -> str:
    """What is said of a link into a folder of the kernel's. What is there without a link was refused already."""
    place = os.path.realpath(target)
    root = next((root for root in THE_KERNELS if f"{place}/".startswith(f"{root}/") and place != target), "")
    return f"{target} leads into {root}: nothing can be placed there" if root else ""
