"""The names of the places where packets are seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.topology.points import HOOK_STAGES, Point

WORDS = st.text(st.characters(exclude_characters=":@", exclude_categories=["Z", "C"]), min_size=1)
POINTS = st.one_of(
    st.builds(Point, host=WORDS, interface=WORDS, way=st.sampled_from(["in", "out"])),
    st.builds(Point, host=WORDS, stage=st.sampled_from(HOOK_STAGES)),
)


def test_a_wire_point_has_an_interface_and_a_way():
    assert Point.parse("B:eth0.5 out") == Point("B", interface="eth0.5", way="out")


def test_a_hook_point_has_a_stage():
    assert Point.parse("B@prerouting.nat") == Point("B", stage="prerouting.nat")


@given(POINTS)
def test_a_point_written_out_is_read_back(point):
    assert Point.parse(str(point)) == point


@given(st.one_of(st.text(), POINTS.map(str).flatmap(lambda text: st.sampled_from([text, f"{text}\n", f" {text}"]))))
def test_any_text_is_a_point_that_reads_the_same_or_a_value_error(text):
    try:
        point = Point.parse(text)
    except ValueError:
        return
    assert str(point) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("B:eth0", "'B:eth0 in' or 'B:eth0 out'"),
        ("B@forward.nat", "no hook stage 'forward.nat': there are prerouting, "),
        ("B@", "is no point"),
        ("B:eth0 up", "is no point"),
        ("B:eth0  in", "is no point"),
        ("eth0 in", "is no point"),
        ("", "is no point"),
    ],
)
def test_what_is_no_point_is_told_what_a_point_looks_like(text, says):
    with pytest.raises(ValueError, match=r"point|way|stage") as caught:
        Point.parse(text)
    assert says in str(caught.value)
