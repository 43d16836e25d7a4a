"""A record's sightings as a data frame: the same as its journeys tell."""

from __future__ import annotations

import random

import pytest
from record_scene import NodePort
from record_scenes import any_captures

from netemu.errors import UsageError
from netemu.record.record import Record, build_record


def told(record: Record) -> list[tuple]:
    """The frame's rows as its journeys tell them."""
    return [
        (
            *(journey.id, journey.flow, journey.direction == "reply", journey.nth, place),
            *(seen.point.host, str(seen.point), seen.time_ns, seen.headers.proto),
            *(seen.headers.src, seen.headers.sport, seen.headers.dst, seen.headers.dport),
            *(seen.headers.ttl, seen.headers.length, seen.headers.seq, seen.headers.ack),
            *((seen.ct.state, seen.ct.direction, seen.ct.id) if seen.ct else (None, None, None)),
        )
        for journey in record.journeys
        for place, seen in enumerate(journey.sightings)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_frame_tells_what_the_journeys_tell(seed: int):
    record = build_record(*any_captures(random.Random(seed)))
    assert record.frame.drop("flags").rows() == told(record)


def test_a_frame_answers_questions(lab: NodePort):
    lab.handshake()
    frame = lab.scene.record().frame
    seen = frame.filter(frame["point"] == "B@prerouting.nat")
    assert seen["dst"].to_list() == ["172.26.0.3", "192.168.0.1", "172.26.0.3"]
    assert seen["ct_state"].to_list() == ["new", "established", "established"]


def test_nothing_captured_is_an_empty_frame():
    assert build_record([], {}).frame.height == 0


def test_a_record_put_together_by_hand_has_no_frame():
    with pytest.raises(UsageError, match="by hand"):
        _ = Record().frame
