"""No pass on missing evidence: what the taps can't see, lose or never were, and rules that come from elsewhere."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter

import pytest

from netemu import Lab, Taps, TopologyError, UsageError, Verdict
from netemu.topology.load import loads

ECHO = """import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 7))
while True: s.sendto(*s.recvfrom(99))
"""
FORWARDS = """
name: forwards
hosts:
  A:
    interfaces: {eth0: {addresses: [10.0.0.2/24]}}
    routes: [{to: default, via: 10.0.0.1}]
  B:
    forwarding: true
    interfaces: {eth0: {addresses: [10.0.0.1/24]}, eth1: {addresses: [10.1.0.1/24], mtu: 1400}}
    sysctls: {net.ipv4.conf.eth0.rp_filter: 1}
  C:
    interfaces: {eth0: {addresses: [10.1.0.2/24], mtu: 1300}}
    routes: [{to: default, via: 10.1.0.1}]
    services: {echo: {command: [python3, -c, ECHO], ready: {udp: 7}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}, {endpoints: ["B:eth1", "C:eth0"]}]
traffic: [{name: ping, from: A, udp: {to: "10.0.0.1:7"}, within: 1s}]
""".replace("ECHO", json.dumps(ECHO))
DNAT = """*nat
-A PREROUTING -p udp --dport 7 -j DNAT --to-destination 10.1.0.2
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
"""
FIRST = {"traffic": "ping", "packet": "request.first", "at": "B@prerouting.nat", "dst": "10.1.0.2:7"}


@pytest.fixture
async def lab():
    topology, _ = loads(FORWARDS)
    async with Lab(topology) as brought_up:
        yield brought_up


async def rules(lab: Lab, tool: str) -> None:
    done = await lab["B"].run(tool, input=DNAT.encode())
    assert done.returncode == 0, done.stderr


async def judge(lab: Lab, **asked):
    async with lab.record() as record:
        await lab.send("ping")
    return record, next(check for check in lab.check(record, [FIRST | asked]).checks if "request.first" in check.name)


async def test_rules_loaded_while_the_lab_is_up_are_seen_as_rules(lab):
    await rules(lab, "iptables-nft-restore")
    record, check = await judge(lab, by="rule", rule="-j DNAT", walked=True)
    assert check.verdict is Verdict.PASS, check
    assert lab.check(record, []).verdict is Verdict.PASS
    _, wrong = await judge(lab, by="conntrack")
    assert (wrong.verdict, wrong.actual["by"]) == (Verdict.FAIL, "rule")


async def test_where_the_trace_carries_no_conntrack_state_the_next_record_asks_for_it():
    """Rules that track were loaded after the taps were opened: the taps begin to ask when a record begins."""
    topology, _ = loads(FORWARDS)
    async with Lab(topology, taps=Taps(ask_conntrack=True)) as lab:
        await rules(lab, "iptables-nft-restore")
        _, check = await judge(lab, by="rule", rule="-j DNAT", walked=True)
        assert check.verdict is Verdict.PASS, check


async def test_where_the_trace_carries_no_conntrack_state_rules_loaded_in_a_record_leave_it_unproven():
    topology, _ = loads(FORWARDS)
    async with Lab(topology, taps=Taps(ask_conntrack=True)) as lab:
        async with lab.record() as record:
            await rules(lab, "iptables-nft-restore")
            await lab.send("ping")
        assert lab.check(record, [FIRST]).verdict is Verdict.UNPROVEN


@pytest.mark.needs("legacy iptables")
async def test_a_rewrite_by_rules_that_no_trace_shows_is_told_by_their_counters(lab):
    await rules(lab, "iptables-legacy-restore")
    record, check = await judge(lab, by="rule", rule="-j DNAT", walked=True)
    assert check.verdict is Verdict.PASS, check
    assert {turn.told_by for journey in record.journeys for turn in journey.rules} == {"counters"}
    _, check = await judge(lab, by="conntrack")
    assert (check.verdict, check.actual["by"]) == (Verdict.FAIL, "rule")
    _, check = await judge(lab, walked=False)
    assert (check.verdict, check.actual["walked"]) == (Verdict.FAIL, True)


@pytest.mark.needs("legacy iptables")
async def test_rules_that_no_trace_shows_and_whose_counters_do_not_decide_are_unknown(lab):
    """Two rules that fit the same packets, each of which counted one: which of the two was it for this packet?"""
    await rules(lab, "iptables-legacy-restore")
    nth = (
        "-A PREROUTING -p udp --dport 7 -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.1.0.2"
    )
    done = await lab["B"].run(
        "iptables-legacy-restore", "-n", input=f"*nat\n{nth.replace('-A', '-I')}\nCOMMIT\n".encode()
    )
    assert done.returncode == 0, done.stderr
    async with lab.record() as record:
        await lab.send("ping")
        await lab.send("ping")
    for asked, wrong in (({"by": "rule"}, "by"), ({"by": "conntrack"}, "by"), ({"rule": "statistic"}, "rule")):
        checks = lab.check(record, [FIRST | asked]).checks
        check = next(check for check in checks if "request.first" in check.name)
        assert (check.verdict, check.actual[wrong]) != (Verdict.PASS, "rule"), check
        assert check.verdict is Verdict.UNPROVEN or wrong == "rule"


async def test_a_lossy_tap_is_unproven_even_where_nothing_else_was_asked():
    topology, _ = loads(FORWARDS.replace('"10.0.0.1:7"', '"10.1.0.2:7", count: 50'))
    async with Lab(topology, taps=Taps(ring=1, buffer=1)) as lab:
        report = await lab.prove()
    assert report.record.lost > 0
    assert (report.verdict, report.exit_code) == (Verdict.UNPROVEN, 3)


async def test_taps_past_their_capacity_each_count_their_loss_and_what_rests_on_them_is_unproven():
    topology, _ = loads(FORWARDS)
    async with Lab(topology, taps=Taps(ring=1, buffer=1)) as lab:
        await rules(lab, "iptables-restore")
        async with lab.record() as record:
            for _ in range(300):
                with lab["A"].open_socket(kind=socket.SOCK_DGRAM) as sock:  # an entry each
                    sock.sendto(b"x", ("10.0.0.1", 7))
            await lab.send("ping")
        report = lab.check(record, [FIRST])
    lost = {health.tap: health.lost for health in record.health if health.host == "B"}
    assert all(lost[tap] > 0 for tap in ("wire", "hooks", "conntrack")), lost
    assert sum(health.lost for health in record.health) == record.lost
    verdicts = {check.name: check.verdict for check in report.checks}
    assert verdicts.pop("ping answered") is Verdict.PASS, "that its sender tells, no tap"
    assert len(verdicts) == 3
    assert set(verdicts.values()) == {Verdict.UNPROVEN}
    assert all(f"B's {tap} tap lost {lost[tap]}" in report.explain() for tap in lost), report.explain()


async def test_a_lab_whose_taps_were_taken_away_gets_new_ones_with_the_next_record(lab):
    await lab.stop_recording()
    assert lab.recorder.taps == {}
    await rules(lab, "iptables-nft-restore")
    _, check = await judge(lab, by="rule")
    assert check.verdict is Verdict.PASS, check


async def test_a_lab_without_traffic_has_no_taps_until_it_is_recorded_or_asked_for_them():
    topology, _ = loads(FORWARDS[: FORWARDS.index("traffic:")])
    async with Lab(topology) as lab:
        assert lab.recorder.taps == {}
        async with lab.record() as record:
            pass
        assert {tap.alive for tap in record.health if tap.tap != "conntrack"} == {True}
        assert len(lab.recorder.taps) == len(topology.hosts)
    async with Lab(topology, record=True) as lab:
        assert len(lab.recorder.taps) == len(topology.hosts)


async def test_a_lab_that_is_down_can_not_be_recorded(lab):
    await lab.down()
    with pytest.raises(UsageError, match="not up"):
        async with lab.record():
            pass


async def test_an_interface_that_the_lab_did_not_make_leaves_its_host_unproven(lab):
    await lab["B"].run("ip", "link", "add", "br0", "type", "bridge")
    _, check = await judge(lab)
    assert check.verdict is Verdict.UNPROVEN
    assert "the lab did not make br0" in check.reason


async def test_a_clock_that_is_set_in_a_record_leaves_it_unproven(lab):
    """Nobody sets the machine's clock here: the lab is told that it was an hour behind as the record began."""
    async with lab.record() as record:
        clocks = lab.recorder.clocks
        lab.recorder.clocks = clocks._replace(epoch=clocks.epoch - 3600 * 10**9)
        await lab.send("ping")
    check = next(check for check in lab.check(record, [FIRST]).checks if "request.first" in check.name)
    assert check.verdict is Verdict.UNPROVEN
    assert "the machine's clock was set meanwhile" in check.reason
    record, check = await judge(lab)
    assert not any(tap.note for tap in record.health)


async def test_an_interface_that_goes_down_in_a_record_leaves_it_unproven_not_lost(lab):
    async with lab.record() as record:
        await lab["C"].run("ip", "link", "set", "eth0", "down")
    assert [(tap.host, tap.alive) for tap in record.health if tap.tap == "wire"] == [
        ("A", True),
        ("B", False),
        ("C", False),
    ]


async def test_counters_read_under_traffic_still_agree_with_the_trace(lab):
    await rules(lab, "iptables-nft-restore")
    done = asyncio.Event()

    async def talk() -> None:
        with lab["A"].open_socket(kind=2) as sock:
            while not done.is_set():
                sock.sendto(b"x", ("10.0.0.1", 7))
                await asyncio.sleep(0.001)  # traffic, and no flood: a busy machine's taps would lose some of one

    talking = asyncio.create_task(talk())
    for _ in range(3):
        async with lab.record() as record:
            await lab.send("ping")
        agree = next(check for check in lab.check(record, []).checks if "counters agree" in check.name)
        assert agree.verdict is Verdict.PASS, agree
    done.set()
    await talking


async def test_packets_under_way_when_a_record_ends_are_not_said_to_be_lost(lab):
    """Taps are read out one after the other while more packets come: what began after the end is not in the record."""
    await rules(lab, "iptables-nft-restore")
    done = asyncio.Event()

    async def talk() -> None:
        with lab["A"].open_socket(kind=2) as sock:
            while not done.is_set():
                for _ in range(5):
                    sock.sendto(b"x", ("10.0.0.1", 7))
                await asyncio.sleep(0.001)  # traffic's pace: nothing waits for it, whenever the record ends

    talking = asyncio.create_task(talk())
    ends = Counter()
    for _ in range(5):
        async with lab.record() as record:
            await lab.send("ping")
        assert not record.lost
        requests = record.journeys(proto="udp", direction="original", at="A:eth0 out")
        ends.update(journey.end.kind for journey in requests)
    done.set()
    await talking
    assert ends.keys() == {"delivered"}
    assert ends["delivered"] > 100


async def test_each_end_of_a_wire_has_its_own_mtu_and_interfaces_have_their_sysctls(lab):
    for host, name, mtu in (("B", "eth1", 1400), ("C", "eth0", 1300), ("A", "eth0", 1500)):
        assert f"mtu {mtu} " in (await lab[host].run("ip", "-o", "link", "show", name)).stdout
    done = await lab["B"].run("cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter")
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ([{"traffic": "ping", "packet": "request.first", "att": "B@input"}], r"expect\[0\].att: unknown key 'att'"),
        ([{"traffic": "pong", "packet": "request.first", "at": "B@input", "ttl": 1}], "no traffic item 'pong'"),
        ([{"traffic": "ping", "packet": "request.first", "at": "X@input", "ttl": 1}], "no host 'X'"),
        ([{"counter": "X", "rule": "y", "packets": 1}], "no host 'X'"),
        ({"counter": "B", "rule": "y", "packets": 1}, "give a list of expectations"),
        (["nonsense"], "expect"),
    ],
)
async def test_expectations_that_the_lab_can_not_meet_are_refused_never_skipped(lab, expect, says):
    async with lab.record() as record:
        pass
    with pytest.raises(TopologyError, match=says):
        lab.check(record, expect)


async def test_a_host_of_a_lab_that_is_down_says_so():
    topology, _ = loads(FORWARDS)
    async with Lab(topology) as lab:
        host = lab["A"]
    with pytest.raises(UsageError, match="its lab is down"):
        await host.run("true")
    with pytest.raises(UsageError, match="is not up"):
        lab["A"]
