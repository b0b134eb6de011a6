# SPDX-License-Identifier: LGPL-2.1-or-later
"""What mode fuse costs besides time: messages to the server, and its memory."""
import os
import struct
import subprocess

from rows_mounts import EXEC, PYTHON, READ, WALK
from table import ENV, row

# The kernel sends these of its own accord: FORGET, STATFS, BATCH_FORGET.
UNASKED = (2, 17, 42)


def run(argv, at):
    subprocess.run([a.replace("@", at) for a in argv], stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, check=True)


def messages(counted):
    with open(ENV[counted] + ".count", "rb") as f:
        counts = struct.unpack("64Q", f.read(512))
    return sum(n for opcode, n in enumerate(counts) if opcode not in UNASKED)


def sent_again(argv, at, counted):
    """Messages that ARGV sends when it is repeated. The least of three: whoever else drops caches
    meanwhile makes it a first time again."""
    run(argv, at)
    sent = []
    for _ in range(3):
        before = messages(counted)
        run(argv, at)
        sent.append(messages(counted) - before)
    return {"value": min(sent)}


for _what, _argv in (("metadata walk", WALK), ("read of everything", READ), ("200 execs", EXEC),
                     ("Python start with 150 imports", PYTHON)):
    for _way, _variable, _counted in (
            ("fuse", "BENCH_COUNTED", "BENCH_COUNTED"),
            ("fuse + overlay", "BENCH_COUNTED_UPPER", "BENCH_COUNTED"),
            ("fuse + overlay, image without xattrs", "BENCH_COUNTED_BARE", "BENCH_COUNTED_BARE")):
        row(f"messages of a second {_what}, {_way}", 0, "messages")(
            lambda argv=_argv, at=_variable, counted=_counted: sent_again(argv, ENV[at], counted))


@row("memory of the server of 100,000 entries, all walked and read", 20, "server", "MiB")
def server_memory():
    run(WALK, ENV["BENCH_LARGE"])
    run(READ, ENV["BENCH_LARGE"])
    peak = 0
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                ours = ENV["BENCH_LARGE"].encode() in f.read().split(b"\0")
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
                status = dict(line.split(":", 1) for line in f)
        except OSError:
            continue
        if ours and status["Name"].strip() == "nixstore-fuse":
            peak = max(peak, int(status["VmHWM"].split()[0]))
    if not peak:
        raise RuntimeError("there is no server")
    return {"value": peak / 1024}
