"""A mapping that can't be changed: for the mappings in a topology's frozen objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Never, TypeVar, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

K = TypeVar("K")
V = TypeVar("V")


class FrozenDict(dict[K, V]):
    """A dict that is as it was made: equal to a dict of the same entries, hashable if its values are, picklable.

    Whatever would change it raises TypeError; `|` and `copy` give plain dicts.
    """

    def __hash__(self) -> int:  # type: ignore[override]  # a dict's is None
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return dict.__repr__(self)

    def __reduce__(self) -> tuple[type[FrozenDict[K, V]], tuple[dict[K, V]]]:
        """As pickle needs it: it would set one entry after the other."""
        return type(self), (dict(self),)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """As pydantic needs it to write a default into a schema."""
        return core_schema.dict_schema()

    def _refuse(self, *_: Any, **__: Any) -> Never:
        raise TypeError("a topology's mappings can't be changed: make a new object with the entries that you want")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class Frozen:
    """Makes pydantic read a mapping as a dict of `least` entries at least, and keep it as a FrozenDict."""

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A dict's schema, with what makes it one that can't be changed behind it."""
        keys, values = map(handler.generate_schema, get_args(source))
        found = core_schema.dict_schema(keys, values, min_length=self.least or None)
        return core_schema.no_info_after_validator_function(FrozenDict, found)


FrozenMapping = Annotated[Mapping[K, V], Frozen()]
"""A field's mapping: a dict is taken, a FrozenDict is kept."""
