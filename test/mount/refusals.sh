#!/bin/bash
# parallel: yes
# What nixstore-mount must not follow, and what it says: one line, exit status 1, nothing mounted.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

small_image one
HASH=$NAR_HASH
rooted_reference two
GOOD=$LINK
leak_mark

# refused DESCRIPTION REGEX: mounting the layer made last.
refused() { check_fails "$1" 1 "$2" mount_program -o "lowerdir=$LINK" "$TARGET"; }

reference "$STORE_PATH" "$HASH"
refused "another NAR hash" "not trusted.*$STORE_PATH"
refused "and once more, though the path was seen" "not trusted"
reference "$STORE_PATH" "$NAR_HASH" "$(digest "$T/image/one/config.json")"
refused "another manifest" "not trusted.*manifest"
reference /etc
refused "a path outside the store" "not in the Nix store"
reference "$STORE_PATH/../../../etc"
refused "a path that leaves the store" "not a path of the Nix store"
reference "$STORE_PATH/rootfs"
refused "a path below a store path" "not a path of the Nix store"
reference /nix/store/00000000000000000000000000000000-gone
refused "a path that is gone" "gone.*(copy|receive)"
cp -r "$STORE_PATH" /nix/store/11111111111111111111111111111111-planted
reference /nix/store/11111111111111111111111111111111-planted
refused "a path that Nix does not know" "does not have|not valid|gone"
ln -s "$STORE_PATH" /nix/store/22222222222222222222222222222222-link
reference /nix/store/22222222222222222222222222222222-link
refused "a symlink in the store" "22222222222222222222222222222222-link"
reference
echo garbage >"$LAYER/.nixstore/reference.json"
refused "a reference that does not parse" "reference"

# What is no reference is an ordinary layer.
layer
ln -s "$(dirname "$(realpath "$GOOD")")/diff/.nixstore" "$LAYER/.nixstore"
check "a symlink for .nixstore" mount_program -o "lowerdir=$LINK" "$TARGET"
check "is an ordinary file" test -L "$TARGET/.nixstore"
unmount_target
layer
mkdir "$LAYER/.nixstore"
mkfifo "$LAYER/.nixstore/reference.json"
check "a FIFO for reference.json" timeout 10 bash -c "cd '$HOME_DIR' && '$NIXSTORE_MOUNT' -o 'lowerdir=$LINK' '$TARGET'"
unmount_target
mkdir -p "$T/users/1/diff/.nixstore" "$T/users/l"
cp "$(realpath "$GOOD")/.nixstore/reference.json" "$T/users/1/diff/.nixstore"
check "a user's directory with .nixstore" mount_program -o "lowerdir=$T/users/1/diff,$(upper a),private" "$TARGET"
check "shows itself" test -f "$TARGET/.nixstore/reference.json"
unmount_target
chmod 755 "$T/users"
check "also when called in one that looks like a home" \
  bash -c "cd '$T/users' && '$NIXSTORE_MOUNT' -o 'lowerdir=$T/users/1/diff,$(upper a)' '$TARGET'"
check "shows itself too" test -f "$TARGET/.nixstore/reference.json"
unmount_target
check "a layer of the home, called from elsewhere" \
  bash -c "cd / && '$NIXSTORE_MOUNT' -o 'lowerdir=$(realpath "$GOOD"),$(upper b)' '$TARGET'"
check "is what it is" test -f "$TARGET/.nixstore/reference.json"
unmount_target
check "the reference as upper" mount_program -o \
  "lowerdir=$HOME_DIR/$ID/empty,upperdir=$(realpath "$GOOD"),workdir=$(realpath "$GOOD")/../work" "$TARGET"
check "shows its raw files" test -f "$TARGET/.nixstore/reference.json"
unmount_target

check_fails "no options" 1 "no -o" mount_program "$TARGET"
check_fails "no lowerdir" 1 "lowerdir" mount_program -o "$(upper a)" "$TARGET"
check_fails "no target" 1 "TARGET" mount_program -o "lowerdir=$GOOD"
check_fails "a target that does not exist" 1 "mount point" mount_program -o "lowerdir=$GOOD" "$T/nowhere"
check_fails "a target that is a file" 1 "mount point" mount_program -o "lowerdir=$GOOD" "$HOME_DIR/$ID/link"
check_fails "a lower that does not exist" 1 "lower directory" mount_program -o "lowerdir=$T/nowhere" "$TARGET"
check_fails "an upper that does not exist" 1 "nowhere" \
  mount_program -o "lowerdir=$GOOD,upperdir=$T/nowhere,workdir=$T/nowhere" "$TARGET"
check_fails "an unknown option" 1 "unknown mount option" mount_program -o "lowerdir=$GOOD,foo=bar" "$TARGET"
check_fails "an unknown mode" 1 "unknown mode" mount_program --mode=foo -o "lowerdir=$GOOD" "$TARGET"
check_fails "an upper that overlayfs refuses" 1 "upper" \
  mount_program -o "lowerdir=$GOOD,upperdir=/proc,workdir=/proc" "$TARGET"
check "all is well otherwise" mount_program -o "lowerdir=$GOOD,$(upper c)" "$TARGET"
unmount_target

for without in "" erofs-file; do
  NIXSTORE_TEST_DISABLE=$without check_fails "the root of a user namespace${without:+, $without}" 1 "mode erofs needs to be root" \
    unshare --user --map-root-user --mount bash -c \
    "cd '$HOME_DIR' && exec '$NIXSTORE_MOUNT' --mode=erofs -o 'lowerdir=$GOOD,$(upper userns)' '$TARGET'"
done

# A store that others can write to.
for d in "" /verdict /index; do
  chmod 1775 "$CACHE$d"
  check_fails "a cache$d that a group may add to" 1 "not trusted" mount_program -o "lowerdir=$GOOD" "$TARGET"
  chmod 755 "$CACHE$d"
done
chmod 777 /nix/store
rm -rf "$CACHE"
check_fails "a store that others write to" 1 "not trusted" mount_program -o "lowerdir=$GOOD" "$TARGET"
chmod 755 /nix/store

assert_nothing_left "nothing is left"
tap_done
