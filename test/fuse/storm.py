#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""storm.py MOUNT FILES KILLS KEEPER: eight processes read, walk and exec in MOUNT, comparing with
FILES, while the child of the process KEEPER is killed KILLS times. Prints a line for everything that
went wrong: `wrong` bytes, a call that `failed`, a process that is `stuck`."""
import os
import random
import subprocess
import sys
import time

mount, files, kills, keeper = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 17):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def forget(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def step(rng, names):
    name = rng.choice(names)
    kind = rng.random()
    if kind < 0.8:
        content = read(files + name)
        how = rng.random()
        if how < 0.6:
            forget(mount + name)  # the server is asked
        if how < 0.3:
            forget(files + name)  # and waits for the disk
        if read(mount + name) != content:
            print("wrong bytes in", name, flush=True)
    elif kind < 0.9:
        if subprocess.run([mount + "/bin/true"], check=False).returncode != 0:
            print("failed exec", flush=True)
    else:
        directory = os.path.dirname(name)
        if sorted(os.listdir(mount + directory)) != sorted(os.listdir(files + directory)):
            print("wrong listing of", directory, flush=True)
        for entry in os.scandir(mount + directory):
            entry.stat(follow_symlinks=False)


def work(seed, names, end):
    rng = random.Random(seed)
    os.close(end[1])
    os.set_blocking(end[0], False)
    while True:
        try:
            os.read(end[0], 1)
            return  # the other end is closed
        except BlockingIOError:
            pass
        try:
            step(rng, names)
        except OSError as e:
            print("failed:", e.strerror, flush=True)


def server():
    try:
        with open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii") as f:
            return int(f.read().split()[0])
    except (OSError, IndexError):
        return 0


def forget_names():
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("2")
    except OSError:
        pass  # not for root of a user namespace


def main():
    names = [os.path.join(r, n)[len(files):] for r, _, f in os.walk(files) for n in f]
    end = os.pipe()
    children = []
    for seed in range(8):
        pid = os.fork()
        if pid == 0:
            work(seed, names, end)
            os._exit(0)
        children.append(pid)
    done = 0
    while done < kills:
        time.sleep(random.random() * 0.1)
        if random.random() < 0.3:
            forget_names()
        pid = server()
        if pid:
            os.kill(pid, 9)
            done += 1
    os.close(end[0])
    os.close(end[1])
    limit = time.monotonic() + 30
    while children and time.monotonic() < limit:
        for pid in list(children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                children.remove(pid)
        time.sleep(0.05)
    for pid in children:
        print("stuck", pid)
        os.kill(pid, 9)
    print(f"{done} times killed")


main()
