#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""behaviour.py ROOT: does many things to the tree of make_tree (lib.sh), most of which must fail, as
root and as other users, and prints what each did. Two mounts of one image must print the same."""
import ctypes
import errno
import mmap
import os
import stat
import subprocess
import sys
import threading

top = sys.argv[1]
at = lambda name: os.path.join(top, name)  # noqa: E731


def outcome(call):
    try:
        result = call()
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))
    return "ok" if result is None else result


def show(what, call):
    print(f"{what}: {outcome(call)}", flush=True)


def read(name):
    with open(at(name), "rb") as f:
        return f.read(64)


def opened(name, flags):
    os.close(os.open(at(name), flags))


def paths():
    for name in ("missing", "etc/missing", "etc/shadow/below", "loop1", "loop1/x", "n" * 256,
                 "x/" * 2100, "etc/longlink", "dirlink/shadow", "etc/link", "hard1/", "bin/../etc/shadow"):
        show(f"stat {name[:20]}", lambda: stat.filemode(os.stat(at(name)).st_mode))
    show("readlink of a file", lambda: os.readlink(at("etc/shadow")))
    show("readlink", lambda: len(os.readlink(at("etc/longlink"))))
    show("list a file", lambda: os.listdir(at("etc/shadow")))
    show("read a directory", lambda: read("etc"))
    show("a missing name again", lambda: os.stat(at("missing")))


def writes():
    show("create", lambda: opened("new", os.O_WRONLY | os.O_CREAT))
    show("open to write", lambda: opened("etc/shadow", os.O_WRONLY))
    show("open to truncate", lambda: opened("etc/shadow", os.O_RDWR | os.O_TRUNC))
    show("mkdir", lambda: os.mkdir(at("newdir")))
    show("unlink", lambda: os.unlink(at("etc/shadow")))
    show("rename", lambda: os.rename(at("etc/shadow"), at("etc/s")))
    show("link", lambda: os.link(at("etc/shadow"), at("etc/s")))
    show("symlink", lambda: os.symlink("a", at("b")))
    show("chmod", lambda: os.chmod(at("etc/shadow"), 0))
    show("chown", lambda: os.chown(at("etc/shadow"), 1, 1))
    show("utime", lambda: os.utime(at("etc/shadow"), (0, 0)))
    show("truncate", lambda: os.truncate(at("etc/shadow"), 0))
    show("setxattr", lambda: os.setxattr(at("etc/empty"), "user.x", b"1"))
    show("access for writing", lambda: os.access(at("etc/shadow"), os.W_OK))


def xattrs():
    show("xattr", lambda: len(os.getxattr(at("etc/empty"), "user.note")))
    show("empty xattr", lambda: os.getxattr(at("etc/page1"), "user.empty"))
    show("no such xattr", lambda: os.getxattr(at("etc/page1"), "user.none"))
    show("xattr of nothing", lambda: os.getxattr(at("etc/page"), "user.note"))
    show("xattrs of a directory", lambda: os.listxattr(at("etc")))
    libc = ctypes.CDLL(None, use_errno=True)
    small = ctypes.create_string_buffer(10)
    size = libc.getxattr(at("etc/empty").encode(), b"user.note", small, 10)
    print("too small a buffer:", size, errno.errorcode[ctypes.get_errno()])


def contents():
    with open(at("etc/large"), "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        print("mmap:", len(m), m[4095:4100], m[len(m) - 1:], m.find(b"\xff\x00\x01"))
    fd = os.open(at("holes"), os.O_RDONLY)
    print("holes:", [os.lseek(fd, *x) for x in ((0, os.SEEK_DATA), (1 << 20, os.SEEK_HOLE),
                                                (2 << 20, os.SEEK_DATA), (0, os.SEEK_HOLE))])
    show("data after the last", lambda: os.lseek(fd, 7 << 20, os.SEEK_DATA))
    show("data after the end", lambda: os.lseek(fd, 9 << 20, os.SEEK_DATA))
    print("blocks of holes:", os.fstat(fd).st_blocks, os.stat(at("allholes")).st_blocks)
    os.close(fd)
    fd = os.open(at("huge"), os.O_RDONLY)
    print("huge:", os.pread(fd, 10, (5 << 30) - 5), os.pread(fd, 10, 5 << 30),
          os.pread(fd, 3, 4 << 30), os.fstat(fd).st_size)
    os.close(fd)
    show("read at an odd place", lambda: os.pread(os.open(at("etc/large"), 0), 5000, 1234567)[-3:])
    show("a null device", lambda: read("null"))


def programs():
    run = lambda *argv: subprocess.run(argv, capture_output=True, check=False)  # noqa: E731
    show("exec", lambda: run(at("bin/true")).returncode)
    show("exec of a script", lambda: run(at("bin/script")).stdout.split()[0])
    show("exec that reads", lambda: run(at("bin/cat"), at("etc/shadow")).stdout)
    show("exec without permission", lambda: run(at("etc/shadow")))
    show("exec of a directory", lambda: run(at("etc")))


def list_with_seeks(wrong):
    """Goes back and forth in a large directory, by telldir's own offsets."""
    libc = ctypes.CDLL(None)
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    libc.opendir.argtypes = [ctypes.c_char_p]
    for f in (libc.readdir, libc.telldir, libc.closedir, libc.rewinddir):
        f.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    handle = libc.opendir(at("many").encode())
    name = lambda: (lambda e: ctypes.string_at(e + 19) if e else None)(libc.readdir(handle))  # noqa: E731
    seen = []
    while True:
        where, entry = libc.telldir(handle), name()
        if entry is None:
            break
        seen.append((where, entry))
    names = {e for _, e in seen}
    if len(seen) != 3002 or len(names) != 3002 or b"." not in names or b".." not in names:
        wrong.append(f"{len(seen)} entries, {len(names)} names")
    for i in (2900, 7, 1500, 0, 3001, 64, 63):
        libc.seekdir(handle, seen[i][0])
        if name() != seen[i][1]:
            wrong.append(f"entry {i} is another after seeking")
    libc.rewinddir(handle)
    if name() != seen[0][1]:
        wrong.append("the first entry is another after rewinding")
    libc.closedir(handle)


def directories():
    wrong = []
    threads = [threading.Thread(target=list_with_seeks, args=(wrong,)) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print("readdir with seeks, six at once:", wrong or "right")
    kinds = {e.name: (e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(top)}
    print("types in listings:", sorted(n for n, k in kinds.items() if k[0]),
          sorted(n for n, k in kinds.items() if k[1]))
    inodes = all(e.inode() == e.stat(follow_symlinks=False).st_ino for e in os.scandir(at("etc")))
    print("inode numbers in listings are those of stat:", inodes)


def as_user(uid, gids):
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    os.setgroups(gids[1:])
    os.setresgid(gids[0], gids[0], gids[0])
    os.setresuid(uid, uid, uid)
    print(f"as {uid} in {gids}:")
    for name in ("etc/shadow", "etc/private", "etc/page", "acl", "bin/setuid", "bin/setgid",
                 "locked/inside", "search/known"):
        show(f"  read {name}", lambda: read(name)[:5])
        show(f"  access {name}", lambda: [os.access(at(name), m) for m in (os.R_OK, os.W_OK, os.X_OK)])
    show("  list locked", lambda: os.listdir(at("locked")))
    show("  list search", lambda: os.listdir(at("search")))
    show("  stat in locked", lambda: os.stat(at("locked/inside")))
    show("  chmod", lambda: os.chmod(at("etc/page"), 0))
    show("  create", lambda: opened("sticky/new", os.O_WRONLY | os.O_CREAT))
    sys.stdout.flush()
    os._exit(0)


for part in (paths, writes, xattrs, contents, programs, directories):
    print("---", part.__name__)
    part()
for who, groups in ((65534, [65534]), (1000, [1000]), (1001, [1001, 42]), (1001, [2000, 5])):
    as_user(who, groups)
