"""What a lab that is up consists of now: as the kernel says it, not as the topology asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from netemu.kernel.links.inventory import read_addresses, read_interfaces, read_qdiscs, read_routes
from netemu.kernel.links.inventory import read_rules as read_policy_rules
from netemu.kernel.processes.running import processes_of
from netemu.kernel.rules.loading import read_rules
from netemu.lab.host import Host
from netemu.topology.shards import bridges

if TYPE_CHECKING:
    from netemu.lab.lab import Lab

AT_ONCE = 4
"""Hosts whose rules are read side by side: each takes a process or two of the machine's tools."""


async def shown(lab: Lab, hosts: Sequence[str]) -> dict[str, Any]:
    """The state of these hosts, and of every network."""
    chosen = [lab[name] for name in hosts]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(host: Host) -> dict[str, Any]:
        async with room:
            return await _host(lab, host)

    async with asyncio.TaskGroup() as group:
        told = {host.name: group.create_task(one(host)) for host in chosen}
    living = await asyncio.to_thread(processes_of, [host.net for host in chosen], chosen[0].pids.fd)
    services: dict[str, list[dict[str, Any]]] = {host.name: [] for host in chosen}
    for state in lab.services.states():
        if state.host in services:
            services[state.host].append(asdict(state) | {"log": str(state.log)})
    more = {
        name: {"services": services[name], "processes": [asdict(process) for process in living[name]]} for name in told
    }
    return {
        "hosts": {name: task.result() | more[name] for name, task in told.items()},
        "networks": {
            network: {
                "bridges": list(bridges(lab.topology, network)),
                "members": [f"{host}:{interface}" for host, interface in lab.topology.members(network)],
            }
            for network in lab.topology.networks
        },
    }


async def _host(lab: Lab, host: Host) -> dict[str, Any]:
    links = host.links
    interfaces = read_interfaces(links)
    await asyncio.sleep(0)  # others have a turn between the questions
    names = {each["ifindex"]: each["ifname"] for each in interfaces}
    addresses = read_addresses(links, names)
    shaped = {each["ifname"]: each["kind"] for each in read_qdiscs(links, names) if each["root"]}
    for each in interfaces:
        name = each["ifname"]
        each["addresses"] = [
            {key: value for key, value in address.items() if key != "ifname"}
            for address in addresses
            if address["ifname"] == name
        ]
        each["properties"] = lab.linkage.told((host.name, name)) if lab.linkage is not None else {}
        each["qdisc"] = shaped.get(name, each.get("qdisc"))
    await asyncio.sleep(0)
    routes, policy = read_routes(links, names), read_policy_rules(links)
    ruleset = await read_rules(host.net)
    return {
        "interfaces": interfaces,
        "routes": routes,
        "policy_rules": policy,
        "rules": [
            {
                "family": rule.family,
                "table": rule.table,
                "chain": rule.chain,
                "rule": rule.text,
                "packets": rule.packets,
                "handle": rule.handle,
                "backend": "legacy" if rule.legacy else "nft",
            }
            for rule in ruleset.rules
        ],
        "taps": host.name in lab.recorder.taps,
        "remarks": [
            *host.remarks,
            *(["the lab's process 1 has ended: no command runs here any more"] if host.pids.is_gone else []),
        ],
    }
