"""What was built is told in plain values, and where a topology says something else now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netemu.topology.built import built, differences
from netemu.topology.keys import key_text
from netemu.topology.library import find, shipped
from netemu.topology.load import load, loads

NODEPORT = Path(__file__).parent.parent.parent / "topologies" / "nodeport.yaml"
SENT = {"hello", "pair"}


def changed(old: str, new: str, sent: set[str] = SENT) -> list[str]:
    """How nodeport differs from nodeport with one text changed, as the recorded one was kept in a file."""
    text = NODEPORT.read_text()
    assert old in text
    recorded = json.loads(json.dumps(built(loads(text)[0])))
    now = built(loads(text.replace(old, new, 1).split("\nexpect:")[0])[0])
    return [f"{key_text(path)}: {what}" for path, what in differences(recorded, now, sent)]


@pytest.mark.parametrize("name", shipped())
def test_a_topology_does_not_differ_from_itself_in_a_file(name):
    topology = load(find(name))[0]
    recorded = json.loads(json.dumps(built(topology)))
    assert differences(recorded, built(topology), {item.name for item in topology.traffic}) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: nodeport", "name: two"),
        ("description: Kubernetes", "description: The Kubernetes"),
        ("\nnetworks:", "\nbackend: legacy\nnetworks:"),
        ("\nnetworks:", "\nrecord: {snap_length: 64}\nnetworks:"),
        ("    forwarding: true", "    forwarding: true\n    trace: first 1"),
        ("-A PREROUTING  -d 192.168.0.2", "# the first\n\n      -A   PREROUTING -d 192.168.0.2"),
        ("\ntraffic:", "\ntraffic:\n  - {name: more, from: A, http: 'http://192.168.0.2:1/'}"),
        ("- {name: pair, from: A, udp: {to: ", "- {name: twin, from: A, udp: {to: "),
    ],
)
def test_names_comments_how_it_is_looked_at_and_what_was_not_sent_do_not_count(old, new):
    assert changed(old, new) == []


def test_an_item_counts_where_it_was_sent():
    assert changed(", count: 2, answers: 2", ", count: 3, answers: 2", {"hello"}) == []
    assert changed(", count: 2, answers: 2", ", count: 3, answers: 2") == [
        "traffic.pair.udp.count: 2 when it was recorded, 3 now"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "--to-source 192.168.0.2",
            "--to-source 192.168.0.9",
            "hosts.B.iptables: '-A POSTROUTING -d 172.26.0.3 -p tcp",
        ),
        ("[192.168.0.1/24]", "[192.168.0.7/24]", "hosts.A.interfaces.eth0.addresses[0]: '192.168.0.1/24' when it was"),
        ("    forwarding: true\n", "", "hosts.B.forwarding: True when it was recorded, nothing now"),
        (
            "  lan: {}",
            "  lan: {subnets: [192.168.0.0/24]}",
            "networks.lan.subnets: nothing when it was recorded, ['192",
        ),
        ('"pod:eth0"]', '"pod:eth0"]\n    delay: 5ms', "links[0].delay: nothing when it was recorded, '5ms' now"),
        ("    forwarding: true", "    forwarding: true\n    files: {/etc/x: secret}", "hosts.B.files: nothing when it"),
    ],
)
def test_what_is_built_otherwise_is_told(old, new, said):
    found = changed(old, new)
    assert len(found) == 1
    assert found[0].startswith(said)
    assert "secret" not in found[0]


def test_an_added_rule_is_told_by_its_line():
    (found,) = changed("      COMMIT", "      -A POSTROUTING -j RETURN\n      COMMIT")
    assert found == "hosts.B.iptables: 'COMMIT' when it was recorded, '-A POSTROUTING -j RETURN' now"
