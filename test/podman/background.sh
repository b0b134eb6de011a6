#!/bin/bash
# parallel: yes
# timeout: 900
# The process that makes a directory of mode overlaydir outlives the container that it was
# started for, and may outlive the image: nothing is left of it then, and an image that
# comes back gets nothing wrong.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/rootless.sh"
tap_need python3 nix-store jq
tap_need_file "$LISTING" "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
way=${WAYS%% *} # the program is the same
rootless_setup
rootless_nixstore_alone info --json | jq -e '.modes[] | select(.mode == "overlaydir").available' >/dev/null ||
  tap_skip_all "this kernel has no data-only layers in user namespaces (6.16)"
begun=$(date +%s)
source=$(image debian-base)
path=$("$NIXSTORE" convert "$source" --name "background-${T##*.}") || tap_bail "convert failed"
storage=$RHOME/p/$way
aside=$storage/nixstore-overlaydir.new

start() { rootless_podman "$way" run --rm --network=none base:1 "$@"; }
import() { rootless_nixstore "$way" import "$path" --name localhost/base:1 >/dev/null; }
rmi() { rootless_podman "$way" rmi base:1; }
makers() { pgrep -u "$ROOTLESS_UID" -x nixstore-later; }
makers_end() {
  local i
  for i in {1..600}; do
    makers >/dev/null || return 0
    sleep 0.1
  done
  return 1
}
published() { find "$storage" -path '*/nixstore-overlaydir/*' -prune -print; }
layers() { find "$storage/${way/mountprogram/overlay}" -mindepth 1 -maxdepth 1 ! -name l | sort; }

# stopped_maker: an image whose directory is being made by a process that is stopped.
stopped_maker() {
  local i tries
  for tries in 1 2 3 4 5; do
    import && start true || return
    for ((i = 0; i < 3000; i++)); do
      [ -z "$(find "$aside" -mindepth 2 -maxdepth 2 -print -quit 2>/dev/null)" ] || break
      makers >/dev/null || break
    done
    makers | xargs -r kill -STOP
    [ -n "$(makers)" ] && [ -z "$(published)" ] && [ -e "$aside" ] && return 0
    makers | xargs -r kill -CONT # it was through
    makers_end
    rmi >/dev/null
  done
  echo "the process was never seen at its work"
  return 1
}
go_on() { makers | xargs kill -CONT; makers_end; }

rootless_podman "$way" info >/dev/null
before=$(layers)
check "a directory is being made" stopped_maker
check "the image can be removed meanwhile" rmi
check "the process ends" go_on
is "no layer is left" "$(layers)" "$before"
is "nor anything of the directory" "$(find "$storage" -name 'nixstore-overlaydir*')" ""

check "a directory is being made again" stopped_maker
check "the image is removed" rmi
check "and comes back" import
check "it runs while the old process still waits" start true
ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=overlaydir)
show() { rootless_podman "$way" run --rm --network=none --cap-add SYS_ADMIN,DAC_READ_SEARCH \
  -v "$T/bin/listing:/.listing:ro" base:1 /.listing; }
show >"$T/fuse.list"
ROOTLESS_EXTRA=()
check "that ends, too" go_on
is "its directory is the image's" "$(published | wc -l) $(find "$aside" 2>/dev/null)" "1 "
ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=fuse)
show >"$T/overlaydir.list"
ROOTLESS_EXTRA=()
check "which shows what the image holds" \
  "$TESTLIB/compare-listings" --start "$begun" "$T/fuse.list" "$T/fuse.list" "$T/overlaydir.list"
check "and goes with it" rmi
is "without a trace" "$(layers) $(find "$storage" -name 'nixstore-overlaydir*')" "$before "

# Podman takes a layer away file by file, under its lock: nothing comes into the layer meanwhile.
lock=$storage/${way/mountprogram/overlay}-layers/layers.lock
at_lock() {
  local i
  for ((i = 0; i < 600; i++)); do
    [ -z "$(find -L /proc/$(makers)/fd -maxdepth 1 -samefile "$lock" 2>/dev/null)" ] || return 0
    sleep 0.1
  done
  return 1
}
check "a directory is being made once more" stopped_maker
exec 7<>"$lock"
tap_on_exit "exec 7<&-" # or nothing of Podman's ends
check "somebody takes Podman's lock" python3 -c 'import fcntl; fcntl.fcntl(7, 37, b"\1\0" + bytes(30))' # F_OFD_SETLK, F_WRLCK
makers | xargs kill -CONT
check "the process comes to it" at_lock
sleep 0.2
is "and waits" "$(published | wc -l) $(makers | wc -l)" "0 1"
exec 7<&-
check "then it ends" makers_end
is "and the directory is there" "$(published | wc -l) $(find "$aside" 2>/dev/null)" "1 "
check "and goes with the image" rmi
is "without a trace" "$(layers) $(find "$storage" -name 'nixstore-overlaydir*')" "$before "
tap_done
