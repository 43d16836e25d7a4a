"""How much of a host's traffic is traced, as it is written."""

from __future__ import annotations

import pytest

from netemu.topology.tracing import EVERYTHING, Tracing


@pytest.mark.parametrize(
    ("text", "tracing"),
    [
        ("all", EVERYTHING),
        ("off", Tracing("off")),
        ("first 3", Tracing("first", 3)),
        ("1 in 100", Tracing("one in", 100)),
    ],
)
def test_each_way_is_read(text, tracing):
    assert Tracing.parse(text) == tracing


@pytest.mark.parametrize("text", ["", "first", "first 0", "first 1 of each", "2 in 3", "1 in 0", "ALL", "all ", "none"])
def test_anything_else_is_refused_in_words(text):
    with pytest.raises(ValueError, match="write all, off, first N"):
        Tracing.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("all", ""),
        ("off", "is switched off"),
        ("first 1", "traces only the first 1 packet of each connection"),
        ("first 3", "traces only the first 3 packets of each connection"),
        ("1 in 100", "traces only one packet in 100"),
    ],
)
def test_what_is_left_out_is_said(text, said):
    assert Tracing.parse(text).left_out == said
