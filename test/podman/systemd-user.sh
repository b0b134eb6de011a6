#!/bin/bash
# parallel: yes
# timeout: 300
# Containers as services of a user's own systemd: as systemd.sh, without privilege.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/rootless.sh"
. "$SRCDIR/test/podman/small.sh"
. "$SRCDIR/test/podman/services.sh"
tap_need nix-store systemctl
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT" /lib/systemd/systemd
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
rootless_setup
path=$("$NIXSTORE" convert "$source" --name "systemd-${T##*.}") || tap_bail "convert failed"
UNITS=$RHOME/units
ctl() { as_user_inside systemctl --user "$@"; }
podman() { as_user_inside "$program" "$@"; }
inside_podman() { podman "$@"; }
systemd_start

# ---- what user@.service is on a host
as_user_inside() { # nsenter(1) goes first, as it wants privilege
  nsenter -t "$init" -a -w"$RHOME" setpriv --reuid "$ROOTLESS_UID" --regid "$ROOTLESS_UID" --clear-groups \
    env -i "${ROOTLESS_ENV[@]}" "${ROOTLESS_EXTRA[@]}" "$@"
}
ROOTLESS_EXTRA=(SYSTEMD_UNIT_PATH="$UNITS" SYSTEMD_GENERATOR_PATH=/nonexistent)
systemd_units "$UNITS"
chown -R "$ROOTLESS_UID" "$UNITS"
{
  printf '[Service]\nUser=%s\nType=notify\nDelegate=yes\nKillMode=mixed\nTimeoutStopSec=10\n' "$ROOTLESS_UID"
  printf 'ExecStart=/lib/systemd/systemd --user --log-target=console --show-status=no\nStandardError=append:%s\n' "$T/user.log"
  printf 'Environment="%s"\n' "${ROOTLESS_ENV[@]}" "${ROOTLESS_EXTRA[@]}"
} >"$T/units/user@$ROOTLESS_UID.service"
inside systemctl daemon-reload
inside systemctl start "user@$ROOTLESS_UID.service" ||
  tap_skip_all "no systemd of a user's here: $(tail -n 1 "$T/user.log")"

nothing_left() {
  is "$1" "$(find "/run/user/$ROOTLESS_UID/nixstore" "$ROOTLESS_TMP" -mindepth 1 2>/dev/null; pgrep -u "$ROOTLESS_UID" -l 'conmon|nixstore')" ""
}
# All of Podman's processes are inside: its pause process, which holds the user's namespaces, is found by
# its number. It must be there before the first service, which would take it along.
for way in $WAYS; do
  rootless_args "$way"
  program=${ARGS[0]}
  as_user mkdir -p .config/containers
  printf '[storage]\ndriver = "%s"\nrunroot = "%s"\ngraphroot = "%s"\n' "${way/mountprogram/overlay}" \
    "/run/user/$ROOTLESS_UID/r/$way" "$RHOME/p/$way" >"$RHOME/.config/containers/storage.conf"
  ROOTLESS_EXTRA=("STORAGE_OPTS=${way/mountprogram/overlay}.mount_program=$T/bin/nixstore-mount")
  as_user_inside "$T/bin/nixstore" import "$path" --podman "$program" --name localhost/base:1 >/dev/null || tap_bail "$way: import failed"
  podman unshare true
  service_environment "${ROOTLESS_ENV[@]}" "${ROOTLESS_EXTRA[@]}"
  podman_unit && service "$way, podman generate systemd"
  [ "$way" = mountprogram ] || quadlet_service "$way, Quadlet" -user
  podman rmi base:1 >/dev/null
  ROOTLESS_EXTRA=()
done
tap_done
