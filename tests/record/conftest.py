"""A scene for each test: see record_scene.py."""

from __future__ import annotations

import pytest
from record_nodeport import NodePort
from record_scene import Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def lab(scene: Scene) -> NodePort:
    """The NodePort's hosts, before anything was sent."""
    return NodePort(scene)
