#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""passthrough.py resident FILE...: for each, how many of its pages the page cache holds that a mapping of it
would see. passthrough.py hold MOUNT FILES KEEPER: holds files of MOUNT open and mapped while the server is
killed, and opens them again, and others; prints what went wrong and how many it looked at."""
import ctypes
import mmap
import os
import signal
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)


def resident(path):
    size = os.stat(path).st_size
    with open(path, "rb") as f, mmap.mmap(f.fileno(), size, mmap.MAP_PRIVATE) as m:
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        seen = (ctypes.c_ubyte * pages)()
        at = ctypes.addressof(ctypes.c_char.from_buffer(m))
        if LIBC.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), seen) != 0:
            raise OSError(ctypes.get_errno(), path)
        return sum(byte & 1 for byte in seen)


def same(fd, path):
    size = os.fstat(fd).st_size
    with open(path, "rb") as f:
        return os.pread(fd, size, 0) == f.read()


def kill(keeper):
    """Kills the server; the next call of this process's finds another."""
    with open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii") as f:
        children = f.read().split()
    for pid in children[:1]:
        os.kill(int(pid), signal.SIGKILL)


def hold(mount, files, keeper):
    names = sorted(os.path.join(r, n)[len(files):] for r, _, f in os.walk(files) for n in f)
    names = names[::3]
    held = {n: os.open(mount + n, os.O_RDONLY) for n in names[::7]}
    opened = 0
    for _ in range(3):
        kill(keeper)
        for n in names:
            try:
                fd = os.open(mount + n, os.O_RDONLY)
            except OSError as e:
                print("failed", n, e.strerror)
                continue
            opened += 1
            if not same(fd, files + n) or (n in held and not same(held[n], files + n)):
                print("wrong", n)
            os.close(fd)
        # What is opened next time was closed before, some of it by a server that is dead then.
        for n in list(held)[::2]:
            os.close(held[n])
            held[n] = os.open(mount + n, os.O_RDONLY)
        time.sleep(0.05)
    print(f"{opened} opened")


if sys.argv[1] == "resident":
    print(*[resident(path) for path in sys.argv[2:]])
else:
    hold(*sys.argv[2:])
