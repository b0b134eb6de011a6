# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images into the store, their index, and the program that mounts them by itself."""
import functools
import subprocess

from paired import own_peak_memory, paired
from table import ENV, RUNS, SLOW_RUNS, command, quietly, row


@row("nixstore convert --import oci-archive : podman load", 0.75, "convert")
def convert_import():
    return paired(command("BENCH_CONVERT"), command("BENCH_LOAD"), SLOW_RUNS,
                  before_ours=quietly(command("BENCH_CONVERT_NEXT")),
                  before_peer=quietly(command("BENCH_LOAD_NEXT")))


@row("memory of convert on a 1 GiB layer", 64, "convert", "MiB")
def convert_memory():
    return {"value": own_peak_memory(command("BENCH_CONVERT_BIG"))[0] / 2**20}


@functools.cache
def mount_alone():
    """Median seconds and greatest memory in bytes."""
    times, memory = [], 0
    for _ in range(RUNS):
        out = subprocess.run([ENV["BENCH_PEAK"]] + command("BENCH_MOUNT"), check=True,
                             cwd=ENV["BENCH_MOUNT_HOME"], capture_output=True).stdout.split()
        subprocess.run(["umount", ENV["BENCH_MOUNT_TARGET"]], check=True)
        times.append(int(out[0]) / 1e6)
        memory = max(memory, int(out[1]) * 1024)
    return sorted(times)[len(times) // 2], memory


@row("nixstore-mount with a warm index", 5, "program", "ms")
def mount_time():
    return {"value": mount_alone()[0] * 1000}


@row("its memory", 8, "program", "MiB")
def mount_memory():
    return {"value": mount_alone()[1] / 2**20}


@row("index compile of 100,000 entries beyond find", 0.5, "index", "s")
def index_compile():
    out = subprocess.run(command("BENCH_INDEX"), check=True, capture_output=True, text=True)
    figures = dict(line.split()[:2] for line in out.stdout.splitlines() if line)
    return {"value": float(figures["beyond-find"]), "total": float(figures["total"]),
            "find": float(figures["find"])}
