# shellcheck shell=bash
# An ordinary user with subordinate ids, a Nix daemon that serves it, and its
# Podman storages.  Source it after env.sh; nix_private and podman_setup come
# first.  The user exists in the test's mount namespace alone.

ROOTLESS_USER=nixstore-test
# No other test's, whose processes are ended at its end; small enough for --userns=keep-id to make no gap.
ROOTLESS_UID=$((20000 + $$ % 40000))
ROOTLESS_SUBIDS=700000:65536

rootless_setup() {
  tap_need newuidmap newgidmap setpriv nix-daemon runc
  # The whole directory: where a file of it was mounted on alone the kernel takes the mount away as
  # soon as somebody on the machine (a package, useradd) renames a new one to its name.
  cp -a /etc "$T/etc" && mount --bind "$T/etc" /etc || tap_bail "cannot mount on /etc"
  RHOME=$T/user
  mkdir -m 700 "$RHOME"
  echo "$ROOTLESS_USER:x:$ROOTLESS_UID:$ROOTLESS_UID::$RHOME:/bin/sh" >>/etc/passwd
  echo "$ROOTLESS_USER:x:$ROOTLESS_UID:" >>/etc/group
  printf '%s:%s\n' "$ROOTLESS_USER" "$ROOTLESS_SUBIDS" containers 900000:300000 | tee /etc/subuid >/etc/subgid
  # As distributions ship it.
  [ -c /dev/fuse ] || tap_skip_all "there is no /dev/fuse"
  mknod -m 666 "$T/fuse" c 10 229 && chmod 666 "$T/fuse" && mount --bind "$T/fuse" /dev/fuse ||
    tap_bail "cannot mount on /dev/fuse"
  # Programs where the user can reach them; a run directory with a short name.
  mkdir -p "$T/bin" /run/user
  cp "$NIXSTORE" "$NIXSTORE_MOUNT" "$BUILDDIR/nixstore-fuse" "$T/bin/"
  [ ! -e "$LISTING" ] || cp "$LISTING" "$T/bin/listing"
  mount -t tmpfs -o mode=755 tmpfs /run/user || tap_bail "cannot mount on /run/user"
  mkdir -m 700 "/run/user/$ROOTLESS_UID" "/run/user/$ROOTLESS_UID/r" "$RHOME/p"
  # Not in its home: Podman 5 mounts the root of a container in whose user namespace the user is not in
  # $TMPDIR, for the container's own root to get there.
  ROOTLESS_TMP=$T/user-tmp
  mkdir -m 755 "$ROOTLESS_TMP"
  chown -R "$ROOTLESS_UID:$ROOTLESS_UID" "$RHOME" "$ROOTLESS_TMP" "/run/user/$ROOTLESS_UID"
  # Only what the test says: nothing of whoever runs it.
  ROOTLESS_ENV=(HOME="$RHOME" USER="$ROOTLESS_USER" LOGNAME="$ROOTLESS_USER" LC_ALL=C.UTF-8
    PATH="$PATH" TMPDIR="$ROOTLESS_TMP" XDG_RUNTIME_DIR="/run/user/$ROOTLESS_UID"
    CONTAINERS_CONF="$CONTAINERS_CONF" NIX_CONF_DIR="$NIX_CONF_DIR" NIX_REMOTE=daemon
    NIXSTORE_TEST_ID="$NIXSTORE_TEST_ID" PODMAN_IGNORE_CGROUPSV1_WARNING=1)
  chmod 644 "$CONTAINERS_CONF"
  tap_on_exit rootless_teardown
  nix-daemon >"$T/nix-daemon.log" 2>&1 &
  ROOTLESS_DAEMON=$!
  for _ in {1..50}; do
    [ -S /nix/var/nix/daemon-socket/socket ] && return
    sleep 0.1
  done
  tap_bail "nix-daemon: $(tail -n 1 "$T/nix-daemon.log")"
}

# as_user COMMAND...: run by the user, in its home; what stands in ROOTLESS_EXTRA
# (NAME=VALUE) is in its environment too.
as_user() {
  (cd "$RHOME" && exec setpriv --reuid "$ROOTLESS_UID" --regid "$ROOTLESS_UID" --clear-groups \
    env -i "${ROOTLESS_ENV[@]}" ${ROOTLESS_EXTRA[@]+"${ROOTLESS_EXTRA[@]}"} "$@")
}

# rootless_args WAY[-NAME]: sets ARGS, the program and options of a storage of the
# user's own: overlay, vfs, mountprogram or nixstore.
rootless_args() {
  local program=$PODMAN opts=() driver=${1%%-*}
  case $driver in
    mountprogram) driver=overlay opts=(--storage-opt "overlay.mount_program=$T/bin/nixstore-mount") ;;
    nixstore) program=$PODMAN_NIXSTORE opts=(--storage-opt "nixstore.mount_program=$T/bin/nixstore-mount") ;;
  esac
  ARGS=("$program" --root "$RHOME/p/$1" --runroot "/run/user/$ROOTLESS_UID/r/$1" --storage-driver "$driver" "${opts[@]}")
}

rootless_podman() { local ARGS way=$1; shift; rootless_args "$way"; as_user "${ARGS[@]}" "$@"; }

# rootless_nixstore WAY COMMAND ARGS...
rootless_nixstore() {
  local ARGS way=$1 command=$2; shift 2
  rootless_args "$way"
  as_user "$T/bin/nixstore" "$command" --podman "${ARGS[0]}" "${ARGS[@]:1}" "$@"
}

rootless_teardown() {
  local way pid p
  for way in "$RHOME"/p/*/; do
    way=$(basename "$way")
    rootless_podman "$way" rm -f -a -t 0
    rootless_podman "$way" unshare rm -rf "$RHOME/p/$way"
  done </dev/null >/dev/null 2>&1
  # The pause process of the user's namespaces, and what else is left of the user.
  for p in /proc/[0-9]*; do
    pid=${p#/proc/}
    [ "$(stat -c %u "$p" 2>/dev/null)" = "$ROOTLESS_UID" ] && kill -9 "$pid"
  done 2>/dev/null
  [ -z "${ROOTLESS_DAEMON-}" ] || kill "$ROOTLESS_DAEMON"
}

# rootless_nixstore_alone ARGS...: the command nixstore without a Podman.
rootless_nixstore_alone() { as_user "$T/bin/nixstore" "$@"; }

# rootless_unshare WAY SCRIPT: a shell script in the user's namespaces; "$@" in it is the Podman of WAY.
rootless_unshare() {
  local ARGS script=$2
  rootless_args "$1"
  as_user "${ARGS[@]}" unshare sh -c "$script" - "${ARGS[@]}"
}
