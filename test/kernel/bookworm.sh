#!/bin/bash
# parallel: yes
# timeout: 1200
# Debian 12's kernel (6.1), which has no data-only layers and cannot send FUSE
# requests again: auto takes the mode fuse there, and the mode bind works.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$SRCDIR/test/kernel/lib.sh"
tap_need_root
under_kernel bookworm fuse/auto.sh fuse/small.sh
tap_done
