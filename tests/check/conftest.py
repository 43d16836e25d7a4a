"""Scenes for checks: a record of the NodePort, with or without something wrong. See record_scene.py."""

from __future__ import annotations

import pytest
from record_nodeport import CLIENT, SERVICE, NodePort
from record_packets import tcp
from record_scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def lab(scene: Scene) -> NodePort:
    """The NodePort's hosts, before anything was sent."""
    return NodePort(scene)


@pytest.fixture
def hello(lab: NodePort) -> NodePort:
    """The NodePort after SYN, SYN ACK and ACK, its traffic item named hello."""
    lab.handshake()
    lab.scene.exchange("hello", "A", tcp(CLIENT, SERVICE).tuple)
    return lab
