#!/bin/bash
# parallel: yes
# timeout: 1500
# The storage driver for Podman against containers/storage's own tests of a
# driver (with ordinary layers), and against its own unit tests in
# contrib/podman/nixstore. Each Go test is a TAP point.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"

tap_private_mounts
tap_need apt-get podman
# Building it from nothing installs hundreds of packages: that is for
# contrib/podman/build, not for a test.
command -v go >/dev/null || tap_skip_all "no Go compiler here (contrib/podman/build installs it)"
compgen -G "$CACHEDIR/src/*" >/dev/null || tap_skip_all "Podman was not built here yet (contrib/podman/build)"

program=$("$SRCDIR/contrib/podman/build" --graphtest 2>"$T/build.log")
is "the tests build" "$?" 0 || { tap_diag <"$T/build.log"; tap_done; }

cd "$T" || exit
"$program" -test.v >"$T/log" 2>&1
status=$?
while read -r _ result name _; do
  case $result in
    PASS:) tap_ok "$name" ;;
    SKIP:) tap_skip "$name" "$(grep -A1 -e "--- SKIP: $name " "$T/log" | tail -n 1)" ;;
    FAIL:) tap_not_ok "$name" "$(tail -n 60 "$T/log")" ;;
  esac
done < <(grep -a -e '^--- ' "$T/log")
is "all tests ran to the end" "$status" 0 || tail -n 40 "$T/log" | tap_diag
is "no mount is left" "$(mounts_beneath "$T")" ""
tap_done
