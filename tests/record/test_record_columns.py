"""The columns against the plain joins: the same passes, journeys and flows, whatever was captured or lost."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_passes import passes
from record_plain_flows import plain_flows
from record_plain_journeys import plain_journeys, unquoted
from record_plain_passes import plain_passes
from record_scenes import any_captures, told_pass

from netemu.record import shown
from netemu.record.decode import packets
from netemu.record.flows import read_entries
from netemu.record.frames import Datagrams, Frames
from netemu.record.join import forest
from netemu.record.journeys import journeys
from netemu.record.record import build_record

DICE = st.integers(0, 2**40).map(random.Random)


@settings(max_examples=60, deadline=None)
@given(DICE)
def test_passes_are_those_of_the_plain_joins(dice: random.Random):
    captures, _ = any_captures(dice)
    for capture in captures:
        assert [told_pass(each) for each in passes(capture)] == [told_pass(each) for each in plain_passes(capture)]


@settings(max_examples=100, deadline=None)
@example(random.Random(1_067_314_900))  # a multicast's own copy, of which a damaged event shows another destination
@given(DICE)
def test_journeys_are_those_of_the_plain_joins(dice: random.Random):
    captures, segment_of = any_captures(dice)
    assert [unquoted(each) for each in journeys(captures, segment_of)] == plain_journeys(captures, segment_of)


@settings(max_examples=60, deadline=None)
@given(DICE)
def test_journeys_and_flows_are_the_same_two_at_a_time(dice: random.Random):
    captures, segment_of = any_captures(dice)
    whole = build_record(captures, segment_of)
    with patch.object(forest, "AT_ONCE", 2), patch.object(packets, "AT_ONCE", 2), patch.object(shown, "AT_ONCE", 2):
        joined, found = journeys(captures, segment_of), build_record(captures, segment_of)
        assert [unquoted(each) for each in joined] == plain_journeys(captures, segment_of)
    assert list(found.journeys) == list(whole.journeys)
    assert [(each.id, each.original) for each in found.flows] == [(each.id, each.original) for each in whole.flows]


@settings(max_examples=60, deadline=None)
@given(DICE)
def test_journeys_are_those_of_the_plain_joins_where_some_hosts_do_not_trace(dice: random.Random):
    captures, segment_of = any_captures(dice)
    for capture in captures:
        if dice.random() < 0.5:
            capture.trace = Datagrams.of()
    found = journeys(captures, segment_of)
    assert [unquoted(each) for each in found] == plain_journeys(captures, segment_of)


@settings(max_examples=100, deadline=None)
@given(DICE)
def test_journeys_are_those_of_the_plain_joins_where_frames_come_twice_or_not_at_all(dice: random.Random):
    captures, segment_of = any_captures(dice)
    for capture in captures:
        times = [(frame, copy) for frame in capture.frames for copy in range(dice.choice([0, 1, 1, 1, 2]))]
        capture.frames = Frames.of(replace(frame, time_ns=frame.time_ns + copy) for frame, copy in times)
    assert [unquoted(each) for each in journeys(captures, segment_of)] == plain_journeys(captures, segment_of)


@settings(max_examples=100, deadline=None)
@given(DICE)
def test_journeys_are_those_of_the_plain_joins_where_hosts_no_longer_wait_for_fragments(dice: random.Random):
    captures, segment_of = any_captures(dice)
    slower = dice.choice([3_000_000, 10_000_000, 25_000_000])  # a microsecond becomes 3, 10 or 25 s
    begin = min((frame.time_ns for capture in captures for frame in capture.frames), default=0)
    for capture in captures:
        capture.frames = Frames.of(
            replace(frame, time_ns=begin + (frame.time_ns - begin) * slower) for frame in capture.frames
        )
    assert [unquoted(each) for each in journeys(captures, segment_of)] == plain_journeys(captures, segment_of)


@settings(max_examples=100, deadline=None)
@example(random.Random(2_314_065))  # a rule matched a packet that no stage and no wire saw
@example(random.Random(267_001_031_490))  # a packet's entry takes back tuples that the packet itself does not show
@example(random.Random(836))  # a damaged frame says that more fragments follow, and is as long as the packet
@example(random.Random(1977))  # a frame without ports, after a later fragment of a packet with the same addresses
@given(DICE)
def test_flows_are_those_of_the_plain_joins(dice: random.Random):
    captures, segment_of = any_captures(dice)
    record = build_record(captures, segment_of)
    plain = plain_journeys(captures, segment_of)
    entries = {
        (capture.host, id): entry
        for capture in captures
        for id, entry in read_entries([*capture.conntrack, *capture.entries]).items()
    }
    quotes = record.journeys.quotes
    flows = plain_flows(plain, entries, dict(zip(quotes.journey.tolist(), quotes.of.tolist(), strict=True)))
    for number, journey in enumerate(plain, 1):
        journey.id = number
    assert [unquoted(each) for each in record.journeys] == plain
    for mine, theirs in zip(record.flows, flows, strict=True):
        assert (mine.id, mine.original, mine.entries) == (theirs.id, theirs.original, theirs.entries)
        assert [unquoted(each) for each in mine.journeys if each.quotes is None] == theirs.journeys
        for direction in ("original", "reply"):
            assert [each.id for each in mine.packets(direction)] == [each.id for each in theirs.packets(direction)]
    for capture in captures:
        met = [turn for each in plain_passes(capture) for turn in [*(t for ts in each.turns for t in ts), *each.rest]]
        told = [turn.rule.key for turn in met if turn.rule]  # also of a packet that is on no journey
        assert record.matches(capture.host) == dict(Counter(told))
