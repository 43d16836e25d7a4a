"""The bpf system call: maps, and socket filters given as instructions (bpf(2), linux/bpf.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netemu.kernel.init.calls import call

_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "loongarch64": 280}
_MAP_CREATE, _PROG_LOAD = 0, 5
_ARRAY, RINGBUF = 2, 27
"""BPF_MAP_TYPE_ARRAY and BPF_MAP_TYPE_RINGBUF."""
_MMAPABLE = 1 << 10
_SOCKET_FILTER = 1
_LICENCE = b"Dual MIT/GPL\0"
"""To read the kernel's own memory is for programs that the GPL covers (license_is_gpl_compatible)."""
_ATTRIBUTES = 160
"""Bytes of union bpf_attr that are given: what is behind those that say something is 0."""

LOAD_WORD, STORE_WORD, STORE_NUMBER, LOAD_LONG, STORE_LONG, ADD_TO_LONG = 0x61, 0x63, 0x62, 0x79, 0x7B, 0xDB
MOVE, ADD, SUBTRACT, OR, CALL, EXIT, JUMP = 0xBF, 0x0F, 0x1F, 0x4F, 0x85, 0x95, 0x05
NUMBER, ADD_NUMBER, AND_NUMBER, OR_NUMBER = 0xB7, 0x07, 0x57, 0x47
SHIFT_LEFT, SHIFT_RIGHT, BIG_ENDIAN = 0x67, 0x77, 0xDC
JUMP_IF_EQUAL, JUMP_IF_MORE, JUMP_IF_LESS, JUMP_UNLESS_EQUAL = 0x15, 0x25, 0xA5, 0x55
"""Operations on words of 32 bits in memory, on longs of 64, and on registers; jumps compare a register with a number.

ADD_TO_LONG is atomic; with `FETCH` as its number it gives what was there before (Linux 5.12).
"""
FETCH = 1
KERNEL = 2
"""CALL with this as its source calls a function of the kernel by its number in BTF (BPF_PSEUDO_KFUNC_CALL)."""
_LOAD_MAP = 0x18
_MAP, _MAP_VALUE = 1, 2


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `to` is a label for jumps, and `offset` bytes for what loads and stores."""

    operation: int
    target: int = 0
    source: int = 0
    offset: int = 0
    number: int = 0
    to: str = ""


def load_map(register: int, descriptor: int) -> tuple[Instruction, ...]:
    """The map itself, for functions that take one."""
    return Instruction(_LOAD_MAP, register, _MAP, number=descriptor), Instruction(0)


def load_value(register: int, descriptor: int) -> tuple[Instruction, ...]:
    """The address of an array's first value."""
    return Instruction(_LOAD_MAP, register, _MAP_VALUE, number=descriptor), Instruction(0)


def assembled(code: Mapping[str, Sequence[Instruction]]) -> bytes:
    """Labelled pieces of code, one behind the other, as the kernel takes them (struct bpf_insn)."""
    starts, at = {}, 0
    for label, piece in code.items():
        starts[label] = at
        at += len(piece)
    return b"".join(_encoded(code, starts))


def _encoded(code: Mapping[str, Sequence[Instruction]], starts: Mapping[str, int]) -> Iterator[bytes]:
    at = 0
    for piece in code.values():
        for each in piece:
            at += 1
            offset = starts[each.to] - at if each.to else each.offset
            yield struct.pack("=BBhi", each.operation, each.target | each.source << 4, offset, each.number)


def ring_buffer(size: int) -> int:
    """A ring of `size` bytes (a power of two, of pages) that programs put records into; its descriptor. OSError."""
    return _bpf(_MAP_CREATE, struct.pack("=4I", RINGBUF, 0, 0, size))


def shared_bytes(size: int) -> int:
    """Memory that programs have, and that can be mapped; its descriptor. OSError."""
    return _bpf(_MAP_CREATE, struct.pack("=5I", _ARRAY, 4, size, 1, _MMAPABLE))


def socket_filter(instructions: bytes) -> int:
    """A program that says how much of a packet a socket is given; its descriptor. OSError if the kernel refuses it."""
    code, licence = (ctypes.create_string_buffer(each, len(each)) for each in (instructions, _LICENCE))
    where = ctypes.addressof(code), ctypes.addressof(licence)
    return _bpf(_PROG_LOAD, struct.pack("=IIQQ", _SOCKET_FILTER, len(instructions) // 8, *where))


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYSCALLS.get(os.uname().machine)
    if number is None or sys.byteorder != "little":
        raise OSError(errno.ENOSYS, "the bpf system call is not known here")
    given = ctypes.create_string_buffer(attributes.ljust(_ATTRIBUTES, b"\0"), _ATTRIBUTES)
    return call("syscall", number, command, given, _ATTRIBUTES)
