"""Drawings of topologies: for a terminal, as Mermaid, as DOT and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from netemu.cli.diagram import dot, mermaid
from netemu.cli.main import cli
from netemu.cli.shape import plain, shape
from netemu.cli.tree import tree
from netemu.topology.load import loads


def linked(*pairs: tuple[int, int]) -> str:
    """A topology of hosts r1, r2, … with a link for each pair."""
    hosts: dict[str, list[str]] = {}
    links = []
    for number, pair in enumerate(pairs):
        ends = []
        for place, host in enumerate(pair, 1):
            mine = hosts.setdefault(f"r{host}", [])
            ends.append(f'"r{host}:eth{len(mine)}"')
            mine.append(f"eth{len(mine)}: {{addresses: [10.0.{number}.{place}/24]}}")
        links.append(f"  - endpoints: [{', '.join(ends)}]\n")
    interfaces = "".join(f"  {host}: {{interfaces: {{{', '.join(mine)}}}}}\n" for host, mine in hosts.items())
    return f"name: linked\nhosts:\n{interfaces}links:\n{''.join(links)}"


def drawing(text: str) -> list[str]:
    return [line.plain for line in tree(shape(loads(text)[0]))]


def test_the_nodeport_is_drawn_from_its_network_outwards(nodeport):
    assert drawing(nodeport) == [
        "lan",
        "├─ A:eth0 192.168.0.1/24",
        "├─ B:eth0 192.168.0.2/24   forwards, iptables",
        "└─ C:eth0 192.168.0.3/24   forwards",
        "   C:cni0 172.26.0.1/24 ── pod:eth0 172.26.0.3/24   web tcp 8080, pairs udp 5353",
    ]


def test_a_line_is_drawn_from_its_end_and_not_as_a_staircase():
    assert drawing(linked((2, 1), (2, 3), (3, 4))) == [
        "r1",
        "r1:eth0 10.0.0.2/24 ── r2:eth0 10.0.0.1/24",
        "r2:eth1 10.0.1.1/24 ── r3:eth0 10.0.1.2/24",
        "r3:eth1 10.0.2.1/24 ── r4:eth0 10.0.2.2/24",
    ]


def test_a_network_between_two_is_no_end_of_a_wire():
    hosts = (
        "A: {interfaces: {e: {network: lan}}}, R: {interfaces: {l: {network: lan}, w: {}}}, B: {interfaces: {e: {}}}"
    )
    text = f"name: x\nnetworks: {{lan: {{}}}}\nhosts: {{{hosts}}}\nlinks: [{{endpoints: ['R:w', 'B:e']}}]"
    assert drawing(text) == ["lan", "├─ A:e", "└─ R:l", "   R:w ── B:e"]


def test_a_network_on_the_way_has_its_further_member_on_its_line():
    ends = "a: {interfaces: {u: {network: u}, v: {network: v}}}, b: {interfaces: {u: {network: u}}}"
    more = "c: {interfaces: {v: {network: v}}}, d: {interfaces: {v: {network: v}}}"
    assert drawing(f"name: x\nnetworks: {{u: {{}}, v: {{}}}}\nhosts: {{{ends}, {more}}}") == [
        "v",
        "├─ a:v",
        "│  a:u ── u ── b:u",
        "├─ c:v",
        "└─ d:v",
    ]


def test_a_ring_is_walked_once_round():
    assert drawing(linked((1, 2), (2, 3), (3, 1))) == [
        "r1",
        "r1:eth0 10.0.0.1/24 ── r2:eth0 10.0.0.2/24",
        "r2:eth1 10.0.1.1/24 ── r3:eth0 10.0.1.2/24",
        "r3:eth1 10.0.2.1/24 ── r1:eth1 10.0.2.2/24   closes a loop",
    ]


def test_a_star_and_a_tree_branch():
    assert drawing(linked((1, 2), (1, 3), (1, 4), (3, 5), (3, 6))) == [
        "r1",
        "├─ r1:eth0 10.0.0.1/24 ── r2:eth0 10.0.0.2/24",
        "├─ r1:eth1 10.0.1.1/24 ── r3:eth0 10.0.1.2/24",
        "│  ├─ r3:eth1 10.0.3.1/24 ── r5:eth0 10.0.3.2/24",
        "│  └─ r3:eth2 10.0.4.1/24 ── r6:eth0 10.0.4.2/24",
        "└─ r1:eth2 10.0.2.1/24 ── r4:eth0 10.0.2.2/24",
    ]


def test_hosts_apart_from_each_other_are_drawn_apart():
    assert drawing("name: x\nnetworks: {a: {}}\nhosts: {A: {}, B: {}}") == ["a", "", "A", "", "B"]


def test_a_host_between_two_networks_shows_both():
    lans = "name: x\nnetworks: {one: {}, two: {}}\nhosts: {R: {interfaces: {a: {network: one}, b: {network: two}}}}"
    assert drawing(lans) == ["R", "├─ R:a ── one", "└─ R:b ── two"]


MESHES = [[(a, b) for a in range(1, size + 1) for b in range(a + 1, size + 1)] for size in (2, 3, 4, 6)] + [
    [(1, 2), (3, 4), (4, 5), (5, 3)],
    [(1, 2), (2, 3), (3, 1), (3, 4), (4, 5), (5, 1)],
]


@pytest.mark.parametrize("pairs", MESHES)
def test_every_link_is_drawn_exactly_once(pairs):
    text = "\n".join(drawing(linked(*pairs)))
    assert text.count(" ── ") == len(pairs)
    for number in range(len(pairs)):
        assert text.count(f"10.0.{number}.1/24") == text.count(f"10.0.{number}.2/24") == 1


def test_five_hundred_routers_in_a_line_are_no_trouble():
    lines = drawing(linked(*((each, each + 1) for each in range(1, 250))))
    assert len(lines) == 250
    assert max(map(len, lines)) < 60


def test_mermaid_has_a_node_for_each_host_and_network_and_a_line_for_each_edge(nodeport):
    lines = list(mermaid(shape(loads(nodeport)[0])))
    assert lines[0] == "flowchart LR"
    assert '  h2["B<br/>forwards, iptables"]' in lines
    assert '  n1(["lan"])' in lines
    assert '  h3 ---|"cni0 172.26.0.1/24 · eth0 172.26.0.3/24"| h4' in lines
    assert len(lines) == 1 + 4 + 1 + 4


def test_dot_is_what_graphviz_reads(nodeport):
    lines = list(dot(shape(loads(nodeport)[0])))
    assert (lines[0], lines[-1]) == ('graph "nodeport" {', "}")
    assert r'  h2 [label="B\nforwards, iptables"]' in lines
    assert '  h3 -- h4 [taillabel="cni0 172.26.0.1/24", headlabel="eth0 172.26.0.3/24"]' in lines


@pytest.mark.parametrize("style", ["", "--mermaid", "--dot", "--json"])
def test_the_command_draws_in_every_style(style):
    done = CliRunner().invoke(cli, ["graph", "nodeport", *([style] if style else [])])
    assert done.exit_code == 0, done.output
    assert "172.26.0.3/24" in done.output
    if style == "--json":
        told = json.loads(done.output)
        assert told["lab"] == "nodeport"
        assert {"kind": "link", "ends": ["C:cni0", "pod:eth0"]} in told["edges"]


TUNNELS = """
name: tunnels
networks: {lan: {}}
hosts:
  A:
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.1/24]}
      vx0: {addresses: [10.9.0.1/24], vxlan: {id: 42, remote: 10.0.0.2}}
      mv0: {addresses: [10.0.0.11/24], macvlan: {dev: eth0}}
      g: {vxlan: {id: 7, group: 239.1.1.1, dev: eth0}}
  B:
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.2/24]}
      vx0: {addresses: [10.9.0.2/24], vxlan: {id: 42, remote: 10.0.0.1}}
      g: {vxlan: {id: 7, group: 239.1.1.1, dev: eth0}}
      far: {vxlan: {id: 9, remote: 10.0.0.3}}
  C: {interfaces: {eth0: {network: lan, addresses: [10.0.0.3/24]}, g: {vxlan: {id: 7, group: 239.1.1.1, dev: eth0}}}}
"""


def test_tunnels_come_after_all_else_and_macvlans_stand_at_their_hosts():
    assert drawing(TUNNELS) == [
        "lan",
        "├─ A:eth0 10.0.0.1/24   macvlan mv0 10.0.0.11/24 on eth0",
        "├─ B:eth0 10.0.0.2/24   vxlan 9 far to 10.0.0.3",
        "└─ C:eth0 10.0.0.3/24",
        "",
        "A:vx0 10.9.0.1/24 ══ B:vx0 10.9.0.2/24   vxlan 42",
        "A:g, B:g, C:g   vxlan 7 over 239.1.1.1",
    ]


def test_tenants_with_the_same_addresses_have_tunnels_of_their_own():
    hosts = {
        host: {
            "interfaces": {
                "e": {"network": lan, "addresses": [f"10.0.0.{mine}/24"]},
                "v": {"vxlan": {"id": 5, "remote": f"10.0.0.{other}"}},
            }
        }
        for host, lan, mine, other in (("A", "l1", 1, 2), ("B", "l1", 2, 1), ("C", "l2", 1, 2), ("D", "l2", 2, 1))
    }
    drawn = shape(loads(json.dumps({"name": "tenants", "networks": {"l1": {}, "l2": {}}, "hosts": hosts}))[0])
    assert [[end.name for end in tunnel.ends] for tunnel in drawn.tunnels] == [["A:v", "B:v"], ["C:v", "D:v"]]


def test_tunnels_are_edges_in_every_style():
    drawn = shape(loads(TUNNELS)[0])
    flowchart, graph = list(mermaid(drawn)), list(dot(drawn))
    assert '  h1 -.-|"vxlan 42 · vx0 10.9.0.1/24 · vx0 10.9.0.2/24"| h2' in flowchart
    assert '  v2(["vxlan 7 over 239.1.1.1"])' in flowchart
    assert sum(line.endswith("| v2") for line in flowchart) == 3
    assert sum("style=dashed" in line for line in graph) == 1 + 1 + 3
    told = plain(drawn)
    assert told["nodes"][0]["interfaces"]["mv0"] == ["10.0.0.11/24"]
    assert told["nodes"][-1] == {"kind": "vxlan", "name": "vxlan 7 over 239.1.1.1"}
    assert [edge["ends"] for edge in told["edges"] if edge["kind"] == "vxlan"] == [
        ["A:vx0", "B:vx0"],
        *([f"{host}:g", "vxlan 7 over 239.1.1.1"] for host in "ABC"),
    ]
