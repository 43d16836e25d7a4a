"""What a lab expects to see: of packets at points, of conntrack entries, of rule counters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, StrictBool, StringConstraints, Tag, model_validator

from netemu.topology.points import Point
from netemu.topology.strict import Strict
from netemu.topology.values import EndpointPattern, Name


def _check_point(text: str) -> str:
    Point.parse(text)
    return text


PointName = Annotated[str, AfterValidator(_check_point)]
SELECTOR = r"^(request|reply)\.(first|nth|all|[1-9][0-9]*)$"
PacketSelector = Annotated[str, StringConstraints(pattern=SELECTOR)]
Manip = Literal["none", "src", "dst", "both"]
CtState = Literal["new", "established", "related", "invalid", "untracked", "none"]
CtStatus = Literal[
    "expected", "seen-reply", "assured", "confirmed", "src-nat", "dst-nat", "seq-adjust", "src-nat-done", "dst-nat-done"
]


class PacketExpectation(Strict):
    """What a packet should look like at one point (`at`), or which wire points it should cross (`path`).

    `request.first` is the first packet of each of the item's flows, `request.nth` every later one,
    `request.all` all of them, `request.2` the second; `reply.…` the same for the other direction.
    """

    traffic: Name
    packet: PacketSelector
    at: PointName | None = None
    path: tuple[PointName, ...] | None = Field(
        default=None, min_length=1, description="every wire point the packet crosses, in order"
    )
    src: EndpointPattern | None = None
    dst: EndpointPattern | None = None
    ttl: int | None = Field(default=None, ge=0, le=255, strict=True)
    by: Literal["rule", "conntrack", "route", "null-binding"] | None = Field(
        default=None, description="what made the rewrite that is seen at this point"
    )
    rule: str | None = Field(default=None, description="a part of the text of the nat rule that made it")
    ct: CtState | None = Field(default=None, description="the conntrack state at this point")
    direction: Literal["original", "reply"] | None = None
    manip: Manip | None = Field(
        default=None, description="which manips the conntrack entry had set up when the packet came to this point"
    )
    walked: StrictBool | None = Field(
        default=None, description="whether a nat chain was walked just before this .nat point"
    )

    @model_validator(mode="after")
    def _something_to_compare(self) -> PacketExpectation:
        at_point = ("src", "dst", "ttl", "by", "rule", "ct", "direction", "manip", "walked")
        asked = [key for key in at_point if getattr(self, key) is not None]
        if (self.at is None) == (self.path is None):
            raise ValueError("give one of at and path")
        if self.path is not None and asked:
            raise ValueError(f"{', '.join(asked)} belong to a point: use at")
        if self.walked is not None and not str(self.at).endswith(".nat"):
            raise ValueError("walked is told at the .nat points")
        return self


class TupleExpectation(Strict):
    """One direction's tuple of a conntrack entry."""

    src: EndpointPattern | None = None
    dst: EndpointPattern | None = None


class ConntrackExpectation(Strict):
    """What the conntrack entries of a traffic item's flows should be on one host, at the end."""

    traffic: Name
    conntrack: Name = Field(description="the host whose entry is meant")
    original: TupleExpectation = TupleExpectation()
    reply: TupleExpectation = TupleExpectation()
    status: tuple[CtStatus, ...] = Field(default=(), description="bits that must be set")


class CounterExpectation(Strict):
    """What a rule's own packet counter should have counted while the record ran."""

    counter: Name = Field(description="the host whose rule is meant")
    rule: str = Field(description="a part of the rule's text, as iptables-save writes it, found in one rule only")
    packets: int = Field(ge=0, strict=True)


def _kind(value: Any) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    return next(
        (f"{key.capitalize()}Expectation" for key in ("conntrack", "counter") if key in value), "PacketExpectation"
    )


Expectation = Annotated[
    Annotated[PacketExpectation, Tag("PacketExpectation")]
    | Annotated[ConntrackExpectation, Tag("ConntrackExpectation")]
    | Annotated[CounterExpectation, Tag("CounterExpectation")],
    Discriminator(_kind),
]
