"""libnftables, which comes with nft: tables of our own, and nf_tables' own numbers for rules, without a process.

Its context holds a netlink socket of the namespace that it was made in; a table made with `flags owner` belongs to
that socket: nobody else's `flush ruleset` touches it, and it goes when the context goes.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache

from netemu.errors import KernelError, MachineError
from netemu.kernel.packages import install_command
from netemu.kernel.spaces.descriptors import FD_SETSIZE, a_low_number_is_left, low_numbers_wanted
from netemu.kernel.spaces.namespace import NetworkNamespace

_LIBRARY = "libnftables.so.1"
_HANDLE = 1 << 3


_SPARE = 4
"""Low numbers left beside a context's own: other threads open files, too, while one is made."""
LASTING = 32
"""The same beside one that is held for long: contexts that read rules come and go later, side by side."""
_making = threading.Lock()
"""Held from the look at the numbers until the context has its own: contexts are made in several threads at once."""


class Nftables:
    """A libnftables context in one namespace; `close` when done.

    Raises KernelError where there are no more than `spare` low numbers of descriptors for it.
    """

    def __init__(self, net: NetworkNamespace, spare: int = _SPARE) -> None:
        self.net = net
        self.library = _load()
        self.context: int | None = None
        with low_numbers_wanted(), _making:
            if not a_low_number_is_left(spare):
                raise KernelError(
                    f"host {net.name}: this process holds so many files that hardly one has a number below"
                    f" {FD_SETSIZE:,}, and libnftables takes no other: a recorded lab can't have so many hosts"
                )
            with net.entered():
                self.context = self.library.nft_ctx_new(0)
        self.library.nft_ctx_buffer_output(self.context)
        self.library.nft_ctx_buffer_error(self.context)

    def run(self, commands: str) -> None:
        """Carry out nft commands, all or none. Raises KernelError with nft's own words."""
        self._run(commands, 0)

    def list(self, command: str = "list ruleset") -> str:
        """What a `list` command prints, with handles.

        As text: the JSON of libnftables 1.0.6 is broken now and then where a table has `flags owner`.
        """
        return self._run(command, _HANDLE)

    def _run(self, commands: str, flags: int) -> str:
        self.library.nft_ctx_output_set_flags(self.context, flags)
        failed = self.library.nft_run_cmd_from_buffer(self.context, commands.encode())
        output = self.library.nft_ctx_get_output_buffer(self.context) or b""
        complaint = self.library.nft_ctx_get_error_buffer(self.context) or b""
        if failed:
            lines = complaint.decode(errors="replace").strip().splitlines()
            raise KernelError(f"host {self.net.name}: nft: {lines[0] if lines else 'refused'}")
        return str(output.decode(errors="replace"))

    def close(self) -> None:
        """Let go of the context and of the tables it owns; once is enough, twice does no harm."""
        if self.context:
            self.library.nft_ctx_free(self.context)
            self.context = None


@cache
def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise MachineError(f"libnftables is missing, which nft brings: {install_command('nftables')}") from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library
