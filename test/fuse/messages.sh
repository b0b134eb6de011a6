#!/bin/bash
# parallel: yes
# How many requests the kernel sends: none for what it was told once.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need
ulimit -n 4096

# none DESCRIPTION COMMAND...: the command, run a second time, sends no request.  What else runs on
# the machine may have had caches dropped in between, for some seconds, hence the tries.
none() {
  local desc=$1 before sent i; shift
  for i in {1..12}; do
    [ "$i" -lt 4 ] || sleep 1
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

# Below an overlay, as containers have it.
over() { # TARGET: an overlay on $T/m
  mkdir -p "$1" "$1.upper" "$1.work"
  mount -t overlay -o "xino=on,lowerdir=$T/m,upperdir=$1.upper,workdir=$1.work" overlay "$1"
}
# Two on one server: what one container has read, the other has.
none_above() {
  none "$1: a second walk" find "$T/o" -printf '%U %G %m %s %T@ %l\n'
  none "$1: a second reading of all" sh -c "tar -C '$T/o' -cf - . | cat"
  none "$1: names that are not there" sh -c "cat '$T/o/lib/none' '$T/o/none/x' '$T/o/bin/python'"
  none "$1: symlinks" sh -c "cat '$T/o/lib/link' && readlink '$T/o/lib/link'"
  none "$1: a program that opens all" python3 -c "
import os
for r, d, f in os.walk('$T/o'):
  for n in f: open(os.path.join(r, n), 'rb').read(10)"
}
check "an overlay" over "$T/o"
none_above "below an overlay"
none "below an overlay: a second exec" "$T/o/bin/true"
none "below an overlay: a second script" "$T/o/bin/sh" -c :
check "another overlay" over "$T/o2"
before=$(fuse_count "$T/m")
tar -C "$T/o2" -cf - . | cat >/dev/null
[ $(($(fuse_count "$T/m") - before)) -le 30 ] && tap_ok "a second container reads all without asking" ||
  tap_not_ok "a second container reads all without asking" "$(($(fuse_count "$T/m") - before)) requests"
umount "$T/o" "$T/o2" "$T/m"
check "the server ends with its mount" fuse_wait_gone

# With an xattr in the image: overlayfs asks once for each file whether it is a metacopy, and the
# kernel keeps no file capabilities.
setfattr -n user.note -v x "$T/src/lib/large"
rm "$T/src.index"
check "mount an image with an xattr" fuse_mount "$T/src" "$T/m"
check "an overlay" over "$T/o"
find "$T/o" -printf '%U %G %m %s %T@ %l\n' >/dev/null
walk=$(fuse_count "$T/m" 22)
[ "$walk" -le 1100 ] && tap_ok "a first walk asks $walk times for xattrs" || tap_not_ok "a first walk asks $walk times for xattrs"
none_above "with an xattr"
"$T/o/bin/true"; before=$(fuse_count "$T/m")
"$T/o/bin/true"
[ $(($(fuse_count "$T/m") - before)) -le 1 ] && tap_ok "a second exec asks for file capabilities, at most" ||
  tap_not_ok "a second exec asks for file capabilities, at most"
umount "$T/o" "$T/m"
check "the server ends with its mount" fuse_wait_gone
tap_done
