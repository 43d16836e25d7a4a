"""Which packets are whose: each traffic item's own, also where they leave in fragments."""

from __future__ import annotations

from netemu import Lab
from netemu.topology.load import loads

SENDER = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(0, 10, 0)"
SENDER += "; s.sendto(bytes(int(sys.argv[1])), ('10.0.0.2', 9))"
TWO = f"""
name: items
hosts:
  A: {{interfaces: {{eth0: {{addresses: [10.0.0.1/24]}}}}}}
  B: {{interfaces: {{eth0: {{addresses: [10.0.0.2/24]}}}}}}
links: [{{endpoints: ["A:eth0", "B:eth0"]}}]
traffic:
  - {{name: one, from: A, command: [python3, -c, "{SENDER}", "3000"]}}
  - {{name: two, from: A, command: [python3, -c, "{SENDER}", "4000"]}}
"""


async def test_datagrams_that_leave_in_fragments_are_of_the_item_that_sent_them():
    async with Lab(loads(TWO)[0]) as lab:
        report = await lab.prove()
    record = report.record
    flows = [record.flows_of(exchange) for exchange in record.exchanges]
    assert [len(each) for each in flows] == [1, 1]
    lengths = [each[0].packets("original")[0].first.headers.length for each in flows]
    assert lengths == [3000, 4000]
