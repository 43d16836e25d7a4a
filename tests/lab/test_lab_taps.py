"""How a lab is recorded: what can't be is refused before anything is built."""

from __future__ import annotations

import pytest

from netemu import Lab, NetemuError, Taps, TopologyError, UsageError
from netemu.topology.load import load, loads

ONE = loads("{name: taps, hosts: {A: {}}}")[0]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("filter", None, "filter is a text in pcap's language, not None"),
        ("filter", b"tcp", "filter is a text"),
        ("snap_length", 63, "snap_length is 64 bytes or more, 262,144 at most, not 63"),
        ("snap_length", 1 << 20, "at most"),
        ("snap_length", "128", "snap_length is a number of bytes, not '128'"),
        ("ring", -1, "ring is 1 bytes or more"),
        ("ring", 0, "ring is 1 bytes or more"),
        ("ring", "8MiB", "ring is a number of bytes, such as 8 << 20, not '8MiB'"),
        ("ring", True, "ring is a number of bytes"),
        ("buffer", -1, "buffer is 1 bytes or more"),
        ("buffer", 1 << 31, "1,073,741,824 at most"),
        ("buffer", None, "buffer is a number of bytes"),
        ("memory", -5, "memory is 0 bytes or more"),
        ("memory", 1e9, "memory is a number of bytes"),
        ("folder", 7, "folder is a folder's path, not 7"),
        ("ask_conntrack", "yes", "ask_conntrack is True, False or None, not 'yes'"),
    ],
)
def test_a_value_that_can_not_be_is_refused(field, value, said):
    with pytest.raises(UsageError, match=rf"^Taps: {said}" if said.startswith(field) else said):
        Taps(**{field: value})


def test_what_can_be_is_taken(tmp_path):
    taps = Taps("tcp", 64, 1, 1, 0, tmp_path, True)
    assert Taps(filter="tcp", snap_length=64, ring=1, buffer=1, memory=0, folder=tmp_path, ask_conntrack=True) == taps
    taps.prove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("taps", "said"),
    [
        (Taps(folder="/nonexist"), "taps can't keep files in the folder '/nonexist': No such file or directory"),
        (Taps(memory=1000, folder="/proc/self/status"), "taps can't keep files in the folder"),
        (Taps(folder="a\0b"), "taps can't keep files in the folder"),
        (Taps(filter="no filter"), "filter 'no filter'"),
        (Taps(ring=1 << 40), "would take more than half of this machine's free memory"),
    ],
)
async def test_a_lab_is_not_built_that_could_not_be_recorded_so(taps, said):
    told = []
    with pytest.raises(NetemuError, match=said):
        async with Lab(ONE, taps=taps, progress=lambda *how: told.append(how)):
            pass
    assert told == []


def test_the_rings_of_all_hosts_together_are_held_against_the_free_memory(monkeypatch):
    monkeypatch.setattr("netemu.lab.taps.available_memory", lambda: 1 << 20)
    Taps(ring=1 << 18).prove(hosts=2)
    with pytest.raises(NetemuError, match="3 rings of 262,144 bytes would take more than half"):
        Taps(ring=1 << 18).prove(hosts=3)


def test_a_large_ring_counts_with_the_lane_beside_it(monkeypatch):
    """16,384 entries of 32 bytes, and as many pieces of 64, beside 2 MiB."""
    monkeypatch.setattr("netemu.lab.taps.available_memory", lambda: 15 << 19)
    Taps(ring=2 << 20).prove(hosts=1)
    with pytest.raises(NetemuError, match="3,145,728 bytes, with a lane beside each, would take more than half"):
        Taps(ring=3 << 20).prove(hosts=1)


@pytest.mark.parametrize(("free", "memory"), [(100 << 20, 256 << 20), (4 << 30, 512 << 20), (64 << 30, 1 << 30)])
def test_without_a_word_taps_keep_an_eighth_of_what_is_free_in_memory_within_bounds(monkeypatch, free, memory):
    monkeypatch.setattr("netemu.kernel.keeping.store.available_memory", lambda: free)
    assert [Taps(memory=said).room().memory for said in (None, 5, 0)] == [memory, 5, 0]


PAIR = """
name: taps
hosts:
  A: {interfaces: {eth0: {addresses: [10.0.0.1/24]}}}
  B: {interfaces: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{endpoints: ["A:eth0", "B:eth0"]}]
record: {filter: udp port 7, snap_length: 64, ring: 1MiB, buffer: 2MiB, memory: 3MiB, folder: spill}
"""


async def recorded(lab: Lab):
    async with lab.record() as record:
        for port in (7, 8):
            with lab["A"].open_socket(kind=2) as sock:
                sock.sendto(bytes(500), ("10.0.0.2", port))
    return [(frame.dport, frame.length, size) for frame, size in _sizes(record)]


def _sizes(record):
    frames = record.raw.captures[1].frames
    return [
        (seen.headers, len(frame.data))
        for frame, seen in zip(frames, record.sightings(at="B:eth0 in", proto="udp"), strict=False)
    ]


async def test_a_topology_says_how_its_lab_is_recorded(tmp_path):
    (tmp_path / "spill").mkdir()
    file = tmp_path / "taps.yaml"
    file.write_text(PAIR)
    async with Lab(file) as lab:
        assert lab.recorder.how == Taps("udp port 7", 64, 1 << 20, 2 << 20, 3 << 20, str(tmp_path / "spill"))
        assert await recorded(lab) == [(7, 500, 64)]
    async with Lab(file, taps=Taps()) as lab:
        assert [dport for dport, *_ in await recorded(lab)] == [7, 8]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{filter: no filter}", r"taps.yaml:7: record.filter: filter 'no filter': "),
        (
            "{folder: nowhere}",
            r"taps.yaml:7: record.folder: taps can't keep files in the folder '/.*/nowhere': No such",
        ),
    ],
)
async def test_what_no_lab_can_be_recorded_by_is_told_where_it_stands(tmp_path, record, why):
    file = tmp_path / "taps.yaml"
    file.write_text(PAIR.split("record:", maxsplit=1)[0] + f"record: {record}\n")
    load(file)
    with pytest.raises(TopologyError, match=why):
        async with Lab(file):
            pass


@pytest.mark.parametrize(
    ("hosts", "traces", "buffer", "size"),
    [
        (1, True, 64 << 20, 16 << 20),
        (3, True, 64 << 20, 8 << 20),
        (100, True, 64 << 20, 256 << 10),
        (10_000, True, 64 << 20, 64 << 10),
        (0, False, 64 << 20, 64 << 10),
        (1, False, 64 << 20, 64 << 10),
        (1, True, 3 << 20, 2 << 20),
        (1, True, (2 << 20) - 1, 0),
        (1, False, 1, 0),
    ],
)
def test_hosts_that_trace_share_the_memory_of_the_rings_and_none_has_more_than_its_socket(
    hosts: int, traces: bool, buffer: int, size: int
) -> None:
    assert Taps(buffer=buffer).events_for(hosts, traces) == size
