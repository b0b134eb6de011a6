# shellcheck shell=bash
# A Nix store and Podman storages of a test's own, and the check that nothing
# is left of them.  Source it after tap.sh.  Everything here needs root, and
# goes on in a private mount namespace.

# shellcheck source=machine.sh
. "$TESTLIB/machine.sh"

# own_directory DIR MODE: a directory of the test's own in its place.
own_directory() {
  mkdir -p "$T/var$1" "$1" && chmod "$2" "$T/var$1" && mount --bind "$T/var$1" "$1" ||
    tap_bail "cannot mount on $1"
}

# ------------------------------------------------------------------- Nix ----

# An empty store on /nix, in $T/nix on the disk ("disk", the default: EROFS on
# a file and overlayfs uppers need a real file system) or in memory ("tmpfs").
# The machine's own /nix is not touched: this is a mount in our namespace.
nix_private() {
  tap_private_mounts
  tap_need nix-store
  # Of common places too: other tests make and remove things of nixstore's there.
  own_directory /run/nixstore 700
  case :$SRCDIR:$BUILDDIR:$CACHEDIR:$PODMAN_NIXSTORE:$T in
    *:/tmp/*) ;; # what is tested lies there
    *) own_directory /tmp 1777 ;;
  esac
  mkdir -p /nix
  mkdir -p "$T/nix" "$T/nix-conf" "$T/home"
  if [ "${1:-disk}" = tmpfs ]; then
    mount -t tmpfs -o mode=755 nixstore-test /nix
  else
    mount --bind "$T/nix" /nix
  fi || tap_bail "cannot mount on /nix"
  # No daemon, no builders, no substituters: only this store.
  printf 'build-users-group =\nsandbox = false\nsubstituters =\n' >"$T/nix-conf/nix.conf"
  export NIX_CONF_DIR=$T/nix-conf NIX_REMOTE=local HOME=$T/home
  unset NIX_STORE_DIR NIX_STATE_DIR NIX_PATH NIX_LOG_DIR
  nix-store --init >"$T/nix-init.log" 2>&1 || tap_bail "nix-store --init: $(tail -n1 "$T/nix-init.log")"
}

# ---------------------------------------------------------------- Podman ----

# The distribution's Podman, and the one that has the driver built in.
PODMAN=${PODMAN:-/usr/bin/podman}
PODMAN_NIXSTORE=${PODMAN_NIXSTORE:-}
PODMAN_NIXSTORE_MISSING=
# What this tree has built.
NIXSTORE=${NIXSTORE:-$BUILDDIR/nixstore}
NIXSTORE_MOUNT=${NIXSTORE_MOUNT:-$BUILDDIR/nixstore-mount}
# Podman refuses a run root of more than 50 characters: a directory of $T is
# mounted here.
RUNROOTS=/run/testing-nixstore
LISTING=${LISTING:-$BUILDDIR/test/lib/listing}

podman_setup() {
  tap_private_mounts
  tap_need podman
  [ -z "${PODMAN_READY-}" ] || return 0
  PODMAN_READY=1
  # Not the machine's locks in /dev/shm: tests beside each other would take one
  # another's.
  podman_write_conf "$T/containers.conf" 'lock_type = "file"' 'events_logger = "file"'
  export CONTAINERS_CONF=$T/containers.conf
  # Configuration of the machine and of whoever runs the tests stays out.
  printf '[storage]\ndriver = "overlay"\nrunroot = "%s"\ngraphroot = "%s"\n' \
    "$RUNROOTS/default" "$T/p/default/root" >"$T/storage.conf"
  export CONTAINERS_STORAGE_CONF=$T/storage.conf
  unset STORAGE_DRIVER STORAGE_OPTS CONTAINERS_REGISTRIES_CONF
  export PODMAN_IGNORE_CGROUPSV1_WARNING=1
  # Podman's cache of blobs, and what libpod keeps in /run, are our own too.
  local d
  for d in /var/lib/containers /run/containers /run/libpod /run/crun /run/runc "$RUNROOTS"; do
    own_directory "$d" 755
  done
  # As on a host: our mounts are shared, with one another and with nothing outside. As root Podman
  # gives conmon of a container with mapped ids a mount namespace of its own (createRootlessContainer()
  # in libpod/oci_conmon_linux.go), and the cleanup that conmon starts unmounts there alone if that is
  # not passed on: /dev/shm stayed mounted, and `rm' failed with EBUSY whenever cleanup came first.
  mount --make-rshared / || tap_bail "cannot share our mounts"
  mkdir -p "$T/p" "$T/home" "$T/cache"
  export HOME=$T/home NIXSTORE_CACHE=$T/cache
  tap_on_exit podman_teardown
}

# podman_at NAME PROGRAM DRIVER-OPTIONS... -- ARGS...: a Podman with storage of
# its own under $T/p/NAME.
podman_at() {
  local name=$1 program=$2 opts=(); shift 2
  while [ "$1" != -- ]; do opts+=("$1"); shift; done
  shift
  # Not called for it here: this may be a subshell.
  [ -n "${PODMAN_READY-}" ] || { echo "podman_setup comes first" >&2; return 125; }
  if [ ! -d "$T/p/$name" ]; then
    mkdir -p "$T/p/$name"
    printf '%q ' "$program" --root "$T/p/$name/root" --runroot "$RUNROOTS/$name" \
      "${opts[@]}" >"$T/p/$name/command"
  fi
  "$program" --root "$T/p/$name/root" --runroot "$RUNROOTS/$name" "${opts[@]}" "$@"
}

# Stock Podman on its stock drivers.
podman_stock() { local d=$1; shift; podman_at "$d" "$PODMAN" --storage-driver "$d" -- "$@"; }
podman_overlay() { podman_stock overlay "$@"; }
podman_vfs() { podman_stock vfs "$@"; }

# Stock Podman with nixstore-mount as its mount program.
podman_mountprogram() {
  podman_at mp "$PODMAN" --storage-driver overlay \
    --storage-opt "overlay.mount_program=$NIXSTORE_MOUNT" -- "$@"
}

# find_podman_nixstore: sets PODMAN_NIXSTORE; what was built once is in the
# cache.  Where it can't be built $PODMAN_NIXSTORE_MISSING says why.
find_podman_nixstore() {
  tap_need_file "$NIXSTORE_MOUNT"
  [ -z "$PODMAN_NIXSTORE" ] || return 0
  PODMAN_NIXSTORE=$("$SRCDIR/contrib/podman/build" --no-install podman 2>"$T/podman-build.log") && return
  PODMAN_NIXSTORE=
  PODMAN_NIXSTORE_MISSING="Podman with the driver can't be built: $(tail -n 1 "$T/podman-build.log")"
  return 1
}

# need_podman_nixstore: the file is skipped where there is none.
need_podman_nixstore() { find_podman_nixstore || tap_skip_all "$PODMAN_NIXSTORE_MISSING"; }

# podman_ways: sets WAYS to the ways into Podman that there are here, and says
# so where the driver is not among them.
podman_ways() {
  WAYS="nixstore mountprogram"
  find_podman_nixstore && return
  WAYS=mountprogram
  tap_skip "driver nixstore" "$PODMAN_NIXSTORE_MISSING"
}

# Podman with the nixstore driver; NIXSTORE_STORAGE_OPTS holds further
# --storage-opt values, separated by blanks (nixstore.mode=bind).
podman_nixstore() {
  local o opts=()
  for o in "nixstore.mount_program=$NIXSTORE_MOUNT" ${NIXSTORE_STORAGE_OPTS-}; do opts+=(--storage-opt "$o"); done
  podman_at nixstore "$PODMAN_NIXSTORE" --storage-driver nixstore "${opts[@]}" -- "$@"
}

# The command nixstore, told of the storage of one of the two.
nixstore_for() {
  local which=$1 command=$2; shift 2
  case $which in
    nixstore)
      "$NIXSTORE" "$command" --podman "$PODMAN_NIXSTORE" --root "$T/p/nixstore/root" \
        --runroot "$RUNROOTS/nixstore" --storage-driver nixstore \
        --storage-opt "nixstore.mount_program=$NIXSTORE_MOUNT" "$@" ;;
    mountprogram)
      "$NIXSTORE" "$command" --podman "$PODMAN" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" \
        --storage-driver overlay --storage-opt "overlay.mount_program=$NIXSTORE_MOUNT" "$@" ;;
  esac
}

# podman_is_5: is the stock Podman of version 5 or later?
podman_is_5() { [ "$("$PODMAN" version -f '{{.Client.Version}}' | cut -d. -f1)" -ge 5 ]; }

# image NAME [FORMAT[:COMPRESSION]]: the path of a test image, as skopeo names it.
image() {
  local form=${2:-oci-archive} path
  path=$("$SRCDIR/test/images/make-image" "$1" "$form") || return
  case ${form%%:*} in
    docker-archive) echo "docker-archive:$path" ;;
    oci-index) echo "oci:$path:latest" ;;
    *) echo "${form%%:*}:$path:latest" ;;
  esac
}

# Containers end, mounts go, for every storage that podman_at made.
podman_teardown() {
  local c pid
  for c in "$T"/p/*/command; do
    [ -e "$c" ] || continue
    eval "timeout 60 $(cat "$c") rm -f -a -t 0"
    eval "timeout 60 $(cat "$c") umount -a"
  done </dev/null >/dev/null 2>&1
  for pid in $(test_processes); do kill -9 "$pid"; done
}

# ---------------------------------------------------------- nothing left ----

# Processes of the programs under test that belong to this test: in its mount
# namespace, or with its name in the environment or on the command line.
test_processes() {
  local p pid ns
  ns=$(readlink /proc/self/ns/mnt)
  for p in /proc/[0-9]*; do
    pid=${p#/proc/}
    case $(cat "$p/comm" 2>/dev/null) in
      nixstore* | conmon | fuse-overlayfs | fusermount3) ;;
      *) continue ;;
    esac
    if [ "$(readlink "$p/ns/mnt" 2>/dev/null)" = "$ns" ] ||
      tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -q "$NIXSTORE_TEST_ID" ||
      tr '\0' '\n' <"$p/cmdline" 2>/dev/null | grep -q "$NIXSTORE_TEST_ID"; then
      echo "$pid"
    fi
  done 2>/dev/null
}

# leak_list: what could be left over, one line each.
leak_list() {
  local pid
  awk '{ print "mount", $5, $(NF-2) }' /proc/self/mountinfo
  losetup -l -n -O NAME,BACK-FILE 2>/dev/null | grep -F "$NIXSTORE_TEST_ID" | sed 's/^/loop /'
  for pid in $(test_processes); do
    echo "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
  done
  if [ -d /nix/var/nix/gcroots ]; then
    find /nix/var/nix/gcroots /nix/var/nix/temproots -mindepth 1 \( -type l -o -type f \) \
      -printf 'gcroot %p -> %l\n' 2>/dev/null
  fi
  # Podman 5 keeps a mount point of its own in $TMPDIR (libpod/container_internal.go).
  find "$TMPDIR" /run/nixstore* /tmp/nixstore* -mindepth 1 ! -name 'intermediate-mountpoint-*' \
    -printf 'file %p\n' 2>/dev/null
}

# leak_mark: from here on nothing may be added.
leak_mark() { leak_list | sort >"$T/leaks.before"; }

# assert_nothing_left DESCRIPTION: no mount, loop device, process, GC root or
# temporary file more than at leak_mark.  Podman's clean-up runs after the
# container in a process of its own, so it is given up to 10 seconds.
assert_nothing_left() {
  local i
  for ((i = 0; i < ${LEAK_TRIES:-50}; i++)); do
    leak_list | sort >"$T/leaks.after"
    comm -13 "$T/leaks.before" "$T/leaks.after" >"$T/leaks.new"
    [ -s "$T/leaks.new" ] || { tap_ok "$1"; return 0; }
    sleep 0.1
  done
  tap_not_ok "$1" "left over:
$(cat "$T/leaks.new")"
  return 1
}
