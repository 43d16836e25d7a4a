"""The shell of a host: the user's own, or bash, or sh; its prompt names lab and host, whatever their files say."""

from __future__ import annotations

import os
import shutil

_KNOWN = ("bash", "sh", "dash", "ash")


def shell(lab: str, host: str) -> tuple[list[str], dict[str, str], list[int]]:
    """The command, what it needs in its environment, and the descriptors that it needs beside its streams.

    One that reads its commands from a file or a pipe has no prompt, and no use for a terminal.
    """
    own = os.environ.get("SHELL", "")
    name = own if os.path.basename(own) in _KNOWN and shutil.which(own) else shutil.which("bash") or "/bin/sh"
    if not os.isatty(0):
        return [name], {}, []
    startup = os.memfd_create("netemu", 0)
    if os.path.basename(name) == "bash":
        text = f"[ -r ~/.bashrc ] && . ~/.bashrc\nPROMPT_COMMAND=\nPS1='{lab}:{host}:\\w\\$ '\n"
        command, environment = [name, "--rcfile", f"/dev/fd/{startup}", "-i"], {}
    else:
        text = f"PS1='{lab}:{host}:$PWD# '\n"
        command, environment = [name, "-i"], {"ENV": f"/dev/fd/{startup}"}
    os.write(startup, text.encode())
    os.lseek(startup, 0, os.SEEK_SET)
    return command, environment, [startup]
