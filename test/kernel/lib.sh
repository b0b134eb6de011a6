# shellcheck shell=bash
# Other tests, run again under another kernel.  Source it after tap.sh.

# shellcheck source=../lib/elsewhere.sh
. "$TESTLIB/elsewhere.sh"

# under_kernel SUITE TEST...: each test's points are ours, under the kernel's
# release.
under_kernel() {
  local suite=$1 release rc; shift
  release=$("$TESTLIB/qemu-run" --kernel "$suite" 2>"$T/kernel.err") ||
    tap_skip_all "$(tail -n 1 "$T/kernel.err")"
  "$TESTLIB/qemu-run" -t "${KERNEL_SECONDS:-1100}" "$suite" bash -c "$RUN_TESTS" _ \
    "${@/#/$SRCDIR/test/}" >"$T/guest" 2>"$T/guest.err"
  rc=$?
  [ $rc != 77 ] || tap_skip_all "$(tail -n 1 "$T/guest.err")"
  is "$release: the guest ran to its end" "$rc" 0 || tail -n 20 "$T/guest" "$T/guest.err" | tap_diag
  points_of "$release" "$T/guest"
}
