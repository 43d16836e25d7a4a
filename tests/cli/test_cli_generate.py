"""Topologies written by the command line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from netemu import UsageError
from netemu.cli.main import cli
from netemu.topology.load import loads


@pytest.mark.parametrize("shape", ["star", "line", "ring", "tree", "mesh"])
def test_a_generated_topology_can_be_built(shape):
    done = CliRunner().invoke(cli, ["generate", shape, "4", "--ipv6", "--traffic", "--name", "mine"])
    assert done.exit_code == 0, done.output
    topology, _ = loads(done.output)
    assert (topology.name, len(topology.hosts), len(topology.traffic) > 0) == ("mine", 4, True)


def test_its_links_have_the_properties_that_were_asked_for():
    done = CliRunner().invoke(cli, ["generate", "line", "3", "--delay", "5ms", "--loss", "1%"])
    topology, _ = loads(done.output)
    assert [link.properties.given() for link in topology.links] == [{"delay": "5ms", "loss": "1%"}] * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["line", "3", "--delay", "5"], "delay: '5' is no duration"),
        (["line", "3", "--jitter", "5ms"], "jitter is about the delay: give a delay too"),
        (["line", "0"], "a line of 0 hosts: 2 to 10000 can be made"),
    ],
)
def test_what_can_not_be_made_is_told(arguments, says):
    done = CliRunner().invoke(cli, ["generate", *arguments])
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)
