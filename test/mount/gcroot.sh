#!/bin/bash
# parallel: yes
# Images also arrive by podman load and pull, without nixstore import: a mount makes the path a root
# of the garbage collector, renews a root that was lost, and the layer's end releases it.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

small_image one
reference
ROOT=$HOME_DIR/$ID/nixstore-gcroot
mount_it() { mount_program -o "lowerdir=$LINK:$HOME_DIR/$ID/empty" "$TARGET" && umount "$TARGET"; }

check "a mount without a root" mount_it
is "makes one beside diff" "$(readlink "$ROOT")" "$STORE_PATH"
nix-store --gc >/dev/null 2>&1
check "which keeps the path" test -e "$STORE_PATH/rootfs"
rm "$ROOT"
check "a mount after it was lost" mount_it
is "makes it anew" "$(readlink "$ROOT")" "$STORE_PATH"
rm /nix/var/nix/gcroots/auto/*
check "a mount after the store forgot it" mount_it
nix-store --gc >/dev/null 2>&1
check "tells the store again" test -e "$STORE_PATH/rootfs"
rm -r "${HOME_DIR:?}/$ID"
nix-store --gc >/dev/null 2>&1
check "without the layer the path goes" test ! -e "$STORE_PATH"
tap_done
