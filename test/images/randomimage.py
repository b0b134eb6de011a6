#!/usr/bin/python3
"""A random image of a few layers, which is the same for the same seed.

usage: randomimage.py SEED FILE     writes an oci-archive

Few names, so that layers meet: entries replace entries of other types, lie beneath symlinks, or name
only the children of a directory; whiteouts hit, miss, and lie beside what they hide. What Podman's
driver vfs makes of it is what `nixstore convert` is to make of it (test/convert/random.sh).
"""

import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nasty     # noqa: E402
import ociimage  # noqa: E402
from tarraw import TarWriter  # noqa: E402

NAMES = [b"a", b"b", b"c", b"\xff", b"d e"]
LINKS = [b"a", b"/b", b"../c", b"./a/b", b"/", b"..", b"nowhere", b"/a/../c"]
S = nasty.S


class Layer:
    """Writes random entries; remembers which names it has, since Podman refuses one twice."""

    def __init__(self, rng, out, tree):
        self.rng, self.tar = rng, TarWriter(out)
        self.before = list(tree)   # the paths that the layers below have
        self.tree = dict(tree)     # path: kind, as far as names go; symlinks are not followed
        self.here = set()          # what this layer has named

    def of_kind(self, *kinds):
        return [p for p, kind in self.tree.items() if kind in kinds]

    def path(self):
        """Mostly beneath a directory that there is, at times beneath a symlink."""
        parents = self.of_kind("dir") + [b""] * 2
        if self.rng.random() < 0.08:
            parents = self.of_kind("symlink") or parents
        parent = self.rng.choice(parents)
        path = (parent + b"/" if parent else b"") + self.rng.choice(NAMES)
        if path not in self.tree and self.rng.random() < 0.15:
            path += b"/" + self.rng.choice(NAMES)
        return path

    def forget(self, path):
        for p in [p for p in self.tree if p == path or p.startswith(path + b"/")]:
            del self.tree[p]

    def named(self, path, kind):
        if kind != "dir" or self.tree.get(path) != "dir":
            self.forget(path)
        self.tree[path] = kind
        self.here.add(path)
        for i, byte in enumerate(path):
            if byte == ord("/"):
                self.tree.setdefault(path[:i], "dir")

    def spelled(self, path):
        """The same name, as some archiver or other writes it."""
        if self.rng.random() < 0.8:
            return path
        return self.rng.choice([b"./", b"/", b".//"]) + path.replace(b"/", self.rng.choice([b"/", b"//", b"/./"]))

    def attributes(self, kind):
        rng = self.rng
        said = {"mode": rng.choice([0o755, 0o644, 0o4711, 0o2750, 0o1777, 0o600, 0]),
                "uid": rng.choice([0, 1, 33, 65534]), "gid": rng.choice([0, 5, 70000]),
                "mtime": nasty.T0 + rng.randrange(10 ** 6) * S + rng.choice([0, 0, 1, 999999999])}
        if kind in ("file", "dir") and rng.random() < 0.3:
            said["xattrs"] = {"user." + rng.choice("xy"): rng.randbytes(rng.choice([1, 40, 400]))}
        if kind == "file" and rng.random() < 0.1:
            said.setdefault("xattrs", {})["security.capability"] = nasty.cap(1 << 13)
        if kind == "symlink":
            del said["mode"]
        said["style"] = rng.choice(["pax", "pax", "gnu"])
        return said

    def entry(self):
        path = self.path()
        if path in self.here:
            return
        kind = self.rng.choice(["file"] * 4 + ["dir"] * 4 + ["symlink"] * 2 + ["fifo", "char"])
        more = {"file": {"data": self.rng.randbytes(self.rng.choice([0, 1, 5000]))},
                "symlink": {"link": self.rng.choice(LINKS)},
                "char": {"major": 1, "minor": self.rng.choice([3, 5])}}.get(kind, {})
        self.tar.add(self.spelled(path), kind, **more, **self.attributes(kind))
        self.named(path, kind)

    def hardlink(self):
        """To a file of this layer or of one below. Not to FIFOs, whose names vfs parts in copying."""
        files = self.of_kind("file")
        path = self.path()
        if not files or path in self.here:
            return
        self.tar.add(self.spelled(path), "hardlink", link=self.spelled(self.rng.choice(files)),
                     **self.attributes("hardlink"))
        self.named(path, "file")

    def untouched(self, paths):
        """Those where this layer has named nothing: the spec knows whiteouts of no other."""
        return [p for p in paths if not any(h == p or h.startswith(p + b"/") for h in self.here)]

    def hide(self, path, name):
        if name not in self.here:
            self.tar.add(self.spelled(name), mode=0)
            self.here.add(name)
            for p in [p for p in self.tree if p.startswith(path + b"/")]:
                del self.tree[p]

    def whiteout(self):
        path = self.rng.choice(self.untouched(self.before) + [b"missing"])
        head, _, tail = path.rpartition(b"/")
        self.hide(path, (head + b"/" if head else b"") + b".wh." + tail)
        self.tree.pop(path, None)

    def opaque(self):
        path = self.rng.choice(self.untouched(self.of_kind("dir")) + [b"new"])
        self.hide(path, path + b"/.wh..wh..opq")

    def write(self, count):
        """Returns the names that there are now."""
        steps = [self.entry] * 12 + [self.hardlink] * 2
        if self.before:
            steps += [self.whiteout] * 4 + [self.opaque]
        for _ in range(count):
            self.rng.choice(steps)()
        self.tar.end()
        return self.tree


def main():
    seed, dest = int(sys.argv[1]), sys.argv[2]
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as tmp:
        paths, tree = [nasty.layer(os.path.join(tmp, "0"), nasty.base_dirs)], {}
        for i in range(1, rng.randrange(3, 6)):
            paths.append(os.path.join(tmp, str(i)))
            with open(paths[-1], "wb") as out:
                tree = Layer(rng, out, tree).write(rng.randrange(4, 14))
        ociimage.Image(f"random-{seed}", paths).write(dest, "oci-archive", "gzip")


if __name__ == "__main__":
    main()
