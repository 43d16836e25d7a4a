"""A topology file, its text or a mapping to a `Topology`, by one door; every error with file, line and key."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import IO, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from netemu.errors import Problem, TopologyError, UsageError
from netemu.topology import verify
from netemu.topology.complaints import complaints
from netemu.topology.counting import CountError, Expansion, expand
from netemu.topology.document import Document, Path, read_document
from netemu.topology.expectation import Expectation
from netemu.topology.inclusion import Inclusion, UnreadableError, include
from netemu.topology.keys import key_text
from netemu.topology.model import Backend, Topology
from netemu.topology.remainder import faults_of_the_rest
from netemu.topology.strict import of_shape, plain, unfolded

LARGEST_FILE = 16 * 2**20
"""Bytes of the largest file that a topology may name, and of what is read of an open one."""


Made = TypeVar("Made", bound=Topology)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a topology's parts stand in its file, for messages that come up later than loading."""

    document: Document | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    """For each host that `count` made, the name under which it is written."""
    files: Mapping[Path, str] = field(default_factory=dict)
    """For each rules text that was read from a file of its own, that file."""

    @property
    def read(self) -> list[str]:
        """The files that it was read from: the topology's, and of its texts those that have their own."""
        file = self.document.file if self.document is not None else None
        return [*([file] if file is not None else []), *self.files.values()]

    def problem(self, message: str, path: Path = (), text_line: int | None = None) -> Problem:
        """A `Problem` at `path`, or at line `text_line` of the block text at `path`."""
        if self.document is None:
            return Problem(message, key_text(path))
        if text_line is not None and path in self.files:
            return Problem(message, key_text(path), text_line, self.files[path])
        there = self.as_written(path)
        line = self.document.line(there) if text_line is None else self.document.text_line(there, text_line)
        return Problem(message, key_text(path), line, self.document.file)

    def as_written(self, path: Path) -> Path:
        """The path in the file of something that is here under the name of a host that `count` made."""
        if len(path) > 1 and path[0] == "hosts" and path[1] in self.written:
            return (path[0], self.written[str(path[1])], *path[2:])
        return path

    def problems(self, faults: Iterable[tuple[Path, str]]) -> list[Problem]:
        """Problems by file and line; what is at fault at one place of several hosts that `count` made is told once."""
        groups: dict[Path, list[tuple[Path, str]]] = {}
        for path, message in faults:
            counted = self.as_written(path) != path
            groups.setdefault(self.as_written(path) if counted else (*path, message), []).append((path, message))
        found = []
        for (path, message), *more in groups.values():
            hosts = {other[1] for other, _ in more} - {path[1] if len(path) > 1 else None}
            found.append(self.problem(f"{message} (so for {len(hosts)} more of them)" if hosts else message, path))
        return sorted(found, key=lambda problem: (problem.file or "", problem.line or 0))


def load(
    file: str | FilePath | IO[Any] | Mapping[str, Any], *, name: str | None = None, backend: Backend | None = None
) -> tuple[Topology, Source]:
    """Read and verify a topology file, or a mapping that says the same. Raises TopologyError with every problem found.

    The file may be an open one, such as `sys.stdin`: then files that it names are seen from the working directory,
    unless it has a path for its name.
    `name` and `backend` stand in the place of the topology's own; a bad name is a UsageError.
    """
    if isinstance(file, str | FilePath):
        topology, source = loads(_text(FilePath(file)), str(file))
    elif hasattr(file, "read"):
        topology, source = loads(*_read_open(file))
    else:
        topology, source = enter(plain(file), Topology)
    if backend is not None:
        topology = _with(topology, backend=backend)
    return topology if name is None else renamed(topology, name), source


def _text(file: FilePath) -> str:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            what = "is a folder, no topology file" if file.is_dir() else "is no plain file"
            raise TopologyError(Problem(what, file=str(file)))
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise TopologyError(Problem(f"can't be read: {error.strerror}", file=str(file))) from error
    except UnicodeDecodeError as error:
        raise TopologyError(Problem("is no UTF-8 text", file=str(file))) from error


def _read_open(file: Any) -> tuple[str, str]:
    """The text of an open file, and its name."""
    name = str(getattr(file, "name", "<file>"))
    try:
        read = getattr(file, "buffer", file).read(LARGEST_FILE + 1)  # the locale's encoding is none of a topology's
        text = read.decode() if isinstance(read, bytes) else str(read)
    except UnicodeDecodeError as error:
        raise TopologyError(Problem("is no UTF-8 text", file=name)) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise TopologyError(Problem(f"can't be read: {why}", file=name)) from error
    if len(read) > LARGEST_FILE:
        raise TopologyError(Problem(f"is larger than {LARGEST_FILE // 2**20} MiB", file=name))
    return text, name


def loads(text: str, file: str | None = None) -> tuple[Topology, Source]:
    """Read and verify a topology from its YAML text; `file` is for messages, and what it names is seen from there."""
    document = read_document(text, file)
    folder = FilePath(file).parent if file else FilePath()
    return enter(document.value, Topology, document=document, read=lambda name: _read(folder / name))


def enter(
    value: Any,
    kind: type[Made],
    into: Made | None = None,
    *,
    document: Document | None = None,
    read: Callable[[str], tuple[str, bytes]] | None = None,
) -> tuple[Made, Source]:
    """The one door by which topologies come in. Raises TopologyError with every problem found.

    `value` is of plain dicts and lists, out of `document` or from Python; `read` gives the content of files that it
    names: without it, it may name none. The topology is made `into` an object, or a new one.
    """
    source = Source(document)
    if not isinstance(value, dict):
        raise TopologyError(source.problem("a topology is a mapping with a name and hosts"))
    try:
        expansion = expand(value)
    except CountError as error:
        raise TopologyError(source.problem(str(error), error.path)) from error
    inclusion = Inclusion(expansion.document) if read is None else include(expansion.document, read)
    source = Source(document, expansion.written, inclusion.files)
    if expansion.faults:
        raise TopologyError(source.problems(_faults_beside(expansion, inclusion)))
    try:
        topology = of_shape(kind, inclusion.document, into)
    except ValidationError as error:
        wrong = complaints(error, inclusion.document)
        rest = faults_of_the_rest(unfolded(inclusion.document), wrong)
        raise TopologyError(source.problems([*(inclusion.faults | wrong).items(), *rest])) from error
    faults = [*inclusion.faults.items(), *((fault.path, fault.message) for fault in verify.faults(topology))]
    if faults:
        raise TopologyError(source.problems(faults))
    return topology, source


def _faults_beside(expansion: Expansion, inclusion: Inclusion) -> list[tuple[Path, str]]:
    """What is wrong with hosts that can't be counted, and with all that is told without them."""
    wrong: dict[Path, str] = {}
    try:
        of_shape(Topology, inclusion.document)
    except ValidationError as error:
        found = complaints(error, inclusion.document)
        wrong = {path: message for path, message in found.items() if path != ("hosts",)}  # there may be none left
    whole = {**inclusion.document, "hosts": {**inclusion.document["hosts"], **expansion.left}}
    rest = faults_of_the_rest(unfolded(whole), [*wrong, *(("hosts", name) for name in expansion.left)], expansion.left)
    counted = [(error.path, str(error)) for error in expansion.faults]
    return [*counted, *(inclusion.faults | wrong).items(), *rest]


def _read(file: FilePath) -> tuple[str, bytes]:
    try:
        if file.exists() and not file.is_file():
            raise UnreadableError(f"'{file}' is no plain file")
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"'{file}' can't be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST_FILE:
        raise UnreadableError(f"'{file}' is larger than {LARGEST_FILE // 2**20} MiB")
    return str(file), content


def renamed(topology: Topology, name: str) -> Topology:
    """The same topology under another name, so that several labs of it can be up. Raises UsageError on a bad name."""
    try:
        return _with(topology, name=name)
    except ValidationError as error:
        raise UsageError(f"'{name}' is no name for a lab: write letters, digits, - and _, 48 at most") from error


def _with(topology: Topology, **changes: str) -> Topology:
    """The same topology with changes on which nothing else in it depends. Raises pydantic's ValidationError."""
    return of_shape(Topology, {**{key: getattr(topology, key) for key in Topology.model_fields}, **changes})


def expectations_for(topology: Topology, expect: Sequence[Expectation | Mapping[str, Any]]) -> tuple[Expectation, ...]:
    """Expectations given from Python, as objects or as mappings, verified against the lab that they are about."""
    source = Source()
    if isinstance(expect, Mapping | str) or not isinstance(expect, Iterable):
        raise TopologyError(source.problem("give a list of expectations", ("expect",)))
    given = plain(expect)
    try:
        found = TypeAdapter(tuple[Expectation, ...]).validate_python(given)
    except ValidationError as error:
        wrong = complaints(error, given, "expect").items()
        raise TopologyError([source.problem(message, ("expect", *path)) for path, message in wrong]) from error
    if faults := verify.expectation_faults(topology, found):
        raise TopologyError([source.problem(fault.message, fault.path) for fault in faults])
    return found
