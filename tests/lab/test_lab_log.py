"""A service's log: kept, bounded, and no trouble where there is no room for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from netemu.lab.log import MOST, Log


async def test_lines_are_kept_and_the_expected_one_is_noticed_in_whatever_pieces_it_comes(tmp_path):
    log = Log(tmp_path / "log")
    matched = log.expect("^ready [0-9]+$")
    for piece in (b"not ready\nrea", b"dy 4", b"2\nmore\n"):
        os.write(log.writer, piece)
        await asyncio.sleep(0)
        log.last_lines(1)
    assert matched.is_set()
    assert log.last_lines(2) == ["ready 42", "more"]
    log.close()
    log.close()


async def test_a_full_disk_loses_and_counts_what_is_written_and_nothing_else():
    log = Log(Path("/dev/full"))
    matched = log.expect("ready")
    os.write(log.writer, b"ready\n")
    async with asyncio.timeout(5):
        await matched.wait()
    assert log.lost == 6
    log.close()


async def test_a_log_that_grew_too_long_goes_on_in_another_from_a_whole_line_on(tmp_path):
    log = Log(tmp_path / "log")
    written = b"".join(b"line %d\n" % number for number in range(400_000))
    for begin in range(0, len(written), 60_001):
        os.write(log.writer, written[begin : begin + 60_001])
        log.take()
    log.close()
    before, now = Path(f"{log.path}.1").read_bytes(), log.path.read_bytes()
    assert written.endswith(before + now)
    assert before.startswith(b"line ")
    assert now.startswith(b"line ")
    assert MOST - 60_001 < len(before) <= MOST + 60_001
    assert log.lost == 0
