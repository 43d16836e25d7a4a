"""Rules loaded and read back by the real tools, sysctls, and what they say when refused."""

from __future__ import annotations

import pytest

from netemu.errors import KernelError
from netemu.kernel.rules.loading import load_rules, read_rules, refused_line, tracks
from netemu.kernel.rules.nftables import Nftables
from netemu.kernel.spaces.namespace import NetworkNamespace
from netemu.kernel.spaces.sysctl import write_sysctls
from netemu.kernel.taps.trace import table
from netemu.netfilter.hooks import STAGES

RULES = """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.0.2.2:80
-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE
COMMIT
*filter
-A FORWARD -m conntrack --ctstate INVALID -m comment --comment "a # handle 5" -j DROP
COMMIT
"""


@pytest.fixture
def net():
    made = NetworkNamespace.create("test")
    yield made
    made.close()


async def test_iptables_rules_are_read_back_with_text_counter_and_handle(net):
    assert (await load_rules(net, "iptables", RULES)).returncode == 0
    found = await read_rules(net)
    assert [(rule.table, rule.chain, rule.position) for rule in found.rules] == [
        ("nat", "PREROUTING", 0),
        ("nat", "POSTROUTING", 0),
        ("nat", "DOCKER", 0),
        ("filter", "FORWARD", 0),
    ] or {rule.chain for rule in found.rules} == {"PREROUTING", "POSTROUTING", "DOCKER", "FORWARD"}
    assert all(rule.packets == 0 and rule.handle for rule in found.rules)
    assert ("ip", "nat", "PREROUTING") in found.nat_chains
    assert ("ip", "filter", "FORWARD") not in found.nat_chains


async def test_each_handle_is_that_of_the_rule_with_the_same_text(net):
    """One rule deleted by its handle must be the one whose text goes."""
    await load_rules(net, "iptables", RULES)
    before = (await read_rules(net)).rules
    doomed = next(rule for rule in before if "--dport 8080" in rule.text)
    nft = Nftables(net)
    nft.run(f"delete rule ip nat DOCKER handle {doomed.handle}")
    nft.close()
    after = {rule.text for rule in (await read_rules(net)).rules}
    assert {rule.text for rule in before} - after == {doomed.text}


async def test_nft_rules_are_read_back_beside_iptables_ones(net):
    await load_rules(net, "iptables", RULES)
    chain = "type nat hook prerouting priority -90;\ntcp dport 81 counter dnat to 192.0.2.3:80\n"
    text = f"table ip mine {{\nchain pre {{\n{chain}}}\n}}\n"
    assert (await load_rules(net, "nft", text)).returncode == 0
    found = await read_rules(net)
    mine = [rule for rule in found.rules if rule.table == "mine"]
    assert [(rule.text, rule.packets) for rule in mine] == [("tcp dport 81 counter dnat to 192.0.2.3:80", 0)]
    assert ("ip", "mine", "pre") in found.nat_chains


async def test_a_host_without_rules_has_none(net):
    assert (await read_rules(net)).rules == ()


@pytest.mark.parametrize(
    ("tool", "text", "line"),
    [
        ("iptables", "*nat\n-A PREROUTING -j NOSUCH\nCOMMIT\n", 2),
        ("iptables", "*nat\n-A POSTROUTING -j MASQUERADE\n-A PREROUTING -p tcp --dport banana -j ACCEPT\nCOMMIT\n", 3),
        ("iptables", "*nat\n-A POSTROUTING -j MASQUERADE\n-A PREROUTING -j MASQUERADE\nCOMMIT\n", 3),
        ("iptables", "*nat\n-A POSTROUTING -j MASQUERADE\n*filter\n-A INPUT -j NOSUCH\nCOMMIT\n", 3),
        ("iptables", "*nosuch\nCOMMIT\n", 1),
        ("iptables", "*nat\n-A POSTROUTING -j MASQUERADE\n", None),
        ("ip6tables", "*filter\n-A INPUT -s 192.0.2.1 -j ACCEPT\nCOMMIT\n", 2),
        ("nft", "table ip x {\nchain y {\nbogus\n}\n}\n", 3),
    ],
)
async def test_the_line_that_a_tool_refuses_is_found(net, tool, text, line):
    done = await load_rules(net, tool, text)
    assert done.returncode != 0
    assert await refused_line(tool, text, done.stderr) == line


async def test_what_a_tool_refuses_leaves_nothing_loaded(net):
    await load_rules(net, "iptables", "*nat\n-A POSTROUTING -j MASQUERADE\n-A PREROUTING -j NOSUCH\nCOMMIT\n")
    assert (await read_rules(net)).rules == ()


def test_somebody_elses_flush_does_not_touch_the_taps(net):
    """`flags owner`: the table belongs to the tap's own socket."""
    tap, other = Nftables(net), Nftables(net)
    tap.run(table(ask_conntrack=False))
    other.run("flush ruleset")
    assert all(f"chain {stage.name} " in tap.list() for stage in STAGES)
    tap.close()
    assert other.list().strip() == ""
    other.close()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n", True),
        ("*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n", True),
        ("*filter\n-A FORWARD -m state --state NEW -j ACCEPT\nCOMMIT\n", True),
        ("*filter\n-A FORWARD -m connlimit --connlimit-above 3 -j DROP\nCOMMIT\n", True),
        ("*mangle\n-A PREROUTING -j CONNMARK --save-mark\nCOMMIT\n", True),
        ('*filter\n-A FORWARD -p tcp --dport 80 -m comment --comment "ct state new" -j DROP\nCOMMIT\n', False),
        ("*filter\n:masquerade - [0:0]\n-A FORWARD -p tcp --dport 80 -j DROP\nCOMMIT\n", False),
    ],
)
async def test_whether_rules_switch_connection_tracking_on_is_read_off_the_kernel(net, rules, expected):
    assert (await load_rules(net, "iptables", rules)).returncode == 0
    assert tracks(net) is expected


def test_nfts_own_words_come_back_when_it_refuses(net):
    nft = Nftables(net)
    with pytest.raises(KernelError, match="host test: nft: Error: syntax error"):
        nft.run("frobnicate")
    nft.close()


def test_a_sysctl_is_written_for_the_namespace_alone(net):
    with open("/proc/sys/net/ipv4/ip_default_ttl") as file:
        own = file.read()
    write_sysctls(net, [("net.ipv4.ip_default_ttl", "33", True)])
    with net.entered(), open("/proc/sys/net/ipv4/ip_default_ttl") as file:
        assert file.read() == "33\n"
    with open("/proc/sys/net/ipv4/ip_default_ttl") as file:
        assert file.read() == own


def test_a_sysctl_that_is_not_there_is_an_error_only_where_it_is_wanted(net):
    write_sysctls(net, [("net.ipv4.no_such", "1", False)])
    with pytest.raises(KernelError, match=r"host test: this kernel has no sysctl net.ipv4.no_such"):
        write_sysctls(net, [("net.ipv4.no_such", "1", True)])


def test_a_value_that_the_kernel_refuses_is_told(net):
    with pytest.raises(KernelError, match=r"sysctl net.ipv4.ip_forward = banana: Invalid argument"):
        write_sysctls(net, [("net.ipv4.ip_forward", "banana", True)])
