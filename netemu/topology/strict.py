"""The base of every object of the topology: frozen, refusing keys that it does not know, in a topology file's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from netemu.errors import Problem, TopologyError
from netemu.topology.keys import key_text

Kind = TypeVar("Kind", bound=BaseModel)


class Strict(BaseModel):
    """A frozen value; unknown keys are errors; Python may use a field's own name beside its name in the file.

    However it is made (by its class, `model_validate`, `model_copy` with an `update`), what does not fit raises
    TopologyError, which tells every fault by its key in here and in the words that it has for a file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def __init__(self, /, **data: Any) -> None:
        self._enter(data, self)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # so that pydantic does not call it for parts

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """From a mapping, or such an object itself. Raises TopologyError."""
        return obj if isinstance(obj, cls) else cls._enter(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """From JSON's text. Raises TopologyError."""
        try:
            return cls.model_validate(json.loads(json_data), **options)
        except ValueError as error:
            raise TopologyError(Problem(f"is no JSON: {error}")) from error

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same but for what `update` says, which must fit. Raises TopologyError."""
        if update is None:
            return super().model_copy(deep=deep)
        fields = type(self).model_fields.items()
        kept = {name: getattr(self, name) for name, field in fields if field.alias not in update}
        return self.model_validate({**kept, **update})

    @classmethod
    def _enter(cls, value: Any, into: Self | None = None, **options: Any) -> Self:
        document = plain(value)
        try:
            return of_shape(cls, document, into, **options)
        except ValidationError as error:
            from netemu.topology.complaints import complaints  # not before: it knows all that is made of this class

            wrong = complaints(error, document, cls.__name__).items()
            raise TopologyError([Problem(message, key_text(path)) for path, message in wrong]) from error


def of_shape(kind: type[Kind], value: Any, into: Kind | None = None, **options: Any) -> Kind:
    """An object, as far as its shape alone tells whether it can be. Raises pydantic's ValidationError."""
    made: Kind = kind.__pydantic_validator__.validate_python(value, self_instance=into, **options)
    return made


def plain(value: Any) -> Any:
    """The same of dicts and lists alone, but for objects of a topology in it; so that it can be read twice.

    Raises TopologyError if it is nested too deeply, as what contains itself is.
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise TopologyError(Problem("the topology is nested too deeply")) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | Iterator):
        return [_plain(part) for part in value]
    return value


def unfolded(value: Any) -> Any:
    """What `plain` gives, with the objects of a topology in it as what would be written for them."""
    if isinstance(value, Strict):
        return unfolded(value.model_dump(by_alias=True, exclude_defaults=True))
    if isinstance(value, dict):
        return {key: unfolded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [unfolded(part) for part in value]
    return value
