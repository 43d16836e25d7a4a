"""Quantities with their units, and what a link does with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.errors import TopologyError
from netemu.topology.service import Ready
from netemu.topology.shaping import LinkProperties, merged
from netemu.topology.traffic import Traffic
from netemu.topology.units import bits_per_second, packets, share, size


@pytest.mark.parametrize("within", ["0s", "0us", "0.0min"])
def test_time_allowed_is_more_than_none(within):
    for made, more in ((Ready, {"tcp": 80}), (Traffic, {"name": "x", "from": "A", "http": "http://10.0.0.1/"})):
        with pytest.raises(TopologyError, match=f"within: '{within}' is no time: it must be more than 0, as in 300ms"):
            made.model_validate({**more, "within": within})
        assert made.model_validate({**more, "within": "1us"}).within == "1us"


@given(st.integers(0, 10_000))
def test_a_share_is_a_part_of_one(hundredths):
    assert share(f"{hundredths / 100:.2f}%") == pytest.approx(hundredths / 10_000)


@pytest.mark.parametrize(("rate", "bits"), [("8bit", 8), ("1kbit", 1000), ("1.5mbit", 1_500_000), ("10gbit", 10**10)])
def test_a_rate_is_bits_a_second_in_thousands(rate, bits):
    assert bits_per_second(rate) == bits


@pytest.mark.parametrize(
    ("text", "found"), [("1B", 1), ("1KiB", 1024), ("1.5MiB", 3 << 19), ("8MiB", 8 << 20), ("1024GiB", 1 << 40)]
)
def test_a_size_is_bytes_in_units_of_1024(text, found):
    assert size(text) == found


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((share, text) for text in ("1", "101%", "-1%", "1 %", "%", "", "\N{ARABIC-INDIC DIGIT ONE}%")),
        *((bits_per_second, text) for text in ("1000", "1mb", "1Mbit", "0bit", "7bit", "1mbps", "")),
        *((packets, text) for text in ("5", "0packets", "1.5packets", "5packetss", "")),
        *((size, text) for text in ("8", "8MB", "8mib", "0B", "-1B", "8 MiB", "1025GiB", "0.1B", "")),
    ],
)
def test_a_quantity_without_its_unit_is_refused(read, text):
    with pytest.raises(ValueError, match=r"is no .*: write a number"):
        read(text)


def test_a_queue_is_so_many_packets():
    assert (packets("1packet"), packets("1packets"), packets("100packets")) == (1, 1, 100)


@pytest.mark.parametrize("key", ["jitter", "reorder"])
def test_what_varies_the_delay_needs_one(key):
    value = {"jitter": "1ms", "reorder": "1%"}[key]
    with pytest.raises(TopologyError, match="give a delay too"):
        LinkProperties(**{key: value})
    assert LinkProperties(delay="5ms", **{key: value}).needs_netem


def test_the_later_of_what_is_said_goes_over_the_earlier():
    one, other = LinkProperties(delay="1ms", loss="1%"), LinkProperties(loss="2%", rate="1mbit")
    assert merged(one, None, other) == LinkProperties(delay="1ms", loss="2%", rate="1mbit")
    assert merged(None, LinkProperties()) is None
