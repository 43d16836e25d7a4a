"""A record as a file: what the taps handed over, byte for byte, so that it loads back equal and is judged anew.

The file is a zip: `record.json` says what is what, and the large columns are NumPy arrays of their own (never
pickled). Journeys and flows are not in it: they are joined again when it is read.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from netemu.errors import CaptureError
from netemu.netfilter.conntrack import PacketConntrack, Tuple
from netemu.netfilter.ruleset import Rule, Ruleset
from netemu.record.capture import HostCapture, TapHealth
from netemu.record.exchange import Exchange
from netemu.record.frames import Datagrams, Frames
from netemu.record.join.wires import Member

FORMAT, VERSION = "netemu record", 1
_ABOUT = "record.json"
_FAST = 1
"""zlib's level: packets of a load test compress well at any."""
_LARGEST_ABOUT = 64 << 20
_NEWER = "status"
"""A column of frames that older files have not."""
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, LookupError, TypeError, ValueError),
    *(AttributeError, ArithmeticError, MemoryError, RuntimeError),
)
"""What zipfile, json and NumPy raise on bytes that are not theirs."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What a record was made of. `segment_of` names the network or link that each (host, interface) is on.

    `topology` is what was built, as `topology.built` tells it; None where that is not known, as of older files.
    """

    captures: tuple[HostCapture, ...] = ()
    segment_of: Mapping[Member, str] = field(default_factory=dict)
    exchanges: tuple[Exchange, ...] = ()
    lab: str = ""
    topology: Mapping[str, Any] | None = None


def write(file: IO[bytes], raw: Raw) -> None:
    """Write a record's makings to an open file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive:
        hosts = [_host(archive, place, capture) for place, capture in enumerate(raw.captures)]
        about = {
            "format": FORMAT,
            "version": VERSION,
            "lab": raw.lab,
            "topology": raw.topology,
            "segments": [[*member, segment] for member, segment in raw.segment_of.items()],
            "exchanges": [asdict(exchange) for exchange in raw.exchanges],
            "hosts": hosts,
        }
        archive.writestr(_ABOUT, json.dumps(about, default=_plain))


def read(file: IO[bytes], name: str) -> Raw:
    """Read what `write` wrote; `name` is the file's, for messages. Raises CaptureError on anything else."""
    try:
        if not zipfile.is_zipfile(file):
            raise CaptureError(f"{name} is no saved record")
        with zipfile.ZipFile(file) as archive:
            about = _about(archive, name)
            return Raw(
                tuple(_capture(archive, place, host) for place, host in enumerate(about["hosts"])),
                {(str(host), str(interface)): str(segment) for host, interface, segment in about["segments"]},
                tuple(_exchange(each) for each in about["exchanges"]),
                str(about["lab"]),
                _topology(about.get("topology")),
            )
    except _DAMAGE as error:
        raise CaptureError(f"{name} is no saved record, or is damaged: {error}") from error


def _about(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    if archive.getinfo(_ABOUT).file_size > _LARGEST_ABOUT:
        raise ValueError(f"its {_ABOUT} is too large")
    about: dict[str, Any] = json.loads(archive.read(_ABOUT))
    if about["format"] != FORMAT:
        raise ValueError("it is something else")
    if about["version"] != VERSION:
        raise CaptureError(f"{name}: a record of version {about['version']}: this netemu reads version {VERSION}")
    return about


def _topology(told: Any) -> Mapping[str, Any] | None:
    if told is None or (isinstance(told, dict) and isinstance(told.get("traffic", {}), dict)):
        return told
    raise ValueError("its topology is none")


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")


def _host(archive: zipfile.ZipFile, place: int, capture: HostCapture) -> dict[str, Any]:
    """Write a host's columns; what is small goes to `record.json`."""
    for name, columns in (("frames", capture.frames), ("trace", capture.trace), ("conntrack", capture.conntrack)):
        _write_columns(archive, f"{place}/{name}", columns)
    _write_columns(archive, f"{place}/entries", Datagrams.of(capture.entries))
    return {
        "host": capture.host,
        "interfaces": list(capture.interfaces.items()),
        "states": [[*key, asdict(state)] for key, state in capture.states.items()],
        "rules_before": asdict(capture.rules_before),
        "rules_after": asdict(capture.rules_after),
        "health": [asdict(tap) for tap in capture.health],
        "counted": capture.counted,
        "until_ns": capture.until_ns,
    }


def _write_columns(archive: zipfile.ZipFile, name: str, columns: Frames | Datagrams) -> None:
    for each in fields(columns):
        with archive.open(f"{name}/{each.name}.npy", "w", force_zip64=True) as member:
            npy.write_array(member, np.ascontiguousarray(getattr(columns, each.name)), allow_pickle=False)


def _capture(archive: zipfile.ZipFile, place: int, about: dict[str, Any]) -> HostCapture:
    counted = about["counted"]
    return HostCapture(
        host=about["host"],
        interfaces={int(number): str(name) for number, name in about["interfaces"]},
        frames=Frames(**_columns(archive, f"{place}/frames", Frames)),
        trace=Datagrams(**_columns(archive, f"{place}/trace", Datagrams)),
        conntrack=Datagrams(**_columns(archive, f"{place}/conntrack", Datagrams)),
        entries=list(Datagrams(**_columns(archive, f"{place}/entries", Datagrams))),
        states={(str(chain), int(handle)): PacketConntrack(**state) for chain, handle, state in about["states"]},
        rules_before=_ruleset(about["rules_before"]),
        rules_after=_ruleset(about["rules_after"]),
        health=[TapHealth(**tap) for tap in about["health"]],
        counted=(int(counted[0]), int(counted[1])) if counted is not None else None,
        until_ns=int(about.get("until_ns", 0)),
    )


def _columns(archive: zipfile.ZipFile, name: str, kind: type[Frames | Datagrams]) -> dict[str, Any]:
    """A host's columns, each as long as it must be: what is read later trusts their offsets."""
    columns: dict[str, Any] = {}
    for each in fields(kind):
        if each.name == _NEWER and f"{name}/{_NEWER}.npy" not in archive.NameToInfo:
            continue
        with archive.open(f"{name}/{each.name}.npy") as member:
            columns[each.name] = npy.read_array(member, allow_pickle=False)
    offset = columns["offset"]
    if kind is Frames:
        columns.setdefault(_NEWER, np.zeros(max(len(offset) - 1, 0), np.uint8))
    ordered = offset.ndim == 1 and len(offset) and offset[0] == 0 and bool((np.diff(offset) >= 0).all())
    if not ordered or offset[-1] != len(columns["data"]):
        raise ValueError(f"{name} does not fit its offsets")
    if any(len(column) != len(offset) - 1 for key, column in columns.items() if key not in ("data", "offset")):
        raise ValueError(f"{name}'s columns are not of one length")
    wanted = {key: column.dtype for key, column in _none(kind).items()}
    if any(column.dtype != wanted[key] or column.ndim != 1 for key, column in columns.items()):
        raise ValueError(f"{name} has a column of another type")
    return columns


def _none(kind: type[Frames | Datagrams]) -> dict[str, Any]:
    empty = kind.of()
    return {each.name: getattr(empty, each.name) for each in fields(kind)}


def _ruleset(about: dict[str, Any]) -> Ruleset:
    chains = {key: frozenset(tuple(each) for each in value) for key, value in about.items() if key != "rules"}
    return Ruleset(rules=tuple(Rule(**rule) for rule in about["rules"]), **chains)


def _exchange(about: dict[str, Any]) -> Exchange:
    sockets = tuple(Tuple(**each) for each in about["sockets"])
    since, until = about.get("events") or (None, None)  # not noted in older records
    events = None if since is None or until is None else (int(since), int(until))
    return Exchange(**about | {"sockets": sockets, "events": events})
