"""Where the running kernel keeps facts of a packet that a filter is not told: in its struct sk_buff.

Its description of its own types (BTF, Documentation/bpf/btf.rst) lies in a file. Looked for are a few bits, members of
the structure itself or, in newer kernels, of the nameless one that lies before `tail`: what is known of the packet's
checksum, and of which clock its time stamp is. The stamp itself is alone in the nameless union before `cb`.

A program reads there without a call where bpf_cast_to_kern_ctx is known (Linux 6.2), which goes by its number.
"""

from __future__ import annotations

import errno
import functools
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

KERNEL = Path("/sys/kernel/btf/vmlinux")
_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
"""struct btf_header: magic, version, flags, its length; where types and strings begin behind it, and their lengths."""
_STRUCT, _FUNCTION, _PROTOTYPE = 4, 12, 13
_CAST = "bpf_cast_to_kern_ctx"
_MEMBER = 3
"""Words of struct btf_member: its name, its type, its place in bits with the number of its bits above."""
_WITH_ONE = 5
"""Words of a prototype with one parameter."""
_NUMBERS = 1 << 20
"""More types than a kernel has (BTF_MAX_TYPE, linux/btf.h)."""
_FAR = 100
"""Members between two of one structure, at most."""
_STAMP = 64
"""Bits of a time stamp."""
_CLOCKS = (("tstamp_type", 2), ("mono_delivery_time", 1))
"""What tells that a stamp is not of the epoch's clock (TCP's say when to send a packet): from Linux 6.11 on, before."""
Member = tuple[int, int, int]
"""Its name as a number, its place in bits, and how many bits it has where it is one of several in a word."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Where struct sk_buff has them.

    In the word of 32 bits at byte `word`, ip_summed's two bits begin at bit `summed`, csum_valid is bit `valid`, and no
    bit of `clock` is set where the stamp is of the epoch's clock; `stamp` is the byte at which that begins. `cast` is
    the number of bpf_cast_to_kern_ctx, as far as can be told at once, or 0.
    """

    word: int
    summed: int
    valid: int
    clock: int
    stamp: int
    cast: int = 0


@functools.cache
def packet_facts(path: Path = KERNEL) -> Facts:
    """Where they are. Raises OSError where the kernel does not tell, or has them where they are not looked for."""
    try:
        return _Types(path.read_bytes()).packet_facts()
    except (LookupError, ValueError, struct.error) as error:
        raise OSError(errno.ENOENT, f"{path} does not tell where the kernel keeps what it knows of a packet") from error


class _Types:
    """The kernel's types; everything raises LookupError or ValueError where something is not as it was known."""

    def __init__(self, raw: bytes) -> None:
        magic, _, _, header, types, types_length, strings, strings_length = _HEADER.unpack_from(raw)
        if magic != _MAGIC:
            raise ValueError(magic)
        self._strings = raw[header + strings : header + strings + strings_length]
        self._words: NDArray[np.uint32] = np.frombuffer(raw, np.uint32, types_length // 4, header + types)

    def packet_facts(self) -> Facts:
        """As above."""
        members = self._members_of("sk_buff")
        fields = {name: (place, bits) for name, place, bits in reversed(self._fields(members))}  # the first of a name
        (summed, two), (valid, one) = (fields[self._name(name)] for name in ("ip_summed", "csum_valid"))
        clock, clock_bits = self._clock(fields)
        if (two, one) != (2, 1):
            raise ValueError(two)
        word = min(summed, valid, clock) // 8
        if max(summed + 2, valid + 1, clock + clock_bits) > 8 * word + 32:
            raise ValueError(word)
        clock_mask = ((1 << clock_bits) - 1) << clock - 8 * word
        return Facts(word, summed - 8 * word, valid - 8 * word, clock_mask, self._stamp(members), self._cast())

    def _cast(self) -> int:
        """The function's number, taken to be the next one to its prototype's where one of one parameter is before it.

        To count all types before it takes longer than to set up a tap. What is found so the kernel has to confirm.
        """
        if self._there(_CAST):
            for at in np.flatnonzero(self._words[_WITH_ONE:-2] == self._name(_CAST)).tolist():
                name, before, *_, says, prototype = self._words[at : at + _WITH_ONE + 3].tolist()
                function = says >> 24 & 31 == _FUNCTION and (name, before) == (0, _PROTOTYPE << 24 | 1)
                if function and prototype < _NUMBERS:
                    return int(prototype) + 1
        return 0

    def _clock(self, fields: dict[int, tuple[int, int]]) -> tuple[int, int]:
        """Where the bits begin that tell of a stamp's clock, and how many they are."""
        for name, bits in _CLOCKS:
            if self._there(name) and (found := fields.get(self._name(name))) is not None and found[1] == bits:
                return found
        raise LookupError(_CLOCKS)

    def _stamp(self, members: list[Member]) -> int:
        """The byte at which the stamp begins."""
        control = [name for name, _, _ in members].index(self._name("cb"))
        name, place, _ = members[control - 1]
        if name or members[control][1] - place != _STAMP:
            raise ValueError(place)
        return place // 8

    def _there(self, name: str) -> bool:
        return b"\0" + name.encode() + b"\0" in self._strings

    def _name(self, name: str) -> int:
        """How members refer to their name."""
        return self._strings.index(b"\0" + name.encode() + b"\0") + 1

    def _members_of(self, name: str) -> list[Member]:
        """The members of a structure."""
        for at in np.flatnonzero(self._words == self._name(name)).tolist():
            says = int(self._words[at + 1])
            if says >> 24 & 31 == _STRUCT:
                return [self._member(at + 3 + _MEMBER * number) for number in range(says & 0xFFFF)]
        raise LookupError(name)

    def _member(self, at: int) -> Member:
        name, _, place = self._words[at : at + _MEMBER].tolist()
        return name, place & 0xFFFFFF, place >> 24

    def _fields(self, members: list[Member]) -> list[Member]:
        """The members among which ip_summed is, with their places in the whole: from it on, if it is in another one."""
        summed = self._name("ip_summed")
        names = [name for name, _, _ in members]
        if summed in names:
            return members
        base = members[names.index(self._name("tail")) - 1][1]
        for at in np.flatnonzero(self._words == summed).tolist():
            if self._member(at)[2] == 2:  # of some other structure it is a member by itself
                ends = range(at, min(at + _FAR * _MEMBER, len(self._words) - 2), _MEMBER)
                return [(name, base + place, bits) for name, place, bits in map(self._member, ends)]
        raise LookupError(summed)
