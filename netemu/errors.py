"""What can go wrong, by whose fault it is; each branch knows the exit code that a command line gives it.

Exit codes: 1 a check failed, 2 usage or bad topology, 3 unproven, 4 the machine lacks something, 128 + N signal N.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass


class NetemuError(Exception):
    """Anything netemu raises on purpose: its text is a short message for a person, without a traceback."""

    exit_code = 1


class Interrupted(BaseException):
    """A signal (one of `signals`) cut short what was done, and it was undone. `exit_code` is a shell's."""

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, number: int) -> None:
        self.number = number
        self.exit_code = 128 + number
        word = {signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}.get(signal.Signals(number), "interrupted")
        super().__init__(word)

    @classmethod
    def heeded(cls) -> tuple[signal.Signals, ...]:
        """Its signals, without SIGHUP where it is ignored: then this process is to outlive its terminal (nohup(1))."""
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        return tuple(number for number in cls.signals if not (ignored and number is signal.SIGHUP))


class UsageError(NetemuError):
    """The call asks for something that is not there: an unknown lab, one that is up already, a wrong name."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a topology: where in the file, and what.

    `line` is 1-based and None where the topology came from Python objects; `key` is dotted, as in
    `hosts.A.interfaces.eth0.addresses[0]`, and empty where the whole document is meant.
    """

    message: str
    key: str = ""
    line: int | None = None
    file: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class TopologyError(NetemuError):
    """The topology can't be what it says: every problem found, not only the first."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | Problem) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoppedError(UsageError):
    """A lab's own process is stopped (SIGSTOP), and answers nobody."""


class ServiceError(TopologyError):
    """A service of the topology ended, or was not ready in its time."""


class RulesError(TopologyError):
    """iptables-restore or nft refused rules of the topology."""


class MachineError(NetemuError):
    """The machine lacks something, said by name, with what mends it."""

    exit_code = 4


class PrivilegeError(MachineError):
    """The caller may not do this: not root, or a capability is missing."""


class KernelError(MachineError):
    """The kernel refused a request that the topology made legitimately: what, for which host, and its answer."""


class CaptureError(NetemuError):
    """A tap could not be made, or its record can't be had."""

    exit_code = 3
