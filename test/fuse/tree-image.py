#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tree-image.py TREE DEST: an OCI directory whose one layer is TREE, with all that tar can hold of
it, hard links and xattrs too."""
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "images"))
sys.dont_write_bytecode = True
import ociimage  # noqa: E402
import tarraw  # noqa: E402

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo"}


def add(tar, path, name, first_names):
    st = os.lstat(path)
    kind, link, data = KINDS[stat.S_IFMT(st.st_mode)], b"", b""
    key = (st.st_dev, st.st_ino)
    if kind != "dir" and st.st_nlink > 1 and key in first_names:
        kind, link = "hardlink", first_names[key]
    elif kind == "symlink":
        link = os.readlink(path)
    elif kind == "file":
        with open(path, "rb") as f:
            data = f.read()
    first_names.setdefault(key, name)
    xattrs = {} if kind == "symlink" else {
        os.fsencode(x).decode(): os.getxattr(path, x) for x in os.listxattr(path)}
    tar.add(name, kind, data, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, link,
            os.major(st.st_rdev), os.minor(st.st_rdev), xattrs)


def main():
    top, dest = os.fsencode(sys.argv[1]), sys.argv[2]
    first_names = {}
    with open(dest + ".layer", "wb") as out:
        tar = tarraw.TarWriter(out)
        for path, dirs, files in os.walk(top):
            dirs.sort()
            add(tar, path, os.path.relpath(path, top), first_names)
            links = [d for d in dirs if os.path.islink(os.path.join(path, d))]
            for name in sorted(files + links):
                whole = os.path.join(path, name)
                add(tar, whole, os.path.relpath(whole, top), first_names)
        out.write(bytes(2 * tarraw.BLOCK))
    ociimage.Image("tree", [dest + ".layer"], {}).write(dest, "oci", "plain")
    os.unlink(dest + ".layer")


main()
