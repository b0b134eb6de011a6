# shellcheck shell=bash
# What the tests of nixstore-fuse have in common.  Source it after tap.sh.

# shellcheck disable=SC2034
FUSE=${NIXSTORE_FUSE:-$BUILDDIR/nixstore-fuse}
MAKE_INDEX=$BUILDDIR/test/fuse/make-index
LISTING=$BUILDDIR/test/lib/listing

fuse_need() {
  tap_private_mounts
  tap_need_file /dev/fuse "$FUSE" "$MAKE_INDEX"
  tap_on_exit fuse_stop
}

# fuse_mount DIRECTORY TARGET [OPTION...]: the directory's index served on TARGET; its requests are
# counted in TARGET.count.
fuse_mount() {
  local from=$1 to=$2; shift 2
  mkdir -p "$to"
  [ -e "$from.index" ] || "$MAKE_INDEX" "$from" "$from.index" || return 1
  "$FUSE" --index="$from.index" --data="$from" --counters="$to.count" "$@" "$to"
}

# fuse_processes NAME: of this test's own; NAME is nixstore-fuse (servers) or nixstore-keeper.
fuse_processes() {
  local p
  for p in $(pgrep -x "$1"); do
    tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -qF "$T/" && echo "$p"
  done
}

# fuse_wait_gone: waits until no server and no keeper of this test is left.
fuse_wait_gone() {
  local i
  for i in {1..50}; do
    [ -n "$(fuse_processes nixstore-fuse)$(fuse_processes nixstore-keeper)" ] || return 0
    sleep 0.1
  done
  echo "left: $(fuse_processes nixstore-fuse) $(fuse_processes nixstore-keeper)"
  return 1
}

fuse_stop() { unmount_beneath "$T"; fuse_wait_gone || kill -9 $(fuse_processes nixstore-keeper) $(fuse_processes nixstore-fuse); }

# pids_group: makes the control group $PIDS, in which $PIDS/pids.max limits processes; fails where
# none can be made.
pids_group() {
  PIDS=$(findmnt -n -t cgroup -O pids -o TARGET | head -n 1)
  PIDS=${PIDS:-$(findmnt -n -t cgroup2 -o TARGET | head -n 1)}/nixstore-test-$$
  tap_on_exit pids_leave
  mkdir "$PIDS" && [ -e "$PIDS/pids.max" ]
} 2>/dev/null
pids_leave() { # a group goes when no process is in it
  local p
  for p in $(cat "$PIDS/cgroup.procs"); do echo "$p" >"$(dirname "$PIDS")/cgroup.procs"; done
  rmdir "$PIDS"
} 2>/dev/null
# with_pids MAX COMMAND...: in that group with so many processes at most. The limit stays. (To look for
# leaks, a sanitizer starts another.)
with_pids() {
  local max=$1; shift
  (export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
    echo max >"$PIDS/pids.max"; echo "$BASHPID" >"$PIDS/cgroup.procs"; echo "$max" >"$PIDS/pids.max"; exec "$@")
}

# fuse_count TARGET [OPCODE...]: requests so far, of these opcodes or of all but what the kernel
# sends of its own accord (FORGET, STATFS, BATCH_FORGET).
fuse_count() {
  python3 - "$@" <<'PY'
import struct, sys
counts = struct.unpack("64Q", open(sys.argv[1] + ".count", "rb").read())
which = [int(o) for o in sys.argv[2:]] or [o for o in range(64) if o not in (2, 17, 42)]
print(sum(counts[o] for o in which))
PY
}

# make_tree DIRECTORY: a tree with everything that a file system can hold.
make_tree() {
  python3 - "$1" <<'PY'
import os, stat, struct, subprocess, sys
top = os.fsencode(sys.argv[1])
def path(name): return os.path.join(top, os.fsencode(name))
def put(name, data=b"", mode=0o644, uid=0, gid=0):
    with open(path(name), "wb") as f: f.write(data)
    os.chown(path(name), uid, gid); os.chmod(path(name), mode)
def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
os.makedirs(path("bin")); os.makedirs(path("etc")); os.makedirs(path("deep/" + "d/" * 60))
for program in ("true", "cat", "sleep"):
    subprocess.run(["cp", "--preserve=mode", "/bin/" + program, path("bin/" + program)], check=True)
put("bin/script", b"#!/bin/sh\necho script \"$0\"\n", 0o755)
put("bin/setuid", b"x" * 5000, 0o4755); put("bin/setgid", b"x", 0o2711, 0, 42)
put("etc/shadow", b"secret\n", 0o640, 0, 42); put("etc/private", b"mine\n", 0o600, 1000, 1000)
put("etc/empty"); put("etc/page", b"p" * 4096); put("etc/page1", b"q" * 4097)
put("etc/large", bytes(range(256)) * 20000)
put("n" * 255, b"long"); put(b"\xff\xfe\n\\", b"not utf-8")
os.mkdir(path("locked"), 0o700); put("locked/inside", b"?")
os.mkdir(path("search"), 0o711); put("search/known", b"!")
os.mkdir(path("sticky")); os.chmod(path("sticky"), 0o1777)
os.symlink("shadow", path("etc/link")); os.symlink("/" + "l" * 4000, path("etc/longlink"))
os.symlink("loop2", path("loop1")); os.symlink("loop1", path("loop2"))
os.symlink("etc", path("dirlink")); os.lchown(path("dirlink"), 5, 6)
os.link(path("etc/page"), path("hard1")); os.link(path("etc/page"), path("deep/hard2"))
os.mknod(path("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
os.mknod(path("disk"), stat.S_IFBLK | 0o660, os.makedev(259, 70000))
os.mkfifo(path("fifo"))
with open(path("holes"), "wb") as f:
    f.truncate(8 << 20)
    for at in (1 << 20, 5 << 20): f.seek(at); f.write(b"data" * 1024)
with open(path("huge"), "wb") as f:
    f.truncate(5 << 30); f.seek((5 << 30) - 5); f.write(b"tail\n")
with open(path("allholes"), "wb") as f: f.truncate(3 << 20)
put("acl", b"shared\n", 0o640)
os.setxattr(path("acl"), "system.posix_acl_access", acl((1, 6, 2**32 - 1), (2, 4, 1000),
    (4, 4, 2**32 - 1), (8, 6, 2000), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)))
os.setxattr(path("etc/empty"), "user.note", b"v" * 20)
os.setxattr(path("etc/page1"), "user.empty", b"")
os.setxattr(path("bin/cat"), "security.capability", struct.pack("<5I", 0x02000001, 0x2000, 0, 0, 0))
os.setxattr(path("etc"), "trusted.top", b"t")
os.mkdir(path("many"))
for i in range(3000): put(f"many/file-{i:05}", b"%d" % i)
for i, d in enumerate(os.walk(top, topdown=False)):
    for n in d[1] + d[2]:
        os.utime(os.path.join(d[0], n), ns=(0, 1_600_000_000_123_456_789 + i), follow_symlinks=False)
os.utime(path("fifo"), ns=(0, -5_000_000_001))
PY
}
