"""The pytest plugin, in suites of its own; and the README's and the docs' examples, which must be true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from netemu import Lab
from netemu.topology.load import loads

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent.parent
SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


def suite(pytester: pytest.Pytester, text: str, **files: str) -> pytest.RunResult:
    pytester.makefile(".ini", pytest=SETTINGS)
    for name, content in files.items():
        pytester.makefile(".yaml", **{name: content})
    pytester.makepyfile(test_it=text)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "--strict-markers")


def test_the_readmes_example_passes(pytester):
    example, own, _, questions = examples()
    more = f"    {own}    assert report.verdict == 'pass', report.explain()\n"
    suite(pytester, example + more + indent(questions, "    ")).assert_outcomes(passed=1)


def test_the_readmes_script_runs_and_prints_what_a_first_packet_met():
    _, _, script, _ = examples()
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    told = [line.split(" by ") for line in done.stdout.splitlines()]
    assert [by for _, by in told] == ["rule", "route", "rule", "route"]
    assert told[0][0] == "B@prerouting.nat 192.168.0.2:30000 => 172.26.0.3:8080"


def examples() -> list[str]:
    """The README's Python."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_a_lab_may_be_a_file_beside_the_test(pytester, nodeport):
    text = """
    import pytest
    @pytest.mark.lab("./mine.yaml")
    async def test_it(lab):
        assert list(lab.hosts) == ["A", "B", "C", "pod"]
    """
    suite(pytester, text, mine=nodeport).assert_outcomes(passed=1)


def test_a_test_that_fails_takes_its_lab_down(pytester):
    text = """
    import os, pytest
    from pathlib import Path
    @pytest.mark.lab("nodeport")
    async def test_it(lab):
        Path("folder").write_text(str(lab.folder.path))
        assert False
    def test_after():
        assert not Path(Path("folder").read_text()).exists()
    """
    suite(pytester, text).assert_outcomes(failed=1, passed=1)


def test_the_fixture_without_its_mark_says_what_to_write(pytester):
    result = suite(pytester, "async def test_it(lab): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*mark the test with @pytest.mark.lab("nodeport")*'])


def test_a_bad_topology_is_an_error_of_the_test_with_file_and_line(pytester, nodeport):
    text = """
    import pytest
    @pytest.mark.lab("mine.yaml")
    async def test_it(lab): pass
    """
    result = suite(pytester, text, mine=nodeport.replace("forwarding: true", "forwading: true", 1))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*mine.yaml:*: hosts.B.forwading: unknown key 'forwading', did you mean 'forwarding'?"]
    )


async def test_the_docs_examples_run_and_pass():
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "topology.md").read_text(), re.DOTALL)
    whole, wider, recorded, more = examples
    topology, _ = loads(wider + recorded)
    assert topology.record.filter == "udp port 53"
    for text, expectations in ((whole + more, 6), (wider, 3)):
        topology, _ = loads(text)
        assert len(topology.expect) == expectations
        async with Lab(topology) as lab:
            report = await lab.prove()
        assert report.verdict == "pass", report.explain()


def test_every_file_that_the_readme_links_is_there():
    linked = re.findall(r"\]\(([^):#]+)\)", (ROOT / "README.md").read_text())
    assert linked
    assert not [name for name in linked if not (ROOT / name).is_file()]


def test_the_readme_names_every_command():
    from netemu.cli.main import cli

    readme = (ROOT / "README.md").read_text()
    assert all(f"`netemu {name}" in readme for name in cli.commands)
