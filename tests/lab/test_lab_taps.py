"""How a lab is recorded: what can't be is refused before anything is built."""

from __future__ import annotations

import pytest

from netemu import Lab, NetemuError, Taps, UsageError
from netemu.topology.load import loads

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
        ("buffer", 1 << 31, "1,073,741,823 at most"),
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
    ],
)
async def test_a_lab_is_not_built_that_could_not_be_recorded_so(taps, said):
    told = []
    with pytest.raises(NetemuError, match=said):
        async with Lab(ONE, taps=taps, progress=lambda *how: told.append(how)):
            pass
    assert told == []
