"""The same namespaces, veths and addresses by ip -batch, for scripts/bench bring-up: `star N` or `line N`.

Runs in network, mount and PID namespaces of its own. A batch can't step into a namespace, so the addresses are put on
the near ends, in the namespace that it runs in: as many of them, without a process for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable


def star(size: int) -> Iterable[str]:
    """Hosts on one bridge."""
    yield "link add bridge type bridge"
    yield "link set bridge up"
    for number in range(size):
        yield f"netns add h{number}"
        yield f"link add port{number} master bridge up type veth peer name eth0 netns h{number}"
        yield f"addr add 10.{number // 65536}.{number // 256 % 256}.{number % 256}/32 dev port{number}"


def line(size: int) -> Iterable[str]:
    """Routers in a row. The veths' near ends stay here: moving them would be another request each."""
    yield "netns add h0"
    for number in range(1, size):
        yield f"netns add h{number}"
        yield f"link add port{number} up type veth peer name left netns h{number}"
        yield f"addr add 10.0.{number // 256}.{number % 256}/32 dev port{number}"
        yield f"addr add 10.1.{number // 256}.{number % 256}/32 dev port{number}"


def batch(lines: Iterable[str]) -> float:
    """Milliseconds that one ip process takes for these lines."""
    with tempfile.NamedTemporaryFile("w", suffix=".batch") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        start = time.perf_counter()
        subprocess.run(["ip", "-batch", file.name], check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - start) * 1000


def main() -> None:
    """Make, count, unmake; print how long each took."""
    shape, size = sys.argv[1], int(sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    up = batch({"star": star, "line": line}[shape](size))
    made = len(os.listdir("/run/netns"))
    if made != size:
        sys.exit(f"ip -batch made {made} namespaces, not {size}")
    print(json.dumps({"up_ms": up, "down_ms": batch(f"netns del h{number}" for number in range(size))}))


if __name__ == "__main__":
    main()
