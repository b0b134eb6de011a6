#!/bin/bash
# parallel: yes
# Mode auto on whatever kernel this is (test/kernel runs it on old ones): mode erofs where it works, mode
# fuse where not; and where the kernel maps no ids of mounts (before 5.12), mode fuse for containers with a
# mapping and for them alone.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
mount_setup
tap_need_file /dev/fuse "$FUSE"
# Sockets of our own.
mount -t tmpfs -o mode=755 tmpfs /run
sockets() { find /run/nixstore -type s 2>/dev/null | wc -l; }
sockets_gone() {
  local i
  for i in {1..100}; do [ "$(sockets)" != 0 ] || return 0; sleep 0.1; done
  return 1
}
tap_on_exit 'unmount_beneath "$T"; sockets_gone'
mode() { case $(sockets) in 0) echo erofs ;; *) echo fuse ;; esac; }

small_image one
reference
REF=$LINK
layer
echo middle >"$LAYER/middle"
chown 7:7 "$LAYER/middle"
MIDDLE=$LINK
map=uidmapping=:0:100000:65536,gidmapping=:0:200000:65536

# shows NAME MODE: what auto mounts without a mapping.
shows() {
  check "$1" mount_program --mode=auto -o "lowerdir=$REF,$(upper "$1")" "$TARGET"
  is "$1: auto is mode $2" "$(mode)" "$2"
  is "$1: owners and modes" "$(attributes etc/shadow dir usr/bin/tool)" "etc/shadow -rw-r----- 0:42 1500000000 1
dir drwxrwxrwt 1000:1000 1500000000 3
usr/bin/tool -rwsr-xr-x 0:0 1500000000 2"
  is "$1: a program" "$("$TARGET/usr/bin/tool2")" one
  unmount_target
  check "$1: the server goes" sockets_gone
}

# shows_mapped NAME MODE
shows_mapped() {
  local want="etc/shadow -rw-r----- 100000:200042 1500000000 1
dir drwxrwxrwt 101000:201000 1500000000 3"
  check "$1, with a mapping" mount_program --mode=auto -o "lowerdir=$REF,$(upper "$1-m"),$map" "$TARGET"
  is "$1: auto is mode $2" "$(mode)" "$2"
  is "$1: its ids" "$(attributes etc/shadow dir)" "$want"
  chmod 600 "$TARGET/etc/shadow"
  is "$1: a file that is changed" "$(attributes etc/shadow | cut -d' ' -f2,3; cat "$TARGET/etc/shadow")" \
    "-rw------- 100000:200042
shadow of one"
  unmount_target
  check "$1: read-only" mount_program --mode=auto -o "lowerdir=$REF:$HOME_DIR/$ID/empty,$map" "$TARGET"
  is "$1: its ids" "$(attributes etc/shadow dir)" "$want"
  unmount_target
  # Where the kernel cannot map the ordinary layer either, there is one index for both.
  check "$1: with a layer above it" mount_program --mode=auto -o "lowerdir=$MIDDLE:$REF,$(upper "$1-a"),$map" "$TARGET"
  is "$1: ids of both" "$(attributes etc/shadow dir; stat -c %u:%g "$TARGET/middle")" "$want
100007:200007"
  is "$1: content of both" "$(cat "$TARGET/middle" "$TARGET/etc/passwd")" "middle
passwd of one"
  unmount_target
  check "$1: the servers go" sockets_gone
}

best=fuse
if mount_program --mode=erofs -o "lowerdir=$REF,$(upper probe)" "$TARGET" 2>"$T/err"; then
  best=erofs
  unmount_target
fi
shows here "$best"
shows_mapped here "$best"
# Where the index would need a loop device, and there is none: a container's /dev, with or without the module.
if [ -e /dev/loop-control ]; then
  mkdir "$T/dev"
  mount -t tmpfs -o mode=755 tmpfs "$T/dev"
  cp -a /dev/null /dev/fuse /dev/loop-control "$T/dev"
  mount --bind "$T/dev" /dev
  NIXSTORE_TEST_DISABLE=erofs-file check_fails "a node that is missing is said" 1 "/dev/loop[0-9]+: No such file" \
    mount_program --mode=erofs -o "lowerdir=$REF,$(upper loopless)" "$TARGET"
  mkdir "$T/memory"
  mount -t tmpfs -o mode=755 tmpfs "$T/memory"
  NIXSTORE_CACHE=$T/memory/cache check_fails "after what is wrong with the file" 1 \
    "mount the index from its file: .*; attach a file to /dev/loop[0-9]+: No such file" \
    mount_program --mode=erofs -o "lowerdir=$REF,$(upper loopless)" "$TARGET"
  umount "$T/memory"
  NIXSTORE_TEST_DISABLE=erofs-file shows loopless fuse
  for n in $(seq 0 300); do mknod -m 000 "$T/dev/loop$n" c 1 3; done # whatever it is that cannot be attached to
  NIXSTORE_TEST_DISABLE=erofs-file shows no-loop-device fuse
  rm "$T/dev/loop-control"
  NIXSTORE_TEST_DISABLE=erofs-file shows no-loop-control fuse
  umount /dev
fi
if [ $best = fuse ]; then
  is "mode erofs has one line to say" "$(grep -c . "$T/err")" 1
  tap_diag <"$T/err"
  check "mode bind" mount_program --mode=bind -o "lowerdir=$MIDDLE:$REF,$(upper bind),$map" "$TARGET"
  is "mode bind: ids" "$(cd "$TARGET" && stat -c %u:%g etc/shadow middle | paste -sd ' ')" "100000:200000 100007:200007"
  echo more >>"$TARGET/etc/shadow"
  is "mode bind: the store is not written to" "$(cat "$STORE_PATH/rootfs/etc/shadow")" "shadow of one"
  unmount_target
  tap_done
fi

# What a start asks of the kernel: nothing in vain, and nothing twice.
traced() { (cd "$HOME_DIR" && exec strace -qq -o "$T/trace" -e trace=fsopen,openat,fsync,fdatasync "$@"); }
calls() { grep -cE "$1" "$T/trace"; }
if traced true 2>/dev/null; then
  mkdir -p "$T/memory"
  mount -t tmpfs -o mode=755 tmpfs "$T/memory"
  if [ -e /dev/loop-control ]; then
    NIXSTORE_CACHE=$T/memory/cache check "a cache in memory" \
      traced "$NIXSTORE_MOUNT" --mode=auto -o "lowerdir=$REF,$(upper memory)" "$TARGET"
    is "EROFS is tried once on the file, and once on a loop device" "$(calls 'fsopen\("erofs"')" 2
    unmount_target
  fi
  umount "$T/memory"
  # Of layers that may change there is an index without a name.
  layer
  mkdir "$HOME_DIR/$ID/work/work"
  : >"$LAYER/.wh.empty"
  NIXSTORE_TEST_DISABLE=erofs check "a container's layers, in the mode that comes last" \
    traced "$NIXSTORE_MOUNT" --mode=auto -o "lowerdir=$LINK:$REF" "$TARGET"
  is "they are merged once" "$(find "$TARGET" -name empty | wc -l) $(calls 'openat\(.*O_TMPFILE')" "0 1"
  is "and what goes with the mount is not flushed" "$(calls '^f(data)?sync')" 0
  unmount_target
else
  tap_skip "what a start asks of the kernel" "strace traces nothing here"
fi
check "the servers go" sockets_gone

# In a user namespace what lacks is named, and not what there is for root alone.
if unshare --user --map-root-user --mount true 2>/dev/null; then
  inside() { # COMMAND...: as in rootless Podman
    (cd "$HOME_DIR" && env -u NIXSTORE_CACHE XDG_RUNTIME_DIR="$T/runtime" XDG_CACHE_HOME="$T/cache-home" \
      unshare --user --map-root-user --mount "$@")
  }
  mkdir -p "$T/runtime"
  check_fails "without /dev/fuse" 1 '^nixstore-mount: mode overlaydir: .*; mode fuse: .*(/dev/fuse|filesystem)' \
    inside sh -c "mount --bind /dev/null /dev/fuse && exec '$NIXSTORE_MOUNT' -o 'lowerdir=$REF,$(upper rootless)' '$TARGET'"
  check_fails "where only modes for others are left" 1 'mode erofs needs to be root.*; mode fuse is disabled' \
    env NIXSTORE_TEST_DISABLE=fuse,overlaydir sh -c "cd '$HOME_DIR' && exec unshare --user --map-root-user --mount \
    env -u NIXSTORE_CACHE XDG_CACHE_HOME='$T/cache-home' '$NIXSTORE_MOUNT' -o 'lowerdir=$REF,$(upper rootless)' '$TARGET'"
  # There the marks of overlayfs are user.overlay.*, which an image may have as well as any.
  cp -r "$T/image/one" "$T/image/marked" && rm "$T/image/marked/config.json"
  sed -i 's/^\. type=dir mode=0755/& xattr.user.note=aGVsbG8= xattr.user.overlay.opaque=eQ==/' "$T/image/marked/ownership.mtree"
  image_path marked
  reference
  check "an image whose root looks like overlayfs's" inside \
    "$NIXSTORE_MOUNT" -o "lowerdir=$LINK,$(upper marked)" "$TARGET"
  is "is not obeyed on the upper, nor on its layer" "$(getfattr -d -m 'user.*(note|opaque)' --absolute-names "$T/upper/marked/diff" "$LAYER" | grep '=')" \
    'user.note="hello"
user.overlay.overlay.opaque="y"
user.note="hello"
user.overlay.overlay.opaque="y"'
  if traced true 2>/dev/null; then
    check "a start" inside strace -qq -o "$T/trace" -e trace=fsopen "$NIXSTORE_MOUNT" \
      -o "lowerdir=$REF,$(upper rootless2)" "$TARGET"
    is "EROFS is not asked for" "$(calls 'fsopen\("erofs"') $(calls 'fsopen\("overlay"')" "0 1"
  fi
else
  tap_skip "in a user namespace" "there are none for us"
fi

export NIXSTORE_TEST_DISABLE=idmapped-mounts
check_fails "mode erofs says what is missing" 1 "map the ids of a mount: Operation not supported" \
  mount_program --mode=erofs -o "lowerdir=$REF,$(upper a),$map" "$TARGET"
check_fails "so does mode bind" 1 "map the ids of a mount: Operation not supported" \
  mount_program --mode=bind -o "lowerdir=$REF,$(upper a),$map" "$TARGET"
is "nothing is mounted" "$(mounts_beneath "$TARGET" | wc -l)" 0
shows unmapped erofs
shows_mapped unmapped fuse
NIXSTORE_TEST_DISABLE=idmapped-mounts,fuse \
  check_fails "without mode fuse there is an error" 1 "map the ids of a mount: Operation not supported" \
  mount_program --mode=auto -o "lowerdir=$REF,$(upper none),$map" "$TARGET"
tap_done
