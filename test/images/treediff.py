"""Layers out of a directory tree: what changed since it was last looked at.

As image builders do it (OCI image-spec 1.1, layer.md): added and changed
entries in full, with the directories above them; a whiteout for what is gone;
an opaque directory for one that was removed and made again.
"""

import os
import stat

from tarraw import TarWriter

KIND = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink",
        stat.S_IFCHR: "char", stat.S_IFBLK: "block", stat.S_IFIFO: "fifo"}


def xattrs_of(path):
    names = os.listxattr(path, follow_symlinks=False)
    return {n: os.getxattr(path, n, follow_symlinks=False)
            for n in names if n != "security.selinux"}


class Entry:
    __slots__ = ("st", "xattrs", "link")

    def __init__(self, path):
        self.st = os.lstat(path)
        self.xattrs = xattrs_of(path)
        self.link = os.readlink(path) if stat.S_ISLNK(self.st.st_mode) else b""

    def facts(self):
        """What makes it another entry.  A link count alone does not."""
        s = self.st
        return (s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns, s.st_rdev, self.link,
                self.xattrs, s.st_ino, 0 if stat.S_ISDIR(s.st_mode) else s.st_size)


def scan(root):
    """{path relative to root, as bytes: Entry}; sockets are left out."""
    found = {}

    def visit(directory, prefix):
        for name in sorted(os.listdir(directory)):
            path, rel = os.path.join(directory, name), prefix + name
            entry = Entry(path)
            if stat.S_IFMT(entry.st.st_mode) not in KIND:
                continue
            found[rel] = entry
            if stat.S_ISDIR(entry.st.st_mode):
                visit(path, rel + b"/")
    root = os.fsencode(root)
    visit(root, b"")
    found[b"."] = Entry(root)
    return found


def is_dir(entry):
    return entry is not None and stat.S_ISDIR(entry.st.st_mode)


def changed_paths(old, new):
    changed = {p for p, e in new.items() if p not in old or e.facts() != old[p].facts()}
    # All names of a file travel together: a link into a lower layer is more
    # than stock overlay can unpack.
    inodes = {new[p].st.st_ino for p in changed if new[p].st.st_nlink > 1 and not is_dir(new[p])}
    changed |= {p for p, e in new.items() if e.st.st_ino in inodes and not is_dir(e)}
    gone = set()
    for p in old:
        parent = os.path.dirname(p) or b"."
        if p not in new and is_dir(new.get(parent)) and parent in old \
                and new[parent].st.st_ino == old[parent].st.st_ino:
            gone.add(p)
    for p in list(changed) + list(gone):
        while p and p != b".":
            p = os.path.dirname(p) or b"."
            changed.add(p)
    return changed, gone


def write_entry(t, root, path, entry, first_names):
    s, kind = entry.st, KIND[stat.S_IFMT(entry.st.st_mode)]
    name = b"./" if path == b"." else path
    common = {"mode": stat.S_IMODE(s.st_mode), "uid": s.st_uid, "gid": s.st_gid,
              "mtime": s.st_mtime_ns, "xattrs": entry.xattrs}
    if kind != "dir" and s.st_nlink > 1:
        first = first_names.setdefault(s.st_ino, path)
        if first != path:
            t.add(name, "hardlink", link=first, **common)
            return
    data = b""
    if kind == "file":
        with open(os.path.join(root, path), "rb") as f:
            data = f.read()
    t.add(name, kind, data=data, link=entry.link, major=os.major(s.st_rdev),
          minor=os.minor(s.st_rdev), **common)


def write_layer(dest, root, old, new):
    """The layer that makes `new` out of `old`; returns how many entries."""
    root = os.fsencode(root)
    changed, gone = changed_paths(old, new)
    remade = {p for p in changed if is_dir(new[p]) and is_dir(old.get(p))
              and new[p].st.st_ino != old[p].st.st_ino}
    # One sorted list: a directory, its opaque mark, its whiteouts, its entries.
    def order(item):
        path, mark = item
        if path == b".":
            return ()
        parts = [(2, c) for c in path.split(b"/")]
        if mark == "opaque":
            return (*parts, (0, b""))
        if mark == "gone":
            return (*parts[:-1], (1, parts[-1][1]))
        return tuple(parts)
    items = [(p, "") for p in changed] + [(p, "gone") for p in gone] + \
            [(p, "opaque") for p in remade]
    first_names = {}
    with open(dest, "wb") as f:
        t = TarWriter(f)
        for path, mark in sorted(items, key=order):
            head, tail = os.path.split(path)
            if mark == "gone":
                t.add(os.path.join(head, b".wh." + tail), mode=0, mtime=0)
            elif mark == "opaque":
                t.add(os.path.join(path, b".wh..wh..opq"), mode=0, mtime=0)
            else:
                write_entry(t, root, path, new[path], first_names)
        t.end()
    return len(items)
