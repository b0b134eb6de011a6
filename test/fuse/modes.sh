#!/bin/bash
# parallel: yes
# timeout: 900
# One image, every mode that this host has: the same tree, the same errors, the same permissions, as
# in a stock overlay of the files themselves. NIXSTORE_TEST_IMAGES: the test images whose listings are
# compared, too ("all": every one).
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
mount_setup
tap_need_file "$LISTING" "$NIXSTORE"
tap_need python3
mount -t tmpfs -o mode=755 tmpfs /run
modes_gone() { unmount_beneath "$T"; sleep 0.3; }
tap_on_exit modes_gone

# What may differ and where. The store keeps no holes, and only mode fuse looks how many blocks a
# file with holes takes; d_ino below an overlay is the kernel's matter.
sed_common='/^holes:\|^blocks of holes\|^data after the last\|^inode numbers/d'

# Every mode of the program that shows the image's ownership; it lists them when asked for one that
# there is not.
known=$("$NIXSTORE_MOUNT" --mode=none-such -o lowerdir=/ "$TARGET" 2>&1 | sed -n 's/.*(known: \(.*\)).*/\1/p')
MODES=
for mode in ${known//,/}; do
  case $mode in auto | bind) ;; *) MODES="$MODES $mode" ;; esac
done
tap_diag "modes:$MODES"
like "there is a mode to compare" "$MODES" .

# in_mode MODE NAME: mounts $LINK on $T/MODE-NAME, writable; with an upper that is new each time.
in_mode() {
  mkdir -p "$T/$1-$2"
  mount_program --mode="$1" -o "lowerdir=$LINK,$(upper "$1-$2")" "$T/$1-$2" 2>"$T/$1.err"
}
read_only() {
  mkdir -p "$T/$1-$2"
  mount_program --mode="$1" -o "lowerdir=$LINK:$HOME_DIR/$ID/empty" "$T/$1-$2" 2>"$T/$1.err"
}

make_tree "$T/src"
# As nothing above keeps the holes, 5 GiB of them would be written out (conformance.sh has them).
rm "$T/src/huge"; truncate -s 20M "$T/src/huge"
# containers/storage keeps neither times before 1970 nor xattrs without a value, and so don't we.
touch -hd @1600000000 "$T/src/fifo"
setfattr -x user.empty "$T/src/etc/page1"
python3 "$SRCDIR/test/fuse/permissions.py" make "$T/src/permissions"
# 100,000 names, of two files.
python3 - "$T/src/hundred-thousand" <<'PY'
import os, sys
os.mkdir(sys.argv[1])
os.chdir(sys.argv[1])
for i in range(100000):
    first = f"entry-{i // 50000 * 50000:06}"
    os.link(first, f"entry-{i:06}") if i % 50000 else open(first, "w").close()
PY
find "$T/src" -depth -type d -exec touch -hd @1600000000 {} +
check "make the image" python3 "$SRCDIR/test/fuse/tree-image.py" "$T/src" "$T/oci"
STORE_PATH=$("$NIXSTORE" convert -q --name modes "oci:$T/oci:latest" 2>"$T/err") || tap_bail "convert: $(cat "$T/err")"
MANIFEST=$(digest "$STORE_PATH/ownership.mtree")
NAR_HASH=$(nix-store -q --hash "$STORE_PATH")
reference

# A stock overlay of the same files; its upper's root as podman's would be taken from the image.
mkdir -p "$T/stock"
upper stock >/dev/null
chmod --reference="$T/src" "$T/upper/stock/diff"
check "stock overlay" mount -t overlay -o "lowerdir=$T/src,$(upper stock)" stock "$T/stock"

# looked DIRECTORY OUT: everything that can be seen and that must fail; on a writable overlay this
# changes it, so it comes last but for permissions, which have files of their own.
looked() {
  "$LISTING" "$1" | sed 's/ blocks=[0-9]*//' >"$2.list"
  (cd "$1/hundred-thousand" && ls -U | wc -l && ls | sha256sum && find . -type f -links 50000 | wc -l) >"$2.many"
  python3 -c '
import os, sys
s = os.statvfs(sys.argv[1])
print(s.f_namemax, s.f_bsize > 0, s.f_frsize > 0)' "$1" >"$2.statfs"
  python3 "$SRCDIR/test/fuse/permissions.py" probe "$1/permissions" >"$2.permissions" 2>&1
  python3 "$SRCDIR/test/fuse/behaviour.py" "$1" 2>&1 | sed -e "$sed_common" -e "s:$1:TOP:g" >"$2.behaviour"
}

same_looks() { # DESCRIPTION OURS PEER
  local what
  for what in list many statfs permissions behaviour; do
    same_file "$1: $what" "$2.$what" "$3.$what"
  done
}

looked "$T/stock" "$T/looks.stock"
umount "$T/stock"
like "the probes reach what they are for" \
  "$(cut -d' ' -f3- "$T/looks.stock.permissions" | grep -c EACCES) $(grep -c EPERM "$T/looks.stock.permissions")" \
  '^[0-9]{3,} [0-9]{3,}$'
# Without an upper.
mkdir -p "$T/none"
check "stock overlay, read-only" mount -t overlay -o "lowerdir=$T/src:$T/none" stock "$T/stock"
looked "$T/stock" "$T/looks.stock-ro"
umount "$T/stock"

for mode in $MODES; do
  if ! in_mode "$mode" rw; then
    tap_skip "mode $mode" "$(tail -n 1 "$T/$mode.err")"
    continue
  fi
  looked "$T/$mode-rw" "$T/looks.$mode-rw"
  same_looks "$mode, writable, as a stock overlay" "$T/looks.$mode-rw" "$T/looks.stock"
  umount "$T/$mode-rw"
  check "$mode, read-only" read_only "$mode" ro || continue
  looked "$T/$mode-ro" "$T/looks.$mode-ro"
  same_looks "$mode, read-only, as a stock overlay" "$T/looks.$mode-ro" "$T/looks.stock-ro"
  umount "$T/$mode-ro"
done

# The same in a user namespace, where modes differ: of all ids, so that the same are seen. Device nodes
# of an image are left out there, as containers/storage leaves them out.
export T HOME_DIR ID LINK NIXSTORE_MOUNT LISTING SRCDIR sed_common MODES
export -f mount_program upper in_mode read_only looked
in_namespace() {
  export XDG_RUNTIME_DIR=$T/runtime XDG_CACHE_HOME=$T/cache-home NIXSTORE_CACHE=
  unset NIXSTORE_CACHE
  mkdir -p "$XDG_RUNTIME_DIR" "$T/user-stock" && upper user-stock >/dev/null &&
    chmod --reference="$T/src" "$T/upper/user-stock/diff" &&
    mount -t overlay -o "userxattr,lowerdir=$T/src,$(upper user-stock)" stock "$T/user-stock" || return 1
  looked "$T/user-stock" "$T/looks.user-stock"
  umount "$T/user-stock"
  mount -t overlay -o "userxattr,lowerdir=$T/src:$T/none" stock "$T/user-stock" || return 1
  looked "$T/user-stock" "$T/looks.user-stock-ro"
  umount "$T/user-stock"
  for mode in $MODES; do
    in_mode "$mode" user-rw || continue
    looked "$T/$mode-user-rw" "$T/looks.$mode-user-rw"
    umount "$T/$mode-user-rw"
    read_only "$mode" user-ro || continue
    looked "$T/$mode-user-ro" "$T/looks.$mode-user-ro"
    umount "$T/$mode-user-ro"
  done
}
export -f in_namespace
# newuidmap maps what /etc/subuid grants; root may write any mapping itself.
mkfifo "$T/mapped"
unshare --user --mount --keep-caps bash -c 'read -r _ <"$T/mapped"; in_namespace' >"$T/namespace.out" 2>&1 &
namespace=$!
for _ in {1..100}; do
  [ "$(readlink "/proc/$namespace/ns/user")" = "$(readlink /proc/self/ns/user)" ] || break
  sleep 0.05
done
no_devices() { sed -i '/ type=[bc] /d; /^a null device:/d' "$T"/looks.*user*; }
if echo 0 0 65536 >/proc/$namespace/uid_map && echo 0 0 65536 >/proc/$namespace/gid_map &&
  echo >"$T/mapped" && wait $namespace && no_devices; then
  for mode in $MODES; do
    for what in rw ro; do
      if [ -e "$T/looks.$mode-user-$what.behaviour" ]; then
        same_looks "$mode in a user namespace, $what, as a stock overlay" "$T/looks.$mode-user-$what" \
          "$T/looks.user-stock$(sed 's/rw//; s/ro/-ro/' <<<"$what")"
      else
        tap_skip "$mode in a user namespace, $what" "$(tail -n 1 "$T/$mode.err")"
      fi
    done
  done
else
  kill $namespace 2>/dev/null
  tap_skip "in a user namespace" "$(tail -n 1 "$T/namespace.out")"
fi

# The test images.
images=${NIXSTORE_TEST_IMAGES-nasty nasty-dirs nasty-links nasty-trusted}
[ "$images" != all ] || images=$("$SRCDIR/test/images/make-image" --list | paste -sd ' ')
for image in $images; do
  archive=$("$SRCDIR/test/images/make-image" "$image" oci 2>"$T/err") &&
    STORE_PATH=$("$NIXSTORE" convert -q --name "$image" "oci:$archive:latest" 2>"$T/err") || {
    tap_skip "image $image" "$(tail -n 1 "$T/err")"
    continue
  }
  MANIFEST=$(digest "$STORE_PATH/ownership.mtree")
  NAR_HASH=$(nix-store -q --hash "$STORE_PATH")
  reference
  first=
  for mode in $MODES; do
    in_mode "$mode" "$image" || continue
    "$LISTING" "$T/$mode-$image" | sed 's/ blocks=[0-9]*//' >"$T/$image.$mode"
    umount "$T/$mode-$image"
    [ -z "$first" ] || same_file "image $image: mode $mode is as $first" "$T/$image.$mode" "$T/$image.$first"
    first=${first:-$mode}
  done
done
check "all servers are gone" fuse_wait_gone
tap_done
