"""What a host's root does on the host, the machine keeps nothing of."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu import Lab, Topology

MACHINES_OWN = "/proc/sys/vm/swappiness"


@pytest.fixture
async def lab():
    async with Lab(Topology.model_validate({"name": "two", "hosts": {"A": {}, "B": {}}})) as lab:
        yield lab


async def test_a_hosts_root_writes_its_own_sysctls_and_not_the_machines(lab):
    """What the machine has is written back as it is: were it allowed, nothing would change either."""
    theirs = Path(MACHINES_OWN).read_text()
    refused = await lab["A"].run("sh", "-c", f"echo {theirs.strip()} > {MACHINES_OWN}")
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr or "cannot create" in refused.stderr
    mine = "/proc/sys/net/ipv4/ip_forward"
    assert (await lab["A"].run("sh", "-c", f"echo 1 > {mine} && cat {mine}")).stdout == "1\n"
    assert (await lab["B"].run("cat", mine)).stdout == "0\n"


async def test_a_hosts_proc_has_nothing_of_the_machine_to_be_written(lab):
    shown = await lab["A"].run("cat", "/proc/self/mountinfo")
    modes = {line.split()[4]: line.split()[5].split(",")[0] for line in shown.stdout.splitlines()}
    assert modes["/proc/sys"] == "ro"
    assert modes["/proc/sys/net"] == "rw"
    for path in ("/proc/irq", "/proc/sysrq-trigger"):
        assert modes.get(path) == "ro" or not Path(path).exists()


async def test_a_hosts_named_namespaces_are_its_own_and_go_with_it(lab):
    before = sorted(Path("/run/netns").iterdir())
    made = await lab["A"].run("sh", "-ec", "ip netns add inner; ip netns exec inner ip link show lo; ip netns list")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1].split()[0] == "inner"
    assert "inner" not in (await lab["B"].run("ip", "netns", "list")).stdout
    assert sorted(Path("/run/netns").iterdir()) == before
