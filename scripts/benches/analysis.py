"""What it takes to make journeys of what taps saw, and to hold ten expectations against them: no kernel needed.

One UDP packet from A through router B to C, and as many more of its kind as asked, differing in ports, IP ids and
payload: its frames at four wire points, and the trace of B's hooks as Linux 6.18 sends it, all made up beforehand.
Each size is measured in a process of its own, so that its peak memory is its own.
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
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from record_scene import Scene, attribute, u32, udp  # noqa: E402

from netemu.check.report import check_record  # noqa: E402
from netemu.record.capture import HostCapture  # noqa: E402
from netemu.record.frames import Datagrams, Frames, offsets  # noqa: E402
from netemu.record.record import Exchange, build_record  # noqa: E402
from netemu.topology.expectation import PacketExpectation  # noqa: E402

SECONDS, MOST_MIB, TSHARK, GROWTH = 10.0, 2048, 10.0, 1.3
"""For a million packets at four points, or as many sightings at more of them: seconds and memory. How many times as
fast as tshark, on as many frames; and how much longer a sighting may take than in another size."""
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


def tshark(packets: int, flows: int) -> float:
    """Seconds that tshark takes to print six fields of one of the four files: the frames at one point."""
    captures, _ = made_up(packets, flows)
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
        start = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        took = time.perf_counter() - start
    assert done.stdout.count(b"\n") == packets, "tshark did not read every frame"
    return took


def grown(found: list[dict[str, float]]) -> float:
    """How many times as long a sighting takes in the largest size as in the one that it takes least in."""
    return found[-1]["us_a_sighting"] / min(each["us_a_sighting"] for each in found)


def missed_goals(found: list[dict[str, float]], tshark_s: float | None) -> list[str]:
    """Which goals are missed, in words. Of other than four million sightings, their share of the seconds is asked."""
    missed = []
    largest = found[-1]
    millions = largest["sightings"] / 1e6
    due = SECONDS * millions / 4
    if largest["wall_s"] > due:
        missed.append(f"{largest['wall_s']:.1f} s for {millions:.2g} million sightings, more than {due:.1f}")
    if largest["peak_mib"] > MOST_MIB:
        missed.append(f"{largest['peak_mib']:,.0f} MiB for {millions:.2g} million sightings, more than {MOST_MIB:,}")
    if grown(found) > GROWTH:
        missed.append(f"a sighting takes {grown(found):.2f} times what it takes in another size, more than {GROWTH}")
    if tshark_s is not None and tshark_s < TSHARK * largest["wall_s"]:
        times = tshark_s / largest["wall_s"]
        missed.append(f"{times:.2f} times as fast as tshark reading one of the four files, not {TSHARK}")
    return missed


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
    theirs = tshark(options.packets[-1], options.flows) if shutil.which("tshark") else None
    missed = missed_goals(found, theirs)
    if options.json:
        print(json.dumps({"sizes": found, "tshark_s": theirs, "missed": missed}))
        return bool(missed)
    print(f"a sighting of the largest size takes {grown(found):.2f} times the least of all sizes (aim {GROWTH})")
    if theirs is None:
        print("tshark is not installed, so not measured: apt-get install -y --no-install-recommends tshark")
    else:
        times = theirs / found[-1]["wall_s"]
        print(f"tshark -T fields, one of the four files: {theirs:.1f} s, {times:.2f} times netemu's (aim {TSHARK:.0f})")
    for each in missed:
        print(f"missed: {each}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
