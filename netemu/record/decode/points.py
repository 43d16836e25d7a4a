"""Points as numbers, and what a wire's point is named after."""

from __future__ import annotations

from netemu.record.capture import HostCapture
from netemu.topology.points import Point


class PointNumbers:
    """Gives each point a number, by what it is."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._numbers: dict[Point, int] = {}

    def of(self, point: Point) -> int:
        """The number of a point."""
        number = self._numbers.setdefault(point, len(self.points))
        if number == len(self.points):
            self.points.append(point)
        return number


def wire_name(capture: HostCapture, interface: int) -> str:
    """An interface's name; a number that no interface has any more stands for itself."""
    return capture.interfaces.get(interface) or f"interface {interface}"
