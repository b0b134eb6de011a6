# shellcheck shell=bash
# Other tests, run again under another kernel.  Source it after tap.sh.

# under_kernel SUITE TEST...: each test's points are ours, under the kernel's
# release.
under_kernel() {
  local suite=$1 release test rc line seen plan; shift
  release=$("$TESTLIB/qemu-run" --kernel "$suite" 2>"$T/kernel.err") ||
    tap_skip_all "$(tail -n 1 "$T/kernel.err")"
  # Separate, since a test's exit ends only its own shell.
  "$TESTLIB/qemu-run" -t "${KERNEL_SECONDS:-900}" "$suite" bash -c '
    for t; do echo "file $t"; bash "$t" 2>&1; echo "status $?"; done' _ "${@/#/$SRCDIR/test/}" \
    >"$T/guest" 2>"$T/guest.err"
  rc=$?
  [ $rc != 77 ] || tap_skip_all "$(tail -n 1 "$T/guest.err")"
  is "$release: the guest ran to its end" "$rc" 0 || tail -n 20 "$T/guest" "$T/guest.err" | tap_diag
  while IFS= read -r line; do
    case $line in
      "file "*) test=${line##*/} seen=0 plan= ;;
      1..*) plan=${line#1..} ;;
      ok*"# SKIP "*) seen=$((seen + 1)); tap_skip "$release $test: ${line#* - }" "${line##*SKIP }" ;;
      ok*) seen=$((seen + 1)); tap_ok "$release $test: ${line#* - }" ;;
      "not ok"*) seen=$((seen + 1)); tap_not_ok "$release $test: ${line#* - }" ;;
      "status "*)
        case $plan in
          0*) tap_skip "$release $test" "${plan#*SKIP }" ;;
          *) is "$release $test: kept its plan" "$seen points, $line" "$plan points, status 0" ;;
        esac ;;
      *) tap_diag "$line" ;;
    esac
  done <"$T/guest"
}
