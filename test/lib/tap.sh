# shellcheck shell=bash
# TAP producer and test environment for nixstore's shell tests.  Source it as
# the very first thing of a test:
#
#   #!/bin/bash
#   # parallel: yes            (may run beside other tests; default no)
#   # timeout: 600             (seconds; default 900)
#   . "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
#
#   tap_need nix-store         # otherwise the whole file is skipped
#   check "a thing works" command args...
#   tap_done
#
# What a test gets:
#   $T            its own directory on a real file system, removed at the end
#                 with everything that is mounted beneath it
#   $SRCDIR       the source tree;  $BUILDDIR the build tree
#   $TMPDIR       $T/tmp, so that what a tool leaves there can be seen
# The file may be run by hand: every default works without the runner.

set -u
umask 022
export LC_ALL=C.UTF-8

SRCDIR=${NIXSTORE_SRCDIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
BUILDDIR=${NIXSTORE_BUILDDIR:-$SRCDIR}
if [ ! -e "$BUILDDIR/config.status" ] && [ -e "$SRCDIR/build/config.status" ]; then
  BUILDDIR=$SRCDIR/build
fi
CACHEDIR=${NIXSTORE_BUILD_CACHE:-/var/cache/nixstore-build}
TESTLIB=$SRCDIR/test/lib
export SRCDIR BUILDDIR CACHEDIR TESTLIB

TAP_COUNT=0
TAP_FAILED=0
TAP_PLAN=
TAP_ENDED=
TAP_ON_EXIT=()

# ---------------------------------------------------------------- output ----

# Every line of stdin, as diagnostics that no TAP reader takes for a result.
tap_diag() {
  if [ $# -gt 0 ]; then printf '%s\n' "$*"; else cat; fi | sed 's/^/# /' >&3
}

tap_plan() { TAP_PLAN=$1; printf '1..%d\n' "$1" >&3; }

tap_ok() { TAP_COUNT=$((TAP_COUNT + 1)); printf 'ok %d - %s\n' "$TAP_COUNT" "$*" >&3; }

# tap_not_ok DESCRIPTION [DIAGNOSTICS]
tap_not_ok() {
  TAP_COUNT=$((TAP_COUNT + 1)); TAP_FAILED=$((TAP_FAILED + 1))
  printf 'not ok %d - %s\n' "$TAP_COUNT" "$1" >&3
  [ -z "${2-}" ] || tap_diag "$2"
}

# tap_skip DESCRIPTION REASON
tap_skip() {
  TAP_COUNT=$((TAP_COUNT + 1))
  printf 'ok %d - %s # SKIP %s\n' "$TAP_COUNT" "$1" "$2" >&3
}

# The whole file cannot run here: says why, and ends the test.
tap_skip_all() { printf '1..0 # SKIP %s\n' "$*" >&3; TAP_ENDED=1; exit 0; }

tap_bail() { printf 'Bail out! %s\n' "$*" >&3; TAP_ENDED=1; exit 99; }

# Ends the test; without it the file counts as died half way.
tap_done() {
  [ "$TAP_COUNT" -gt 0 ] || tap_not_ok "something is tested"
  [ -n "$TAP_PLAN" ] || printf '1..%d\n' "$TAP_COUNT" >&3
  TAP_ENDED=1
  [ "$TAP_FAILED" -eq 0 ]
  exit $?
}

# ---------------------------------------------------------------- checks ----

# check DESCRIPTION COMMAND...: ok when the command exits 0.  Its output is
# left in $OUT (stdout and stderr together) and shown on failure.
check() {
  local desc=$1 rc; shift
  OUT=$("$@" 2>&1 </dev/null); rc=$?
  if [ $rc -eq 0 ]; then tap_ok "$desc"; return 0; fi
  tap_not_ok "$desc" "exit status $rc of: $*
$(tail -n 40 <<<"$OUT")"
  return 1
}

# check_fails DESCRIPTION STATUS EXTENDED-REGEX COMMAND...: ok when the
# command exits with STATUS and prints, on stderr, one line that matches.
check_fails() {
  local desc=$1 want=$2 regex=$3 rc lines; shift 3
  OUT=$("$@" 2>&1 >/dev/null </dev/null); rc=$?
  lines=$(grep -c . <<<"$OUT")
  if [ "$rc" = "$want" ] && [ "$lines" = 1 ] && grep -qE -- "$regex" <<<"$OUT"; then
    tap_ok "$desc"; return 0
  fi
  tap_not_ok "$desc" "exit status $rc (wanted $want), $lines lines on stderr (wanted one like /$regex/) of: $*
$(tail -n 20 <<<"$OUT")"
  return 1
}

# is DESCRIPTION GOT WANTED
is() {
  if [ "$2" = "$3" ]; then tap_ok "$1"; return 0; fi
  tap_not_ok "$1" "got:    $2
wanted: $3"
  return 1
}

# like DESCRIPTION GOT EXTENDED-REGEX
like() {
  if grep -qE -- "$3" <<<"$2"; then tap_ok "$1"; return 0; fi
  tap_not_ok "$1" "got:         $(tail -n 20 <<<"$2")
wanted like: $3"
  return 1
}

# same_file DESCRIPTION GOT WANTED: the files' content is equal.
same_file() {
  local d
  if d=$(diff -a -u0 --label wanted --label got "$3" "$2" 2>&1); then
    tap_ok "$1"; return 0
  fi
  tap_not_ok "$1" "$(grep -ac '^[-+][^-+]' <<<"$d") lines differ:
$(head -n "${TAP_DIFF_LINES:-40}" <<<"$d")"
  return 1
}

# ---------------------------------------------------------- requirements ----

# tap_need COMMAND...: skips the file when one is missing.
tap_need() {
  local c
  for c; do
    command -v "$c" >/dev/null 2>&1 || tap_skip_all "$c is not installed"
  done
}

tap_need_root() { [ "$(id -u)" = 0 ] || tap_skip_all "needs root"; }

# tap_need_file FILE...: skips the file when one was not built.
tap_need_file() {
  local f
  for f; do [ -e "$f" ] || tap_skip_all "$f does not exist"; done
}

# ---------------------------------------------------------- environment -----

# free_port: of 127.0.0.1, one that nobody has.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Goes on in a mount namespace of the test's own, private all the way down:
# whatever is mounted there ends with the last process of the test, and can
# not appear on the machine.  Call it before anything else is set up.
tap_private_mounts() {
  tap_need_root
  [ -z "${NIXSTORE_TEST_NS-}" ] || return 0
  TAP_ENDED=1
  tap_cleanup
  NIXSTORE_TEST_NS=1 exec unshare --mount --propagation private -- \
    bash "$TAP_SELF" ${TAP_ARGS[@]+"${TAP_ARGS[@]}"} 3>&- 
}

# tap_on_exit COMMAND: evaluated at the end, the last one first.
tap_on_exit() { TAP_ON_EXIT=("$1" "${TAP_ON_EXIT[@]+"${TAP_ON_EXIT[@]}"}"); }

# Mount points at or beneath the directory $1, the deepest and latest first.
mounts_beneath() {
  local _ mp rest
  while read -r _ _ _ _ mp rest; do
    mp=$(printf '%b' "${mp//\\/\\0}")
    case $mp in "$1" | "$1"/*) printf '%s\n' "$mp" ;; esac
  done </proc/self/mountinfo | tac
}

unmount_beneath() {
  local mp
  while IFS= read -r mp; do
    umount "$mp" 2>/dev/null || umount -l "$mp" 2>/dev/null
  done < <(mounts_beneath "$1")
}

tap_cleanup() {
  local c
  for c in ${TAP_ON_EXIT[@]+"${TAP_ON_EXIT[@]}"}; do eval "$c"; done >/dev/null 2>&1
  TAP_ON_EXIT=()
  [ -n "${T-}" ] && [ -d "$T" ] || return 0
  cd /
  if [ -n "${NIXSTORE_TEST_NS-}" ]; then unmount_beneath /nix; fi
  unmount_beneath "$T"
  if [ -n "${NIXSTORE_TEST_KEEP-}" ]; then
    echo "# kept: $T" >&3
  else
    rm -rf --one-file-system "$T" 2>/dev/null ||
      { chmod -R u+rwX "$T"; rm -rf --one-file-system "$T"; } 2>/dev/null
  fi
  T=
}

tap_exit() {
  local rc=$?
  trap - EXIT; trap '' INT TERM HUP
  tap_cleanup
  if [ -z "$TAP_ENDED" ]; then
    printf 'Bail out! the test ended early, exit status %d\n' "$rc" >&3
    [ $rc -ne 0 ] || rc=99
  fi
  exit $rc
}

tap_begin() {
  local parent=/var/tmp name=nixstore-test.XXXXXX
  # The runner's own directory; names stay short, since Podman refuses a run root
  # of more than 50 characters.
  if [ -n "${NIXSTORE_TEST_TMPDIR-}" ]; then parent=$NIXSTORE_TEST_TMPDIR name=t.XXXXXX; fi
  exec 3>&1
  TAP_ARGS=("$@")
  TAP_SELF=$(realpath "$0") # tap_cleanup leaves the directory
  T=$(mktemp -d "$parent/$name") || tap_bail "no temporary directory in $parent"
  T=$(cd "$T" && pwd -P)
  chmod 755 "$T"
  mkdir -m 1777 "$T/tmp"
  export T TMPDIR=$T/tmp NIXSTORE_TEST_ID=${T##*/}
  trap tap_exit EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  trap 'exit 129' HUP
}

tap_begin "$@"
