"""`count:` makes many hosts of one, with `{n}` in their texts standing for the number."""

from __future__ import annotations

import pytest

from netemu.errors import TopologyError
from netemu.topology.counting import CountError, Numeral, expand, expanded, may_be
from netemu.topology.load import loads
from netemu.topology.model import Topology

HOST = {"interfaces": {"eth0": {"network": "lan", "addresses": ["10.0.0.{n}/24"]}}}


def counted(text: str, count: int) -> list[object]:
    """What a text becomes on each of so many hosts."""
    made = expanded({"hosts": {"X": {"count": count, "value": text}}})["hosts"]
    return [made[f"X{n}"]["value"] for n in range(1, count + 1)]


def test_a_counted_host_becomes_so_many_hosts_numbered_from_one():
    topology = Topology.model_validate({"name": "n", "networks": {"lan": {}}, "hosts": {"X": {"count": 3, **HOST}}})
    assert list(topology.hosts) == ["X1", "X2", "X3"]
    assert str(topology.hosts["X3"].interfaces["eth0"].addresses[0]) == "10.0.0.3/24"


def test_the_number_stands_where_the_name_says():
    assert list(expand({"hosts": {"r{n+9}-a": {"count": 2}}}).document["hosts"]) == ["r10-a", "r11-a"]


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("10.0.{n}.1", ["10.0.1.1", "10.0.2.1"]),
        ("a{n+1}b{n-1}", ["a2b0", "a3b1"]),
        ("x{(n-1)//1}-{n%2}", ["x0-1", "x1-0"]),
        ("02:00:00:00:00:{n*10:02x}", ["02:00:00:00:00:0a", "02:00:00:00:00:14"]),
        ("{n:03d}", ["001", "002"]),
        ("${n} {{n}} {m} {} { n", ["${n} {n} {m} {} { n"] * 2),
        ("tcp dport { 80, 443 }", ["tcp dport { 80, 443 }"] * 2),
        ("nothing", ["nothing"] * 2),
    ],
)
def test_a_text_is_filled_in_for_each_host(text, becomes):
    assert counted(text, 2) == becomes


def test_a_whole_number_fits_where_a_number_is_due_and_where_a_text_is():
    assert counted("{n*2}", 2) == [2, 4]
    assert all(isinstance(value, Numeral) for value in counted("{n}", 2))
    host = {"count": 1, "interfaces": {"eth0": {"network": "lan", "mtu": "{n+1400}"}}}
    service = {"command": ["sleep", "{n}"], "environment": {"ID": "{n}"}, "ready": {"tcp": "{n+80}"}}
    whole = {"name": "n", "networks": {"lan": {}}, "hosts": {"X": {**host, "services": {"s{n}": service}}}}
    made = Topology.model_validate(whole).hosts["X1"]
    assert made.interfaces["eth0"].mtu == 1401
    assert made.services["s1"].command == ("sleep", "1")
    assert made.services["s1"].environment == {"ID": "1"}
    assert made.services["s1"].ready.tcp == 81


def test_hosts_without_a_count_are_left_as_they_are():
    document = {"hosts": {"A": {"nft": "{n}"}, "B": None}}
    assert expand(document).document is document
    assert expand({"hosts": {"A": {"nft": "{n}"}, "X": {"count": 1}}}).document["hosts"]["A"] == {"nft": "{n}"}


@pytest.mark.parametrize("count", [0, -1, 10_001, True, "3", 1.5, None])
def test_a_count_is_a_whole_number_within_bounds(count):
    with pytest.raises(CountError, match="is no count: write a whole number of 1 to 10000") as caught:
        expanded({"hosts": {"X": {"count": count}}})
    assert caught.value.path == ("hosts", "X", "count")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{n-5}", "'{n-5}' is -4 for the host numbered 1"),
        ("{n**2}", "'{n**2}' is no sum"),
        ("{n/2}", "'{n/2}' is no sum"),
        ("{n//(n-n)}", "is no sum"),
        ("{n n}", "'{n n}' is no sum"),
        ("{n:1000d}", "'{n:1000d}' is too wide: 999 digits are the most"),
        (f"{{n:{'9' * 5000}d}}", "is too wide"),
        ("{n*99999999999}", "is 99999999999 for the host numbered 1"),
    ],
)
def test_a_sum_that_can_not_be_is_told(text, says):
    with pytest.raises(CountError) as caught:
        counted(text, 1)
    assert says in str(caught.value)
    assert caught.value.path == ("hosts", "X", "value")


def test_two_hosts_can_not_come_to_one_name():
    with pytest.raises(CountError, match="there is another host 'X2'"):
        expand({"hosts": {"X2": {}, "X": {"count": 2}}})
    with pytest.raises(CountError, match="there is another host 'X1'"):
        expand({"hosts": {"X{n//2+1}": {"count": 2}, "X1": {}}})


FILE = """\
name: many
networks: {lan: {}}
hosts:
  X:
    count: 4
    interfaces:
      eth0:
        network: lan
        addresses: ["10.0.0.{n}/24"]
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        loads(text, "lab.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_an_address_that_runs_out_of_its_range_is_told_at_its_line():
    (problem,) = problems_of(FILE.replace("{n}/24", "{n+251}/24"))
    assert problem.startswith("lab.yaml:9: hosts.X4.interfaces.eth0.addresses[0]: 10.0.0.255/24 is its network's broad")
    (problem,) = problems_of(FILE.replace("{n}/24", "{n+252}/24"))
    assert "'10.0.0.256/24' is no address: write ADDRESS/PREFIX" in problem


def test_what_is_wrong_with_all_of_them_is_told_once():
    (problem,) = problems_of(FILE.replace("network: lan", "network: wan"))
    assert problem == (
        "lab.yaml:8: hosts.X1.interfaces.eth0.network: no network 'wan': there are lan (so for 3 more of them)"
    )


def test_a_number_without_quotes_in_a_list_is_told_what_it_lacks():
    (problem,) = problems_of(FILE.replace('"', ""))
    assert problem.startswith("lab.yaml:9: not YAML: ")
    assert problem.endswith("write a text with {n} in quotes")


def test_counted_hosts_of_one_address_are_told_so():
    (problem,) = problems_of(FILE.replace("{n}/24", "7/24"))
    assert problem.startswith(
        "lab.yaml:9: hosts.X2.interfaces.eth0.addresses[0]: 10.0.0.7 is X1:eth0's address already"
    )


def test_a_count_that_is_none_is_told_at_its_line():
    assert problems_of(FILE.replace("count: 4", "count: many")) == [
        "lab.yaml:5: hosts.X.count: 'many' is no count: write a whole number of 1 to 10000"
    ]


@pytest.mark.parametrize(
    ("written", "made", "may"),
    [
        ("h", "h12", True),
        ("h", "h", False),
        ("h{n}", "h1", True),
        ("h{n}x", "hx", False),
        ("h{n}x{n}y", "h1xx2y", True),
        ("h{n}xx{n}y", "h1xxy", False),
        ("{n}{n}", "1", False),
        ("{n}" * 40 + "z", "a" * 48, False),
    ],
)
def test_whether_a_host_may_be_one_of_many_is_told_by_what_stands_around_the_numbers(written, made, may):
    assert may_be(written, made) is may
