"""The section that says how a lab is recorded: units are written, and each fault has its line and key."""

from __future__ import annotations

import pytest

from netemu.errors import TopologyError
from netemu.kernel.taps import filters
from netemu.topology import recording
from netemu.topology.load import loads
from netemu.topology.recording import Recording


def said(record: str) -> Recording:
    return loads(f"name: r\nhosts: {{A: {{}}}}\nrecord:\n  {record}\n", "r.yaml")[0].record


def test_without_it_everything_is_recorded_whole():
    assert loads("{name: r, hosts: {A: {}}}")[0].record == Recording()
    assert said("# nothing") == Recording()
    assert recording.LONGEST == filters.LONGEST


def test_the_smallest_ring_is_taken():
    assert said("{ring: 8KiB}").ring == "8KiB"


def test_each_key_is_read():
    found = said("{filter: udp port 53, snap_length: 128, ring: 8MiB, buffer: 64MiB, memory: 1GiB, folder: /var/tmp}")
    assert found == Recording(
        filter="udp port 53", snap_length=128, ring="8MiB", buffer="64MiB", memory="1GiB", folder="/var/tmp"
    )


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (
            "ring: 8",
            "r.yaml:4: record.ring: '8' is no size: write a number with its unit (B, KiB, MiB, GiB), as in 8MiB",
        ),
        ("memory: 1GB", "r.yaml:4: record.memory: '1GB' is no size"),
        ("buffer: 2GiB", "r.yaml:4: record.buffer: '2GiB' is more than a socket can hold: 1GiB is the most"),
        ("ring: 1B", "r.yaml:4: record.ring: '1B' is less than two pages, a ring's smallest blocks: 8KiB is the least"),
        ("ring: 7.9KiB", "8KiB is the least"),
        ("snap_length: 20", "r.yaml:4: record.snap_length: '20' is too small: 64 is the least"),
        ("snap_length: 1MiB", "r.yaml:4: record.snap_length: '1MiB' is a text: a whole number is due here"),
        ("filter: 80", "r.yaml:4: record.filter: '80' is a number: a text is due here, in quotes"),
        ("folder: ''", "r.yaml:4: record.folder: can't be empty"),
        ("filtre: udp", "r.yaml:4: record.filtre: unknown key 'filtre', did you mean 'filter'?"),
        ("- udp", "record: a mapping is due here"),
    ],
)
def test_what_can_not_be_is_told_where_it_stands(record, why):
    with pytest.raises(TopologyError) as caught:
        said(record)
    assert why in str(caught.value)
