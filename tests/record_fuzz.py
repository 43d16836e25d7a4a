"""Random and mutated frames in great number against the decoders and the joins: what scripts/fuzz runs.

Each frame is read by the column decoders and by the plain ones, which must agree on every header, also on ARP and on
what VXLAN carries; each batch is then a capture of a host, of which a record is made, and asked for its ARP messages
and the table of its frames. Nothing may raise.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

import numpy as np
from test_record_decode_checksums import compare_checksums
from test_record_decode_link import LINK_SEEDS, compare_links
from test_record_decode_packets import SEEDS, compare, decoded, mutated

from netemu.record.capture import HostCapture
from netemu.record.frames import Frames, RawFrame
from netemu.record.record import build_record

BATCH = 5000
MARKS = ("whole", "no IP", "truncated", "malformed")


def batch(dice: random.Random, count: int) -> np.ndarray:
    """Hold one batch against both decoders and the joins; how many frames got each mark."""
    frames = [mutated(dice, SEEDS + LINK_SEEDS) for _ in range(count)]
    compare(frames)
    compare_links(frames)
    compare_checksums(frames, [0] * count)
    raw = [RawFrame(dice.randrange(10**9), dice.randrange(1, 4), dice.randrange(5), frame) for frame in frames]
    record = build_record([HostCapture("A", {1: "lo", 2: "eth0"}, Frames.of(raw))], {("A", "eth0"): "lan"})
    assert sum(len(flow.journeys) for flow in record.flows) == len(record.journeys)
    table = record.frames_table()
    assert table.height == count
    assert table.filter((table["arp_op"] >= 0) & (table["mark"] == "whole")).height == len(list(record.arp))
    return np.bincount(decoded(frames).mark, minlength=len(MARKS))


def main() -> int:
    """Run as many batches as it takes."""
    asked = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    asked.add_argument("--frames", type=int, default=1_000_000, help="how many frames (default 1000000)")
    asked.add_argument("--seed", type=int, default=0, help="where the dice begin (default 0)")
    asked.add_argument("--json", action="store_true")
    options = asked.parse_args()
    start, done, marks = time.monotonic(), 0, np.zeros(len(MARKS), np.int64)
    while done < options.frames:
        count = min(BATCH, options.frames - done)
        seed = options.seed + done
        try:
            marks += batch(random.Random(seed), count)
        except Exception:
            print(f"the batch of {count} frames with seed {seed} failed: --seed {seed} --frames {count} repeats it")
            raise
        done += count
    told = dict(zip(MARKS, marks.tolist(), strict=True))
    found = {"frames": done, "seed": options.seed, "marks": told, "seconds": round(time.monotonic() - start, 1)}
    print(json.dumps(found) if options.json else f"{done} frames agree in {found['seconds']} s: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
