#!/bin/bash
# parallel: yes
# nixstore-mount in mode bind: the store's files as they are.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

rooted_reference one
REF=$LINK
leak_mark

check "read-only" mount_program --mode=bind -o "lowerdir=$REF:$HOME_DIR/$ID/empty" "$TARGET"
is "the store's own directory" "$(stat -c %d:%i "$TARGET")" "$(stat -c %d:%i "$STORE_PATH/rootfs")"
check_fails "nothing can be written" 1 "Read-only" touch "$TARGET/new"
check "mounted again" mount_program --mode=bind -o "lowerdir=$REF:$HOME_DIR/$ID/empty" "$TARGET"
is "two mounts" "$(mounts_beneath "$TARGET" | wc -l)" 2
unmount_target

check "with an upper" mount_program --mode=bind -o "lowerdir=$REF,$(upper a)" "$TARGET"
is "the store's owners" "$(stat -c %u:%g "$TARGET/etc/shadow")" 0:0
is "content" "$(cat "$TARGET/etc/shadow")" "shadow of one"
echo more >>"$TARGET/etc/shadow"
is "the store is not written to" "$(cat "$STORE_PATH/rootfs/etc/shadow")" "shadow of one"
unmount_target

NIXSTORE_MODE=bind check "the mode from the environment" mount_program -o "lowerdir=$REF" "$TARGET"
is "it holds" "$(findmnt -n -o FSTYPE "$TARGET")" "$(findmnt -n -o FSTYPE -T "$STORE_PATH" | tail -n 1)"
unmount_target

check "with ids mapped" mount_program --mode=bind -o \
  "lowerdir=$REF,uidmapping=0:100000:65536,gidmapping=0:100000:65536" "$TARGET"
is "the ids" "$(stat -c %u:%g "$TARGET/etc/shadow")" 100000:100000
unmount_target

layer
echo plain >"$LAYER/plain"
check "ordinary layers" mount_program --mode=bind -o "lowerdir=$LINK:$REF" "$TARGET"
is "files of both" "$(cat "$TARGET/plain" "$TARGET/etc/passwd")" "plain
passwd of one"
unmount_target
attributes_shown() { findmnt -n -o VFS-OPTIONS "$TARGET"; }
check "with a mount's attributes" mount_program --mode=bind -o "lowerdir=$REF,noatime,nodev,nosuid" "$TARGET"
is "they hold" "$(attributes_shown)" ro,nosuid,nodev,noatime
unmount_target
check "no index was compiled" test -z "$(ls "$CACHE/index")"

assert_nothing_left "nothing is left"
tap_done
