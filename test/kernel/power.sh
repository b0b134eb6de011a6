#!/bin/bash
# parallel: yes
# timeout: 7200
# The power of a machine goes off, at any moment of what it does with images out of the Nix store:
# QEMU is killed, and the guest started again from its disk uses all of it without a repair.
# test/podman/poweroff.sh is the quicker one: it shuts down a file system.
# NIXSTORE_POWER_ROUNDS: how many times (4); NIXSTORE_POWER_SEED; NIXSTORE_POWER_WAYS.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
[ -n "${NIXSTORE_TEST_LONG-}" ] || tap_skip_all "long: runs with NIXSTORE_TEST_LONG set"
tap_need nix-store qemu-img
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
podman_setup
podman_ways
small_image >/dev/null 2>"$T/small.err" || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
# The guest sees the machine's directories, not this test's mounts, and has /var/tmp for itself.
shared=$(mktemp -d "$BUILDDIR/power.XXXXXX") || tap_bail "no directory in $BUILDDIR"
tap_on_exit 'rm -rf "$shared"'
mv "$T/small.tar" "$shared/power.tar"
RANDOM=${NIXSTORE_POWER_SEED:-$$}
tap_diag "NIXSTORE_POWER_SEED=${NIXSTORE_POWER_SEED:-$$}"

# boot WAY [OPTION...] [-- last]: what it finds wrong is in $T/wrong.
boot() {
  local way=$1 options=() rc; shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1"); shift; done
  [ $# = 0 ] || shift
  env -u CONTAINERS_CONF -u CONTAINERS_STORAGE_CONF -u NIXSTORE_CACHE \
    "$TESTLIB/qemu-run" -t 600 -d "$shared/$way.qcow2" "${options[@]}" trixie "$SRCDIR/test/kernel/power-guest" "$way" \
    "oci-archive:$shared/power.tar" "$([ "$way" = nixstore ] && echo "$PODMAN_NIXSTORE" || echo "$PODMAN")" "$BUILDDIR" "$@" \
    >"$T/guest" 2>"$T/guest.err"
  rc=$?
  [ $rc != 77 ] || tap_skip_all "$(tail -n 1 "$T/guest.err")"
  grep '^wrong' "$T/guest" >"$T/wrong"
  tap_diag "$way: $SECONDS s"
  [ $rc = 0 ] || echo "exit status $rc: $(tail -n 5 "$T/guest" "$T/guest.err" | cut -c1-200)" >>"$T/wrong"
}

for way in ${NIXSTORE_POWER_WAYS-$WAYS}; do
  for ((i = 0; i < ${NIXSTORE_POWER_ROUNDS:-4}; i++)); do
    moment=$((RANDOM % 60)).$((RANDOM % 10))
    boot "$way" -k "$moment"
    [ $i = 0 ] || is "$way: power failure $i" "$(cat "$T/wrong")" ""
    tap_diag "$way: off after $moment s"
  done
  boot "$way" -- last
  is "$way: the last power failure, and then all goes" "$(cat "$T/wrong")" ""
done
tap_done
