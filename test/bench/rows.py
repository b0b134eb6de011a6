#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of `make bench`: each is ours against a named peer, in one run, as a ratio.

Called by test/bench/run, which prepares the store and Podman's storages and passes what it made in
the environment. Prints a table, and with BENCH_JSON=FILE writes the same as JSON.
"""
import json
import os
import shlex
import subprocess
import sys

from paired import own_peak_memory, paired

ENV = os.environ
RUNS = int(ENV.get("BENCH_RUNS", "20"))
SLOW_RUNS = int(ENV.get("BENCH_SLOW_RUNS", "5"))
ONLY = ENV.get("BENCH_ONLY", "").split()
ROWS = []


def command(name):
    """An argv list that test/bench/run left, quoted for a shell, in the variable NAME."""
    return shlex.split(ENV[name])


def row(name, bar):
    """Registers the measurement that follows as the row NAME; BAR is what the ratio may be at most."""
    def register(function):
        ROWS.append((name, bar, function))
        return function
    return register


def quietly(argv):
    def call():
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
    return call


@row("podman run --rm IMAGE true, driver nixstore : stock overlay", 1.05)
def run_driver():
    args = ["run", "--rm", "--network=none", ENV["BENCH_IMAGE"], "true"]
    return paired(command("BENCH_PODMAN_NIXSTORE") + args, command("BENCH_PODMAN_OVERLAY") + args,
                  RUNS)


@row("podman run --rm IMAGE true, stock + mount_program : stock overlay", None)
def run_mount_program():
    args = ["run", "--rm", "--network=none", ENV["BENCH_IMAGE"], "true"]
    return paired(command("BENCH_PODMAN_MP") + args, command("BENCH_PODMAN_OVERLAY") + args, RUNS)


def on_mounts(argv, cold):
    ours = [a.replace("@", ENV["BENCH_MOUNTED"]) for a in argv]
    peer = [a.replace("@", ENV["BENCH_BIND"]) for a in argv]
    return paired(ours, peer, RUNS, cold=cold)


WALK = ["find", "@", "-xdev", "-printf", "%U %G %m %s %T@\\n"]
# tar to /dev/null does not read; to a pipe it does.
READ = ["sh", "-c", 'tar --one-file-system -C "@" -cf - . | cat >/dev/null']
EXEC = ["sh", "-c", 'i=0; while [ $i -lt 200 ]; do chroot "@" /bin/true; i=$((i+1)); done']

for _name, _argv in (("metadata walk", WALK), ("reading every file", READ),
                     ("200 execs of a dynamically linked program", EXEC)):
    for _cold in (False, True):
        row(f"{_name}, {'cold' if _cold else 'hot'}, erofs mode : bind mount of rootfs", 1.05)(
            lambda argv=_argv, cold=_cold: on_mounts(argv, cold))


@row("nixstore convert --import oci-archive : podman load", 0.75)
def convert_import():
    return paired(command("BENCH_CONVERT"), command("BENCH_LOAD"), SLOW_RUNS,
                  before_ours=quietly(command("BENCH_CONVERT_NEXT")),
                  before_peer=quietly(command("BENCH_LOAD_NEXT")))


@row("nixstore-mount, warm index (ms, of 5) and its memory (MiB, of 8)", None)
def mount_alone():
    times, memory = [], 0
    for _ in range(RUNS):
        out = subprocess.run([ENV["BENCH_PEAK"]] + command("BENCH_MOUNT"), check=True,
                             capture_output=True).stdout.split()
        subprocess.run(["umount", ENV["BENCH_MOUNT_TARGET"]], check=True)
        times.append(int(out[0]) / 1e6)
        memory = max(memory, int(out[1]) * 1024)
    times.sort()
    return {"absolute": f"{times[len(times) // 2] * 1000:.1f} ms, {memory / 2**20:.1f} MiB"}


@row("index compile of 100,000 entries beyond find (s, of 0.5)", None)
def index_compile():
    out = subprocess.run(command("BENCH_INDEX"), check=True, capture_output=True, text=True)
    figures = dict(line.split()[:2] for line in out.stdout.splitlines() if line)
    return {"absolute": f"{figures['beyond-find']} s ({figures['total']} against {figures['find']})"}


@row("memory of convert on a 1 GiB layer (MiB, of 64)", None)
def convert_memory():
    peak, took = own_peak_memory(command("BENCH_CONVERT_BIG"))
    return {"absolute": f"{peak / 2**20:.1f} MiB, {took:.1f} s"}


# What people do all day, on the same image, Nix-backed and ordinary.
NAME = "bench-row"


def both(argv, ours="BENCH_PODMAN_NIXSTORE"):
    """ARGV, where $PODMAN is Podman in one storage and in the other, as shell commands."""
    return [["sh", "-ec", argv.replace("$PODMAN", shlex.join(command(name))).replace(
        "$IMAGE", ENV["BENCH_IMAGE"]).replace("$NAME", NAME)]
        for name in (ours, "BENCH_PODMAN_OVERLAY")]


def day(argv, before="", after="", runs=SLOW_RUNS):
    """Pairs of ARGV; BEFORE comes before each run, untimed, and AFTER after the last."""
    ours, peer = both(argv)
    before_ours, before_peer = both(before or "true")
    try:
        return paired(ours, peer, runs, before_ours=quietly(before_ours),
                      before_peer=quietly(before_peer))
    finally:
        for each in both(after or before or "true"):
            quietly(each)()


@row("podman build of ten steps, driver nixstore : stock overlay", 1.05)
def build_ten():
    context = os.path.join(ENV["BENCH_DIR"], "ten")
    os.makedirs(context, exist_ok=True)
    with open(os.path.join(context, "Containerfile"), "w", encoding="utf-8") as out:
        out.write(f"FROM {ENV['BENCH_IMAGE']}\n")
        out.writelines(f"RUN echo {i} >/step{i}\n" for i in range(10))
    return day(f"$PODMAN build -q --no-cache --isolation=chroot -t $NAME {context}",
               "$PODMAN rmi -f $NAME; $PODMAN image prune -f")


CHANGED = "$PODMAN run --name $NAME --network=none $IMAGE sh -c 'echo x >>/etc/passwd'"


@row("podman commit of a changed file, driver nixstore : stock overlay", 1.05)
def commit_one():
    return day("$PODMAN commit -q $NAME localhost/$NAME",
               f"$PODMAN rmi -f localhost/$NAME; $PODMAN container exists $NAME || {CHANGED}",
               "$PODMAN rm $NAME; $PODMAN rmi -f localhost/$NAME")


@row("podman diff of a changed file, driver nixstore : stock overlay", 1.05)
def diff_one():
    return day("$PODMAN diff $NAME", f"$PODMAN container exists $NAME || {CHANGED}",
               "$PODMAN rm $NAME", RUNS)


@row("podman pull of an ordinary image, driver nixstore : stock overlay", 1.05)
def pull_ordinary():
    return day(f"$PODMAN pull -q oci-archive:{ENV['BENCH_ORDINARY']}",
               "$PODMAN rmi -f $($PODMAN images -q --filter reference=localhost/ordinary) || :")


@row("podman rm -f of 50 containers, driver nixstore : stock overlay", 1.05)
def rm_fifty():
    return day("$PODMAN rm -f -t 0 -a",
               "for i in $(seq 50); do $PODMAN create --network=none $IMAGE true; done",
               "$PODMAN rm -f -a")


@row("50 podman run --rm at the same time, driver nixstore : stock overlay", 1.05)
def run_fifty():
    return day("for i in $(seq 50); do $PODMAN run --rm --network=none $IMAGE true & done; wait")


def main():
    results = []
    for name, bar, function in ROWS:
        if ONLY and not any(word in name for word in ONLY):
            continue
        try:
            result = function()
        except (RuntimeError, KeyError) as problem:
            result = {"absolute": f"not measured: {problem}"}
        result.update(name=name, bar=bar)
        results.append(result)
        if "ratio" in result:
            verdict = "" if bar is None else ("ok" if result["ratio"] <= bar else "MISSED")
            print(f"{result['ratio']:6.3f}  {'' if bar is None else f'<= {bar:.2f}':8} {verdict:6} "
                  f"{result['ours']:9.4f} s {result['peer']:9.4f} s  {name}", flush=True)
        else:
            print(f"{'':50}{name}: {result['absolute']}", flush=True)
    if ENV.get("BENCH_JSON"):
        with open(ENV["BENCH_JSON"], "w", encoding="utf-8") as out:
            json.dump(results, out, indent=2)
    missed = [r for r in results if r.get("bar") and r.get("ratio", 0) > r["bar"]]
    return 1 if missed else 0


if __name__ == "__main__":
    print(f"{'ratio':>6}  {'bar':8} {'':6} {'ours':>11} {'peer':>11}  what "
          f"(medians of {RUNS} pairs; {SLOW_RUNS} for conversions)", flush=True)
    sys.exit(main())
