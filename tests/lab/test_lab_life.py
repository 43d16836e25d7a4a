"""Lifetimes: what can't be built leaves nothing, cancelling takes everything down, names are given back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from netemu import KernelError, Lab, MachineError, RulesError, ServiceError, Topology, TopologyError, UsageError
from netemu.kernel.machine.features import require_nf_tables
from netemu.lab.folder import BASE, names_up
from netemu.lab.wiring import Wiring
from netemu.topology.load import load, loads
from netemu.topology.model import Host, Interface, Network

TWO = """
name: two
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [10.0.0.1/24, "fd00::1/64"]}}}
  B:
    interfaces: {eth0: {network: lan, addresses: [10.0.0.2/24, "fd00::2/64"]}}
    services:
      web: {command: [python3, -m, http.server, --bind, "::", "80"], ready: {tcp: 80}}
traffic:
  - {name: four, from: A, http: "http://10.0.0.2/"}
  - {name: six, from: A, http: "http://[fd00::2]/"}
"""


def belongings() -> tuple[int, set[str], set[str], str]:
    """What this process and the machine hold that a lab may leave: descriptors, folders, children, namespace."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    folders = {entry.name for entry in BASE.iterdir()} if BASE.is_dir() else set()
    return len(os.listdir("/proc/self/fd")), folders - {".lock"}, set(children), os.readlink("/proc/self/ns/net")


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = belongings()
    yield
    assert belongings() == before


async def up(text: str) -> Lab:
    topology, source = loads(text, "two.yaml")
    lab = Lab(topology)
    lab.source = source
    async with lab:
        return lab


async def test_a_lab_of_python_objects_is_the_same_as_its_file():
    topology = Topology(
        name="objects",
        networks={"lan": Network()},
        hosts={
            "A": Host(interfaces={"eth0": Interface(network="lan", addresses=("10.0.0.1/24",))}),  # type: ignore[arg-type]
            "B": Host(interfaces={"eth0": Interface(network="lan", addresses=("10.0.0.2/24",))}),  # type: ignore[arg-type]
        },
    )
    async with Lab(topology) as lab:
        with lab["B"].open_socket() as server, lab["A"].open_socket() as client:
            server.bind(("10.0.0.2", 80))
            server.listen()
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_connect(client, ("10.0.0.2", 80))


async def test_a_lab_of_a_mapping_is_the_same_as_its_file():
    hosts = {
        "A": {"iptables": "*filter\n-A INPUT -j NOWHERE\nCOMMIT\n"},
        "B": {"sysctls": {"net.ipv4.ip_default_ttl": 9}},
    }
    with pytest.raises(RulesError) as caught:
        async with Lab({"name": "mapped", "hosts": hosts}):
            pytest.fail("it came up")
    (problem,) = caught.value.problems
    assert (problem.key, problem.file) == ("hosts.A.iptables", None)
    del hosts["A"]["iptables"]
    async with Lab({"name": "mapped", "hosts": hosts}, name="other") as lab:
        assert lab.topology.name == "other"
        done = await lab["B"].run("cat", "/proc/sys/net/ipv4/ip_default_ttl")
        assert done.stdout == "9\n"


async def test_python_objects_that_can_not_be_built_are_refused_before_anything_is_made():
    with pytest.raises(TopologyError, match=r"hosts.A.interfaces.eth0: leads nowhere"):
        Lab(Topology(name="x", hosts={"A": Host(interfaces={"eth0": Interface()})}))


async def test_both_ip_versions_are_answered_and_recorded():
    topology, _ = loads(TWO)
    async with Lab(topology) as lab:
        report = await lab.prove()
    assert report.verdict == "pass", report.explain()
    sources = {flow.original.src for flow in report.record.flows if flow.original.dport == 80}
    assert sources == {"10.0.0.1", "fd00::1"}
    assert all(
        journey.complete for flow in report.record.flows for journey in flow.journeys if flow.original.dport == 80
    )


async def test_a_rule_that_is_refused_is_quoted_with_its_line_of_the_file():
    text = TWO.replace("  B:\n", "  B:\n    iptables: |\n      *nat\n      -A PREROUTING -j NOSUCH\n      COMMIT\n")
    with pytest.raises(RulesError) as error:
        await up(text)
    line = text.splitlines().index("      -A PREROUTING -j NOSUCH") + 1
    assert str(error.value) == (
        f"two.yaml:{line}: hosts.B.iptables: iptables refuses this line: -A PREROUTING -j NOSUCH\n"
        "    Chain 'NOSUCH' does not exist"
    )


async def test_a_service_that_never_gets_ready_is_told_with_what_it_wrote():
    command = "command: [sh, -c, 'echo still warming up; exec sleep 60'], ready: {tcp: 81, within: 2s}"
    text = TWO.replace('command: [python3, -m, http.server, --bind, "::", "80"], ready: {tcp: 80}', command)
    with pytest.raises(ServiceError) as error:
        await up(text)
    assert str(error.value).splitlines() == [
        "two.yaml:9: hosts.B.services.web: service web on B was not ready within 2s: nothing listens on tcp 81",
        "    still warming up",
    ]


async def test_a_service_that_ends_is_told_at_once_with_its_exit_code():
    text = TWO.replace("python3, -m, http.server", "sh, -c, exit 3").replace('--bind, "::", ', "")
    with pytest.raises(ServiceError, match=r"service web on B ended with exit code 3, and wrote nothing"):
        await up(text)


async def test_a_service_whose_program_is_missing_is_told_with_its_line():
    with pytest.raises(
        ServiceError, match=r"two.yaml:9: hosts.B.services.web.command: host B: can't run no-such: No such"
    ):
        await up(TWO.replace("[python3, -m", "[no-such, -m"))


async def test_a_sysctl_that_the_kernel_does_not_have_is_told_with_its_line():
    text = TWO.replace("  B:\n", "  B:\n    sysctls: {net.ipv4.no_such: 1}\n")
    with pytest.raises(TopologyError, match=r"two.yaml:7: hosts.B.sysctls.net.*no sysctl net.ipv4.no_such"):
        await up(text)


async def test_a_sysctl_of_the_whole_machine_is_told_as_that():
    text = TWO.replace("  B:\n", "  B:\n    sysctls: {net.netfilter.nf_conntrack_max: 1000}\n")
    with pytest.raises(TopologyError, match=r"two.yaml:7: .*nf_conntrack_max = 1000: it is the whole machine's"):
        await up(text)


async def test_the_sysctls_of_an_interface_with_a_dot_in_its_name_are_written_either_way():
    """As sysctl(8) has them."""
    first = {"net.ipv4.conf.eth0/7.rp_filter": 2, "net/ipv4/conf/eth0.7/arp_ignore": "3"}
    made = {"addresses": ["10.0.0.1/24"]}
    hosts = {"A": {"interfaces": {"eth0.7": made}, "sysctls": first}, "B": {"interfaces": {"eth0": {}}}}
    async with Lab({"name": "dots", "hosts": hosts, "links": [{"endpoints": ["A:eth0.7", "B:eth0"]}]}) as lab:
        own = "/proc/sys/net/ipv4/conf/eth0.7/"
        assert (await lab["A"].run("cat", f"{own}rp_filter", f"{own}arp_ignore")).stdout == "2\n3\n"


async def test_a_lab_that_is_named_appears_to_ip_netns_and_gives_its_name_back():
    topology, _ = loads(TWO)
    async with Lab(topology, named=True) as lab:
        assert names_up() == ["two"]
        done = await lab["B"].run("true")
        assert done.returncode == 0
        import subprocess

        shown = subprocess.run(
            ["ip", "netns", "exec", "two-A", "ip", "-br", "address"], capture_output=True, text=True, check=True
        )
        assert "10.0.0.1/24" in shown.stdout
        with pytest.raises(UsageError, match="lab two is up already"):
            async with Lab(topology, named=True):
                pass
        assert names_up() == ["two"], "the refused one must not take the name along"
    assert names_up() == []
    assert not [link for link in Path("/run/netns").iterdir() if link.name.startswith("two-")]


@pytest.mark.parametrize("kind", ["folder", "file"])
async def test_what_no_lab_made_is_not_replaced_by_a_labs_name(kind):
    BASE.mkdir(mode=0o700, exist_ok=True)
    there = BASE / "two"
    if kind == "folder":
        there.mkdir()
    else:
        there.write_text("mine")
    try:
        with pytest.raises(MachineError, match=f"{there} is in the way, and no lab made it"):
            async with Lab(loads(TWO)[0], named=True):
                pass
        assert there.is_dir() or there.read_text() == "mine"
    finally:
        there.rmdir() if kind == "folder" else there.unlink()


async def test_two_labs_of_one_topology_live_side_by_side_with_the_same_addresses():
    topology, _ = loads(TWO)
    async with Lab(topology) as one, Lab(topology) as other:
        reports = [await lab.prove() for lab in (one, other)]
    assert [report.verdict for report in reports] == ["pass", "pass"]


async def turns_to_come_up(topology: Topology) -> int:
    task, turns = asyncio.create_task(Lab(topology).__aenter__()), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await (await task).down()
    return turns


async def test_cancelling_anywhere_on_the_way_up_leaves_nothing(nodeport):
    """Cancelled after the first turns of the event loop, and at thirty places up to the last."""
    topology, _ = loads(nodeport)
    whole = await turns_to_come_up(topology)
    cancelled = 0
    for turns in sorted({*range(8), *(whole * part // 30 for part in range(30))}):
        task = asyncio.create_task(Lab(topology).__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not task.cancel():
            await (await task).down()
            continue
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled += 1
    assert cancelled > 8  # few turns: links and addresses are made many at a time


async def test_a_step_that_fails_midway_takes_down_what_was_made(monkeypatch, nodeport):
    topology, _ = loads(nodeport)

    async def fail(self, group):
        raise TopologyError([])

    monkeypatch.setattr(Wiring, "routes", fail)
    with pytest.raises(TopologyError):
        async with Lab(topology):
            pass


@pytest.fixture
def without_nf_tables(monkeypatch):
    """A kernel's lack can't be provoked: libnftables' refusal is played."""

    def refuse(nft, commands, flags):
        raise KernelError(f"host {nft.net.name}: nft: no such thing")

    require_nf_tables.cache_clear()
    monkeypatch.setattr("netemu.kernel.rules.nftables.Nftables._run", refuse)


@pytest.mark.usefixtures("without_nf_tables")
async def test_nf_tables_is_asked_for_by_rules_at_once_and_by_taps_when_they_are_wanted():
    plain = {"interfaces": {"eth0": {"network": "lan", "addresses": ["10.0.0.1/24"]}}}
    ruled = {**plain, "iptables": "*filter\nCOMMIT\n"}
    topology = Topology.model_validate({"name": "plain", "networks": {"lan": {}}, "hosts": {"A": plain}})
    async with Lab(topology) as lab:
        with pytest.raises(MachineError, match="this kernel has no nf_tables"):
            async with lab.record():
                pass
    for wanted, record in ((ruled, False), (plain, True)):
        topology = Topology.model_validate({"name": "wants", "networks": {"lan": {}}, "hosts": {"A": wanted}})
        with pytest.raises(MachineError, match="this kernel has no nf_tables"):
            async with Lab(topology, record=record):
                pass


async def test_down_twice_does_no_harm():
    topology, _ = loads(TWO)
    async with Lab(topology) as lab:
        await lab.down()
        await lab.down()


async def test_thirty_labs_one_after_another_leave_no_descriptor_behind():
    topology, _ = loads(TWO.replace("services", "x-services").split("    x-services")[0])
    for _ in range(30):
        async with Lab(topology):
            pass


async def test_the_machines_own_network_is_untouched():
    import subprocess

    def own() -> list[str]:
        commands = ["ip -o address", "ip route show table all", "ip rule", "nft list ruleset", "ip -o link"]
        shown = [subprocess.run(c.split(), capture_output=True, text=True, check=True).stdout for c in commands]
        sysctls = subprocess.run(
            ["sysctl", "-a", "--pattern", "^net.ipv[46].conf"], capture_output=True, text=True, check=False
        )
        return [*shown, sysctls.stdout]

    before = own()
    topology, _ = load(Path(__file__).parent.parent.parent / "topologies" / "nodeport.yaml")
    async with Lab(topology) as lab:
        await lab.prove()
        during = own()
    assert before == during == own()
