"""Whether a record is of a topology: by what was built and sent, whatever the lab was named."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_nodeport import NodePort
from ruamel.yaml import YAML

from netemu.check.lab import check_lab
from netemu.errors import UsageError
from netemu.record.exchange import Exchange
from netemu.record.record import Record, build_record
from netemu.topology.built import built
from netemu.topology.load import loads
from netemu.topology.model import Topology
from netemu.topology.strict import of_shape

TEXT = """
name: two
networks: {lan: {}}
hosts:
  A: {interfaces: {eth0: {network: lan, addresses: [192.168.0.1/24]}}}
  B: {interfaces: {eth0: {network: lan, addresses: [192.168.0.2/24]}}, iptables: "*nat\\nCOMMIT\\n"}
  C:
    interfaces: {eth0: {network: lan, addresses: [192.168.0.3/24]}, cni0: {addresses: [172.26.0.1/24]}}
  pod: {interfaces: {eth0: {addresses: [172.26.0.3/24]}}}
links: [{endpoints: ["C:cni0", "pod:eth0"]}]
traffic: [{name: hello, from: A, http: "http://192.168.0.2:30000/"}]
"""


def topology(old: str = "", new: str = "") -> Topology:
    assert old in TEXT
    return loads(TEXT.replace(old, new, 1) if old else TEXT)[0]


def unverified(**changes: object) -> Topology:
    """The same with changes that leave it unfit to be built."""
    return of_shape(Topology, {**topology().model_dump(by_alias=True), **changes})


def record(lab: NodePort, made_of: Topology | None) -> Record:
    lab.handshake()
    scene = lab.scene.record()
    kept = built(made_of) if made_of is not None else None
    exchanges = [Exchange("hello", "A", "GET /", 0, 10**18, (), "200")]
    return build_record(scene.raw.captures, WIRES, exchanges, "one", kept)


WIRES = {("A", "eth0"): "lan", ("B", "eth0"): "lan", ("C", "eth0"): "lan"}
WIRES |= {("C", "cni0"): "link 0", ("pod", "eth0"): "link 0"}


@pytest.mark.parametrize("known", [True, False])
def test_the_labs_name_does_not_count(lab: NodePort, known: bool):
    made = record(lab, topology() if known else None)
    assert check_lab(topology("name: two", "name: three"), made, []).checks


def test_the_topology_may_be_given_by_a_file_s_path_or_a_mapping(lab: NodePort, tmp_path: Path):
    made, file = record(lab, topology()), tmp_path / "two.yaml"
    file.write_text(TEXT)
    for given in (str(file), file, YAML(typ="safe").load(TEXT)):
        assert check_lab(given, made, []).lab == "two"
    with pytest.raises(UsageError, match=r"^the record, of lab one, is of another topology than nodeport"):
        check_lab("nodeport", made)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  pod:", "  D: {}\n  pod:", "D not in the record"),
        ("name: hello", "name: bye", "this one sends no 'hello'"),
    ],
)
def test_other_hosts_and_items_are_refused(lab: NodePort, known: bool, old: str, new: str, said: str):
    made = record(lab, topology() if known else None)
    with pytest.raises(UsageError, match=rf"^the record, of lab one, is of another topology than two: .*{said}"):
        check_lab(topology(old, new), made, [])
    check_lab(topology(), made, [])


def test_rules_that_never_ran_are_refused(lab: NodePort):
    made = record(lab, topology())
    other = topology("*nat\\n", "*nat\\n-A PREROUTING -j ACCEPT\\n")
    with pytest.raises(UsageError, match=r"hosts.B.iptables: 'COMMIT' when it was recorded, '-A PREROUTING -j ACCEPT'"):
        check_lab(other, made, [])


def test_of_many_differences_the_first_are_told(lab: NodePort):
    made = record(lab, topology())
    hosts = dict.fromkeys(topology().hosts, topology().hosts["A"])
    other = unverified(links=(), networks={}, hosts=hosts)
    with pytest.raises(UsageError, match=r"(\n  .*: .* now){5}\n  and \d more$"):
        check_lab(other, made, [])


def test_of_an_older_record_the_wires_are_compared(lab: NodePort):
    made = record(lab, None)
    other = unverified(links=())
    with pytest.raises(UsageError, match="C:cni0: on link 0 when it was recorded, on none now"):
        check_lab(other, made, [])
