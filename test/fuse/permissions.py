#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""permissions.py make DIR: directories and files of many owners, modes and ACLs.
permissions.py probe DIR: as several users, does to each of them what permissions decide about, and
prints what came of it, at the end also what everything then is. Nothing here knows what is right:
two file systems that are the same image must print the same."""
import errno
import os
import stat
import struct
import sys

command, top = sys.argv[1:]
NONE = 2 ** 32 - 1
ROOT, OWNER, MEMBER, OTHER = (0, [0]), (1000, [1000]), (1001, [1001, 1000]), (2000, [3000, 2000])
USERS = (ROOT, OWNER, MEMBER, OTHER)


def acl(user, rights, owner, group, others):
    entries = ((1, owner, NONE), (2, rights, user), (4, group, NONE), (16, 7, NONE), (32, others, NONE))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# Name: mode, owner, group, xattrs.
DIRECTORIES = {
    "usual": (0o755, 0, 0, {}), "owned": (0o755, 1000, 1000, {}), "group": (0o775, 0, 1000, {}),
    "private": (0o700, 1000, 1000, {}), "world": (0o777, 0, 0, {}), "sticky": (0o1777, 0, 0, {}),
    "stickyowned": (0o1777, 1000, 1000, {}), "setgid": (0o2775, 0, 1000, {}),
    "setgidworld": (0o2777, 0, 2000, {}), "search": (0o711, 0, 0, {}),
    "acl": (0o750, 0, 0, {ACCESS: acl(1001, 7, 7, 5, 0)}),
    "aclno": (0o777, 0, 0, {ACCESS: acl(1000, 0, 7, 7, 7)}),
    "default": (0o777, 0, 0, {DEFAULT: acl(2000, 6, 7, 5, 0)}),
}
FILES = {
    "usual": (0o644, 0, 0, {}), "owned": (0o644, 1000, 1000, {}), "group": (0o664, 0, 1000, {}),
    "private": (0o600, 1000, 1000, {}), "setuid": (0o4755, 1000, 1000, {}),
    "setgid": (0o2775, 1001, 1000, {}), "nothing": (0, 1001, 1001, {}), "world": (0o666, 0, 0, {}),
    "acl": (0o640, 0, 0, {ACCESS: acl(1001, 6, 6, 4, 0)}),
}


def give(path, mode, uid, gid, xattrs):
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    for name, value in xattrs.items():
        os.setxattr(path, name, value)


def make():
    os.mkdir(top)
    for d, is_what in DIRECTORIES.items():
        os.mkdir(os.path.join(top, d))
        for uid, _ in USERS:
            for f, what in FILES.items():
                path = os.path.join(top, d, f"{f}-{uid}")
                with open(path, "w", encoding="ascii") as out:
                    out.write(path[-30:])
                give(path, *what)
            os.mkdir(os.path.join(top, d, f"dir-{uid}"))
            give(os.path.join(top, d, f"dir-{uid}"), 0o755, uid, uid, {})
        give(os.path.join(top, d), *is_what)


def attempt(what, call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
    except OSError as e:
        result = errno.errorcode.get(e.errno, e.errno)
    print(what, "ok" if result is None else result, flush=False)


def opened(path, flags):
    fd = os.open(path, flags, 0o666)
    try:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            os.write(fd, b"written")
        else:
            return len(os.read(fd, 100))
    finally:
        os.close(fd)


def probe_file(d, name, uid):
    path = os.path.join(top, d, name)
    say = f"  {uid} {d}/{name}"
    for mode in (os.R_OK, os.W_OK, os.X_OK):
        attempt(f"{say} access {mode}", os.access, path, mode)
    attempt(f"{say} stat", lambda: stat.filemode(os.lstat(path).st_mode))
    attempt(f"{say} read", opened, path, os.O_RDONLY)
    attempt(f"{say} acl", lambda: len(os.getxattr(path, ACCESS)))
    attempt(f"{say} xattr", os.setxattr, path, "user.probe", b"1")
    attempt(f"{say} trusted", os.getxattr, path, "trusted.overlay.metacopy")
    attempt(f"{say} touch", os.utime, path)
    attempt(f"{say} utime", os.utime, path, (1, 1))
    attempt(f"{say} link", os.link, path, path + "-link")
    attempt(f"{say} chown to itself", os.chown, path, -1, -1)
    attempt(f"{say} chgrp", os.chown, path, -1, 1000)
    attempt(f"{say} append", opened, path, os.O_WRONLY | os.O_APPEND)
    attempt(f"{say} chmod", os.chmod, path, 0o6755)
    attempt(f"{say} write", opened, path, os.O_RDWR)
    attempt(f"{say} chown", os.chown, path, uid, -1)
    attempt(f"{say} chown away", os.chown, path, 1001, 1001)
    attempt(f"{say} truncate", os.truncate, path, 3)
    attempt(f"{say} open to truncate", opened, path, os.O_WRONLY | os.O_TRUNC)
    attempt(f"{say} rename", os.rename, path, path + "-new")
    attempt(f"{say} rename back", os.rename, path + "-new", path)
    attempt(f"{say} move", os.rename, path, os.path.join(top, "world", f"{d}-{name}"))
    attempt(f"{say} unlink", os.unlink, path)
    attempt(f"{say} replace", os.rename, path + "-link", os.path.join(top, d, "world-0"))


def probe_directory(d, uid):
    path = os.path.join(top, d)
    say = f"  {uid} {d}/"
    new = lambda n: os.path.join(path, f"{n}-{uid}")  # noqa: E731
    attempt(f"{say} list", lambda: len(os.listdir(path)) > 0)
    attempt(f"{say} create", opened, new("new"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    attempt(f"{say} mkdir", os.mkdir, new("newdir"))
    attempt(f"{say} mkdir below", os.mkdir, new("newdir") + "/below")
    attempt(f"{say} mkfifo", os.mkfifo, new("fifo"))
    attempt(f"{say} mknod", os.mknod, new("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    attempt(f"{say} symlink", os.symlink, "x", new("link"))
    attempt(f"{say} create in dir", opened, new("dir") + "/x", os.O_WRONLY | os.O_CREAT)
    attempt(f"{say} rmdir not empty", os.rmdir, path)
    attempt(f"{say} unlink a directory", os.unlink, new("dir"))
    attempt(f"{say} rename a new one", os.rename, new("newdir"), new("newdir2"))
    attempt(f"{say} remove dir/x", os.unlink, new("dir") + "/x")
    attempt(f"{say} rmdir", os.rmdir, new("dir"))
    attempt(f"{say} chmod", os.chmod, path, 0o2777)
    attempt(f"{say} default acl", os.setxattr, new("newdir2"), DEFAULT, acl(1001, 7, 7, 7, 7))


def as_user(uid, gids):
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    os.umask(0o022)
    if uid:
        os.setgroups(gids[1:])
        os.setresgid(gids[0], gids[0], gids[0])
        os.setresuid(uid, uid, uid)
    for d in DIRECTORIES:
        for f in FILES:
            probe_file(d, f"{f}-{uid}", uid)
    for d in DIRECTORIES:
        probe_directory(d, uid)
    sys.stdout.flush()
    os._exit(0)


def show_all():
    for path, dirs, files in sorted(os.walk(top)):
        for name in [""] + sorted(files):
            st = os.lstat(os.path.join(path, name))
            what = [stat.filemode(st.st_mode), st.st_uid, st.st_gid]
            if not stat.S_ISDIR(st.st_mode):
                what += [st.st_nlink, st.st_size]
            if not stat.S_ISLNK(st.st_mode):
                what += [(x, os.getxattr(os.path.join(path, name), x).hex())
                         for x in sorted(os.listxattr(os.path.join(path, name)))]
            print(os.path.relpath(os.path.join(path, name), top), *what)


if command == "make":
    make()
else:
    for user in USERS[1:] + USERS[:1]:
        as_user(*user)
    show_all()
