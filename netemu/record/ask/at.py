"""Which points are asked for by `at`: one point, an interface both ways, or all of a host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netemu.errors import UsageError
from netemu.topology.naming import hint
from netemu.topology.points import HOOK_STAGES, Point


def points_at(
    value: str | Point, hosts: Sequence[str], interfaces: Callable[[str], Sequence[str]]
) -> Callable[[Point], bool]:
    """What tells of a point whether it is asked for: by itself, by its interface (both ways), or by its host.

    Raises UsageError for a host, an interface (`interfaces` are a host's) or a stage that there is not.
    """
    text = str(value)
    host, interface, stage = text, "", ""
    if "@" in text:
        host, stage = text.split("@", 1)
    elif ":" in text:
        host, _, interface = text.partition(":")
    interface, _, way = interface.partition(" ")
    if host not in hosts:
        raise UsageError(f"the record has no host '{host}'{hint(host, hosts)}")
    if stage and stage not in HOOK_STAGES:
        raise UsageError(f"there is no hook stage '{stage}'{hint(stage, HOOK_STAGES)}")
    known = interfaces(host)
    if interface and interface not in known:
        raise UsageError(f"host {host} has no interface '{interface}'{hint(interface, known)}")
    if way not in ("", "in", "out") or text != text.strip() or text[-1:] in "@:":
        raise UsageError(f"'{text}' is no point: write 'B:eth0 in', B@prerouting.nat, B:eth0 or B")
    wanted = {"host": host, "interface": interface, "way": way, "stage": stage}
    return lambda point: all(getattr(point, part) == asked for part, asked in wanted.items() if asked)
