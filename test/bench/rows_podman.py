# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people do all day with Podman, on the same image, Nix-backed and ordinary."""
import os
import shlex

from paired import paired
from table import ENV, RUNS, SLOW_RUNS, command, quietly, row

NAME = "bench-row"


@row("podman run --rm IMAGE true, driver nixstore : stock overlay", 1.05, "podman")
def run_driver():
    args = ["run", "--rm", "--network=none", ENV["BENCH_IMAGE"], "true"]
    return paired(command("BENCH_PODMAN_NIXSTORE") + args, command("BENCH_PODMAN_OVERLAY") + args,
                  RUNS)


@row("podman run --rm IMAGE true, stock + mount_program : stock overlay", None, "podman")
def run_mount_program():
    args = ["run", "--rm", "--network=none", ENV["BENCH_IMAGE"], "true"]
    return paired(command("BENCH_PODMAN_MP") + args, command("BENCH_PODMAN_OVERLAY") + args, RUNS)


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


@row("podman build of ten steps, driver nixstore : stock overlay", 1.05, "podman")
def build_ten():
    context = os.path.join(ENV["BENCH_DIR"], "ten")
    os.makedirs(context, exist_ok=True)
    with open(os.path.join(context, "Containerfile"), "w", encoding="utf-8") as out:
        out.write(f"FROM {ENV['BENCH_IMAGE']}\n")
        out.writelines(f"RUN echo {i} >/step{i}\n" for i in range(10))
    return day(f"$PODMAN build -q --no-cache --isolation=chroot -t $NAME {context}",
               "$PODMAN rmi -f $NAME; $PODMAN image prune -f")


CHANGED = "$PODMAN run --name $NAME --network=none $IMAGE sh -c 'echo x >>/etc/passwd'"


@row("podman commit of a changed file, driver nixstore : stock overlay", 1.05, "podman")
def commit_one():
    return day("$PODMAN commit -q $NAME localhost/$NAME",
               f"$PODMAN rmi -f localhost/$NAME; $PODMAN container exists $NAME || {CHANGED}",
               "$PODMAN rm $NAME; $PODMAN rmi -f localhost/$NAME")


@row("podman diff of a changed file, driver nixstore : stock overlay", 1.05, "podman")
def diff_one():
    return day("$PODMAN diff $NAME", f"$PODMAN container exists $NAME || {CHANGED}",
               "$PODMAN rm $NAME", RUNS)


@row("podman pull of an ordinary image, driver nixstore : stock overlay", 1.05, "podman")
def pull_ordinary():
    return day(f"$PODMAN pull -q oci-archive:{ENV['BENCH_ORDINARY']}",
               "$PODMAN rmi -f $($PODMAN images -q --filter reference=localhost/ordinary) || :")


@row("podman rm -f of 50 containers, driver nixstore : stock overlay", 1.05, "podman")
def rm_fifty():
    return day("$PODMAN rm -f -t 0 -a",
               "for i in $(seq 50); do $PODMAN create --network=none $IMAGE true; done",
               "$PODMAN rm -f -a")


@row("50 podman run --rm at the same time, driver nixstore : stock overlay", 1.05, "podman")
def run_fifty():
    return day("for i in $(seq 50); do $PODMAN run --rm --network=none $IMAGE true & done; wait")
