#!/bin/bash
# parallel: yes
# timeout: 300
# Containers as services of a live systemd, the first process of namespaces of its own: units
# that podman generates are started, restarted after their container and its monitor were killed,
# and stopped, and nothing is left.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
. "$SRCDIR/test/podman/services.sh"
tap_need nix-store systemctl
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT" /lib/systemd/systemd
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
path=$("$NIXSTORE" convert "$source" --name "systemd-${T##*.}") || tap_bail "convert failed"
UNITS=$T/units
ctl() { inside systemctl "$@"; }
podman() { "$program" "$@"; }
inside_podman() { inside "$program" "$@"; }
nothing_left() { assert_nothing_left "$@"; }
systemd_start

# configure WAY: as a host has it that makes this the default; ExecStop of what Podman generates has
# none of the options that it was called with. $program is the Podman.
configure() {
  local driver=overlay name=mp
  program=$PODMAN
  [ "$1" = mountprogram ] || { driver=nixstore name=nixstore program=$PODMAN_NIXSTORE; }
  export CONTAINERS_STORAGE_CONF=$T/storage-$1.conf STORAGE_OPTS=$driver.mount_program=$NIXSTORE_MOUNT
  printf '[storage]\ndriver = "%s"\nrunroot = "%s"\ngraphroot = "%s"\n' \
    "$driver" "$RUNROOTS/$name" "$T/p/$name/root" >"$CONTAINERS_STORAGE_CONF"
}

for way in $WAYS; do
  nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null || tap_bail "$way: import failed"
  "podman_$way" run --rm --network=none base:1 true
  leak_mark
  configure "$way"
  environment=()
  for v in CONTAINERS_CONF CONTAINERS_STORAGE_CONF STORAGE_OPTS HOME NIXSTORE_CACHE NIX_CONF_DIR NIX_REMOTE TMPDIR \
    NIXSTORE_TEST_ID PODMAN_IGNORE_CGROUPSV1_WARNING; do
    environment+=("$v=${!v}")
  done
  service_environment "${environment[@]}"
  podman_unit && service "$way, podman generate systemd"
  quadlet_service "$way, Quadlet"
  podman rmi base:1 >/dev/null
  unset STORAGE_OPTS
  nix-store --gc >/dev/null 2>&1
  check "$way: rmi: the path is collected" test ! -e "$path"
  "$NIXSTORE" convert "$source" --name "systemd-${T##*.}" >/dev/null
done
tap_done
