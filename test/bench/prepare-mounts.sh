# shellcheck shell=bash
# The image mounted in every way there is, for the rows that compare them; as prepare.sh.

# shellcheck source=../mount/lib.sh
. "$SRCDIR/test/mount/lib.sh"

# bench_mount MODE NAME [OPTION]: mounts the image on $T/m/NAME as nixstore-mount does for a container.
bench_mount() {
  mkdir -p "$T/m/$2"
  mount_program --mode="$1" -o "lowerdir=$LINK,${3-$(upper "$2")}" "$T/m/$2"
}

# bench_overlay NAME LOWER: a plain overlay with an upper.
bench_overlay() {
  mkdir -p "$T/m/$1"
  mount -t overlay -o "xino=on,lowerdir=$2,$(upper "$1")" overlay "$T/m/$1"
}

# A reference layer to the image in a home of our own.
bench_reference() {
  bench_image
  [ -z "$HOME_DIR" ] || return 0
  HOME_DIR=$T/layers/overlay STORE_PATH=$BENCH_PATH
  mkdir -p "$HOME_DIR/l" "$T/m"
  chmod 700 "$HOME_DIR"
  MANIFEST=$(digest "$STORE_PATH/ownership.mtree")
  NAR_HASH=$(nix-store -q --hash "$STORE_PATH")
  reference
  mkdir -p /run/nixstore
  mount -t tmpfs -o mode=700 tmpfs /run/nixstore
}

# The store has no times, and Python compiles each module anew that is not of the time that its .pyc
# names. What is compared with the image as it is has modules with the image's times: NAME_PYTHON for NAME.
bench_python() {
  local lib name
  export BENCH_BIND_PYTHON=$T/m/bind-python BENCH_PLAIN_PYTHON=$T/m/plain-python
  export BENCH_FUSE_OVERLAYFS_PYTHON=$T/m/fuse-overlayfs-python
  mkdir -p "$BENCH_BIND_PYTHON" "$BENCH_FUSE_OVERLAYFS_PYTHON" "$T/python/usr/lib"
  mount --bind "$BENCH_PATH/rootfs" "$BENCH_BIND_PYTHON"
  mount --make-private "$BENCH_BIND_PYTHON" # or the store would get what is mounted on it
  for lib in "$BENCH_FUSE"/usr/lib/python3.*; do
    name=${lib##*/}
    cp -a "$lib" "$T/python/usr/lib/"
    mount --bind "$T/python/usr/lib/$name" "$BENCH_BIND_PYTHON/usr/lib/$name"
  done
  bench_overlay plain-python "$T/python:$BENCH_PATH/rootfs"
  tap_on_exit 'umount "$BENCH_FUSE_OVERLAYFS_PYTHON"'
  fuse-overlayfs -o "lowerdir=$T/python:$BENCH_PATH/rootfs,$(upper fuse-overlayfs-python)" \
    "$BENCH_FUSE_OVERLAYFS_PYTHON" 2>"$T/m/said"
}

# bench_without_xattrs NAME [OPTION...]: the same files in mode fuse, as an image that has no xattr at
# all (this one has two), below an overlay.
bench_without_xattrs() {
  local name=$1; shift
  [ -e "$T/bare.index" ] || "$BUILDDIR/test/fuse/make-index" "$BENCH_PATH/rootfs" "$T/bare.index"
  mkdir -p "$T/m/$name-below"
  "$BUILDDIR/nixstore-fuse" --index="$T/bare.index" --data="$BENCH_PATH/rootfs" "$@" "$T/m/$name-below"
  bench_overlay "$name" "$T/m/$name-below"
}

# Ids that images use.
BENCH_IDS=1000000

# Mode overlaydir, in a user namespace of these ids, which a process keeps.
bench_overlaydir() {
  mkfifo "$T/m/mapped" "$T/m/mounted"
  export T HOME_DIR LINK NIXSTORE_MOUNT
  export -f bench_mount mount_program upper
  # newuidmap maps what /etc/subuid grants; root may write any mapping itself.
  # shellcheck disable=SC2016
  XDG_RUNTIME_DIR=$T/m XDG_CACHE_HOME=$T/m/cache unshare --user --mount --keep-caps bash -c '
    unset NIXSTORE_CACHE
    read -r _ <"$T/m/mapped"
    bench_mount overlaydir overlaydir >"$T/m/said" 2>&1; echo $? >"$T/m/mounted"
    exec sleep infinity >/dev/null 2>&1' 3>&- &
  BENCH_NAMESPACE=$!
  tap_on_exit 'kill "$BENCH_NAMESPACE"'
  while [ "$(readlink "/proc/$BENCH_NAMESPACE/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.1; done
  echo 0 0 $BENCH_IDS >"/proc/$BENCH_NAMESPACE/uid_map"
  echo 0 0 $BENCH_IDS >"/proc/$BENCH_NAMESPACE/gid_map"
  echo >"$T/m/mapped"
  [ "$(cat "$T/m/mounted")" = 0 ] && export BENCH_OVERLAYDIR=$T/m/overlaydir || cat "$T/m/said" >&2
  bench_argv BENCH_IN_NAMESPACE nsenter -t "$BENCH_NAMESPACE" --user --mount --preserve-credentials
}

prepare_mounts() {
  bench_reference
  export BENCH_BIND=$T/m/bind BENCH_PLAIN=$T/m/plain BENCH_FUSE_OVERLAYFS=$T/m/fuse-overlayfs
  export BENCH_EROFS=$T/m/erofs BENCH_FUSE=$T/m/fuse BENCH_FUSE_UPPER=$T/m/fuse-upper
  mkdir -p "$BENCH_BIND" "$BENCH_FUSE_OVERLAYFS"
  mount --bind "$BENCH_PATH/rootfs" "$BENCH_BIND"
  bench_overlay plain "$BENCH_PATH/rootfs"
  bench_mount erofs erofs || unset BENCH_EROFS
  bench_mount fuse fuse ""
  bench_mount fuse fuse-upper
  export BENCH_FUSE_BARE=$T/m/fuse-bare
  bench_without_xattrs fuse-bare
  tap_on_exit 'umount "$BENCH_FUSE_OVERLAYFS"'
  fuse-overlayfs -o "lowerdir=$BENCH_PATH/rootfs,$(upper fuse-overlayfs)" "$BENCH_FUSE_OVERLAYFS" 2>"$T/m/said"
  bench_python
  bench_overlaydir
}

# Mode fuse with its messages counted.
prepare_messages() {
  local index
  bench_reference
  bench_mount fuse compiled "" # the index
  index=$(find "$NIXSTORE_CACHE/index" -name "*.erofs" | head -n 1) # of the only image
  export BENCH_COUNTED=$T/m/counted BENCH_COUNTED_UPPER=$T/m/counted-upper
  mkdir -p "$BENCH_COUNTED"
  "$BUILDDIR/nixstore-fuse" --index="$index" --data="$BENCH_PATH/rootfs" --counters="$BENCH_COUNTED.count" "$BENCH_COUNTED"
  bench_overlay counted-upper "$BENCH_COUNTED"
  export BENCH_COUNTED_BARE=$T/m/counted-bare
  bench_without_xattrs counted-bare --counters="$BENCH_COUNTED_BARE.count"
}

# 100,000 entries, served.
prepare_server() {
  mkdir -p "$T/large"
  python3 - "$T/large" <<'END'
import os, sys
os.chdir(sys.argv[1])
for d in range(100):
    os.mkdir(f"directory-{d:03}")
    for f in range(999):
        with open(f"directory-{d:03}/file-{f:04}", "wb") as out:
            out.write(b"content" * (f % 200))
END
  export BENCH_LARGE=$T/large.mount
  mkdir -p "$BENCH_LARGE"
  "$BUILDDIR/test/fuse/make-index" "$T/large" "$T/large.index"
  "$BUILDDIR/nixstore-fuse" --index="$T/large.index" --data="$T/large" "$BENCH_LARGE"
}

# nixstore-mount alone, as Podman calls it.
prepare_program() {
  bench_reference
  bench_mount erofs alone # compiles the index
  umount "$T/m/alone"
  export BENCH_PEAK=$BUILDDIR/test/bench/peak BENCH_MOUNT_TARGET=$T/m/alone BENCH_MOUNT_HOME=$HOME_DIR
  bench_argv BENCH_MOUNT "$NIXSTORE_MOUNT" -o "lowerdir=$LINK,$(upper alone)" "$BENCH_MOUNT_TARGET"
}
