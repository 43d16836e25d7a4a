"""Scenes made by dice: packets of many kinds between hosts, NAT, broadcasts, losses, damage, ids used again."""

from __future__ import annotations

import random

from record_nodeport import NodePort
from record_packets import Packet, echo, icmp_error, parts, tcp, udp
from record_passes import Pass
from record_scene import BOTH_NATED, DNATED, Ct, Scene, attribute, established, message, new

from netemu.record.capture import BROADCAST, HOST, OTHERHOST, OUTGOING, HostCapture
from netemu.record.frames import Datagrams, Frames, RawFrame

HOOKS = ("output", "output.nat", "postrouting", "postrouting.nat")


def any_scene(dice: random.Random) -> Scene:
    """A scene of some packets, each of its own kind."""
    scene = Scene(old=dice.random() < 0.2)
    lab = NodePort(scene)
    scene.segment_of |= {("C", "cni0"): "link 0"}
    rules = [
        lab.b.rule("nat", "PREROUTING", "-A PREROUTING -j KUBE-SERVICES"),
        lab.b.rule("nat", "KUBE-SERVICES", "-A KUBE-SERVICES -j DNAT"),
        lab.b.rule("filter", "FORWARD", "-A FORWARD -j ACCEPT"),
        lab.b.rule("guard", "in", "tcp dport 22 accept", family="inet"),
    ]
    for _ in range(dice.randrange(1, 14)):
        _something(dice, lab, rules)
    return scene


def _something(dice: random.Random, lab: NodePort, rules: list) -> None:  # noqa: C901, PLR0912
    kind = dice.randrange(10)
    port = dice.choice([4000, 4001, 4002])
    packet = _packet(dice, port)
    if kind == 0:
        lab.handshake(dice.choice([7, 8, 9]), f"192.168.0.1:{port}")
    elif kind == 1:
        lab.a.sends(packet, "eth0")
        for _ in range(dice.randrange(3)):
            lab.b.gets("eth0", packet).delivered()
    elif kind == 2:
        lab.a.sends(packet, "eth0")
        for host in (lab.b, lab.c):
            if dice.random() < 0.8:
                way = host.gets("eth0", packet, kind=dice.choice([BROADCAST, OTHERHOST, HOST]))
                way.through("prerouting", "prerouting.nat")
                if dice.random() < 0.5:
                    way.falls_through("filter", "INPUT", "drop")
    elif kind == 3:
        id = dice.choice([1, 2, None])
        walk = lab.b.gets("eth0", packet, "eth0", _ct(dice), id=id, start_lost=dice.random() < 0.3)
        for stage in ("prerouting", "prerouting.nat", "forward", "postrouting", "postrouting.nat"):
            while dice.random() < 0.4:
                walk.matches(dice.choice(rules), dice.choice(["accept", "drop", "continue", "jump", "return"]))
            if dice.random() < 0.2:
                walk.falls_through("nat", "PREROUTING")
            changes = {"dst": "172.26.0.3:8080"} if dice.random() < 0.3 and packet.proto in ("tcp", "udp") else {}
            changes |= {"ttl": max(walk.packet.ttl - 1, 1)} if stage == "forward" else {}
            walk.sees(stage, _ct(dice), **(changes if ":" not in packet.src[1:6] else {}))
        if dice.random() < 0.8:
            walk.leaves()
    elif kind == 4:
        walk = lab.b.makes(packet, "eth0", _ct(dice), id=dice.choice([1, 2, None]))
        if dice.random() < 0.5:
            walk.matches(rules[2], "drop")
        else:
            walk.sees("output").matches(rules[0], "jump", "KUBE-SERVICES").matches(rules[1], "drop")
    elif kind == 5:
        lab.b.sends(packet, "lo", id=1)
        lab.b.gets("lo", packet, id=2).delivered()
    elif kind == 6:
        lab.b.wire("eth0", dice.choice(["in", "out"]), packet, dice.choice([HOST, OTHERHOST]))
        lab.c.wire("eth0", dice.choice(["in", "out"]), packet)
    elif kind == 7:
        lab.pod.sends(packet, "eth0")
        walk = lab.c.gets("cni0", packet, "eth0").forwarded()
        lab.b.gets("eth0", walk.packet, ct=_ct(dice)).delivered()
    elif kind == 9:
        _in_fragments(dice, lab)
    elif kind == 8:
        _cast(dice, lab)
    else:
        walks = [lab.b.gets("eth0", each, ct=_ct(dice)) for each in (packet, _packet(dice, port))]
        for stage in ("prerouting", "prerouting.nat", "input", "input.nat"):
            for walk in walks:
                walk.sees(stage)


def _in_fragments(dice: random.Random, lab: NodePort) -> None:
    """A packet goes in fragments, of which some may be lost, swapped or come twice, to a host that may track."""
    addresses = dice.choice([("192.168.0.1", "192.168.0.2"), ("[fd00::1]", "[fd00::2]")])
    src, dst = f"{addresses[0]}:{dice.choice([4000, 4001])}", f"{addresses[1]}:53"
    packet = udp(src, dst, dice.choice([b"a", b"b"]) * dice.choice([200, 208]), ip_id=dice.choice([7, 7, 8]))
    pieces = parts(packet, *dice.choice([(80, 160), (80,), (88, 160)]))
    six = src.startswith("[")
    lab.a.makes(packet.but(ip_id=0) if six else packet, "eth0").through(*HOOKS)
    pieces = [piece for piece in pieces if dice.random() > 0.1]
    for piece in pieces:
        lab.a.wire("eth0", "out", piece)
    if dice.random() < 0.3:
        dice.shuffle(pieces)
    pieces += [dice.choice(pieces)] if pieces and dice.random() < 0.2 else []
    if dice.random() < 0.4:
        _come_to_one_that_tracks(dice, lab, packet, pieces)
        return
    forwards = dice.random() < 0.3
    for place, piece in enumerate(pieces):
        host, out = (lab.c, "cni0") if forwards else (lab.b, None)
        walk = host.gets("eth0", piece, out, id=dice.choice([None, None, 1]), start_lost=dice.random() < 0.1)
        if forwards:
            walk.forwarded()
            continue
        walk.through("prerouting", "prerouting.nat")
        if dice.random() < 0.1:
            walk.falls_through("filter", "INPUT", "drop")
        elif six:
            walk.through("input", "input.nat")
        elif place == len(pieces) - 1:
            walk.sees("input", part=None).through("input.nat")


def _come_to_one_that_tracks(dice: random.Random, lab: NodePort, packet: Packet, pieces: list[Packet]) -> None:
    """What came last goes on with the whole packet: to the host itself, or further, in fragments with a new id."""
    six, whole = packet.src.startswith("["), packet.but(ip_id=0) if packet.src.startswith("[") else packet
    walks = [lab.c.gets("eth0", piece, "cni0") for piece in pieces]
    if not walks:
        return
    walks[-1].packet = whole
    walks[-1].through("prerouting", "prerouting.nat")
    if dice.random() < 0.5:
        walks[-1].through("input", "input.nat")
        return
    walks[-1].sees("forward", ttl=63).through("postrouting", "postrouting.nat")
    for piece in pieces:
        lab.c.wire("cni0", "out", piece.but(ttl=63, ip_id=9 if six else piece.ip_id))


def _cast(dice: random.Random, lab: NodePort) -> None:
    """To several, with a copy for the sender or without."""
    packet = dice.choice(
        [
            udp("192.168.0.1:4000", "192.168.0.255:53", b"!", to_all=dice.random() < 0.8),
            udp("192.168.0.1:4000", "239.1.2.3:53", b"!", ttl=dice.choice([0, 1])),
            udp("[fd00::1]:4000", "[ff05::5]:53", b"!", ttl=dice.choice([0, 1])),
        ]
    )
    for _ in range(dice.randrange(1, 4)):
        if dice.random() < 0.7:
            lab.a.casts(packet, "eth0", _ct(dice), delivers=dice.random() < 0.8)
        else:
            lab.a.sends(packet, "eth0")
        for host in (lab.a, lab.b, lab.c):
            if dice.random() < (0.1 if host is lab.a else 0.7):
                host.gets("eth0", packet, kind=BROADCAST).delivered()


def _packet(dice: random.Random, port: int) -> Packet:
    asked = udp(f"192.168.0.1:{port}", "192.168.0.2:53", b"?" * dice.randrange(3))
    return dice.choice(
        [
            asked,
            udp("192.168.0.2:53", f"192.168.0.1:{port}", b"!"),
            tcp(f"192.168.0.1:{port}", "192.168.0.2:30000", dice.choice(["SYN", "ACK"]), seq=dice.randrange(3)),
            tcp("[fd00::1]:4000", "[fd00::2]:80"),
            tcp("[fd00::1]:4000", "[fd00::2]:80", extensions=(0, b"\x06" + bytes(7))),
            udp("[fd00::1]:4000", "[fd00::2]:53", b"?" * 8, extensions=(44, b"\x11\0\0\x01" + bytes(4))),
            echo("192.168.0.1", "192.168.0.2", port, dice.randrange(3)),
            icmp_error("192.168.0.2", "192.168.0.1", 3, asked),
            Packet("igmp", "192.168.0.1", "224.0.0.1", payload=b"x" * 8),
        ]
    )


def _ct(dice: random.Random) -> Ct | None:
    return dice.choice(
        [
            None,
            new(7),
            new(8, *DNATED),
            established(7, *BOTH_NATED),
            Ct("untracked"),
            Ct("invalid"),
            Ct("related", 7, "reply"),
            Ct("established", 8, "reply", BOTH_NATED),
        ]
    )


def any_captures(dice: random.Random) -> tuple[list[HostCapture], dict[tuple[str, str], str]]:
    """What the taps hand over of such a scene, whole or with losses and damage."""
    scene = any_scene(dice)
    captures = scene.captures()
    loss, damage = dice.choice([0, 0, 0.1, 0.5]), dice.choice([0, 0, 0.05, 0.3])
    for capture in captures:
        trace = [each for each in capture.trace if dice.random() >= loss]
        capture.trace = Datagrams.of(_damaged(dice, each) if dice.random() < damage else each for each in trace)
        capture.frames = Frames.of(
            _damaged_frame(dice, each) if dice.random() < damage else each
            for each in capture.frames
            if dice.random() >= loss
        )
    if dice.random() < 0.3:
        scene.segment_of.pop(("B", "eth0"))
    return captures, scene.segment_of


def _damaged(dice: random.Random, data: bytes) -> bytes:
    where = dice.randrange(len(data) + 1)
    kind = dice.randrange(5)
    if kind == 0:
        return data[:where]
    if kind == 1:
        return data[:where] + dice.randbytes(1) + data[where + 1 :]
    if kind == 2:
        return message(10, 17, 2, data[20:where])
    if kind == 3:
        return data[:16] + data[16:].replace(b"prerouting\0", b"postroutin\0")
    return message(10, 17, 1, data[20:] + attribute(dice.choice([3, 5, 8, 9, 10]), dice.randbytes(8)))


def _damaged_frame(dice: random.Random, frame: RawFrame) -> RawFrame:
    data = bytearray(frame.data)
    if dice.random() < 0.5:
        data[dice.randrange(len(data))] = dice.randrange(256)
    else:
        del data[dice.randrange(len(data)) :]
    kind = dice.choice([frame.kind, HOST, OTHERHOST, OUTGOING])
    return RawFrame(frame.time_ns, dice.choice([frame.interface, 1, 99]), kind, bytes(data))


def told_pass(each: Pass) -> object:
    """All that a pass tells; a start at a hook that there is not is no start."""
    start = each.start if each.start in ("prerouting", "output") else ""
    return (each.host, start, each.sightings, each.turns, each.rest, each.iif, each.oif)
