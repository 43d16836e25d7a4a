"""A saved record loads back equal, and a damaged file is refused in words."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_nodeport import NodePort

from netemu.errors import CaptureError, UsageError
from netemu.record.exchange import Exchange
from netemu.record.files.saved import Raw, read, write
from netemu.record.record import Record


def saved(record: Record, tmp_path: Path) -> Path:
    file = tmp_path / "saved.netemu"
    record.save(str(file))
    return file


def rewritten(file: Path, change) -> bytes:
    """The same archive, with `record.json` changed."""
    old, new = zipfile.ZipFile(file), io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            data = old.read(name)
            archive.writestr(name, change(json.loads(data)) if name == "record.json" else data)
    return new.getvalue()


def test_a_record_loads_back_equal_with_all_that_was_joined_from_it(lab: NodePort, tmp_path: Path):
    lab.handshake()
    lab.b.fault("hooks", lost=3)
    record = lab.scene.record()
    record.exchanges.append(Exchange("hello", "A", "GET /", 1, 2, (record.flows[0].original,), "200", None, (3, 7)))
    loaded = Record.load(str(saved(record, tmp_path)))
    assert loaded == record
    assert len(loaded.journeys) == 3
    assert loaded.flows[0].entries == record.flows[0].entries
    assert loaded.raw.segment_of == record.raw.segment_of
    assert loaded.lost == 3
    assert loaded.exchanges[0].events == (3, 7)


def test_records_that_differ_are_not_equal(lab: NodePort):
    lab.handshake()
    first = lab.scene.record()
    lab.handshake()
    assert lab.scene.record() != first


def test_an_empty_record_loads_back(tmp_path: Path):
    assert Record.load(str(saved(Record(), tmp_path))) == Record()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: json.dumps(about | {"format": "music"}), "something else"),
        (lambda about: json.dumps(about | {"version": 7}), "version 7"),
        (lambda about: json.dumps(about | {"hosts": [*about["hosts"], about["hosts"][0]]}), "damaged"),
        (lambda about: json.dumps({key: about[key] for key in about if key != "segments"}), "segments"),
        (lambda _: "[]", "damaged"),
        (lambda _: "{", "damaged"),
    ],
)
def test_a_record_that_is_none_is_refused(lab: NodePort, tmp_path: Path, change, said: str):
    lab.handshake()
    data = rewritten(saved(lab.scene.record(), tmp_path), change)
    with pytest.raises(CaptureError, match=f"^x(:| is no saved record,) .*{said}"):
        read(io.BytesIO(data), "x")


def test_columns_that_do_not_fit_each_other_are_refused(lab: NodePort, tmp_path: Path):
    lab.handshake()
    old, new = zipfile.ZipFile(saved(lab.scene.record(), tmp_path)), io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            archive.writestr(name, old.read("0/trace/data.npy" if name == "0/frames/data.npy" else name))
    with pytest.raises(CaptureError, match="does not fit"):
        read(new, "x")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_makes_the_reader_raise_anything_else(data: st.DataObject):
    file = io.BytesIO()
    write(file, Raw(lab="x", exchanges=(Exchange("hello", "A", "GET /", 1, 2),)))
    whole = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(io.BytesIO(bytes(whole[: data.draw(st.integers(0, len(whole)))])), "x")
    except CaptureError:
        pass


def test_a_place_where_no_record_can_be_is_told_in_our_own_error(tmp_path: Path):
    nowhere = f"{tmp_path}/no/file"
    with pytest.raises(UsageError, match=f"^{nowhere} can't be written: No such file or directory$"):
        Record().save(nowhere)
    with pytest.raises(UsageError, match=f"^{nowhere} can't be read: No such file or directory$"):
        Record.load(nowhere)
    with pytest.raises(UsageError, match=r"^/dev/full can't be written: No space left on device$"):
        Record().save("/dev/full")


def test_a_file_that_is_no_record_at_all_is_told_as_that(tmp_path: Path):
    (tmp_path / "music").write_bytes(b"la la")
    with pytest.raises(CaptureError, match=f"^{tmp_path}/music is no saved record$"):
        Record.load(f"{tmp_path}/music")
