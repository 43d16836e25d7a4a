"""The NodePort as a scene: its hosts, its rules, and what each packet of a connection meets."""

from __future__ import annotations

from record_packets import Packet, endpoint, tcp
from record_scene import BOTH_NATED, DNATED, SNATED, Ct, Scene, established, new, reply

CLIENT, SERVICE, POD = "192.168.0.1:54522", "192.168.0.2:30000", "172.26.0.3:8080"
SYN = tcp(CLIENT, SERVICE, "SYN", seq=1, ip_id=1)
DNAT = "-A PREROUTING -p tcp -j DNAT --to-destination 172.26.0.3:8080"
SNAT = "-A POSTROUTING -d 172.26.0.3 -j SNAT --to-source 192.168.0.2"
SENT = ["A@output", "A@output.nat", "A@postrouting", "A@postrouting.nat", "A:eth0 out"]
"""A packet's way out of A."""


class NodePort:
    """The project's first case: A asks B's port 30000, B's DNAT and SNAT lead to a pod behind C."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.a, self.b = scene.host("A", eth0="lan"), scene.host("B", eth0="lan")
        self.c, self.pod = scene.host("C", eth0="lan", cni0="link 0"), scene.host("pod", eth0="link 0")
        self.dnat = self.b.rule("nat", "PREROUTING", DNAT)
        self.snat = self.b.rule("nat", "POSTROUTING", SNAT)

    def first(self, packet: Packet, id: int = 7) -> None:
        """A request that walks the nat chains."""
        self.a.sends(packet, "eth0")
        walk = self.b.gets("eth0", packet, "eth0", new(id)).sees("prerouting").matches(self.dnat)
        walk.sees("prerouting.nat", new(id, *DNATED), dst=POD).sees("forward", ttl=packet.ttl - 1).sees("postrouting")
        walk.matches(self.snat).sees("postrouting.nat", new(id, *DNATED, *SNATED), src=self._masked(packet)).leaves()
        self._beyond(walk.packet)

    def later(self, packet: Packet, ct: Ct) -> None:
        """A request that is rewritten from the entry alone."""
        self.a.sends(packet, "eth0")
        walk = self.b.gets("eth0", packet, "eth0", ct).sees("prerouting").sees("prerouting.nat", dst=POD)
        walk.sees("forward", ttl=packet.ttl - 1).sees("postrouting")
        self._beyond(walk.sees("postrouting.nat", src=self._masked(packet)).leaves().packet)

    def answer(self, packet: Packet, to: str = CLIENT, id: int = 7) -> None:
        """A reply, as the pod makes it; `to` is whom it will reach."""
        self.pod.sends(packet, "eth0")
        walk = self.c.gets("cni0", packet, "eth0").forwarded()
        walk = self.b.gets("eth0", walk.packet, "eth0", reply(id, *BOTH_NATED)).sees("prerouting")
        walk.sees("prerouting.nat", dst=to).sees("forward", ttl=walk.packet.ttl - 1).sees("postrouting")
        walk.sees("postrouting.nat", src=SERVICE).leaves()
        self.a.gets("eth0", walk.packet).delivered()

    def entry(self, id: int = 7, client: str = CLIENT) -> None:
        """The entry that B keeps, as its conntrack events tell it."""
        there, back = tcp(client, SERVICE), tcp(POD, self._masked(tcp(client, SERVICE)))
        self.b.entry(id, there, back, *BOTH_NATED, tcp_state="SYN_SENT")
        self.b.entry(id, there, back, *BOTH_NATED, "seen-reply", "assured", tcp_state="ESTABLISHED")

    def handshake(self, id: int = 7, client: str = CLIENT) -> None:
        """SYN, SYN ACK and ACK of one connection."""
        masked = self._masked(tcp(client, SERVICE))
        self.first(tcp(client, SERVICE, "SYN", seq=1, ip_id=1), id)
        self.answer(tcp(POD, masked, "SYN ACK", seq=100, ack=2), client, id)
        self.later(tcp(client, SERVICE, "ACK", seq=2, ack=101, ip_id=2), established(id, *BOTH_NATED))
        self.entry(id, client)

    @staticmethod
    def _masked(packet: Packet) -> str:
        return f"192.168.0.2:{endpoint(packet.src)[1]}"

    def _beyond(self, packet: Packet) -> None:
        walk = self.c.gets("eth0", packet, "cni0").forwarded()
        self.pod.gets("eth0", walk.packet).delivered()
