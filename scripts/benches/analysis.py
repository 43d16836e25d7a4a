"""What it takes to make journeys of what taps saw, and to hold ten expectations against them: no kernel needed.

Two cases, each of one UDP packet and as many more of its kind as asked, differing in ports, IP ids and payload, all
made up beforehand. `wires`: A sends to a group, and B, C and D get it: four wire points and nothing else. `hooks`: A
sends through router B to C: four wire points, and the trace of B's hooks as Linux 6.18 sends it. Each size is measured
in a process of its own, so that its peak memory is its own. netemu and tshark have one thread each: their CPU seconds
are what the clock says on a machine that does nothing else, and are compared wherever others work beside. They are run
in turn, as often as asked: a machine that slows down slows both. Figures are medians, and so is how many times as long
tshark took as the run of netemu before it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from record_packets import udp  # noqa: E402
from record_scene import Scene, attribute, u32  # noqa: E402

from netemu.check.report import check_record  # noqa: E402
from netemu.record.capture import MULTICAST, HostCapture  # noqa: E402
from netemu.record.frames import Datagrams, Frames, offsets  # noqa: E402
from netemu.record.record import Exchange, build_record  # noqa: E402
from netemu.topology.expectation import PacketExpectation  # noqa: E402

SECONDS, MOST_MIB, TSHARK, GROWTH = 10.0, 2048, 10.0, 1.3
"""For a million packets at four points, or as many sightings at more of them: seconds and memory. How many times as
fast as tshark, on as many frames; and how much longer a sighting may take than in another size."""
SIZES = {"wires": (2500, 25_000, 250_000, 1_000_000), "hooks": (1100, 10_000, 100_000, 450_000)}
"""How many packets are measured of each case: 10,000 to 4 million sightings."""
PORT, IP_ID, PAYLOAD, TRACE_ID = 0x1234, 0x4321, b"MARKMARK", 0x0FEDCBA9
Found = dict[str, list[dict[str, float]]]
"""Of each case the figures of each size."""
EXPECTED: dict[str, tuple[dict[str, Any], ...]] = {}
EXPECTED["wires"] = (
    {"at": "A:eth0 out", "ttl": 64},
    {"at": "A:eth0 out", "src": "10.0.0.1:*"},
    {"at": "A:eth0 out", "dst": "239.1.1.1:53"},
    {"at": "B:eth0 in", "dst": "239.1.1.1:53"},
    {"at": "B:eth0 in", "ct": "none"},
    {"at": "C:eth0 in", "ttl": 64},
    {"at": "C:eth0 in", "src": "10.0.0.1:*", "dst": "239.1.1.1:53"},
    {"at": "D:eth0 in", "src": "10.0.0.1:*"},
    {"at": "D:eth0 in", "dst": "239.1.1.1:53", "ttl": 64},
    {"path": ("A:eth0 out", "B:eth0 in", "C:eth0 in", "D:eth0 in")},
)
EXPECTED["hooks"] = (
    {"at": "A:eth0 out", "ttl": 64},
    {"at": "A:eth0 out", "src": "10.0.0.1:*"},
    {"at": "B:eth0 in", "dst": "10.0.1.2:53"},
    {"at": "B@prerouting", "ct": "none"},
    {"at": "B@prerouting.nat", "dst": "10.0.1.2:53"},
    {"at": "B@forward", "ttl": 63},
    {"at": "B@postrouting.nat", "src": "10.0.0.1:*"},
    {"at": "B:eth1 out", "ttl": 63},
    {"at": "C:eth0 in", "src": "10.0.0.1:*", "dst": "10.0.1.2:53"},
    {"path": ("A:eth0 out", "B:eth0 in", "B:eth1 out", "C:eth0 in")},
)


def one_packet(case: str) -> Scene:
    """What the taps see of one packet."""
    scene = Scene()
    if case == "wires":
        a, *others = (scene.host(name, eth0="lan") for name in "ABCD")
        packet = udp(f"10.0.0.1:{PORT}", "239.1.1.1:53", PAYLOAD + bytes(10), ip_id=IP_ID)
        a.wire("eth0", "out", packet)
        for each in others:
            each.wire("eth0", "in", packet, MULTICAST)
        return scene
    a, b, c = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="wan"), scene.host("C", eth0="wan")
    packet = udp(f"10.0.0.1:{PORT}", "10.0.1.2:53", PAYLOAD + bytes(10), ip_id=IP_ID)
    a.wire("eth0", "out", packet)
    c_gets = b.gets("eth0", packet, "eth1", id=TRACE_ID).forwarded().packet
    c.wire("eth0", "in", c_gets)
    return scene


def made_up(case: str, packets: int, flows: int) -> tuple[list[HostCapture], dict[tuple[str, str], str]]:
    """The captures of all hosts."""
    scene = one_packet(case)
    number = np.arange(packets)
    marks = [
        (PORT.to_bytes(2, "big"), 10000 + number % flows, 2),
        (IP_ID.to_bytes(2, "big"), number // flows % 65536, 2),
        (PAYLOAD, number, 8),
        (attribute(6, u32(TRACE_ID)), number % 50000 + 1, 4),
    ]
    captures = scene.captures()
    for capture in captures:
        frames = list(capture.frames)
        rows = np.concatenate([_many(frame.data, marks, packets) for frame in frames], axis=1)
        capture.frames = Frames(
            np.stack([frame.time_ns + number * 10000 for frame in frames], axis=1).reshape(-1),
            np.tile(np.array([frame.interface for frame in frames], np.int32), packets),
            np.tile(np.array([frame.kind for frame in frames], np.uint8), packets),
            np.tile(np.array([len(frame.data) for frame in frames], np.int32), packets),
            np.zeros(packets * len(frames), np.uint8),
            rows.reshape(-1),
            offsets(np.tile([len(frame.data) for frame in frames], packets)),
        )
        events = list(capture.trace)
        if events:
            rows = np.concatenate([_many(event, marks, packets) for event in events], axis=1)
            capture.trace = Datagrams(rows.reshape(-1), offsets(np.tile([len(event) for event in events], packets)))
    return captures, scene.segment_of


def _many(data: bytes, marks: list[tuple[bytes, np.ndarray, int]], packets: int) -> np.ndarray:
    """As many of a frame or message, each with its own numbers in the last bytes of where the marks are."""
    rows = np.tile(np.frombuffer(data, np.uint8), (packets, 1))
    for mark, values, size in marks:
        place = data.find(mark)
        if place >= 0:
            for byte in range(size):
                rows[:, place + len(mark) - 1 - byte] = values >> 8 * byte & 0xFF
    return rows


def measure(case: str, packets: int, flows: int) -> dict[str, float]:
    """One size, in this process."""
    captures, segment_of = made_up(case, packets, flows)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, clock = time.process_time(), time.perf_counter()
    record = build_record(captures, segment_of, [Exchange("load", "A", "", 0, 10**18)])
    joined = time.process_time()
    expectations = [PacketExpectation(traffic="load", packet="request.all", **each) for each in EXPECTED[case]]
    report = check_record("load", record, expectations)
    end, wall = time.process_time(), time.perf_counter() - clock
    packet_checks = [check for check in report.checks if check.journeys]
    assert len(record.journeys) == packets, "not every packet is one journey"
    assert [str(check.verdict) for check in packet_checks] == ["pass"] * len(expectations), report.explain()
    return {
        "packets": packets,
        "sightings": record.captured,
        "flows": len(record.flows),
        "cpu_s": round(end - cpu, 2),
        "joins_cpu_s": round(joined - cpu, 2),
        "checks_cpu_s": round(end - joined, 2),
        "wall_s": round(wall, 2),
        "us_a_sighting": round((end - cpu) / record.captured * 1e6, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "captures_mib": round(held),
    }


def tshark(packets: int, flows: int) -> dict[str, float]:
    """Seconds, and CPU seconds, that tshark takes to print six fields of one of the four files: one point's frames."""
    captures, _ = made_up("wires", packets, flows)
    (a,) = [capture for capture in captures if capture.host == "A"]
    with NamedTemporaryFile(suffix=".pcap") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 16, 1))
        lengths = np.diff(a.frames.offset)
        assert (lengths == lengths[0]).all(), "the made-up frames are of one length"
        rows = np.empty((packets, 16 + lengths[0]), np.uint8)
        head = np.stack([a.frames.time_ns // 10**9, a.frames.time_ns % 10**9, lengths, lengths], axis=1)
        rows[:, :16] = head.astype(np.uint32).view(np.uint8).reshape(packets, 16)
        rows[:, 16:] = a.frames.data.reshape(packets, -1)
        file.write(rows.tobytes())
        file.flush()
        command = ["tshark", "-n", "-r", file.name, "-T", "fields"]
        for field in ("frame.time_epoch", "ip.src", "ip.dst", "ip.ttl", "udp.srcport", "udp.dstport"):
            command += ["-e", field]
        start, spent = time.perf_counter(), _spent_by_children()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        took, spent = time.perf_counter() - start, _spent_by_children() - spent
    assert done.stdout.count(b"\n") == packets, "tshark did not read every frame"
    return {"took": took, "spent": spent}


def _spent_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def grown(found: list[dict[str, float]]) -> float:
    """How many times as long a sighting takes in the largest size as in the one that it takes least in."""
    return found[-1]["us_a_sighting"] / min(each["us_a_sighting"] for each in found)


def missed_goals(case: str, found: list[dict[str, float]], times: float | None) -> list[str]:
    """Which goals are missed, in words, in CPU seconds. Of other than four million sightings, their share is asked."""
    missed = []
    largest = found[-1]
    millions = largest["sightings"] / 1e6
    due = SECONDS * millions / 4
    if largest["cpu_s"] > due:
        missed.append(f"{case}: {largest['cpu_s']:.1f} s for {millions:.2g} million sightings, more than {due:.1f}")
    if largest["peak_mib"] > MOST_MIB:
        missed.append(
            f"{case}: {largest['peak_mib']:,.0f} MiB for {millions:.2g} million sightings, more than {MOST_MIB:,}"
        )
    if grown(found) > GROWTH:
        missed.append(
            f"{case}: a sighting takes {grown(found):.2f} times what it takes in another size, more than {GROWTH}"
        )
    if times is not None and times < TSHARK:
        missed.append(f"{case}: {times:.2f} times as fast as tshark reading one of the four files, not {TSHARK:.0f}")
    return missed


def one_run(case: str, packets: int, flows: int) -> dict[str, float]:
    """One size in a process of its own: what a process holds at most counts in what it was made by."""
    command = [sys.executable, __file__, "--here", case, "--packets", str(packets), "--flows", str(flows)]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return told


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: median(each[key] for each in runs) for key in runs[0]}


def told(case: str, found: list[dict[str, float]]) -> str:
    """A line for each size of a case, and how it grows."""
    lines = [
        f"{case}  {each['packets']:>9.0f} packets  {each['sightings']:>9.0f} sightings  {each['cpu_s']:7.2f} s CPU"
        f" ({each['checks_cpu_s']:.2f} s of it ten expectations)  {each['wall_s']:7.2f} s"
        f"  {each['us_a_sighting']:5.2f} us a sighting  {each['peak_mib']:>6.0f} MiB"
        for each in found
    ]
    grows = f"{case}  a sighting of the largest size takes {grown(found):.2f} times the least of all (aim {GROWTH})"
    return "\n".join([*lines, grows])


def measured(sizes: dict[str, Sequence[int]], flows: int, runs: int) -> tuple[Found, list[float] | None]:
    """Each size's medians; then of tshark seconds, CPU seconds, and how many times netemu's CPU these are."""
    ours: dict[tuple[str, int], list[dict[str, float]]] = {}
    theirs: list[tuple[float, float, float]] = []
    for _ in range(runs):
        for case, packets in [(case, packets) for case, several in sizes.items() for packets in several]:
            ours.setdefault((case, packets), []).append(one_run(case, packets, flows))
            if case == "wires" and packets == sizes[case][-1] and shutil.which("tshark"):
                took, spent = one_run("tshark", packets, flows).values()
                theirs.append((took, spent, spent / ours[case, packets][-1]["cpu_s"]))
    found = {case: [middle(ours[case, packets]) for packets in sizes[case]] for case in sizes}
    return found, [median(each) for each in zip(*theirs, strict=True)] or None


def main() -> int:
    """Each size in a process of its own."""
    parser = argparse.ArgumentParser(prog="scripts/bench analysis", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", choices=tuple(SIZES), help="one case alone")
    parser.add_argument("--packets", type=int, nargs="+", help="other sizes")
    parser.add_argument("--flows", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured")
    parser.add_argument("--here", choices=(*SIZES, "tshark"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        here = tshark if asked.here == "tshark" else partial(measure, asked.here)
        print(json.dumps(here(asked.packets[0], asked.flows)))
        return 0
    cases = [asked.case] if asked.case else list(SIZES)
    found, peer = measured({case: asked.packets or SIZES[case] for case in cases}, asked.flows, asked.runs)
    took, spent, times = peer or (None, None, None)
    missed = [each for case in cases for each in missed_goals(case, found[case], times if case == "wires" else None)]
    if asked.json:
        figures = {"runs": asked.runs, "sizes": found.get("hooks", []), "wires": found.get("wires", [])}
        beside = {"tshark_s": took, "tshark_cpu_s": spent, "tshark_times": times}
        print(json.dumps(figures | beside | {"missed": missed}))
        return bool(missed)
    for line in [*(told(case, found[case]) for case in cases), *beside_tshark(cases, peer)]:
        print(line)
    for each in missed:
        print(f"missed: {each}")
    return bool(missed)


def beside_tshark(cases: Sequence[str], peer: list[float] | None) -> list[str]:
    """A line on tshark, if it was to be measured."""
    if "wires" not in cases:
        return []
    if peer is None:
        return ["tshark is not installed, so not measured: apt-get install -y --no-install-recommends tshark"]
    took, spent, times = peer
    beside = f"{times:.2f} times netemu's CPU (aim {TSHARK:.0f})"
    return [f"tshark -T fields, one of the four files: {took:.1f} s, {spent:.1f} s CPU, {beside}"]


if __name__ == "__main__":
    sys.exit(main())
