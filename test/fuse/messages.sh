#!/bin/bash
# parallel: yes
# How many requests the kernel sends: none for what it was told once.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need
ulimit -n 4096

# none DESCRIPTION COMMAND...: the command, run a second time, sends no request.  What else runs on
# the machine may have had caches dropped in between, hence the tries.
none() {
  local desc=$1 before sent i; shift
  for i in {1..8}; do
    "$@" >/dev/null 2>&1
    before=$(fuse_count "$T/m")
    "$@" >/dev/null 2>&1
    sent=$(($(fuse_count "$T/m") - before))
    [ "$sent" != 0 ] || break
  done
  is "$desc" "$sent" 0
}

mkdir -p "$T/src/bin" "$T/src/lib"
cp /bin/true /bin/sh "$T/src/bin"
for d in {1..20}; do
  mkdir "$T/src/lib/$d"
  for f in {1..50}; do echo "import $f" >"$T/src/lib/$d/$f.py"; done
done
head -c 3000000 /dev/urandom >"$T/src/lib/large"
ln -s large "$T/src/lib/link"
check "mount" fuse_mount "$T/src" "$T/m"

is "a walk asks for every directory and no file" \
  "$(find "$T/m" -printf '%U %G %m %s %T@\n' | wc -l) $(fuse_count "$T/m" 1)" "1027 0"
walk=$(fuse_count "$T/m" 44)
[ "$walk" -le 60 ] && tap_ok "in $walk requests" || tap_not_ok "in $walk requests"
none "a second walk" find "$T/m" -printf '%U %G %m %s %T@ %l\n'
none "a second reading of all" sh -c "tar -C '$T/m' -cf - . | cat"
none "a second exec" "$T/m/bin/true"
none "a second script" "$T/m/bin/sh" -c :
none "names that are not there" sh -c "cat '$T/m/lib/none' '$T/m/none/x' '$T/m/bin/python'"
none "symlinks" sh -c "cat '$T/m/lib/link' && readlink '$T/m/lib/link'"
none "permission checks" sh -c "test -w '$T/m/lib/large' || test -x '$T/m/bin/true'"
none "xattrs of an image that has none" getfattr -R -d -m - "$T/m"
# Not through open(): it asks each file whether it is a terminal, and an ioctl is not cached. Above
# an overlay, as containers have it, the kernel answers that by itself.
none "a program that opens, looks, seeks" python3 -c "
import os
for r, d, f in os.walk('$T/m'):
  for n in f:
    fd = os.open(os.path.join(r, n), os.O_RDONLY)
    os.fstat(fd), os.lseek(fd, 5, 0), os.read(fd, 10), os.close(fd)"
is "OPEN, OPENDIR and FLUSH are asked once" \
  "$(fuse_count "$T/m" 14) $(fuse_count "$T/m" 27) $(fuse_count "$T/m" 25)" "1 1 1"
is "RELEASE, RELEASEDIR, ACCESS never" "$(fuse_count "$T/m" 18 29 34)" 0
umount "$T/m"
check "the server ends with its mount" fuse_wait_gone
tap_done
