"""Durations, endpoint patterns and names, as a topology writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from netemu.topology.units import Duration, seconds
from netemu.topology.values import Endpoint, InterfaceName, MacAddress, Name, Port, endpoint_text

ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(0, 65535)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300us", 0.0003), ("10ms", 0.01), ("1.5s", 1.5), ("2min", 120.0), ("0s", 0.0), ("007s", 7.0)],
)
def test_a_duration_is_read_as_seconds(text, expected):
    assert seconds(text) == pytest.approx(expected)


@given(st.integers(0, 10**9), st.sampled_from([("us", 10**6), ("ms", 10**3), ("s", 1)]))
def test_a_whole_number_of_a_unit_is_that_part_of_a_second(number, unit):
    name, in_a_second = unit
    assert seconds(f"{number}{name}") == pytest.approx(number / in_a_second)


@pytest.mark.parametrize("text", ["3", "", "s", "-1s", "1 s", "1h", "1,5s", ".5s", "1e3s", "10S", " 1s", "1s ", "1s\n"])
def test_what_is_no_number_with_a_unit_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="300ms"):
        seconds(text)


@pytest.mark.parametrize("given_value", [3, 0.5, "10"])
def test_a_bare_number_is_no_duration(given_value):
    with pytest.raises(ValidationError, match="is no duration"):
        TypeAdapter(Duration).validate_python(given_value)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.168.0.2:30000", "192.168.0.2", 30000),
        ("192.168.0.1:*", "192.168.0.1", None),
        ("192.168.0.1", "192.168.0.1", None),
        ("*:80", None, 80),
        ("*", None, None),
        ("*:*", None, None),
        ("[fd00::1]:80", "fd00::1", 80),
        ("[fd00::1]:*", "fd00::1", None),
        ("fd00::1", "fd00::1", None),
        ("FD00:0::1", "fd00::1", None),
        ("::1", "::1", None),
    ],
)
def test_an_endpoint_names_an_address_and_a_port_or_any(text, address, port):
    endpoint = Endpoint.parse(text)
    assert (endpoint.address, endpoint.port) == (address, port)


@pytest.mark.parametrize(
    "text", ["", "host:80", "1.2.3:80", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "[fd00::1]", "1.2.3.4:80:90", ":80"]
)
def test_what_is_no_endpoint_is_refused(text):
    with pytest.raises(ValueError, match=r"endpoint|port"):
        Endpoint.parse(text)


@given(ADDRESSES, st.one_of(st.none(), PORTS))
def test_an_endpoint_written_out_is_read_back(address, port):
    endpoint = Endpoint.parse(endpoint_text(address, port))
    assert (endpoint.address, endpoint.port) == (address, port)


@given(st.text())
def test_any_text_is_an_endpoint_or_a_value_error(text):
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        return
    assert endpoint.port is None or 0 <= endpoint.port <= 65535


@given(ADDRESSES, PORTS, ADDRESSES, PORTS)
def test_a_full_endpoint_matches_only_itself(address, port, other, other_port):
    endpoint = Endpoint.parse(endpoint_text(address, port))
    assert endpoint.matches(address, port)
    assert endpoint.matches(other, other_port) == ((address, port) == (other, other_port))


@given(ADDRESSES, st.one_of(st.none(), PORTS))
def test_a_star_matches_everything(address, port):
    assert Endpoint.parse("*").matches(address, port)


def test_a_port_pattern_does_not_match_a_packet_without_ports():
    assert not Endpoint.parse("*:80").matches("10.0.0.1", None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Name, ""),
        (Name, "-a"),
        (Name, "a b"),
        (Name, "a/b"),
        (Name, "a.b"),
        (Name, "a\n"),
        (Name, "a" * 49),
        (InterfaceName, "eth0:1"),
        (InterfaceName, "../eth0"),
        (InterfaceName, "a" * 16),
        (MacAddress, "02:00:00:00:00"),
        (MacAddress, "02-00-00-00-00-01"),
        (Port, 0),
        (Port, 65536),
    ],
)
def test_a_value_outside_its_form_is_refused(kind, value):
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Name, "a" * 48),
        (Name, "0_a-B"),
        (InterfaceName, "a" * 15),
        (InterfaceName, "eth0.100"),
        (MacAddress, "02:00:00:00:00:fF"),
        (Port, 1),
        (Port, 65535),
    ],
)
def test_a_value_at_the_edge_of_its_form_is_taken(kind, value):
    assert TypeAdapter(kind).validate_python(value) == value
