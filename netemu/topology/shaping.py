"""What a wire does to the packets that cross it: delay, loss and the like, as tc's netem and tbf have them."""

from __future__ import annotations

from pydantic import Field, model_validator

from netemu.topology.strict import Strict
from netemu.topology.units import Duration, QueueLength, Rate, Share


class LinkProperties(Strict):
    """What happens to packets that are sent in one direction of a wire. `netemu.topology.units` reads the values.

    Source: sch_netem and sch_tbf in net/sched.
    """

    delay: Duration | None = Field(default=None, description="how long each packet is held, as in 20ms")
    jitter: Duration | None = Field(default=None, description="how far the delay varies, evenly, to either side")
    loss: Share | None = Field(default=None, description="the share of packets that is dropped, as in 1%")
    duplicate: Share | None = Field(default=None, description="the share of packets that is sent twice")
    corrupt: Share | None = Field(default=None, description="the share of packets in which one bit is turned")
    reorder: Share | None = Field(default=None, description="the share of packets that skip the delay")
    rate: Rate | None = Field(default=None, description="bits a second, as in 10mbit")
    queue: QueueLength | None = Field(
        default=None, description="how many packets wait at most, as in 100packets; beyond that they are dropped"
    )

    @model_validator(mode="after")
    def _what_needs_a_delay(self) -> LinkProperties:
        for key in ("jitter", "reorder"):
            if getattr(self, key) is not None and self.delay is None:
                raise ValueError(f"{key} is about the delay: give a delay too")
        return self

    @property
    def properties(self) -> LinkProperties:
        """These alone, whatever else the object says."""
        return LinkProperties(**self.given())

    def given(self) -> dict[str, str]:
        """The properties that are given, by name, as they are written."""
        values = {name: getattr(self, name) for name in LinkProperties.model_fields}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def needs_netem(self) -> bool:
        """Whether sch_netem is needed: a rate alone, with or without a queue length, is left to sch_tbf."""
        return self.rate is None or bool(self.given().keys() - {"rate", "queue"})


def merged(*properties: LinkProperties | None) -> LinkProperties | None:
    """What several say of one direction, the later ones over the earlier; None if they say nothing."""
    given: dict[str, str] = {}
    for each in properties:
        given |= each.given() if each is not None else {}
    return LinkProperties(**given) if given else None
