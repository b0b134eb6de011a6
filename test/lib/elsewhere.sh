# shellcheck shell=bash
# Tests that run again somewhere else: under another kernel, in another Debian.
# Source it after tap.sh.

# Runs the tests named on its command line, a shell each, and marks where one
# begins and how it ended.
# shellcheck disable=SC2016,SC2034
RUN_TESTS='for t; do echo "file $t"; bash "$t" 2>&1; echo "status $?"; done'

# points_of PREFIX FILE: what RUN_TESTS printed becomes points of ours.
points_of() {
  local where=$1 line test='' seen=0 plan=''
  while IFS= read -r line; do
    case $line in
      "file "*) test=${line##*/} seen=0 plan= ;;
      1..*) plan=${line#1..} ;;
      ok*"# SKIP "*) seen=$((seen + 1)); line=${line#* - }; tap_skip "$where $test: ${line%% # SKIP*}" "${line#*# SKIP }" ;;
      ok*) seen=$((seen + 1)); tap_ok "$where $test: ${line#* - }" ;;
      "not ok"*) seen=$((seen + 1)); tap_not_ok "$where $test: ${line#* - }" ;;
      "status "*)
        case $plan in
          0*) tap_skip "$where $test" "${plan#*SKIP }" ;;
          *) is "$where $test: kept its plan" "$seen points, $line" "$plan points, status 0" ;;
        esac ;;
      *) tap_diag "$line" ;;
    esac
  done <"$2"
}
