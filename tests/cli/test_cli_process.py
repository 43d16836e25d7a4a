"""What a command's own process is: what it imports, its threads, the address space that it needs."""

from __future__ import annotations

import subprocess
import sys

NETEMU = [sys.executable, "-m", "netemu"]


def netemu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NETEMU, *arguments], capture_output=True, text=True, check=False)


HELP = """
import sys, netemu.cli.main as main
try:
    main.main(["--help"])
except SystemExit:
    print(sorted(sys.modules), file=sys.stderr)
"""


def test_help_comes_without_the_heavy_imports():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    for module in ("pydantic", "scapy", "pyroute2", "rich", "ruamel", "h11"):
        assert f"'{module}'" not in done.stderr, module
    assert "Exit codes: 0 pass, 1 fail" in " ".join(done.stdout.split())


def test_an_address_space_too_small_for_a_record_is_told_and_other_commands_work_in_it():
    def within(most: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["prlimit", f"--as={most << 20}", *NETEMU, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    refused = within(101, "run", "nodeport")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr == (
        "netemu: out of memory: that takes at least 160 MiB of address space, and more for each host, and the limit is"
        " 101: raise it (ulimit -v)\n"
    )
    assert "at least" not in within(160, "run", "nodeport").stderr
    assert within(101, "ls").returncode == 0


THREADS = """
import os
from netemu.cli import main
def command(_):
    import numpy
    print(len(os.listdir("/proc/self/task")))
main._command = command
main.main([])
"""


def test_numpy_has_no_threads_in_a_command_and_what_a_lab_runs_is_not_told_so(tmp_path, monkeypatch):
    """OpenBLAS, where numpy has that, would begin one for each other core."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    (tmp_path / "alone.yaml").write_text("name: alone\nhosts: {A: {}}\n")
    assert netemu("up", str(tmp_path / "alone.yaml")).returncode == 0
    try:
        told = netemu("exec", "alone", "A", "env").stdout
    finally:
        netemu("down", "alone")
    assert "PATH=" in told
    assert "OPENBLAS" not in told
