"""A topology to the ordered steps that build it.

Every step names the host (or network) it belongs to, and a wire's two ends are two steps: a plan can be cut into
parts that are applied apart. Steps of one kind come together, in the order in which a lab may come up: all of the
rules and taps are there before the first interface is up.
"""

from __future__ import annotations

from netemu.topology.document import Path
from netemu.topology.model import Host, Topology
from netemu.topology.segments import split_endpoint, wires
from netemu.topology.shaping import merged
from netemu.topology.shards import bridge_of, bridges, join
from netemu.topology.steps import (
    AddAddress,
    AddPolicyRule,
    AddRoute,
    BringUp,
    BringUpStacked,
    JoinBridge,
    LoadRules,
    MakeBridge,
    MakeEnd,
    MakeHost,
    MakeMacvlan,
    MakeNetwork,
    MakeTunnel,
    OpenTaps,
    SetSysctl,
    ShapeEnd,
    StartService,
    Step,
)

ETHERNET_MTU = 1500

NO_IPV6 = {"net.ipv6.conf.default.disable_ipv6": "1"}
"""For a network, and for hosts of a lab without an IPv6 address: their interfaces say nothing by themselves."""


UNFILTERED = {f"net.bridge.bridge-nf-call-{tables}": "0" for tables in ("iptables", "ip6tables", "arptables")}
"""For a network: its bridge is a wire. Else br_netfilter, where the kernel has it, drops what has a wrong IP checksum
(br_validate_ipv4 in net/bridge/br_netfilter_hooks.c)."""


def plan(topology: Topology) -> tuple[Step, ...]:
    """The steps that build `topology`, in order. The topology must have passed `verify.faults`."""
    hosts = [(name, host, ("hosts", name)) for name, host in topology.hosts.items()]
    steps: list[Step] = [MakeNetwork(name, ("networks", name)) for name in topology.networks]
    steps += [MakeHost(name, path) for name, _, path in hosts]
    steps += [
        SetSysctl(name, ("networks", name), key, value, wanted=False)
        for name in topology.networks
        for key, value in (NO_IPV6 | UNFILTERED).items()
    ]
    ipv6 = _speaks_ipv6(topology)
    steps += [step for name, host, path in hosts for step in _sysctls(name, host, path, ipv6)]
    steps += [
        MakeBridge(name, ("networks", name), each) for name in topology.networks for each in bridges(topology, name)
    ]
    joins = [step for name in topology.networks for step in _joins(topology, name)]
    steps += joins
    ends = _ends(topology)
    steps += ends
    for name, host, path in hosts:
        steps += _stacked(name, host, path)
    for tool in ("nft", "iptables", "ip6tables"):  # a text for nft may begin with `flush ruleset`, and takes it all
        texts = ((name, path, getattr(host, tool)) for name, host, path in hosts)
        steps += [LoadRules(name, (*path, tool), tool, text, topology.backend) for name, path, text in texts if text]
    steps += [
        SetSysctl(name, (*path, "sysctls", key), key, str(value))
        for name, host, path in hosts
        for key, value in host.sysctls.items()
    ]
    steps += [OpenTaps(name, path) for name, _, path in hosts]
    for name, host, path in hosts:
        for interface_name, interface in host.interfaces.items():
            where: Path = (*path, "interfaces", interface_name, "addresses")
            steps += [
                AddAddress(name, (*where, index), interface_name, address)
                for index, address in enumerate(interface.addresses)
            ]
    for name in topology.networks:
        carrier = bool(topology.members(name))  # a bridge without a port has none
        steps += [BringUp(name, ("networks", name), each, carrier) for each in bridges(topology, name)]
    steps += [BringUp(step.host, step.path, end) for step in joins for end in join(step.bridge)]
    steps += [BringUp(step.host, step.path, step.interface) for step in ends]
    steps += [BringUp(name, path, "lo", carrier=False) for name, _, path in hosts]
    steps += [
        BringUpStacked(step.host, step.path, step.interface, carrier=isinstance(step, MakeMacvlan))
        for step in steps
        if isinstance(step, MakeTunnel | MakeMacvlan)
    ]
    for name, host, path in hosts:
        order = sorted(enumerate(host.routes), key=lambda one: bool(one[1].gateways))  # these lead to gateways, maybe
        steps += [AddRoute(name, (*path, "routes", index), route) for index, route in order]
    for name, host, path in hosts:
        rules = enumerate(host.policy_rules)
        steps += [AddPolicyRule(name, (*path, "policy_rules", index), rule) for index, rule in rules]
    steps += _shapes(topology, ends)
    for name, host, path in hosts:
        steps += [
            StartService(name, (*path, "services", service), service, what) for service, what in host.services.items()
        ]
    return tuple(steps)


def _speaks_ipv6(topology: Topology) -> bool:
    return any(
        address.version == 6
        for host in topology.hosts.values()
        for interface in host.interfaces.values()
        for address in interface.addresses
    )


def _sysctls(name: str, host: Host, path: Path, ipv6: bool) -> list[Step]:
    """A host starts from the same values on every machine: some defaults are inherited from the machine's own.

    The topology's own sysctls come later, when the interfaces are there and the rules have loaded what they need.
    IPv6's are left alone where nothing speaks it: each costs a fresh namespace some 20 µs, and every lab has many.
    """
    forwarding = str(int(host.forwarding))
    ours = {"net.ipv4.ip_forward": forwarding}
    for conf in ("all", "default"):
        ours |= {
            f"net.ipv4.conf.{conf}.rp_filter": "0",
            f"net.ipv4.conf.{conf}.send_redirects": "0",
            f"net.ipv4.conf.{conf}.accept_redirects": "0",
        }
    if ipv6 or any(key.startswith("net.ipv6.") for key in host.sysctls):
        ours["net.ipv6.conf.all.forwarding"] = forwarding
        for conf in ("all", "default"):
            ours |= {
                f"net.ipv6.conf.{conf}.accept_redirects": "0",
                f"net.ipv6.conf.{conf}.accept_ra": "0",
                f"net.ipv6.conf.{conf}.accept_dad": "0",
            }
        ours["net.ipv6.conf.default.router_solicitations"] = "0"
    if not ipv6:
        ours |= NO_IPV6
    return [SetSysctl(name, path, key, value, wanted=False) for key, value in ours.items()]


def _ends(topology: Topology) -> list[MakeEnd]:
    steps: list[MakeEnd] = []
    wire = 0
    for segment, members in wires(topology).items():
        for position, (host, name) in enumerate(members):
            interface = topology.hosts[host].interfaces[name]
            path: Path = ("hosts", host, "interfaces", name)
            steps.append(MakeEnd(host, path, name, wire, interface.mac, interface.mtu, offloads=interface.offloads))
            if segment in topology.networks:
                port = f"port{position + 1}"
                bridge = bridge_of(position)
                steps.append(MakeEnd(segment, path, port, wire, mtu=interface.mtu, port=True, bridge=bridge))
                wire += 1
        if segment not in topology.networks:
            wire += 1
    return steps


def _joins(topology: Topology, network: str) -> list[JoinBridge]:
    """What joins a network's bridges carries the longest packet that any of its ports does."""
    ports = (topology.hosts[host].interfaces[name] for host, name in topology.members(network))
    mtu = max((port.mtu or ETHERNET_MTU for port in ports), default=ETHERNET_MTU)
    return [JoinBridge(network, ("networks", network), each, mtu) for each in bridges(topology, network)[1:]]


def _stacked(name: str, host: Host, path: Path) -> list[Step]:
    """A host's interfaces that may stand on others, each after what it stands on."""
    found: list[Step] = []
    made = {key for key, each in host.interfaces.items() if each.vxlan is None and each.macvlan is None}
    waiting = [key for key in host.interfaces if key not in made]
    while waiting:
        key = next(key for key in waiting if _stands_on(host, key) in (None, *made))
        waiting.remove(key)
        made.add(key)
        interface, where = host.interfaces[key], (*path, "interfaces", key)
        chosen = (interface.mac, interface.mtu, interface.offloads)
        if interface.vxlan is not None:
            found.append(MakeTunnel(name, where, key, interface.vxlan, *chosen))
        elif interface.macvlan is not None:
            found.append(MakeMacvlan(name, where, key, interface.macvlan, *chosen))
    return found


def _stands_on(host: Host, key: str) -> str | None:
    on = host.interfaces[key].vxlan or host.interfaces[key].macvlan
    return on.dev if on is not None else None


def _shapes(topology: Topology, ends: list[MakeEnd]) -> list[Step]:
    """What each end of a wire does to the packets that it sends: the link's properties, then what is said of it alone.

    That is the sender's egress and the receiver's ingress. On a network the far end of a host's wire is the port.
    """
    link_of = {end: (link, index) for index, link in enumerate(topology.links) for end in _link_ends(link.endpoints)}
    found: list[Step] = []
    for first, second in zip(ends[::2], ends[1::2], strict=True):
        for near, far in ((first, second), (second, first)):
            here = None if near.port else topology.hosts[near.host].interfaces[near.interface].egress
            there = None if far.port else topology.hosts[far.host].interfaces[far.interface].ingress
            link, index = link_of.get((near.host, near.interface), (None, 0))
            properties = merged(link, there, here)
            if properties is not None:
                path = (*near.path, "egress") if here else (*far.path, "ingress") if there else ("links", index)
                found.append(ShapeEnd(near.host, path, near.interface, properties))
    for name, host in topology.hosts.items():
        for key, interface in host.interfaces.items():
            if (interface.vxlan or interface.macvlan) and interface.egress is not None and interface.egress.given():
                where: Path = ("hosts", name, "interfaces", key, "egress")
                found.append(ShapeEnd(name, where, key, interface.egress))
    return found


def _link_ends(endpoints: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(split_endpoint(end) for end in endpoints)
