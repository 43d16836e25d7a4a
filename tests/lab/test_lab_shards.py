"""A network of several bridges is one network: everybody reaches everybody, and every tap is proved."""

from __future__ import annotations

from netemu import Lab, Topology, Verdict
from netemu.topology import shards

HOSTS = 8
SEND = f"""import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(3900), ("10.0.0.{HOSTS}", 9))
"""


async def test_hosts_on_different_bridges_of_a_network_reach_each_other_and_are_recorded(monkeypatch):
    monkeypatch.setattr(shards, "PORTS", 3)
    names = [f"h{number}" for number in range(1, HOSTS + 1)]
    hosts = {
        name: {"interfaces": {"eth0": {"network": "lan", "addresses": [f"10.0.0.{number}/24"], "mtu": 4000}}}
        for number, name in enumerate(names, 1)
    }
    traffic = [{"name": "across", "from": "h1", "command": ["python3", "-c", SEND]}]
    expect = [{"traffic": "across", "packet": "request.first", "path": ["h1:eth0 out", f"h{HOSTS}:eth0 in"]}]
    topology = Topology.model_validate(
        {"name": "big", "networks": {"lan": {}}, "hosts": hosts, "traffic": traffic, "expect": expect}
    )
    async with Lab(topology) as lab:
        report = await lab.prove()
    assert report.verdict is Verdict.PASS, report.explain()
    assert {tap.alive for tap in report.record.health if tap.tap == "wire"} == {True}
