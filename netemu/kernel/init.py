"""Process 1 of a lab's PID namespace, run as a program of its own: it outlives its lab just long enough to tidy up.

It reads its standard input, a pipe whose only writer is the process that holds the lab. A line `{"link": PATH,
"target": TARGET}` names a symlink, `{"folder": PATH}` a folder, that go when the lab goes. When the pipe ends, the
holder is gone, however it went: the files are removed, and with process 1 the kernel ends every other process here.
It imports nothing of netemu, and little else, to start fast.
"""

import contextlib
import json
import os
import shutil
import signal
import sys


def reap(*_: object) -> None:
    """Collect every orphan that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def tidy(left: list[dict[str, str]]) -> None:
    """Remove what the lab left, as long as it is what the lab made."""
    for thing in reversed(left):
        try:
            if "folder" in thing:
                shutil.rmtree(thing["folder"])
            elif os.readlink(thing["link"]) == thing["target"]:
                os.unlink(thing["link"])
        except OSError:
            continue  # gone already, or not ours any more


def main() -> None:
    """Wait for the holder's end, then tidy up."""
    signal.signal(signal.SIGCHLD, reap)
    left = [json.loads(line) for line in sys.stdin]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    tidy(left)


if __name__ == "__main__":
    main()
