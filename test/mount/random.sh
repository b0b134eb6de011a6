#!/bin/bash
# parallel: yes
# Random stacks of layers: what nixstore-mount makes of AUFS's whiteouts is what overlayfs makes of its own,
# in every attribute. SEEDS="1 2 3" tries others.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
tap_need python3 getfattr
mount_setup
leak_mark

# Sizes of directories are their filesystem's own business; a link group's number too, so that links are
# named after their first name. Of a file that lost a name to an upper layer overlayfs shows the old link
# count, so counts are not compared. overlayfs lists whiteouts that hide nothing: find says they are
# missing.
listing() {
  (cd "$1" && find . -printf '%y %m %U:%G %T@ %i %s %l %p\0' 2>/dev/null | LC_ALL=C sort -z -k8 |
    python3 -c '
import sys
first = {}
for entry in sys.stdin.buffer.read().split(b"\0")[:-1]:
    kind, mode, ids, time, inode, size, rest = entry.split(b" ", 6)
    if kind == b"d":
        size = b"-"
        group = b"-"
    else:
        group = first.setdefault(inode, rest)
    print(kind, mode, ids, time, size, rest, group)
'
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -z | tr '\0' '\n'
    find . \( -type b -o -type c \) -printf '%p\0' | LC_ALL=C sort -z | xargs -0r stat -c '%n %t:%T' 2>/dev/null
    getfattr -R -P -h -d -m '^(trusted\.[^o]|user|security)' -- . 2>/dev/null | LC_ALL=C sort)
}

for seed in ${SEEDS:-$(seq 1 12)}; do
  count=$((seed % 4 + 2))
  python3 "$SRCDIR/test/mount/random-layers.py" "$seed" "$count" "$T/native" "$T/aufs" ||
    tap_bail "random-layers.py failed"
  # At least one name of the kind must be there, or no index is merged.
  : >"$T/aufs/0/.wh.nothing"
  lowers= native=
  for ((i = 0; i < count; i++)); do
    layer
    rmdir "$LAYER"
    mv "$T/aufs/$i" "$LAYER"
    lowers=$LINK${lowers:+:$lowers}
    native=$T/native/$i${native:+:$native}
  done
  touch -r "$T/native/0" "$HOME_DIR/$(printf %064x $((LAYERS - count + 1)))/diff"
  mkdir "$T/wanted"
  mount -t overlay -o "xino=on,lowerdir=$native" overlay "$T/wanted" || tap_bail "mount failed"
  if check "seed $seed: mount $count layers" mount_program -o "lowerdir=$lowers" "$TARGET"; then
    listing "$T/wanted" >"$T/listing.wanted"
    listing "$TARGET" >"$T/listing.got"
    same_file "seed $seed: $(grep -c . "$T/listing.got") lines the same" "$T/listing.got" "$T/listing.wanted"
    unmount_target
  fi
  umount "$T/wanted"
  rmdir "$T/wanted"
  rm -rf "$T/native" "$T/aufs"
done
assert_nothing_left "nothing is left"
tap_done
