# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts of a rootless container with a user namespace of its own, on an image that was just imported
(or pulled): its first one against its second. Stock Podman copies and chowns the layers at first.
"""
import glob
import statistics
import subprocess
import time

from table import ENV, SLOW_RUNS, command, row

DIRECTORY_SECONDS = 120
KEY_SIZE = 32  # of a directory's name, after its version; notes beside it have longer ones


def call(verb, storage):
    done = subprocess.run(command("BENCH_ROOTLESS") + [verb, storage], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{verb} {storage}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def start(storage, mode):
    """Seconds that a start takes, which has to show the image in MODE."""
    before = time.perf_counter()
    seen = call("start", storage).strip()
    took = time.perf_counter() - before
    if mode and seen != mode:
        raise RuntimeError(f"{storage} started in mode {seen}, not {mode}")
    return took


def await_directory(storage):
    """What the first start leaves to do is done: mode overlaydir's directory is there."""
    limit = time.monotonic() + DIRECTORY_SECONDS
    while time.monotonic() < limit:
        if glob.glob(f"{ENV['BENCH_ROOTLESS_STORAGES']}/{storage}/*/*/nixstore-overlaydir/v*-{'?' * KEY_SIZE}"):
            return
        time.sleep(0.1)
    raise RuntimeError("no directory of mode overlaydir was made")


def starts(way, modes):
    """First starts and second ones; MODES: what each must be in, if known."""
    first, second = [], []
    for i in range(SLOW_RUNS):
        storage = f"{way}-{i}"
        call("get", storage)
        first.append(start(storage, modes[0]))
        if modes[1] == "overlaydir":
            await_directory(storage)
        second.append(start(storage, modes[1]))
    return {"ours": statistics.median(first), "peer": statistics.median(second),
            "ratio": statistics.median(a / b for a, b in zip(first, second))}


SECOND = ENV.get("BENCH_ROOTLESS_SECOND", "fuse")
for _way, _text, _modes, _bar in (
        ("nixstore", "driver nixstore", ("fuse", SECOND), 1.2),
        ("nixstore-fuse", "driver nixstore, both in mode fuse", ("fuse", "fuse"), 1.2),
        ("mountprogram", "stock + mount_program", ("fuse", SECOND), 1.2),
        ("overlay", "stock overlay", (None, None), None)):
    row(f"first start of a rootless --userns container of 50,000 files : second, {_text}", _bar,
        "rootless")(lambda way=_way, modes=_modes: starts(way, modes))
