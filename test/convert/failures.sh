#!/bin/bash
# timeout: 600
# What goes wrong around a conversion: a full disk, signals, a Nix that refuses.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE"
nix_private
source=$(image debian-base) || tap_skip_all "no image: $source"
small=$(image empty)
store_is_empty() { [ -z "$(ls -A /nix/store | grep -v '^\.links$')" ]; }

# ---- a disk that is full
mkdir "$T/full"
mount -t tmpfs -o size=20m,mode=1777 full "$T/full"
check_fails "no space for the stage" 1 'No space left on device' \
  env TMPDIR="$T/full" "$NIXSTORE" convert "$source"
is "nothing is left there" "$(ls -A "$T/full")" ""
mkdir "$T/fullstore"
mount -t tmpfs -o size=20m,mode=755 full "$T/fullstore"
mkdir -p "$T/fullstore/store"
check_fails "no space in the store" 1 'No space left on device' \
  unshare --mount --propagation private bash -c '
    mount --bind "$T/fullstore" /nix && nix-store --init && exec "$0" convert "$1"' "$NIXSTORE" "$source"
is "no stage is left" "$(ls -A "$TMPDIR")" ""

# ---- signals
# staging PID: waits until it has staged something.
staging() {
  local i
  for i in {1..200}; do
    [ -n "$(find "$TMPDIR" -path '*/.content/[0-9]*' -print -quit 2>/dev/null)" ] && return 0
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.02
  done
  return 1
}
for signal in TERM HUP KILL; do
  "$NIXSTORE" convert "$source" --name "killed" >"$T/out" 2>&1 &
  pid=$!
  if staging $pid; then
    kill -$signal $pid
    wait $pid 2>/dev/null
    is "SIG$signal ends it" $? $((128 + $(kill -l $signal)))
    [ $signal = KILL ] || is "SIG$signal: nothing is left" "$(ls -A "$TMPDIR")" ""
  else
    wait $pid
    tap_skip "SIG$signal" "it was through before the signal came"
  fi
done
check "the next run succeeds" "$NIXSTORE" convert "$small" --name next
is "and has removed what the killed one left" "$(ls -A "$TMPDIR")" ""
mkdir "$TMPDIR/nixstore-scratch-abcdef"
exec 9<"$TMPDIR/nixstore-scratch-abcdef"
flock -n 9
check "with a directory that is in use" "$NIXSTORE" convert "$small" --name next
is "that stays" "$(ls -A "$TMPDIR")" "nixstore-scratch-abcdef"
exec 9<&-
rmdir "$TMPDIR/nixstore-scratch-abcdef"

# ---- a Nix that refuses, or is not there
printf '#!/bin/sh\necho "error: it is not my day" >&2\nexit 1\n' >"$T/refuse"
chmod +x "$T/refuse"
check_fails "Nix refuses" 1 'not my day' env NIXSTORE_NIX_STORE="$T/refuse" "$NIXSTORE" convert "$small"
check_fails "no Nix" 1 'install nix-bin' env NIXSTORE_NIX_STORE=/nosuch "$NIXSTORE" convert "$small"
check_fails "a file that is not there" 1 'No such file' "$NIXSTORE" convert oci-archive:/nosuch
check_fails "no temporary directory" 1 'temporary directory' \
  env TMPDIR=/nosuch "$NIXSTORE" convert "$small"
is "no stage is left" "$(ls -A "$TMPDIR")" ""

# ---- nobody in particular
tap_need setpriv
mkdir -m 777 "$T/nobody"
as_nobody() {
  setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$T/nobody" TMPDIR="$T/nobody" \
    NIX_STORE_DIR="$T/nobody/store" NIX_STATE_DIR="$T/nobody/state" NIX_LOG_DIR="$T/nobody/log" \
    XDG_CONFIG_HOME="$T/nobody" "$@"
}
chmod 755 "$T" "$T/nix-conf"
check "without any privilege" as_nobody "$NIXSTORE" convert "$(image nasty)" --name nasty
mine=$OUT
theirs=$("$NIXSTORE" convert "$(image nasty)" --name nasty)
check "the manifest is the same" cmp "$mine/ownership.mtree" "$theirs/ownership.mtree"
check "and so is rootfs" diff -r --no-dereference "$mine/rootfs" "$theirs/rootfs"
tap_done
