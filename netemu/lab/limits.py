"""Which limit of the machine was reached when a lab could not be built, and what raises it."""

from __future__ import annotations

from netemu.errors import MachineError, NetemuError

_LIMITS = (
    ("Too many open files in system", "the machine's limit of open files is reached: raise fs.file-max"),
    ("Too many open files", "the limit of open file descriptors is reached: raise it (ulimit -n)"),
    ("can't start new thread", "the limit of processes and threads is reached: raise it (ulimit -u, or pids.max)"),
    ("Resource temporarily unavailable", "the limit of processes is reached: raise it (ulimit -u, or pids.max)"),
    ("Cannot allocate memory", "out of memory"),
    ("Disk quota exceeded", "no space left where labs keep their state"),
    ("No space left on device", "no space left where labs keep their state"),
)
"""What the C library says of an error (strerror(3)), and what it means here. The first that fits is it."""


def limit_reached(error: BaseException) -> MachineError | None:
    """The error that names the limit which this one comes from, or one behind it; None if no limit was reached."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError):
            return MachineError("out of memory")
        for said, meaning in _LIMITS:
            if said in str(seen):
                if "ulimit" in str(seen) or "raise user." in str(seen):
                    return seen if isinstance(seen, MachineError) else MachineError(str(seen))
                what = str(seen if isinstance(seen, NetemuError) else getattr(seen, "strerror", None) or seen)
                where = getattr(seen, "filename", None)
                return MachineError(f"{what}{f' ({where})' if where else ''}: {meaning}")
        seen = seen.__cause__ or seen.__context__
    return None
