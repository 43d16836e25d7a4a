"""What it takes to make journeys of what taps saw, and to hold ten expectations against them: no kernel needed.

One UDP packet from A through router B to C, and as many more of its kind as asked, differing in ports, IP ids and
payload: its frames at four wire points, and the trace of B's hooks as Linux 6.18 sends it, all made up beforehand.
Each size is measured in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from record_scene import Scene, attribute, u32, udp  # noqa: E402

from netemu.check.report import check_record  # noqa: E402
from netemu.record.capture import HostCapture  # noqa: E402
from netemu.record.frames import Datagrams, Frames, offsets  # noqa: E402
from netemu.record.record import Exchange, build_record  # noqa: E402
from netemu.topology.expectation import PacketExpectation  # noqa: E402

PORT, IP_ID, PAYLOAD, TRACE_ID = 0x1234, 0x4321, b"MARKMARK", 0x0FEDCBA9
EXPECTED = (
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


def made_up(packets: int, flows: int) -> tuple[list[HostCapture], dict[tuple[str, str], str]]:
    """The captures of all hosts."""
    scene = Scene()
    a, b, c = scene.host("A", eth0="lan"), scene.host("B", eth0="lan", eth1="wan"), scene.host("C", eth0="wan")
    packet = udp(f"10.0.0.1:{PORT}", "10.0.1.2:53", PAYLOAD + bytes(10), ip_id=IP_ID)
    a.wire("eth0", "out", packet)
    c_gets = b.gets("eth0", packet, "eth1", id=TRACE_ID).forwarded().packet
    c.wire("eth0", "in", c_gets)
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


def measure(packets: int, flows: int) -> dict[str, float]:
    """One size, in this process."""
    captures, segment_of = made_up(packets, flows)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, clock = time.process_time(), time.perf_counter()
    record = build_record(captures, segment_of, [Exchange("load", "A", "", 0, 10**18)])
    joined = time.process_time()
    expectations = [PacketExpectation(traffic="load", packet="request.all", **each) for each in EXPECTED]
    report = check_record("load", record, expectations)
    end, wall = time.process_time(), time.perf_counter() - clock
    packet_checks = [check for check in report.checks if check.journeys]
    assert len(record.journeys) == packets, "not every packet is one journey"
    assert [str(check.verdict) for check in packet_checks] == ["pass"] * len(EXPECTED), report.explain()
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


def main() -> int:
    """Each size in a process of its own."""
    asked = argparse.ArgumentParser(prog="scripts/bench analysis", description=__doc__)
    asked.add_argument("--json", action="store_true")
    asked.add_argument("--packets", type=int, nargs="+", default=[1100, 10_000, 100_000, 450_000])
    asked.add_argument("--flows", type=int, default=100)
    asked.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.here:
        print(json.dumps(measure(options.packets[0], options.flows)))
        return 0
    found = []
    for packets in options.packets:
        command = [sys.executable, __file__, "--here", "--packets", str(packets), "--flows", str(options.flows)]
        found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        if not options.json:
            each = found[-1]
            print(
                f"{each['packets']:>9} packets  {each['sightings']:>9} sightings  {each['cpu_s']:7.2f} s CPU"
                f" ({each['checks_cpu_s']:.2f} s of it ten expectations)  {each['wall_s']:7.2f} s"
                f"  {each['us_a_sighting']:5.2f} us a sighting  {each['peak_mib']:>6} MiB"
            )
    if options.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
