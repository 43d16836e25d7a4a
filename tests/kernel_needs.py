"""What tests need of a kernel that not every kernel has: found out in a scratch namespace, asked for with a mark.

    @pytest.mark.needs("sch_netem")
    async def test_a_delayed_link_delays(): ...

Where the kernel lacks it the test is skipped, by name; `scripts/test-kernel` runs it on a kernel that has it.
"""

from __future__ import annotations

import subprocess
from functools import cache

import pytest

MUST_BE_THERE = "--needs-must-be-there"
"""Given by scripts/test-kernel: its kernel has everything, so nothing that is marked may be skipped."""

TRIALS = {
    "sch_netem": "tc qdisc add dev lo root netem delay 1ms",
    "8021q": "ip link add link lo name vlan7 type vlan id 7",
    "ip_vs": "ipvsadm -A -t 127.0.0.1:80",
    "vxlan": "ip link add vxlan7 type vxlan id 7 dstport 4789 dev lo",
    "macvlan": "ip link add link lo name macvlan7 type macvlan mode bridge",
    "btf": "test -r /sys/kernel/btf/vmlinux",
    "legacy iptables": "iptables-legacy -t nat -S",
}
"""A command for each, which only a kernel that has it takes. In a network namespace of its own."""


@cache
def there(need: str) -> bool:
    """Whether this kernel has it, and the tool that asks for it is installed."""
    trial = ["unshare", "--net", *TRIALS[need].split()]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(*names): skipped where the kernel lacks one of {', '.join(TRIALS)}")


def skip_what_is_not_there(item: pytest.Item) -> None:
    """Skip a marked test whose needs this kernel does not meet. Raises KeyError for one that TRIALS does not know."""
    for mark in item.iter_markers("needs"):
        lacking = [need for need in mark.args if not there(need)]
        if lacking and not item.config.getoption(MUST_BE_THERE):
            reason = f"this kernel has no {', no '.join(lacking)}: scripts/test-kernel runs it on one that has"
            item.add_marker(pytest.mark.skip(reason=reason))
