"""The same topology under both of iptables' backends: proved under both, and failing under both where it is broken."""

from __future__ import annotations

import pytest

from netemu import Lab, Report, RulesError, Taps, Topology, Verdict
from netemu.topology.load import loads

pytestmark = pytest.mark.needs("legacy iptables")
BACKENDS = ["nft", "legacy"]


def topology(text: str, backend: str) -> Topology:
    return loads(text.replace("name: nodeport\n", f"name: nodeport\nbackend: {backend}\n", 1))[0]


async def outcome(text: str, backend: str, **more) -> Report:
    async with Lab(topology(text, backend), **more) as lab:
        return await lab.prove()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_nodeport_is_proved_under_either_backend(nodeport, backend):
    report = await outcome(nodeport, backend)
    assert report.verdict is Verdict.PASS, report.explain()
    tellers = {change.told_by for journey in report.record.journeys for change in journey.rewrites if change.rule}
    assert tellers == ({"counters"} if backend == "legacy" else {"trace"})
    assert all(rule.legacy == (backend == "legacy") for rule in report.record.rules["B"])


async def test_each_backend_has_its_rules_where_its_own_tools_look(nodeport):
    async with Lab(topology(nodeport, "legacy")) as lab:
        legacy = await lab["B"].run("iptables-legacy", "-t", "nat", "-S")
        nft = await lab["B"].run("nft", "list", "ruleset")
    assert "--dport 30000 -j DNAT" in legacy.stdout
    assert "dnat" not in nft.stdout


async def test_the_nodeport_under_legacy_is_proved_too_where_the_trace_carries_no_conntrack_state(nodeport):
    report = await outcome(nodeport, "legacy", taps=Taps(ask_conntrack=True))
    assert report.verdict is Verdict.PASS, report.explain()


SNAT = "      -A POSTROUTING -d 172.26.0.3  -p tcp --dport 8080  -j SNAT --to-source 192.168.0.2\n"
BROKEN = {
    "dnat to another port": ("--to-destination 172.26.0.3:8080", "--to-destination 172.26.0.3:8081"),
    "snat to another address": (SNAT, SNAT.replace("192.168.0.2", "192.168.0.9")),
    "no snat": (SNAT, ""),
    "dnat in output": ("-A PREROUTING  -d 192.168.0.2 -p tcp", "-A OUTPUT  -d 192.168.0.2 -p tcp"),
    "no forwarding": ("  B:\n    forwarding: true", "  B:\n    forwarding: false"),
    "a filter that drops": (
        "      COMMIT\n",
        "      COMMIT\n      *filter\n      -A FORWARD -p tcp -j DROP\n      COMMIT\n",
    ),
    "rule expected for packet two": (
        'packet: request.nth, at: B@prerouting.nat, dst: "172.26.0.3:8080", by: conntrack',
        'packet: request.nth, at: B@prerouting.nat, dst: "172.26.0.3:8080", by: rule',
    ),
    "a walk expected for a reply": (
        "direction: reply, walked: false}\n  - {traffic: hello, packet: reply.first, at: B@post",
        "direction: reply, walked: true}\n  - {traffic: hello, packet: reply.first, at: B@post",
    ),
}


SENT_ONCE = {
    "from: A,": "from: A, within: 600ms,",
    "  pod:\n": "  pod:\n    sysctls: {net.ipv4.tcp_synack_retries: 0}\n",
}
"""So that no second packet comes on a slow machine alone: a SYN is sent again after a second (RFC 6298, 2.1)."""


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_nodeport_fails_at_the_same_points_under_either_backend(nodeport, what):
    old, new = BROKEN[what]
    assert nodeport.count(old) == 1, "the shipped topology has changed: break it elsewhere"
    text = nodeport.replace(old, new)
    for usual, sent_once in SENT_ONCE.items():
        assert usual in text
        text = text.replace(usual, sent_once)
    reports = {backend: await outcome(text, backend) for backend in BACKENDS}
    failed = {
        backend: {(check.name, check.point) for check in report.checks if check.verdict is Verdict.FAIL}
        for backend, report in reports.items()
    }
    assert failed["legacy"]
    assert failed["legacy"] == failed["nft"]
    if "drops" in what:
        told = reports["legacy"].explain()
        assert "perhaps by iptables-legacy, which no trace shows: filter -A FORWARD -p tcp -j DROP counted" in told


async def test_a_line_that_iptables_legacy_refuses_is_named(nodeport):
    broken = nodeport.replace("-j SNAT --to-source 192.168.0.2\n      COMMIT", "-j NOSUCH\n      COMMIT")
    with pytest.raises(RulesError, match=r"iptables refuses this line: -A POSTROUTING .* -j NOSUCH"):
        async with Lab(topology(broken, "legacy")):
            pass


async def test_rules_of_both_backends_in_one_host_are_kept_apart(nodeport):
    async with Lab(topology(nodeport, "nft")) as lab:
        done = await lab["B"].run(
            "iptables-legacy-restore", input=b"*nat\n-A PREROUTING -p udp --dport 9 -j ACCEPT\nCOMMIT\n"
        )
        assert done.returncode == 0, done.stderr
        async with lab.record() as record:
            await lab.send("hello")
        report = lab.check(record)
    walked = [check for check in report.checks if check.name.startswith("hello") and check.verdict is not Verdict.PASS]
    assert walked == []
    assert {rule.legacy for rule in record.rules["B"]} == {False, True}


TWO_FAMILIES = """
name: families
backend: legacy
hosts:
  a:
    interfaces: {eth0: {addresses: [10.0.1.1/24, "fd01::1/64"]}}
    routes: [{to: default, via: 10.0.1.2}, {to: default, via: "fd01::2"}]
  r:
    forwarding: true
    interfaces:
      eth0: {addresses: [10.0.1.2/24, "fd01::2/64"]}
      eth1: {addresses: [10.0.2.2/24, "fd02::2/64"]}
    iptables: |
      *filter
      -A FORWARD -p tcp -j DROP
      COMMIT
    ip6tables: |
      *filter
      -A FORWARD -p udp -j DROP
      -A FORWARD -p tcp -j DROP
      COMMIT
  b:
    interfaces: {eth0: {addresses: [10.0.2.1/24, "fd02::1/64"]}}
    routes: [{to: default, via: 10.0.2.2}, {to: default, via: "fd02::2"}]
links: [{endpoints: ["a:eth0", "r:eth0"]}, {endpoints: ["r:eth1", "b:eth0"]}]
traffic:
  - {name: four, from: a, within: 300ms, http: "http://10.0.2.1/"}
  - {name: udp, from: a, within: 300ms, udp: {to: "[fd02::1]:9"}}
  - {name: six, from: a, within: 300ms, http: "http://[fd02::1]/"}
"""


async def test_of_a_packet_only_rules_of_its_own_family_and_protocol_are_suspected():
    report = await outcome(TWO_FAMILIES, "legacy")
    told = {check.name: check.reason.partition("perhaps by ")[2] for check in report.checks}
    shown = "{}-legacy, which no trace shows: filter -A FORWARD -p {} -j DROP counted "
    assert told["six answered"].startswith(shown.format("ip6tables", "tcp"))
    assert told["udp answered"].startswith(shown.format("ip6tables", "udp"))
    assert told["four answered"].startswith(shown.format("iptables", "tcp"))
    assert [said.count(" counted ") for name, said in told.items() if name.endswith("answered")] == [1, 1, 1], told
