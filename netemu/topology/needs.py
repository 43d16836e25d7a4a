"""What a topology needs of a kernel beyond what every lab needs, by the names of the kernel room's probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from netemu.topology.document import Path
from netemu.topology.model import Topology
from netemu.topology.plan import plan
from netemu.topology.shaping import LinkProperties
from netemu.topology.steps import AddAddress, AddPolicyRule, LoadRules, MakeMacvlan, MakeTunnel, ShapeEnd, Step

Feature = Literal["IPv6", "policy rules", "netem", "tbf", "vxlan", "macvlan", "iptables-legacy", "ip6tables-legacy"]


@dataclass(frozen=True, slots=True)
class Need:
    """A feature, and where the topology first asks for it."""

    feature: Feature
    path: Path


def needs(topology: Topology) -> tuple[Need, ...]:
    """The features that building `topology` takes, each once. The topology must have passed `verify.faults`."""
    return needs_of(plan(topology))


def needs_of(steps: tuple[Step, ...]) -> tuple[Need, ...]:
    """The features that a plan's steps take, each once."""
    first: dict[Feature, Path] = {}
    for step in steps:
        for feature in _features(step):
            first.setdefault(feature, step.path)
    return tuple(Need(feature, path) for feature, path in first.items())


def shaping_needs(properties: LinkProperties) -> Feature:
    """What a link with these properties takes."""
    return "netem" if properties.needs_netem else "tbf"


def _features(step: Step) -> Iterator[Feature]:
    if isinstance(step, AddAddress) and step.address.version == 6:
        yield "IPv6"
    elif isinstance(step, AddPolicyRule):
        yield "policy rules"
    elif isinstance(step, ShapeEnd):
        yield shaping_needs(step.properties)
    elif isinstance(step, MakeTunnel):
        yield "vxlan"
    elif isinstance(step, MakeMacvlan):
        yield "macvlan"
    elif isinstance(step, LoadRules) and step.backend == "legacy" and step.tool != "nft":
        yield "iptables-legacy" if step.tool == "iptables" else "ip6tables-legacy"
