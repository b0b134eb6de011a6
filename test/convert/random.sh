#!/bin/bash
# parallel: yes
# Random images: what nixstore makes of their layers is what Podman's driver vfs makes of them, in every
# attribute. What vfs refuses to unpack is not judged. SEEDS="1 2 3" tries others.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
tap_need python3 jq
mount_setup
podman_setup
tap_need_file "$LISTING" "$NIXSTORE"
umask 022

# of_podman SEED FILE: lists what vfs unpacked.
of_podman() {
  local id
  id=$(podman_vfs pull -q "oci-archive:$T/$1:latest" 2>"$2.err" | tail -n 1) && [ -n "$id" ] || return 1
  "$LISTING" "$(podman_vfs image mount "$id")" >"$2"
  podman_vfs image umount "$id" >"$2.umount"
  podman_vfs rmi -f "$id" >"$2.rmi"
}

# of_nixstore SEED FILE: converts, mounts, lists.
of_nixstore() {
  STORE_PATH=$("$NIXSTORE" convert -q --name "random-$1" "oci-archive:$T/$1:latest") || return
  MANIFEST=$(digest "$STORE_PATH/ownership.mtree")
  NAR_HASH=$(nix-store -q --hash "$STORE_PATH")
  reference
  mount_program -o "lowerdir=$LINK" "$TARGET" || return
  "$LISTING" "$TARGET" >"$2"
  unmount_target
}

judged=0 refused=0
for seed in ${SEEDS:-$(seq 1 16)}; do
  python3 "$SRCDIR/test/images/randomimage.py" "$seed" "$T/$seed" || tap_bail "randomimage.py failed"
  start=$(date +%s)
  if of_podman "$seed" "$T/vfs"; then
    judged=$((judged + 1))
    check "seed $seed: convert and mount" of_nixstore "$seed" "$T/ours" &&
      check "seed $seed: $(grep -c . "$T/vfs") lines the same" \
        "$TESTLIB/compare-listings" --start "$start" "$T/vfs" "$T/none" "$T/ours"
  else
    refused=$((refused + 1))
  fi
  rm -rf "${T:?}/$seed"
done
check "many of them are judged ($judged of $((judged + refused)))" [ "$judged" -gt $((refused / 3)) ]
tap_done
