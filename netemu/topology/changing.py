"""Link properties given one by one, by a command or from Python, over those that are there."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from netemu.errors import UsageError
from netemu.topology.complaints import complaints
from netemu.topology.shaping import LinkProperties
from netemu.topology.strict import of_shape


def changed(now: LinkProperties | None, given: Mapping[str, str]) -> LinkProperties:
    """What a link's direction is to do: as `given`, as in a topology file, and else as it does now.

    Raises UsageError that tells every fault.
    """
    wanted = (now.given() if now is not None else {}) | dict(given)
    try:
        return of_shape(LinkProperties, wanted)
    except ValidationError as error:
        faults = complaints(error, wanted, LinkProperties.__name__).items()
        raise UsageError("\n".join(": ".join((*map(str, path), message)) for path, message in faults)) from error
