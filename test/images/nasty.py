"""Images made to be nasty: everything that a layer may legally hold.

`nasty` is what every stock driver can unpack; the `nasty-…` ones are cases
where the stock drivers disagree with each other, or where one of them gives
up, each on its own so that a failure says which.  What the drivers make of
them is written down in test/podman/fidelity.sh.
"""

import os
import struct

from tarraw import TarWriter, header, pad, pax_record

S = 10 ** 9
T0 = 1_500_000_000 * S          # an ordinary time: 2017


def cap(permitted, effective=True):
    """A security.capability of revision 2 (linux/capability.h)."""
    return struct.pack("<5I", 0x02000000 | effective, permitted, 0, 0, 0)


def layer(path, *parts):
    with open(path, "wb") as f:
        t = TarWriter(f)
        for part in parts:
            part(t)
        t.end()
    return path


# ------------------------------------------------------------ the topics ----

def base_dirs(t):
    t.add("./", "dir", mode=0o755, mtime=T0)
    for d in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr", "var"):
        t.add(d, "dir", mode=0o1777 if d == "tmp" else 0o755, mtime=T0 + 1)
    t.add("etc/passwd", data=b"root:x:0:0:root:/:/bin/sh\n", mtime=T0 + 2)


def names(t):
    t.add("names", "dir", mtime=T0)
    odd = [b"newline\nin name", b"tab\tname", b"\xff\xfe not utf-8 \x80", b"back\\slash",
           b"\\012 looks escaped", b"quote'\"`$(x)", b" leading", b"trailing ", b"#hash",
           b"=equals", b"*?[glob]", b"-rf", b"...", b".hidden", b"\x01\x1f\x7f control",
           "snow\u2603man".encode(), "e\u0301 decomposed".encode(), "\u00e9 composed".encode(),
           b"wh.plain", b"..data", b"a.wh.b", b"CON:", b"%41%2F"]
    for i, n in enumerate(odd):
        t.add(b"names/" + n, data=n, mtime=T0 + i * S)
    t.add(b"names/" + b"n" * 255, data=b"255", style="pax")
    t.add(b"names/" + b"\xf0" * 255, data=b"255 raw", style="gnu")
    t.add(b"names/" + b"d" * 255, "dir", style="gnu", mtime=T0)
    t.add(b"names/" + b"d" * 255 + b"/" + b"f" * 255, data=b"x", style="gnu")
    t.add(b"names/" + b"u" * 60 + b"/" + b"v" * 80, data=b"ustar prefix", style="ustar")
    t.add("./names/./dotted//twice", data=b"cleaned", mtime=T0)
    t.add("/names/absolute", data=b"absolute", mtime=T0)
    t.add("names/dir-no-slash", "dir", mtime=T0)


def deep(t, levels=90):
    """Many levels, and a path of 3,900 bytes: near PATH_MAX, not over it."""
    path = "deep"
    t.add(path, "dir", mtime=T0)
    for i in range(levels):
        path += f"/d{i % 10}"
        t.add(path, "dir", mtime=T0 + i)
    t.add(path + "/leaf", data=b"deep down", mtime=T0)
    path = "deep/long"
    t.add(path, "dir", mtime=T0)
    for i in range(15):
        path += "/" + chr(ord("a") + i) * 250
        t.add(path, "dir", mtime=T0 + i)
    t.add(path + "/leaf", data=b"far down", mtime=T0)


def modes(t):
    t.add("modes", "dir", mtime=T0)
    for m in (0, 0o1, 0o400, 0o444, 0o555, 0o600, 0o640, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
        t.add(f"modes/f{m:04o}", data=b"%o" % m, mode=m, uid=m % 7, gid=m % 5, mtime=T0)
    for m in (0, 0o700, 0o555, 0o1777, 0o2775, 0o4755, 0o7777):
        t.add(f"modes/d{m:04o}", "dir", mode=m, uid=3, gid=4, mtime=T0)
        t.add(f"modes/d{m:04o}/child", data=b"c", mtime=T0)
    for i, u in enumerate((1, 65534, 65535, 65536, 2097151, 2097152, 2 ** 31 - 1, 2 ** 31, 4294967294)):
        t.add(f"modes/uid{u}", data=b"u", uid=u, gid=4294967294 - i, mtime=T0)
        t.add(f"modes/gnu-uid{u}", data=b"u", uid=u, gid=u, mtime=T0, style="gnu")
    t.add("modes/named", data=b"n", uid=33, gid=33, uname=b"root", gname=b"root", mtime=T0)


def times(t):
    t.add("times", "dir", mtime=T0 + 123456789)
    for ns in (0, 1, 999999999, S, T0 + 1, T0 + 123456789, T0 + 999999999,
               2 ** 31 * S - 1, 2 ** 31 * S, 2 ** 32 * S, 9_000_000_000 * S):
        t.add(f"times/f{ns}", data=b"t", mtime=ns)
        t.add(f"times/d{ns}", "dir", mtime=ns)
        t.add(f"times/l{ns}", "symlink", link="x", mtime=ns)
        t.add(f"times/p{ns}", "fifo", mtime=ns)
    # Before 1970: stock Podman makes these 1970, but for symlinks.
    for ns in (-1, -S, -2 ** 31 * S):
        t.add(f"times/before{-ns}", data=b"t", mtime=ns)
        t.add(f"times/before-dir{-ns}", "dir", mtime=ns)
        t.add(f"times/before-link{-ns}", "symlink", link="x", mtime=ns)
    # After 2262 (2^63 ns): stock Podman makes these 1970.
    t.add("times/after2262", data=b"t", mtime=10_000_000_000 * S)


def contents(t):
    t.add("contents", "dir", mtime=T0)
    for n in (0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 1_000_003):
        t.add(f"contents/size{n}", data=(b"%d " % n * n)[:n], mtime=T0)
    t.add("contents/zeros", data=b"\0" * 300_000, mtime=T0)
    extents = [(0, b"begin"), (1 << 20, b"x" * 5000), (3 << 20, b"end")]
    for v in ("0.0", "0.1", "1.0"):
        t.sparse_pax(v, f"contents/sparse-{v}", (3 << 20) + 3, extents)
    t.sparse_pax("1.0", "contents/sparse-hole-at-end", 2 << 20, [(0, b"head")])
    t.sparse_pax("1.0", "contents/sparse-only-hole", 2 << 20, [])
    t.sparse_pax("1.0", "contents/sparse-many", 100 << 12,
                 [(i << 12, b"%4d" % i) for i in range(0, 100, 2)])


def links(t):
    t.add("links", "dir", mtime=T0)
    for n in (1, 59, 60, 61, 100, 101, 255, 256, 1000, 4095):
        t.add(f"links/sym{n}", "symlink", link="s" * n, mtime=T0 + n, uid=n, gid=n)
    for name, to in (("abs", "/etc/passwd"), ("up", "../../../../etc/passwd"), ("dot", "."),
                     ("loop", "loop"), ("dangling", "no/such"), ("raw", b"\xff\n\x01")):
        t.add(f"links/{name}", "symlink", link=to, mtime=T0)
    t.add("links/a", data=b"shared content", mode=0o640, uid=7, gid=8, mtime=T0 + 5)
    for n in ("b", "c", "z/deep/d"):
        t.add(f"links/{n}", "hardlink", link="links/a", mode=0o640, uid=7, gid=8, mtime=T0 + 5)
    t.add("links/empty", mtime=T0)
    t.add("links/empty2", "hardlink", link="./links/empty", mtime=T0)
    # The entry of the link speaks last about what they share.
    t.add("links/first", data=b"first", mode=0o600, uid=1, gid=1, mtime=T0)
    t.add("links/second", "hardlink", link="/links/first", mode=0o644, uid=2, gid=3, mtime=T0 + 9 * S)
    for i in range(200):
        t.add(f"links/many{i:03}", "hardlink" if i else "file", data=b"" if i else b"many",
              link="links/many000", mtime=T0)


def devices(t):
    t.add("devices", "dir", mtime=T0)
    for n, (ma, mi) in enumerate(((1, 3), (0, 1), (5, 0), (255, 255), (256, 256), (4095, 1048575))):
        t.add(f"devices/c{ma}-{mi}", "char", major=ma, minor=mi, mode=0o600 + n, gid=5, mtime=T0)
        t.add(f"devices/b{ma}-{mi}", "block", major=ma, minor=mi, mode=0o660, gid=6, mtime=T0)
    t.add("devices/b0-0", "block", mode=0o600, mtime=T0)
    t.add("devices/fifo", "fifo", mode=0o622, uid=9, mtime=T0)


def xattrs(t):
    t.add("xattrs", "dir", mtime=T0, xattrs={"user.on.dir": b"d"})
    t.add("xattrs/ping", data=b"\x7fELF", mode=0o755, mtime=T0,
          xattrs={"security.capability": cap(1 << 13)})
    t.add("xattrs/user", data=b"x", mtime=T0, xattrs={
        "user.binary": bytes(b for b in range(256) if b != 10),
        "user.with\u00e9": "\u00e9".encode(), "user.a.b.c": b"1", "user.long": b"v" * 1500})
    t.add("xattrs/nul", data=b"x", mtime=T0, xattrs={"user.newline": b"a\nb=c\n", "user.nul": b"\0\0"})
    t.add("xattrs/many", data=b"x", mtime=T0, xattrs={f"user.k{i:03}": b"%d" % i for i in range(60)})
    for i in range(40):
        t.add(f"xattrs/same{i:02}", data=b"x", mtime=T0, xattrs={"user.same": b"shared value " * 8})
    t.add("xattrs/suid-cap", data=b"x", mode=0o4755, uid=5, mtime=T0,
          xattrs={"security.capability": cap(1 << 10)})
    t.add("xattrs/cap-link", "hardlink", link="xattrs/ping", mode=0o755, mtime=T0,
          xattrs={"security.capability": cap(1 << 13)})
    t.add("xattrs/name" + "n" * 100, data=b"x", mtime=T0, xattrs={"user." + "n" * 250: b"long name"})


def crowded(t):
    t.add("crowded", "dir", mtime=T0)
    for i in range(5000):
        t.add(f"crowded/entry-{i * 7919 % 5000:05}", data=b"%d" % (i % 10) if i % 50 == 0 else b"",
              mtime=T0 + i)


def implied(t):
    """Entries without parents: the directories between are never named."""
    t.add("implied/only/through/children", data=b"x", mtime=T0)
    t.add("implied/only/through/others/", "dir", mode=0o700, uid=4, mtime=T0)


def duplicates(t):
    t.add("dup", "dir", mode=0o700, mtime=T0)
    t.add("dup/file", data=b"first", mtime=T0)
    t.add("dup/link", "hardlink", link="dup/file", mtime=T0)
    t.add("dup/file", data=b"second, on its own", mode=0o600, mtime=T0 + S)
    t.add("dup/kind", data=b"a file", mtime=T0)
    t.add("dup/kind", "symlink", link="file", mtime=T0)
    t.add("dup/tofile", "dir", mtime=T0)
    t.add("dup", "dir", mode=0o755, uid=11, mtime=T0 + 2 * S)
    t.add("dup/again", "fifo", mtime=T0)
    t.add("dup/again", "fifo", mode=0o600, mtime=T0 + 3 * S)


def to_change(t):
    """What the upper layers delete, hide and replace."""
    for d in ("del", "del/dir", "del/dir/sub", "opq", "opq/sub", "late", "late/old",
              "type", "type/dir", "type/dir/in", "keep", "redo"):
        t.add(d, "dir", mode=0o750, uid=1, gid=2, mtime=T0 + 77, xattrs={"user.lower": b"1"})
    for f in ("del/file", "del/dir/sub/f", "del/other", "opq/a", "opq/sub/b", "late/gone",
              "late/old/gone", "type/file", "type/dir/in/f", "keep/f", "redo/f"):
        t.add(f, data=b"lower " + f.encode(), mtime=T0 + 78)
    t.add("type/link", "symlink", link="dir", mtime=T0)
    t.add("type/dangling", "symlink", link="nowhere", mtime=T0)
    for i in range(3):
        t.add(f"lower-link{i}", "hardlink" if i else "file", data=b"" if i else b"lower links",
              link="lower-link0", mtime=T0)
    t.add("big-lower", data=b"L" * 200_000, mtime=T0)


def whiteout(t, path):
    head, _, tail = path.rpartition("/")
    t.add((head + "/" if head else "") + ".wh." + tail, mode=0, mtime=T0)


def changes(t):
    """Layer 2."""
    t.add("del", "dir", mode=0o751, mtime=T0 + 100)
    whiteout(t, "del/file")
    whiteout(t, "del/dir")
    whiteout(t, "no/such/file")
    t.add("opq", "dir", mode=0o711, uid=6, mtime=T0 + 101)
    t.add("opq/.wh..wh..opq", mode=0, mtime=T0)
    t.add("opq/new", data=b"upper", mtime=T0 + 102)
    # Not the first of its directory: what this layer brought stays.
    t.add("late", "dir", mtime=T0 + 103)
    t.add("late/new", data=b"stays", mtime=T0 + 104)
    t.add("late/newdir", "dir", mtime=T0 + 105)
    t.add("late/newdir/f", data=b"stays", mtime=T0 + 106)
    t.add("late/.wh..wh..opq", mode=0, mtime=T0)
    t.add("type", "dir", mtime=T0 + 107)
    t.add("type/file", "dir", mtime=T0 + 108)
    t.add("type/file/in", data=b"in", mtime=T0 + 109)
    t.add("type/dir", "symlink", link="file", mtime=T0 + 110)
    t.add("type/link", data=b"now a file", mtime=T0 + 111)
    t.add("type/dangling", "dir", mtime=T0 + 112)
    # Directories named again: their attributes are the upper layer's.
    t.add("keep", "dir", mode=0o705, uid=9, gid=9, mtime=T0 + 113)
    # A whiteout and then the same name again.
    t.add("redo", "dir", mtime=T0 + 114)
    whiteout(t, "redo/f")
    t.add("redo/f", data=b"made again", mtime=T0 + 115)
    whiteout(t, "lower-link0")
    t.add("big-lower", data=b"U" * 10, mtime=T0 + 116)
    t.add("tmp/in-second", data=b"2", mtime=T0 + 117)


def more_changes(t):
    """Layer 3."""
    t.add("del", "dir", mode=0o751, mtime=T0 + 200)
    t.add("del/dir", data=b"a file where a directory was", mtime=T0 + 201)
    t.add("opq", "dir", mtime=T0 + 202)
    whiteout(t, "opq/new")
    t.add("type", "dir", mtime=T0 + 203)
    whiteout(t, "type/file")
    t.add("lower-link1", data=b"no longer a link", mtime=T0 + 204)
    t.add("names", "dir", mtime=T0 + 205)
    t.add(b"names/.wh.newline\nin name", mode=0, mtime=T0)
    t.add(b"names/.wh.\xff\xfe not utf-8 \x80", mode=0, mtime=T0)


# ------------------------------------------------------------ the images ----

def nasty(d):
    return [layer(os.path.join(d, "1"), base_dirs, names, deep, modes, times, contents, links,
                  devices, xattrs, crowded, implied, to_change),
            layer(os.path.join(d, "2"), changes),
            layer(os.path.join(d, "3"), more_changes)]


def nasty_duplicates(d):
    """One name more than once in a layer: stock Podman refuses it."""
    return [layer(d + "/1", base_dirs, duplicates)]


def nasty_dirs(d):
    """An upper layer names directories only through their children."""
    def lower(t):
        for n in ("own", "own/sub", "gone"):
            t.add(n, "dir", mode=0o2750, uid=12, gid=13, mtime=T0 + 3, xattrs={"user.lower": b"1"})
        t.add("own/f", data=b"f", mtime=T0)
        t.add("real", "dir", mode=0o700, mtime=T0)
        t.add("alias", "symlink", link="real", mtime=T0)
        t.add("abs-alias", "symlink", link="/real/", mtime=T0)
        t.add("up-alias", "symlink", link="../../../real", mtime=T0)

    def upper(t):
        t.add("own/sub/new", data=b"new", mtime=T0)
        whiteout(t, "own/f")
        # Beneath what an earlier layer made a symlink.
        t.add("alias/through", data=b"through", mtime=T0)
        t.add("abs-alias/through2", data=b"through", mtime=T0)
        t.add("up-alias/sub/", "dir", mtime=T0)
        t.add("up-alias/sub/through3", data=b"through", mtime=T0)
        t.add("gone/x/y/z", data=b"z", mtime=T0)
    return [layer(d + "/1", base_dirs, lower), layer(d + "/2", upper)]


def nasty_links(d):
    """Hard links from an upper layer into a lower one, and odd link targets."""
    def lower(t):
        t.add("a", data=b"lower a", mode=0o640, uid=3, mtime=T0)
        t.add("sym", "symlink", link="a", uid=1, mtime=T0)
        t.add("sym2", "hardlink", link="sym", uid=2, mtime=T0 + S)
        t.add("fifo", "fifo", mtime=T0)
        t.add("fifo2", "hardlink", link="fifo", mtime=T0)
        t.add("null", "char", major=1, minor=3, mtime=T0)
        t.add("null2", "hardlink", link="null", mtime=T0)
        t.add("cap", data=b"c", mode=0o4755, mtime=T0, xattrs={"security.capability": cap(1 << 13)})
        # Its entry carries no capability: a chown takes it from both names.
        t.add("cap2", "hardlink", link="cap", mode=0o755, uid=1, mtime=T0)

    def upper(t):
        t.add("b", "hardlink", link="a", mode=0o600, uid=4, mtime=T0 + 2 * S)
        t.add("sym3", "hardlink", link="sym", uid=2, mtime=T0)
    return [layer(d + "/1", base_dirs, lower), layer(d + "/2", upper)]


def nasty_order(d):
    """A whiteout *after* the entry of the same name, in one layer."""
    def lower(t):
        t.add("d", "dir", mtime=T0)
        t.add("d/f", data=b"lower", mtime=T0)

    def upper(t):
        t.add("d", "dir", mtime=T0)
        t.add("d/f", data=b"upper", mtime=T0)
        whiteout(t, "d/f")
    return [layer(d + "/1", base_dirs, lower), layer(d + "/2", upper)]


def nasty_redo_dir(d):
    """A whiteout, then a directory of the same name, in one layer."""
    def lower(t):
        t.add("d", "dir", mode=0o700, mtime=T0)
        t.add("d/f", data=b"lower", mtime=T0)

    def upper(t):
        whiteout(t, "d")
        t.add("d", "dir", mode=0o755, mtime=T0)
        t.add("d/g", data=b"upper", mtime=T0)
    return [layer(d + "/1", base_dirs, lower), layer(d + "/2", upper)]


def nasty_overlay(d):
    """overlayfs' own marks in an image: to be escaped or refused, never obeyed."""
    def lower(t):
        t.add("d", "dir", mtime=T0)
        t.add("d/secret", data=b"not to be seen elsewhere", mode=0o600, mtime=T0)
        t.add("e", "dir", mtime=T0)
        t.add("e/f", data=b"f", mtime=T0)
        t.add("gone", data=b"x", mtime=T0)

    def upper(t):
        for ns in ("trusted", "user"):
            t.add(f"{ns}-redirect", data=b"", mtime=T0, xattrs={
                f"{ns}.overlay.metacopy": b"", f"{ns}.overlay.redirect": b"/d/secret"})
            t.add(f"{ns}-whiteout", data=b"", mtime=T0, xattrs={f"{ns}.overlay.whiteout": b""})
        t.add("e", "dir", mtime=T0, xattrs={"trusted.overlay.opaque": b"y"})
        t.add("d", "dir", mtime=T0, xattrs={"trusted.overlay.redirect": b"/etc",
                                            "trusted.overlay.overlay.opaque": b"y"})
        t.add("gone", "char", mtime=T0)
    return [layer(d + "/1", base_dirs, lower), layer(d + "/2", upper)]


def nasty_trusted(d):
    """xattrs of other name spaces; stock vfs loses them when it copies."""
    def one(t):
        t.add("trusted", data=b"x", mtime=T0, xattrs={"trusted.mine": b"1"})
        t.add("ima", data=b"x", mtime=T0, xattrs={"security.ima": b"\x03hash"})
        t.add("selinux", data=b"x", mtime=T0, xattrs={
            "security.selinux": b"system_u:object_r:etc_t:s0\0"})
        t.add("acl", data=b"x", mode=0o664, mtime=T0, xattrs={
            # system.posix_acl_access, u::rw- u:5:r-- g::r-- m::rw- o::r--
            "system.posix_acl_access": struct.pack(
                "<I" + "HHI" * 5, 2, 1, 6, 2 ** 32 - 1, 2, 4, 5, 4, 4, 2 ** 32 - 1,
                16, 6, 2 ** 32 - 1, 32, 4, 2 ** 32 - 1)})
        t.add("link", "symlink", link="x", mtime=T0, xattrs={"trusted.on.link": b"1"})
        t.add("fifo", "fifo", mtime=T0, xattrs={"trusted.on.fifo": b"1"})
    return [layer(d + "/1", base_dirs, one)]


def nasty_user_link(d):
    """user.* on what cannot have it: stock Podman refuses to load it."""
    def one(t):
        t.add("link", "symlink", link="x", mtime=T0, xattrs={"user.on.link": b"1"})
    return [layer(d + "/1", base_dirs, one)]


def nasty_empty_xattr(d):
    """An xattr without a value: Podman 4.3 drops it, 5.4 keeps it."""
    def one(t):
        t.add("f", data=b"x", mtime=T0, xattrs={"user.empty": b"", "user.other": b"1"})
    return [layer(d + "/1", base_dirs, one)]


def nasty_gnu_sparse(d):
    """GNU's old sparse type S: stock Podman refuses it, GNU tar writes it."""
    def one(t):
        t.sparse_gnu("few", (3 << 20) + 3, [(0, b"begin"), (1 << 20, b"x" * 5000), (3 << 20, b"end")])
        t.sparse_gnu("many", 200 << 12, [(i << 12, b"%4d" % i) for i in range(0, 200, 2)])
        t.sparse_gnu("hole", 1 << 20, [])
    return [layer(d + "/1", base_dirs, one)]


def nasty_global(d):
    """A pax global header: ignored, as stock Podman does."""
    def one(t):
        data = b"".join(pax_record(k, v) for k, v in (
            ("comment", "of git archive"), ("uid", "77"), ("mtime", "1")))
        t.raw(header(b"pax_global_header", b"g", size=len(data)) + pad(data))
        t.add("after", data=b"x", uid=1, mtime=T0)
    return [layer(d + "/1", base_dirs, one)]


def nasty_deep(d):
    """700 levels of directories.  Nix 2.26, Debian 13's, crashes when it adds a
    tree of more than some 100."""
    return [layer(d + "/1", base_dirs, lambda t: deep(t, 700))]


def sparse_5g(d):
    """A file of 5 GiB that is all hole but for its ends."""
    def one(t):
        size = 5 << 30
        t.sparse_pax("1.0", "huge", size, [(0, b"begin"), (3 << 30, b"middle"), (size - 3, b"end")])
    return [layer(d + "/1", base_dirs, one)]


def empty(d):
    """Layers with nothing in them."""
    return [layer(d + "/1", base_dirs), layer(d + "/2"), layer(d + "/3")]


def many_layers(d):
    """60 layers, each changing what the one below made."""
    def change(i):
        def part(t):
            t.add("d", "dir", mtime=T0 + i)
            t.add("d/counter", data=b"%d" % i, mtime=T0 + i)
            t.add(f"d/only{i}", data=b"%d" % i, mtime=T0 + i)
            if i > 1:
                whiteout(t, f"d/only{i - 1}")
        return part
    return [layer(f"{d}/{i}", *([base_dirs] if i == 1 else []), change(i)) for i in range(1, 61)]


IMAGES = {f.__name__.replace("_", "-"): f for f in (
    nasty, nasty_duplicates, nasty_dirs, nasty_links, nasty_order, nasty_redo_dir, nasty_overlay, nasty_trusted,
    nasty_user_link, nasty_empty_xattr, nasty_gnu_sparse, nasty_global, nasty_deep, sparse_5g, empty, many_layers)}
