"""What a host reads from texts: files placed on it, and the rules of its firewalls, inline or from a file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from netemu.topology.strict import Strict

FILE_KEY = "file"
"""The key that names a file, relative to the topology file, where a text is due."""

MODE = r"^[0-7]{3,4}$"
_NOT_READ = f"only a topology file can name a {FILE_KEY}, in Python give the text itself"


def _check_rules(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value.keys() - {FILE_KEY}:
            raise ValueError(f"unknown key '{key}': give the rules as a text, or as {{{FILE_KEY}: PATH}}")
        if list(value) == [FILE_KEY] and isinstance(value[FILE_KEY], str):
            raise ValueError(_NOT_READ)
        raise ValueError(f"give the rules as a text, or as {{{FILE_KEY}: PATH}}")  # noqa: TRY004  pydantic wants it
    return value


Rules = Annotated[
    str,
    BeforeValidator(_check_rules),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {FILE_KEY: {"type": "string", "description": "relative to the topology file"}},
                    "required": [FILE_KEY],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""Rules for iptables-restore, ip6tables-restore or nft -f. Loading puts a named file's text in its place."""


class HostFile(Strict):
    """A file that a host finds at a place of its own; the machine's own file there is not touched."""

    content: str | bytes = Field(default="", description="the text")
    mode: Annotated[str, StringConstraints(pattern=MODE)] = Field(
        default="0644", description="its permissions as chmod has them, quoted"
    )

    @model_validator(mode="before")
    @classmethod
    def _a_text_is_its_content(cls, value: Any) -> Any:
        if isinstance(value, str | bytes):
            return {"content": value}
        if isinstance(value, dict) and FILE_KEY in value and "content" in value:
            raise ValueError(f"give one of content and {FILE_KEY}")
        if isinstance(value, dict) and isinstance(value.get(FILE_KEY), str):
            raise ValueError(_NOT_READ)  # noqa: TRY004  pydantic wants it
        return value

    @property
    def data(self) -> bytes:
        """The content as bytes."""
        return self.content.encode() if isinstance(self.content, str) else self.content

    @property
    def permissions(self) -> int:
        """The mode as a number."""
        return int(self.mode, 8)
