"""How much of what passes a host's hooks is traced: `all`, `first N` of each connection, `1 in N`, or `off`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, WithJsonSchema

_TEXT = re.compile(r"^(all|off|first ([1-9]\d{0,8})|1 in ([1-9]\d{0,8}))$")


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a hook tap traces; `number` is N. `first N` counts each direction of a connection by itself."""

    kind: Literal["all", "off", "first", "one in"] = "all"
    number: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From its text; ValueError if it is none."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' says not what to trace: write all, off, first N (of each connection) or 1 in N")
        if match[2]:
            return cls("first", int(match[2]))
        return cls("one in", int(match[3])) if match[3] else cls("off" if text == "off" else "all")

    @property
    def left_out(self) -> str:
        """What is said of a tap that does not trace everything; empty if it does."""
        if self.kind == "all":
            return ""
        if self.kind == "off":
            return "is switched off"
        packets = f"{self.number} packet{'s' if self.number > 1 else ''}"
        which = f"the first {packets} of each connection" if self.kind == "first" else f"one packet in {self.number}"
        return f"traces only {which}"


EVERYTHING = Tracing()


def _checked(text: str) -> str:
    Tracing.parse(text)
    return text


TracingText = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", "pattern": _TEXT.pattern})]
