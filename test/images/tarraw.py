"""Writes tar archives byte for byte, the odd ones too.

Python's tarfile writes only what it thinks sensible; layers that other tools
wrote, or that an attacker would, are not.  Sources: POSIX.1-2017 pax, "ustar
Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar
Format" and "Storing Sparse Files"; the SCHILY.xattr keyword of star(1).
"""

BLOCK = 512


def to_bytes(s):
    return s if isinstance(s, bytes) else s.encode("utf-8")


def number(value, width):
    """A numeric field: octal, or GNU base-256 when it does not fit."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = (value + (1 << 8 * width) if value < 0 else value).to_bytes(width, "big")
    return bytes([raw[0] | 0x80]) + raw[1:]


def pad(data):
    return data + b"\0" * (-len(data) % BLOCK)


def pax_record(key, value):
    """One "LENGTH KEY=VALUE\\n", LENGTH counting itself."""
    body = b" " + to_bytes(key) + b"=" + to_bytes(value) + b"\n"
    n = len(body)
    while len(b"%d" % n) + len(body) != n:
        n = len(b"%d" % n) + len(body)
    return b"%d" % n + body


def pax_time(ns):
    """A time as pax has it: seconds, with the fraction that is not zero."""
    sec, frac = divmod(abs(ns), 10 ** 9)
    text = f"{sec}.{frac:09d}".rstrip("0").rstrip(".")
    return ("-" if ns < 0 else "") + text


def header(name, kind=b"0", mode=0o644, uid=0, gid=0, size=0, mtime=0, link=b"",
           major=0, minor=0, magic=b"ustar\x0000", uname=b"", gname=b"",
           prefix=b"", checksum=None):
    """One header block; name, link and prefix are cut to their fields."""
    head = (name[:100].ljust(100, b"\0") + number(mode, 8) + number(uid, 8) +
            number(gid, 8) + number(size, 12) + number(mtime, 12) + b" " * 8 +
            kind + link[:100].ljust(100, b"\0") + magic +
            uname.ljust(32, b"\0") + gname.ljust(32, b"\0") +
            number(major, 8) + number(minor, 8) + prefix[:155].ljust(155, b"\0"))
    head = bytearray(head.ljust(BLOCK, b"\0"))
    total = sum(head) if checksum is None else checksum
    head[148:156] = b"%06o\0 " % total
    return bytes(head)


KINDS = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3",
         "block": b"4", "dir": b"5", "fifo": b"6"}


class TarWriter:
    """Entries to a binary file; times are in nanoseconds since the epoch."""

    def __init__(self, out):
        self.out = out

    def raw(self, data):
        self.out.write(data)

    def pax_header(self, records, kind=b"x"):
        data = b"".join(pax_record(k, v) for k, v in records)
        self.raw(header(b"PaxHeaders/x", kind, size=len(data)) + pad(data))

    def long_name(self, kind, name):
        """GNU's @LongLink: kind L for a name, K for a link's target."""
        self.raw(header(b"././@LongLink", kind, size=len(name) + 1,
                        magic=b"ustar  \0") + pad(name + b"\0"))

    def add(self, name, kind="file", data=b"", mode=None, uid=0, gid=0,
            mtime=10 ** 18, link=b"", major=0, minor=0, xattrs=None, pax=(),
            style="pax", uname=b"", gname=b""):
        """One entry.  style: pax, gnu (long names), or ustar (name prefix)."""
        name, link = to_bytes(name), to_bytes(link)
        if kind == "dir" and not name.endswith(b"/"):
            name += b"/"
        if mode is None:
            mode = {"dir": 0o755, "symlink": 0o777}.get(kind, 0o644)
        size = len(data) if kind == "file" else 0
        records, prefix, magic = list(pax), b"", b"ustar\x0000"
        sec = mtime // 10 ** 9
        if style == "gnu":
            magic = b"ustar  \0"
            if len(link) > 100:
                self.long_name(b"K", link)
            if len(name) > 100:
                self.long_name(b"L", name)
        elif style == "ustar" and len(name) > 100:
            cut = name.rindex(b"/", 0, 156)
            prefix, name = name[:cut], name[cut + 1:]
        elif style == "pax":
            if len(name) > 100:
                records.append(("path", name))
            if len(link) > 100:
                records.append(("linkpath", link))
            if mtime % 10 ** 9 or not 0 <= sec < 8 ** 11:
                records.append(("mtime", pax_time(mtime)))
                sec = min(max(sec, 0), 8 ** 11 - 1)
            for key, value in (("uid", uid), ("gid", gid)):
                if value >= 8 ** 7:
                    records.append((key, str(value)))
        for key in sorted(xattrs or {}):
            records.append(("SCHILY.xattr." + key, xattrs[key]))
        if records:
            self.pax_header(records)
        if style == "pax":
            uid, gid = (0 if v >= 8 ** 7 else v for v in (uid, gid))
        self.raw(header(name, KINDS[kind], mode, uid, gid, size, sec, link,
                        major, minor, magic, uname, gname, prefix))
        if kind == "file":
            self.raw(pad(data))

    # Sparse files.  `extents` is a list of (offset, data), `size` the length.

    def sparse_pax(self, version, name, size, extents, mode=0o644, mtime=10 ** 18):
        """GNU tar's three pax forms: 0.0, 0.1 and 1.0."""
        name, body = to_bytes(name), b"".join(d for _, d in extents)
        numbers = [n for o, d in extents for n in (o, len(d))]
        if version == "1.0":
            records = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"),
                       ("GNU.sparse.name", name), ("GNU.sparse.realsize", str(size))]
            head = "".join(f"{n}\n" for n in [len(extents)] + numbers)
            body = pad(head.encode()) + body
        elif version == "0.1":
            records = [("GNU.sparse.size", str(size)),
                       ("GNU.sparse.numblocks", str(len(extents))),
                       ("GNU.sparse.name", name),
                       ("GNU.sparse.map", ",".join(map(str, numbers)))]
        else:
            records = [("GNU.sparse.size", str(size)),
                       ("GNU.sparse.numblocks", str(len(extents)))]
            for o, d in extents:
                records += [("GNU.sparse.offset", str(o)),
                            ("GNU.sparse.numbytes", str(len(d)))]
        self.pax_header(records)
        stored = name if version == "0.0" else b"GNUSparseFile.0/" + name.rsplit(b"/")[-1]
        self.raw(header(stored, b"0", mode, size=len(body), mtime=mtime // 10 ** 9))
        self.raw(pad(body))

    def sparse_gnu(self, name, size, extents, mode=0o644, mtime=10 ** 18):
        """Old GNU: type S, the map in the header and in extension blocks."""
        body = b"".join(d for _, d in extents)
        head = bytearray(header(to_bytes(name), b"S", mode, size=len(body),
                                mtime=mtime // 10 ** 9, magic=b"ustar  \0"))
        cells = [number(o, 12) + number(len(d), 12) for o, d in extents]
        head[345:512] = b"\0" * 167
        head[386:386 + 24 * len(cells[:4])] = b"".join(cells[:4])
        head[482] = len(cells) > 4
        head[483:495] = number(size, 12)
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        self.raw(bytes(head))
        rest = cells[4:]
        while rest:
            block = bytearray(BLOCK)
            block[:24 * len(rest[:21])] = b"".join(rest[:21])
            block[504] = len(rest) > 21
            self.raw(bytes(block))
            rest = rest[21:]
        self.raw(pad(body))

    def end(self):
        self.raw(b"\0" * 2 * BLOCK)
