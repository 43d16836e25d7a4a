"""YAML with the line of every key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.errors import TopologyError
from netemu.topology.document import read_document

TEXT = """\
# a remark
name: x
hosts:

  A:
    routes:
      - to: default
      - {to: 10.0.0.0/8,
         dev: eth0}
    nft: |
      first

      third
    iptables: "*nat\\nCOMMIT"
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("name",), 2),
        (("hosts",), 3),
        (("hosts", "A"), 5),
        (("hosts", "A", "routes", 0), 7),
        (("hosts", "A", "routes", 1, "to"), 8),
        (("hosts", "A", "routes", 1, "dev"), 9),
        (("hosts", "A", "nft"), 10),
    ],
)
def test_every_key_and_item_has_its_line(path, line):
    assert read_document(TEXT).line(path) == line


def test_a_missing_key_has_the_line_of_what_is_around_it():
    assert read_document(TEXT).line(("hosts", "A", "interfaces", "eth0")) == 5


@pytest.mark.parametrize(("line", "in_file"), [(1, 11), (3, 13)])
def test_a_line_of_a_block_text_has_its_line_in_the_file(line, in_file):
    assert read_document(TEXT).text_line(("hosts", "A", "nft"), line) == in_file


def test_every_line_of_a_quoted_text_is_where_the_text_stands():
    document = read_document(TEXT)
    assert [document.text_line(("hosts", "A", "iptables"), line) for line in (1, 2)] == [14, 14]


def test_a_line_of_what_is_not_there_is_that_of_what_is_around_it():
    assert read_document(TEXT).text_line(("hosts", "A", "ip6tables"), 3) == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: 010", 10),
        ("a: 0o10", 8),
        ("a: 1:30", "1:30"),
        ("a: true", True),
        ("a: ~", None),
        ("a:", None),
        ('a: "8080"', "8080"),
        ("a: [1, [x]]", [1, ["x"]]),
        ("a: {}", {}),
        ("\ufeffa: 1", 1),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    assert read_document(text).value == {"a": value}


def test_keys_are_text_even_where_yaml_sees_numbers():
    assert read_document("80: x\ntrue: y").value == {"80": "x", "true": "y"}


def test_an_alias_stands_for_its_anchors_value_where_it_is_used():
    document = read_document("a: &x\n  b: 1\nc: *x\n")
    assert document.value == {"a": {"b": 1}, "c": {"b": 1}}
    assert document.line(("c",)) == 3


ALIAS_BOMB = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8)
)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "the file is empty"),
        ("# only a remark\n", None, "the file is empty"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML: while parsing a flow sequence"),
        ("a:\n\tb: 1\n", 2, "not YAML: while scanning"),
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is there twice"),
        ("a: 1\n[b]: 2\n", 2, "a key must be a plain word"),
        ("a: 1\n---\nb: 1\n", 2, "another document"),
        ("a: 1\nb: *x\n", 2, "undefined alias 'x'"),
        ("a: 1\nb: !thing x\n", 2, "'x' can't be read"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "'x' can't be read"),
        ("a: 1\nb: !!int x\n", 2, "'x' can't be read"),
        ("a: 1\nb: !!float x\n", 2, "'x' can't be read"),
        ("a: \0\n", None, "not YAML"),
        ("a: &x [*x]\n", 1, "deep"),
        pytest.param(f"a: {'[' * 1000}{']' * 1000}\n", 1, "deep", id="deep"),
        pytest.param(ALIAS_BOMB, 1, "too many values", id="alias bomb"),
    ],
)
def test_a_fault_is_told_with_its_line(text, line, says):
    with pytest.raises(TopologyError) as caught:
        read_document(text, "lab.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("lab.yaml", line)
    assert says in problem.message


@pytest.mark.parametrize("text", ["a: [1", "a: !thing x", "a: \0", "a: 1\na: 2"])
def test_a_fault_is_told_in_one_line(text):
    with pytest.raises(TopologyError) as caught:
        read_document(text)
    assert "\n" not in str(caught.value)


@given(st.one_of(st.text(), st.text("abc:-[]{}&*!|>?'\"#%@ \n\t01.~"), st.text("ab: &*\n[]{}")))
def test_any_text_is_a_document_or_a_topology_error(text):
    try:
        read_document(text)
    except TopologyError as error:
        assert error.problems  # noqa: PT017  either outcome is right
