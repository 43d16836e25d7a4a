"""Where the kernel says that it keeps what it knows of a packet's checksum; a description that says less is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from netemu.kernel.ebpf.btf import KERNEL, Facts, packet_facts

STRUCT, UNION, FIELDS = 4, 5, 1 << 31
STAMP = ("", 256, 0), ("cb", 320, 0)
CAST = "bpf_cast_to_kern_ctx"
MONO = ("mono_delivery_time", 1044, 1)


class Described:
    """A kernel's description of its types, type by type."""

    def __init__(self) -> None:
        self.strings, self.types = b"\0", b""

    def name(self, text: str) -> int:
        """Where it is among the strings, each of which is there once."""
        if text and (there := self.strings.find(b"\0" + text.encode() + b"\0")) >= 0:
            return there + 1
        if text:
            self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1 if text else 0

    def add(self, kind: int, name: str, *members: tuple[str, int, int]) -> None:
        """A structure or union of members: name, place in bits, how many bits where it is a field of some."""
        self.types += struct.pack("=III", self.name(name), FIELDS | kind << 24 | len(members), 64)
        for member, place, bits in members:
            self.types += struct.pack("=III", self.name(member), 13, bits << 24 | place)

    def add_function(self, name: str, prototype: int, parameters: int = 1) -> None:
        """A function behind its prototype, whose number is given."""
        self.types += struct.pack("=III", 0, 13 << 24 | parameters, 7) + struct.pack("=II", 0, 7) * parameters
        self.types += struct.pack("=III", self.name(name), 12 << 24, prototype)

    def written(self, folder: Path, magic: int = 0xEB9F) -> Path:
        lengths = (0, len(self.types), len(self.types), len(self.strings))
        path = folder / "vmlinux"
        path.write_bytes(struct.pack("=HBBIIIII", magic, 1, 0, 24, *lengths) + self.types + self.strings)
        return path


def number_of(name: str) -> int:
    """The number of a function of the running kernel, by counting all types before it; 0 if there is none."""
    raw = KERNEL.read_bytes()
    _, _, _, header, types, length, strings, _ = struct.unpack_from("=HBBIIIII", raw)
    words = memoryview(raw[header + types : header + types + length]).cast("I")
    behind = {1: 1, 3: 3, 14: 1, 17: 1}
    each = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
    at, number, wanted = 0, 1, raw.find(b"\0" + name.encode() + b"\0", header + strings) + 1 - header - strings
    while at < len(words):
        kind = words[at + 1] >> 24 & 31
        if kind == 12 and words[at] == wanted:
            return number
        at += 3 + behind.get(kind, 0) + each.get(kind, 0) * (words[at + 1] & 0xFFFF)
        number += 1
    return 0


@pytest.mark.needs("btf")
def test_the_running_kernel_tells():
    found = packet_facts()
    assert found.cast in (0, number_of(CAST))
    assert 0 < found.stamp < found.word < 512
    bits = [3 << found.summed, 1 << found.valid, found.clock]
    assert sum(bits).bit_count() == sum(each.bit_count() for each in bits), "none is two things"
    assert sum(bits) < 1 << 32


def test_a_newer_kernel_has_them_in_a_nameless_structure_before_the_tail(tmp_path):
    said = Described()
    said.add(STRUCT, "sk_buff_list", ("next", 0, 0))
    said.add(UNION, "sk_buff")
    said.add(STRUCT, "", ("pkt_type", 0, 3), ("ip_summed", 5, 2), ("tstamp_type", 8, 2), ("csum_valid", 22, 1))
    said.add(STRUCT, "", ("ip_summed", 1, 2), ("tstamp_type", 3, 2), ("csum_valid", 5, 1))
    said.add(STRUCT, "sk_buff", ("sk", 192, 0), *STAMP, ("len", 896, 0), ("", 1024, 0), ("tail", 1472, 0))
    assert packet_facts(said.written(tmp_path)) == Facts(128, 5, 22, 3 << 8, 32)


def test_an_older_kernel_has_them_in_the_structure_itself(tmp_path):
    said = Described()
    said.add(STRUCT, "sk_buff", *STAMP, ("ip_summed", 1029, 2), MONO, ("csum_valid", 1048, 1), ("tail", 1472, 0))
    assert packet_facts(said.written(tmp_path)) == Facts(128, 5, 24, 1 << 20, 32)


@pytest.mark.parametrize(
    ("functions", "cast"),
    [
        ([("bpf_cast", 8, 1), (CAST, 41, 1), ("bpf_rdonly_cast", 43, 2)], 42),
        ([("bpf_cast", 8, 1)], 0),
        ([("bpf_cast", 8, 1), (CAST, 41, 2)], 0),
        ([("bpf_cast", 8, 1), (CAST, 2**31, 1)], 0),
        ([], 0),
    ],
)
def test_the_cast_s_number_is_told_where_its_prototype_is_its_own(tmp_path, functions, cast):
    said = Described()
    said.add(STRUCT, CAST)
    said.add(STRUCT, "sk_buff", *STAMP, ("ip_summed", 1029, 2), MONO, ("csum_valid", 1048, 1), ("tail", 1472, 0))
    for name, prototype, parameters in functions:
        said.add_function(name, prototype, parameters)
    assert packet_facts(said.written(tmp_path)) == Facts(128, 5, 24, 1 << 20, 32, cast)


@pytest.mark.parametrize("words", [1, 2])
def test_what_is_only_like_its_name_at_the_end_of_the_types_is_no_function(tmp_path, words):
    said = Described()
    said.types += struct.pack("=I", said.name(CAST)) * 3
    said.add(STRUCT, "sk_buff", *STAMP, ("ip_summed", 1029, 2), MONO, ("csum_valid", 1048, 1), ("tail", 1472, 0))
    said.types += struct.pack("=I", said.name(CAST)) * words
    assert packet_facts(said.written(tmp_path)) == Facts(128, 5, 24, 1 << 20, 32)


def _far_apart(said: Described) -> None:
    said.add(STRUCT, "sk_buff", *STAMP, ("ip_summed", 1029, 2), MONO, ("csum_valid", 1064, 1), ("tail", 1472, 0))


def _without_one(said: Described) -> None:
    said.add(STRUCT, "sk_buff", *STAMP, ("ip_summed", 1029, 2), MONO, ("tail", 1472, 0))


def _without_the_clock(said: Described) -> None:
    said.add(STRUCT, "sk_buff", *STAMP, ("ip_summed", 1029, 2), ("csum_valid", 1048, 1), ("tail", 1472, 0))


def _elsewhere(said: Described) -> None:
    said.add(STRUCT, "event", ("ip_summed", 64, 0), ("csum_valid", 96, 0))
    said.add(STRUCT, "sk_buff", *STAMP, ("", 1024, 0), ("tail", 1472, 0))


def _without_the_structure(said: Described) -> None:
    said.add(STRUCT, "", ("ip_summed", 5, 2), ("csum_valid", 22, 1))


def _without_a_stamp(said: Described) -> None:
    said.add(STRUCT, "sk_buff", ("sk", 192, 0), ("cb", 256, 0), ("ip_summed", 1029, 2), MONO, ("csum_valid", 1048, 1))


def _with_more_than_a_stamp(said: Described) -> None:
    said.add(STRUCT, "sk_buff", ("", 192, 0), ("cb", 320, 0), ("ip_summed", 1029, 2), MONO, ("csum_valid", 1048, 1))


@pytest.mark.parametrize(
    "describe",
    [
        *(_without_a_stamp, _with_more_than_a_stamp, _without_the_clock),
        *(_far_apart, _without_one, _elsewhere, _without_the_structure),
    ],
)
def test_what_is_not_told_is_not_guessed(tmp_path, describe):
    said = Described()
    describe(said)
    with pytest.raises(OSError, match="vmlinux"):
        packet_facts(said.written(tmp_path))


@pytest.mark.parametrize("magic", [0, 0xEB9F])
def test_no_file_and_no_description_are_refused_as_the_kernel_would(tmp_path, magic):
    with pytest.raises(FileNotFoundError):
        packet_facts(tmp_path / "nothing")
    path = Described().written(tmp_path, magic)
    path.write_bytes(path.read_bytes()[: 10 if magic else None])
    with pytest.raises(OSError, match="vmlinux"):
        packet_facts(path)
