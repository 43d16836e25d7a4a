"""What is said of a document besides what does not fit the schema: never what is only a consequence of that."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest
from pydantic import ValidationError
from whole_topology import WHOLE

from netemu.errors import TopologyError
from netemu.topology.complaints import complaints
from netemu.topology.counting import expand, may_be
from netemu.topology.document import read_document
from netemu.topology.generate import generate
from netemu.topology.inclusion import include
from netemu.topology.load import loads
from netemu.topology.model import Topology
from netemu.topology.remainder import faults_of_the_rest
from netemu.topology.strict import of_shape

SHIPPED = sorted((FilePath(__file__).parents[2] / "topologies").glob("*.yaml"))
SENSELESS = 0.5
"""Nothing in a topology can be that."""

MANY = """\
name: many
networks:
  lan: {}
  dmz: {subnets: [10.1.0.0/24]}
hosts:
  A:
    interfaces:
      eth0: {network: lan, addresses: [10.0.0.1/33]}
  B:
    interfaces:
      eth0: {network: lna, addresses: [10.0.0.2/24]}
  C:
    forwardin: true
    interfaces:
      eth0: {network: dmz, addresses: [10.1.0.3/24]}
  D:
    interfaces:
      eth0: {network: dmz, addresses: [10.2.0.3/24], mac: "01:00:00:00:00:01"}
traffic:
  - {name: hello, from: Z, http: "http://10.0.0.2/"}
  - {name: well, from: A, htp: "http://10.0.0.2/", wthin: 3s}
expect:
  - {traffic: helo, packet: request.first, at: "B@prerouting"}
  - {traffic: hello, packet: request.frist, at: "B@prerouting"}
  - {traffic: well, packet: request.first, at: "B@prerouting"}
  - {traffic: hello, packet: request.first, at: "Y@prerouting"}
"""


def test_all_faults_are_told_in_one_round_by_line_but_no_consequences():
    with pytest.raises(TopologyError) as caught:
        loads(MANY, "many.yaml")
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (8, "hosts.A.interfaces.eth0.addresses[0]"),
        (11, "hosts.B.interfaces.eth0.network"),
        (13, "hosts.C.forwardin"),
        (18, "hosts.D.interfaces.eth0.mac"),
        (20, "traffic[0].from"),
        (21, "traffic[1].htp"),
        (21, "traffic[1].wthin"),
        (23, "expect[0].traffic"),
        (24, "expect[1].packet"),
        (26, "expect[3].at"),
    ]


WITH_SLOTS = """\
name: slots{whole}
networks: {{lan: {{{lan}}}}}
hosts:
  A: {{{forwarding}{tmpfs}{services}interfaces: {{eth0: {{{mtuu}}}, eth1: {{network: lan}}}}}}
  B: {{interfaces: {{eth0: {{network: nolan}}}}}}
  C: {{nft: "table inet netemu {{}}", interfaces: {{eth0: {{network: lan}}}}}}
  localhost: {{}}
links:
  - {{endpoints: ["A:eth0", "Z:eth0"]{link}}}
  - endpoints: ["A:eth9", "C:eth8"]
  - endpoints: ["A:eth0", "A:eth9"]{links}
traffic: [{{name: hello, from: Y, http: "http://10.0.0.1/"}}]
expect:
  - {{traffic: hello, packet: request.first, at: "A:eth7 in"}}
  - {{traffic: hello, packet: request.first, at: X@forward}}
  - {{counter: W, rule: "-A INPUT", packets: 1}}
"""
TOLD_WHATEVER = {
    "hosts.B.interfaces.eth0.network": "no network 'nolan': there are lan",
    "hosts.localhost": "'localhost' is every host itself: choose another name",
    "hosts.C.nft": "the table 'inet netemu' is the taps' own: choose another name",
    "links[0].endpoints[1]": "no host 'Z': there are A, B, C, localhost",
    "links[1].endpoints[0]": "no interface 'eth9' on host 'A': there are eth0, eth1",
    "links[1].endpoints[1]": "no interface 'eth8' on host 'C': there are eth0",
    "links[2].endpoints[0]": "A:eth0 is an end of links[0] already",
    "traffic[0].from": "no host 'Y': there are A, B, C, localhost",
    "expect[0].at": "no interface 'eth7' on host 'A'",
    "expect[1].at": "no host 'X': there are A, B, C, localhost",
    "expect[2].counter": "no host 'W'",
}
SLOTS = {
    "whole": ("", "\nfoo: 3"),
    "lan": ("", "foo: 3"),
    "forwarding": ("", "forwarding: 3, "),
    "mtuu": ("", "mtuu: 3"),
    "tmpfs": ("", "tmpfs: 3, "),
    "services": ("", "services: {web: {commnd: 3}}, "),
    "link": ("", ", delay: 10"),
    "links": ("", "\n  - {endpoints: 3}"),
}


@pytest.mark.parametrize("broken", [None, *SLOTS])
def test_a_name_that_nothing_has_is_told_whatever_else_is_wrong(broken):
    text = WITH_SLOTS.format(**{slot: kinds[slot == broken] for slot, kinds in SLOTS.items()})
    with pytest.raises(TopologyError) as caught:
        loads(text)
    told = {problem.key: problem.message for problem in caught.value.problems}
    assert told.items() >= TOLD_WHATEVER.items(), sorted(TOLD_WHATEVER.keys() - told.keys())


def test_a_link_that_a_message_names_has_its_place_in_the_whole():
    text = """\
name: places
hosts: {A: {interfaces: {eth0: {}}}, B: {interfaces: {eth0: {}}}, C: {interfaces: {eth0: {}}}}
links:
  - endpoints: 3
  - endpoints: ["A:eth0", "B:eth0"]
  - endpoints: ["A:eth0", "C:eth0"]
"""
    with pytest.raises(TopologyError) as caught:
        loads(text)
    assert "links[2].endpoints[0]: A:eth0 is an end of links[1] already" in str(caught.value)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where anything stands in a document."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def changed(document: dict, path: tuple[str | int, ...], how: str) -> dict:
    """A copy in which what stands at `path` is senseless, or gone, or has a key that nobody knows."""
    found = copy.deepcopy(document)
    around: object = found
    for part in path[:-1]:
        around = around[part]  # type: ignore[index]
    match how:
        case "senseless":
            around[path[-1]] = SENSELESS  # type: ignore[index]
        case "gone":
            del around[path[-1]]  # type: ignore[attr-defined]
        case "renamed" if isinstance(around, dict):
            around["nobody-knows-it"] = around.pop(path[-1])
    return found


def misfits(document: dict) -> list[tuple[str | int, ...]]:
    """Where a document does not fit the schema."""
    try:
        of_shape(Topology, document)
    except ValidationError as error:
        return list(complaints(error, document))
    return []


def document_of(source: FilePath | str) -> dict:
    if source == "whole":
        return WHOLE
    if isinstance(source, str):
        return generate(source, 4).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    expansion = expand(read_document(source.read_text(encoding="utf-8")).value)
    return include(expansion.document, lambda name: (name, b"")).document


@pytest.mark.parametrize("how", ["senseless", "gone", "renamed"])
@pytest.mark.parametrize(
    "source",
    [*SHIPPED, "line", "mesh", "whole"],
    ids=lambda source: source.stem if isinstance(source, FilePath) else source,
)
def test_whatever_is_broken_in_a_topology_that_is_fine_nothing_else_is_said_to_be(source, how):
    """A fault of the rest would be a consequence of what was broken: without that there is none."""
    document = document_of(source)
    assert not misfits(document)
    broken = 0
    for path in places(document):
        wrong = changed(document, path, how)
        if paths := misfits(wrong):
            broken += 1
            assert faults_of_the_rest(wrong, paths) == [], path
    assert broken > 5


UNCOUNTED = """\
name: uncounted
networks: {lan: {}}
hosts:
  "c{n}":
    count: COUNT
    interfaces: {eth0: {network: lan, addresses: ["10.0.0.{n}/24"]}, eth1: {addresses: ["10.1.0.{n}/24"]}}
    services: {web: {command: [sleep, "9"]}}
  B:
    interfaces: {eth0: {network: lan, addresses: [10.0.0.200/24]}, eth1: {addresses: [10.1.0.200/24]}}
    routes: [{to: default, via: 10.1.0.1}]
    services: {web: {command: [sleep, "9"], after: ["c2:web"]}}
    tmpfs: [/proc]
  E: {interfaces: {eth0: {network: lan, addresses: [10.9.0.1/24]}}}
links: [{endpoints: ["c1:eth1", "B:eth1"]}]
traffic:
  - {name: t, from: c2, http: "http://10.0.0.200/"}
  - {name: t, from: Z, http: "http://10.0.0.200/"}
expect:
  - {traffic: t, packet: request.first, at: "c2:eth0 out"}
"""


@pytest.mark.parametrize("count", ["0", "many", "[2]"])
def test_what_is_wrong_beside_a_host_that_can_not_be_counted_is_told_in_one_round(count):
    with pytest.raises(TopologyError) as caught:
        loads(UNCOUNTED.replace("COUNT", count))
    told = [(problem.line, problem.key, problem.message.partition(":")[0]) for problem in caught.value.problems]
    assert told == [
        (5, "hosts.c{n}.count", told[0][2]),
        (12, "hosts.B.tmpfs[0]", "/proc can't be empty"),
        (17, "traffic[1].name", "'t' is another traffic item's name already"),
        (17, "traffic[1].from", "no host 'Z'"),
    ]
    assert "is no count" in told[0][2]


def test_a_key_nobody_knows_is_told_beside_it_and_a_lab_of_such_hosts_alone_tells_but_that():
    text = UNCOUNTED.replace("COUNT", "0").replace("tmpfs: [/proc]", "forward: true")
    with pytest.raises(TopologyError, match="unknown key 'forward', did you mean 'forwarding'"):
        loads(text)
    with pytest.raises(TopologyError) as caught:
        loads("{name: x, hosts: {c: {count: 0}}}")
    assert [problem.key for problem in caught.value.problems] == ["hosts.c.count"]


@pytest.mark.parametrize(
    ("written", "made", "may"),
    [("c{n}", "c1", True), ("c", "c12", True), ("a{n}-{n%2}", "a3-1", True), ("c{n}", "d1", False), ("c", "c", False)],
)
def test_a_counted_hosts_name_may_be_any_of_its_pattern(written, made, may):
    assert may_be(written, made) is may
