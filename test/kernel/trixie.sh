#!/bin/bash
# parallel: yes
# timeout: 1200
# nixstore-mount under Debian 13's kernel (6.12): no layers by descriptor, and
# two overlays for a writable container; and mode fuse.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$SRCDIR/test/kernel/lib.sh"
tap_need_root
under_kernel trixie mount/erofs.sh fuse/small.sh
tap_done
