"""One lab up and down by netemu, for scripts/bench bring-up: `star N` or `line N`; prints its figures as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from ipaddress import IPv4Address, summarize_address_range
from typing import Any

from netemu import Lab, Topology

FIRST = IPv4Address("10.0.0.0")


def star(size: int) -> Topology:
    """Hosts on one network, an address each."""
    hosts = {
        f"h{number}": {"interfaces": {"eth0": {"network": "lan", "addresses": [f"{FIRST + number}/8"]}}}
        for number in range(1, size + 1)
    }
    return Topology.model_validate({"name": f"star{size}", "networks": {"lan": {}}, "hosts": hosts})


def line(size: int) -> Topology:
    """Routers in a row, each with a /31 to either neighbour, and routes to both of its sides."""
    hosts: dict[str, Any] = {}
    last = FIRST + 2 * (size - 1) - 1
    for number in range(size):
        left, right = FIRST + 2 * number - 1, FIRST + 2 * number
        interfaces, routes = {}, []
        if number > 0:
            interfaces["left"] = {"addresses": [f"{left}/31"]}
            routes += [(net, left - 1) for net in summarize_address_range(FIRST, left) if left - 1 not in net]
        if number < size - 1:
            interfaces["right"] = {"addresses": [f"{right}/31"]}
            if right + 2 <= last:
                routes += [(net, right + 1) for net in summarize_address_range(right + 2, last)]
        hosts[f"r{number}"] = {
            "forwarding": True,
            "interfaces": interfaces,
            "routes": [{"to": str(net), "via": str(via)} for net, via in routes],
        }
    links = [{"endpoints": [f"r{number}:right", f"r{number + 1}:left"]} for number in range(size - 1)]
    return Topology.model_validate({"name": f"line{size}", "hosts": hosts, "links": links})


async def measure(topology: Topology) -> dict[str, float]:
    """Up, a look at what is held, and down."""
    before = len(os.listdir("/proc/self/fd"))
    lab = Lab(topology)
    start, cpu = time.perf_counter(), time.process_time()
    async with lab:
        up, worked = time.perf_counter(), time.process_time()
        held = len(os.listdir("/proc/self/fd")) - before
        closing = time.perf_counter()
    return {
        "up_ms": (up - start) * 1000,
        "up_cpu_ms": (worked - cpu) * 1000,
        "down_ms": (time.perf_counter() - closing) * 1000,
        "descriptors": held,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure({"star": star, "line": line}[sys.argv[1]](int(sys.argv[2]))))))
