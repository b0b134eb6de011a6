#!/bin/bash
# parallel: yes
# timeout: 1200
# nixstore-mount under Debian 12's kernel (6.1), which has no data-only layers:
# the mode bind works, and what does not says so.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$SRCDIR/test/kernel/lib.sh"
tap_need_root
under_kernel bookworm mount/bind.sh
tap_done
