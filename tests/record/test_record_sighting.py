"""One packet at one point: a plain value."""

from __future__ import annotations

import dataclasses

import pytest

from netemu.record.headers import Headers
from netemu.record.sighting import Sighting
from netemu.topology.points import Point


def test_equal_sightings_are_equal_and_none_can_be_changed():
    headers = Headers("udp", "10.0.0.1", "10.0.0.2", 64, 1, 2)
    seen = Sighting(Point("B", stage="forward"), None, headers)
    assert seen == Sighting(Point("B", stage="forward"), None, headers)
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.time_ns = 1
