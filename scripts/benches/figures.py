"""What a bench measured: figures with their aims, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One row: what is measured, in which unit, the most it should be, and which other row it is compared with."""

    label: str
    unit: str = "ms"
    aim: float | None = None
    beside: str | None = None
    values: list[float] = field(default_factory=list)

    def numbers(self, figures: Mapping[str, Figure]) -> dict[str, Any]:
        """The figure as `--json` prints it."""
        middle = median(self.values)
        numbers: dict[str, Any] = {
            "unit": self.unit,
            "median": middle,
            "min": min(self.values),
            "max": max(self.values),
        }
        if self.aim is not None:
            numbers |= {"aim": self.aim, "held": middle < self.aim}
        if self.beside is not None:
            numbers["ratio"] = middle / median(figures[self.beside].values)
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in numbers.items()}


def table(title: str, figures: Mapping[str, Figure], compared: Mapping[str, Figure]) -> Table:
    """All rows within 100 columns; those of `compared` last, each as a multiple of the figure it names."""
    grid = Table(box=None, pad_edge=False, title=title, title_justify="left")
    grid.add_column("")
    for name in ("median", "min", "max"):
        grid.add_column(name, justify="right")
    grid.add_column("")
    grid.add_column("")
    for figure in [*figures.values(), *compared.values()]:
        numbers, note = figure.numbers(figures), ""
        if figure.aim is not None:
            note = f"aim < {figure.aim:.0f}  " + ("ok" if numbers["held"] else "[bold red]over[/]")
        elif figure.beside is not None:
            note = f"{numbers['ratio']:.2f} of netemu's"
        grid.add_row(figure.label, *(f"{numbers[key]:.1f}" for key in ("median", "min", "max")), figure.unit, note)
    return grid
