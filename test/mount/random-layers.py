#!/usr/bin/python3
"""Random stacks of layers, each written twice: with the kernel's whiteouts and with AUFS's.

usage: random-layers.py SEED COUNT NATIVE-DIR AUFS-DIR

Makes NATIVE-DIR/0 (lowest) to NATIVE-DIR/<COUNT-1>, and the same below AUFS-DIR. What overlayfs shows
of the one is what nixstore-mount is to show of the other.
"""

import os
import random
import stat
import sys

NAMES = ["a", "b", "c", "d", "e-long-name", "f\n", "g\udcff", "h i"]


def write(path, rng):
    kind = rng.choice(["file", "file", "file", "empty", "link", "fifo", "device", "sparse"])
    if kind == "file":
        with open(path, "wb") as f:
            f.write(rng.randbytes(rng.choice([1, 100, 4096, 10000])))
    elif kind == "empty":
        open(path, "w").close()
    elif kind == "sparse":
        with open(path, "wb") as f:
            f.truncate(50000)
            f.seek(20000)
            f.write(b"data")
    elif kind == "link":
        os.symlink(rng.choice(["a", "../b", "x" * 300]), path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(rng.randint(1, 300), rng.randint(1, 70000)))
    return kind


def attributes(paths, rng, link=False):
    uid, gid = rng.choice([0, 1, 1000, 65534]), rng.choice([0, 5, 100000])
    mode = rng.choice([0o644, 0o755, 0o4755, 0o600, 0o1777, 0o2755])
    time = rng.randint(0, 2_000_000_000) * 10 ** 9 + rng.randint(0, 999_999_999)
    for path in paths:
        os.chown(path, uid, gid, follow_symlinks=False)
        if not link:
            os.chmod(path, mode)
        if not link and rng_value(path):
            os.setxattr(path, "trusted.test", b"value")
        os.utime(path, ns=(time, time), follow_symlinks=False)


def rng_value(path):
    return len(os.path.basename(path)) % 3 == 0


def both(function, native, aufs, rng):
    """The same random choices twice."""
    state = rng.getstate()
    result = function(native, rng)
    rng.setstate(state)
    function(aufs, rng)
    return result


def fill(native, aufs, lower, rng, depth):
    """Fills the directories; `lower` is what shows below them: {name: None or dict}."""
    shown = dict(lower)
    # Not the top: overlayfs takes no notice of an opaque root, the OCI image spec does.
    if depth > 0 and rng.random() < 0.2:
        os.setxattr(native, "trusted.overlay.opaque", b"y")
        open(os.path.join(aufs, ".wh..wh..opq"), "w").close()
        shown = {}
    files = []
    for name in rng.sample(NAMES, rng.randint(0, 5)):
        n, a = os.path.join(native, name), os.path.join(aufs, name)
        choice = rng.random()
        if choice < 0.25:
            if name not in shown and rng.random() < 0.7:
                continue
            os.mknod(n, stat.S_IFCHR, 0)
            open(os.path.join(aufs, ".wh." + name), "w").close()
            shown.pop(name, None)
        elif choice < 0.6 and depth < 4:
            os.mkdir(n)
            os.mkdir(a)
            below = shown.get(name)
            shown[name] = fill(n, a, below if isinstance(below, dict) else {}, rng, depth + 1)
        elif files and choice < 0.7:
            source = rng.choice(files)
            os.link(os.path.join(native, source), n, follow_symlinks=False)
            os.link(os.path.join(aufs, source), a, follow_symlinks=False)
            shown[name] = None
        else:
            kind = both(write, n, a, rng)
            attributes([n, a], rng, kind == "link")
            files.append(name)
            shown[name] = None
    attributes([native, aufs], rng)
    return shown


def main():
    seed, count, native, aufs = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    rng = random.Random(seed)
    shown = {}
    for i in range(count):
        for top in (native, aufs):
            os.makedirs(os.path.join(top, str(i)))
        shown = fill(os.path.join(native, str(i)), os.path.join(aufs, str(i)), shown, rng, 0)


main()
