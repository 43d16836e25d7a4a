"""The base of every object of the topology: frozen, and refusing keys that it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen value; unknown keys are errors; Python may use a field's own name beside its name in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
