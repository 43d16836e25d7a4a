"""The largest MTU of what stands on another interface: verified as the kernel has it."""

from __future__ import annotations

import pytest

from netemu import Lab, TopologyError

VXLAN = {"id": 1, "dev": "eth0"}
V4, V6 = {"vxlan": {**VXLAN, "remote": "10.0.0.2"}}, {"vxlan": {**VXLAN, "remote": "fd00::2"}}
STACKS = {
    "a tunnel": {"top": V4},
    "a tunnel over IPv6": {"top": V6},
    "a macvlan": {"top": {"macvlan": {"dev": "eth0"}}},
    "a macvlan on a tunnel": {"below": V4, "top": {"macvlan": {"dev": "below"}}},
    "a tunnel on a macvlan of its own MTU": {
        "below": {"macvlan": {"dev": "eth0"}, "mtu": 1400, "addresses": ["10.0.0.3/24"]},
        "top": {"vxlan": {"id": 1, "dev": "below", "remote": "10.0.0.2"}},
    },
}


def topology(stack: str, mtu: int, below: int | None = None) -> dict:
    above = dict(STACKS[stack])
    above["top"] = {**above["top"], "mtu": mtu}
    own = {} if below is None else {"mtu": below}
    a, b = ({"addresses": [f"10.0.0.{n}/24", f"fd00::{n}/64"], **own} for n in (1, 2))
    hosts = {"A": {"interfaces": {"eth0": a, **above}}, "B": {"interfaces": {"eth0": b}}}
    return {"name": "mtus", "hosts": hosts, "links": [{"endpoints": ["A:eth0", "B:eth0"]}]}


@pytest.mark.parametrize(
    ("stack", "below", "most"),
    [
        ("a tunnel", None, 1450),
        ("a tunnel over IPv6", None, 1430),
        ("a macvlan", None, 1500),
        ("a macvlan on a tunnel", None, 1450),
        ("a tunnel on a macvlan of its own MTU", None, 1350),
        ("a tunnel", 9000, 8950),
    ],
)
async def test_the_kernel_takes_the_largest_mtu_as_it_is_and_a_larger_one_is_refused_before(stack, below, most):
    async with Lab(topology(stack, most, below)) as lab:
        assert (await lab["A"].run("cat", "/sys/class/net/top/mtu")).stdout == f"{most}\n"
    with pytest.raises(TopologyError, match=rf"interfaces.top.mtu: {most + 1} is more than .* lets through: {most} is"):
        Lab(topology(stack, most + 1, below))
