"""A topology file to a `Topology`, and what is said of one that is broken."""

from __future__ import annotations

import re

import pytest

from netemu.errors import Problem, TopologyError
from netemu.topology.keys import key_text
from netemu.topology.load import Source, load, loads

WHOLE = """\
name: pair
networks:
  lan: {}
hosts:
  A:
    interfaces:
      eth0:
        network: lan
        addresses: [10.0.0.1/24]
  B:
    interfaces:
      eth0:
        network: lan
        addresses: [10.0.0.2/24]
    routes:
      - {to: default, via: 10.0.0.1}
    nft: |
      table ip t {
      }
links: []
traffic:
  - name: hello
    from: A
    http: http://10.0.0.2/
    within: 3s
expect:
  - traffic: hello
    packet: request.first
    at: B@input
    dst: 10.0.0.2:80
"""


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(TopologyError) as caught:
        loads(text, "lab.yaml")
    return caught.value.problems


def test_a_whole_topology_loads():
    topology, _ = loads(WHOLE)
    assert list(topology.hosts) == ["A", "B"]
    assert topology.traffic[0].source == "A"


A, B = "hosts.A.interfaces.eth0", "hosts.B.interfaces.eth0"
BROKEN = {
    "unknown key": ("networks:", "networkz:", 2, "networkz", "unknown key 'networkz', did you mean 'networks'?"),
    "unknown key far in": ("addresses", "adresses", 9, f"{A}.adresses", "did you mean 'addresses'?"),
    "unknown key of traffic": ("within", "whithin", 25, "traffic[0].whithin", "did you mean 'within'?"),
    "unknown key of an expectation": ("dst:", "dts:", 30, "expect[0].dts", "did you mean 'dst'?"),
    "unknown key like no other": (
        "routes:",
        "zzz:",
        15,
        "hosts.B.zzz",
        "known here: count, environment, files, forwarding, ",
    ),
    "missing key": ("name: pair\n", "description: x\n", 1, "name", "is missing"),
    "no YAML": ("{to: default, via: 10.0.0.1}", "{to: default", 17, "", "not YAML: "),
    "key twice": ("        addresses: [10.0.0.1/24]", "        network: lan", 9, "", "'network' is there twice"),
    "address outside its network": (
        "10.0.0.1/24",
        "10.9.0.1/24",
        9,
        f"{A}.addresses[0]",
        "is outside its network 'lan'",
    ),
    "outside the declared subnet": (
        "lan: {}",
        "lan: {subnets: [10.0.0.2/31]}",
        9,
        f"{A}.addresses[0]",
        "10.0.0.1/24 is outside its network 'lan', which is 10.0.0.2/31",
    ),
    "one address twice": (
        "10.0.0.1/24",
        "10.0.0.2/24",
        14,
        f"{B}.addresses[0]",
        "10.0.0.2 is A:eth0's address already",
    ),
    "network's own address": ("10.0.0.1/24", "10.0.0.0/24", 9, f"{A}.addresses[0]", "its network's own address"),
    "broadcast address": ("10.0.0.1/24", "10.0.0.255/24", 9, f"{A}.addresses[0]", "its network's broadcast address"),
    "no address": ("10.0.0.1/24", "10.0.0.300/24", 9, f"{A}.addresses[0]", "'10.0.0.300/24'"),
    "unknown network": ("network: lan", "network: wan", 8, f"{A}.network", "no network 'wan': there are lan"),
    "interface that leads nowhere": ("        network: lan\n", "", 7, A, "leads nowhere"),
    "link to no host": (
        "links: []",
        "links: [{endpoints: ['C:eth0', 'A:eth0']}]",
        20,
        "links[0].endpoints[0]",
        "no host 'C': there are A, B",
    ),
    "link to no interface": (
        "links: []",
        "links: [{endpoints: ['B:eth1', 'A:eth0']}]",
        20,
        "links[0].endpoints[0]",
        "no interface 'eth1' on host 'B': there are eth0",
    ),
    "link to no end": (
        "links: []",
        "links: [{endpoints: [B, 'A:eth0']}]",
        20,
        "links[0].endpoints[0]",
        "'B' is no link end: write HOST:INTERFACE",
    ),
    "route off the link": (
        "via: 10.0.0.1",
        "via: 10.7.0.1",
        16,
        "hosts.B.routes[0].via",
        "10.7.0.1 is in no network of host 'B': a route to it by its interface is one, {to: 10.7.0.1/32, dev: …}",
    ),
    "route that goes nowhere": (", via: 10.0.0.1", "", 16, "hosts.B.routes[0]", "give via, dev or both"),
    "traffic from no host": ("from: A", "from: Z", 23, "traffic[0].from", "no host 'Z': there are A, B"),
    "bare number for a duration": ("within: 3s", "within: 3", 25, "traffic[0].within", "'3' is no duration"),
    "two kinds of traffic": ("within: 3s", "command: [ping]", 22, "traffic[0]", "give one of http, udp and command"),
    "expectation about no traffic": (
        "- traffic: hello",
        "- traffic: bye",
        27,
        "expect[0].traffic",
        "no traffic item 'bye': there are hello",
    ),
    "expectation at no host": ("at: B@input", "at: Z@input", 29, "expect[0].at", "no host 'Z': there are A, B"),
    "expectation at no interface": (
        "at: B@input",
        "at: B:eth1 in",
        29,
        "expect[0].at",
        "no interface 'eth1' on host 'B'",
    ),
    "expectation at no stage": (
        "at: B@input",
        "at: B@inputt",
        29,
        "expect[0].at",
        "no hook stage 'inputt': there are prerouting, ",
    ),
    "point without its way": (
        "at: B@input",
        "at: B:eth0",
        29,
        "expect[0].at",
        "'B:eth0' needs its way: 'B:eth0 in' or 'B:eth0 out'",
    ),
    "expectation of no endpoint": ("dst: 10.0.0.2:80", "dst: web:80", 30, "expect[0].dst", "'web:80' is no endpoint"),
}


@pytest.mark.parametrize(("old", "new", "line", "key", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_topology_is_told_with_file_line_and_key(old, new, line, key, says):
    assert old in WHOLE
    problems = problems_of(WHOLE.replace(old, new, 1))
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    problem = next(problem for problem in problems if problem.line == line)
    assert (problem.file, problem.key) == ("lab.yaml", key)
    assert says in problem.message
    assert str(problem).startswith(f"lab.yaml:{line}: {key}")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "the file is empty"),
        ("- a\n- b\n", 1, "a topology is a mapping with a name and hosts"),
        ("\nnodeport\n", 2, "a topology is a mapping with a name and hosts"),
        ("~\n", 1, "a topology is a mapping with a name and hosts"),
    ],
)
def test_a_document_that_is_no_mapping_is_told_what_a_topology_is(text, line, says):
    (problem,) = problems_of(text)
    assert (problem.line, problem.key, problem.message) == (line, "", says)


def test_every_problem_is_told_in_the_order_of_the_file():
    lines = [problem.line for problem in problems_of(re.sub("network: lan|from: A", "nope: 1", WHOLE))]
    assert lines == sorted(lines)
    assert {8, 13, 23} <= set(lines)


def test_a_key_with_one_fault_is_told_once():
    text = WHOLE.replace("10.0.0.1/24", "nonsense")
    assert [problem.key for problem in problems_of(text)] == [f"{A}.addresses[0]"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[10.0.0.1/24]", "10.0.0.1/24", f"{A}.addresses"),
        ("lan: {}", "lan:", "networks.lan"),
        ("links: []", "links: {}", "links"),
        ("links: []", "links: [{endpoints: ['A:eth0']}]", "links[0].endpoints"),
        ("  - name: hello\n    from: A\n    http: http://10.0.0.2/\n    within: 3s\n", "  - hello\n", "traffic[0]"),
        ("to: default", "to: 10.7.0.1/16", "hosts.B.routes[0].to"),
        ("10.0.0.1/24", "fd00::zz/64", f"{A}.addresses[0]"),
    ],
)
def test_a_wrong_type_is_told_in_the_files_words_not_pythons(old, new, key):
    message = {problem.key: problem.message for problem in problems_of(WHOLE.replace(old, new, 1))}[key]
    assert not re.search(
        r"tuple|dictionary|instance of|validation|_kind|should be 'default'$|valid IPv4 interface", message
    )


def test_an_expectation_that_is_no_mapping_is_told_in_the_files_words():
    text = WHOLE[: WHOLE.index("expect:")] + "expect:\n  - hello\n"
    (problem,) = problems_of(text)
    assert (problem.line, problem.key) == (27, "expect[0]")
    assert "_kind" not in problem.message


def test_load_reads_a_file_and_names_it(tmp_path):
    file = tmp_path / "lab.yaml"
    file.write_text(WHOLE.replace("from: A", "from: Z"))
    with pytest.raises(TopologyError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:23: traffic[0].from: no host 'Z': there are A, B"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_load_and_loads_read_the_same(tmp_path, newline):
    file = tmp_path / "lab.yaml"
    file.write_text(WHOLE, newline=newline)
    assert load(str(file))[0] == loads(WHOLE)[0]


def test_a_missing_file_is_told_by_name(tmp_path):
    file = tmp_path / "none.yaml"
    with pytest.raises(TopologyError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: can't be read: No such file or directory"


def test_a_folder_is_told_by_name(tmp_path):
    with pytest.raises(TopologyError, match="is a folder, no topology file"):
        load(tmp_path)


def test_a_file_that_is_no_utf_8_is_told_by_name(tmp_path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("name: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(TopologyError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: is no UTF-8 text"


def test_a_bad_topology_is_a_usage_fault():
    assert TopologyError(Problem("x")).exit_code == 2


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("hosts", "A"), "hosts.A"),
        (("hosts", "A", "addresses", 0), "hosts.A.addresses[0]"),
        (("expect", 3, "path", 1), "expect[3].path[1]"),
        ((0, "a"), "[0].a"),
    ],
)
def test_a_key_is_written_with_dots_and_brackets(path, text):
    assert key_text(path) == text


def test_a_source_finds_a_line_of_a_rules_text():
    _, source = loads(WHOLE, "lab.yaml")
    problem = source.problem("no such chain", ("hosts", "B", "nft"), text_line=2)
    assert str(problem) == "lab.yaml:19: hosts.B.nft: no such chain"


def test_a_source_without_a_file_still_names_the_key():
    assert str(Source().problem("no such chain", ("hosts", "B", "nft"), text_line=2)) == "hosts.B.nft: no such chain"


@pytest.mark.parametrize("first", ["net.ipv4.ip_forward", "net/ipv4/ip_forward"])
def test_a_sysctl_in_both_spellings_is_told(first):
    second = {"net.ipv4.ip_forward": "net/ipv4/ip_forward"}.get(first, "net.ipv4.ip_forward")
    text = WHOLE.replace("    nft: |", f"    sysctls: {{{first}: 1, {second}: 0}}\n    nft: |")
    (problem,) = problems_of(text)
    assert (problem.key, problem.message) == ("hosts.B.sysctls", f"{second} is {first} once more")
    assert text.splitlines()[problem.line - 1].lstrip().startswith("sysctls:")
