# SPDX-License-Identifier: LGPL-2.1-or-later
"""Paired measurements: two commands in turn, A B B A A B ..., and the ratio pair by pair.

A ratio of neighbours holds where the machine's speed drifts; an absolute time does not.
"""
import os
import statistics
import subprocess
import time


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def run_once(command, before=None, cold=False, env=None, cwd=None):
    """Seconds of wall time that COMMAND (an argv list) takes. BEFORE is called untimed."""
    if before:
        before()
    if cold:
        drop_caches()
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, env=env, cwd=cwd, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: "
                           f"{done.stderr.decode(errors='replace').strip()}")
    return took


def paired(ours, peer, runs, cold=False, before_ours=None, before_peer=None, warmup=1):
    """Runs both RUNS times, the order swapped every pair. Returns medians and the median ratio."""
    for _ in range(warmup):
        run_once(ours, before_ours, cold)
        run_once(peer, before_peer, cold)
    a, b = [], []
    for i in range(runs):
        if i % 2 == 0:
            a.append(run_once(ours, before_ours, cold))
            b.append(run_once(peer, before_peer, cold))
        else:
            b.append(run_once(peer, before_peer, cold))
            a.append(run_once(ours, before_ours, cold))
    ratios = [x / y for x, y in zip(a, b)]
    return {"ours": statistics.median(a), "peer": statistics.median(b),
            "ratio": statistics.median(ratios), "ratio_of_medians":
            statistics.median(a) / statistics.median(b), "runs": runs}


def own_peak_memory(command, env=None):
    """Peak resident set in bytes of COMMAND's own process, children apart, and its seconds."""
    start = time.perf_counter()
    peak = 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, env=env) as process:
        # VmHWM only grows and belongs to the address space alone: the last sample is the peak.
        while process.poll() is None:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as f:
                    peak = max([peak] + [int(line.split()[1]) * 1024 for line in f
                                         if line.startswith("VmHWM:")])
            except OSError:
                pass
            time.sleep(0.005)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: "
                               f"{process.stderr.read().decode(errors='replace').strip()}")
    return peak, time.perf_counter() - start
