"""Filters in pcap's language, compiled by libpcap and carried out by the kernel before a frame is copied."""

from __future__ import annotations

import ctypes
import re
import socket

from netemu.errors import MachineError, UsageError
from netemu.kernel.packages import install_command

LONGEST = 262_144
"""Longer than any frame: what a snap length is where nothing is cut."""
_LIBRARIES = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so")
_ETHERNET, _RAW = 1, 12
"""Link types: DLT_EN10MB, DLT_RAW."""
_UNKNOWN_MASK = 0xFFFFFFFF
_SO_ATTACH_FILTER = 26
_ERROR_SIZE = 256
_VLAN = re.compile(r"\bvlan\b")

Filter = bytes
"""Instructions as the kernel takes them (struct sock_filter), 8 bytes each."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


class _KernelProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def compiled(text: str, snap_length: int = LONGEST) -> Filter:
    """A filter that takes what `text` says, and of that the first `snap_length` bytes.

    Raises UsageError, with libpcap's words, if it is no filter, and MachineError where there is no libpcap.
    """
    library = _load()
    reason = ctypes.create_string_buffer(_ERROR_SIZE)
    # The kernel keeps a VLAN tag beside its frame; only for a live handle does libpcap know to look there.
    live = bool(_VLAN.search(text))
    handle = library.pcap_create(b"lo", reason) if live else library.pcap_open_dead(_ETHERNET, snap_length)
    program = _Program()
    try:
        if live:
            library.pcap_set_snaplen(handle, snap_length)
            library.pcap_activate(handle)
        if library.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, _UNKNOWN_MASK):
            raise UsageError(f"filter '{text}': {library.pcap_geterr(handle).decode(errors='replace')}")
        try:
            return ctypes.string_at(program.instructions, program.length * 8)
        finally:
            library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)


class Matcher:
    """A filter carried out here, on packets that are no longer the kernel's: frames, or (`raw`) from their IP header.

    Raises as `compiled`.
    """

    def __init__(self, text: str, *, raw: bool = False) -> None:
        self._library = _load()
        handle = self._library.pcap_open_dead(_RAW if raw else _ETHERNET, LONGEST)
        program = _Program()
        try:
            if self._library.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, _UNKNOWN_MASK):
                reason = self._library.pcap_geterr(handle).decode(errors="replace")
                raise UsageError(f"filter '{text}': {reason}")
            self._instructions = ctypes.string_at(program.instructions, program.length * 8)
            self._library.pcap_freecode(ctypes.byref(program))
        finally:
            self._library.pcap_close(handle)

    def takes(self, data: bytes) -> bool:
        """Whether the filter takes a packet."""
        return bool(self._library.bpf_filter(self._instructions, data, len(data), len(data)))


def attach(sock: socket.socket, filter: Filter) -> None:
    """From now on the socket is given only what the filter takes. Raises OSError."""
    program = _KernelProgram(len(filter) // 8, filter)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))


def libpcap() -> str:
    """The library that compiles filters, by the name under which it was found. Raises MachineError if there is none."""
    return str(_load()._name)  # noqa: SLF001  ctypes has no other word for it


def _load() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        break
    else:
        raise MachineError(f"libpcap is missing, which filters need: {install_command('libpcap0.8')}")
    for name in ("pcap_open_dead", "pcap_create"):
        getattr(library, name).restype = ctypes.c_void_p
    library.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    library.pcap_create.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    library.pcap_set_snaplen.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.pcap_compile.argtypes = [
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p),
        *(ctypes.c_int, ctypes.c_uint32),
    ]
    library.pcap_geterr.restype = ctypes.c_char_p
    library.bpf_filter.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint]
    library.bpf_filter.restype = ctypes.c_uint
    for name in ("pcap_activate", "pcap_geterr", "pcap_freecode", "pcap_close"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    return library
