#!/bin/bash
# parallel: yes
# Where the kernel maps no ids of mounts (before 5.12, or a filesystem of layers that it cannot do that for):
# mode erofs says so, auto takes mode fuse for containers with a mapping and for them alone.
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

small_image one
reference
REF=$LINK
layer
echo middle >"$LAYER/middle"
chown 7:7 "$LAYER/middle"
MIDDLE=$LINK
map=uidmapping=:0:100000:65536,gidmapping=:0:200000:65536
export NIXSTORE_TEST_DISABLE=idmapped-mounts

check_fails "mode erofs says what is missing" 1 "map the ids of a mount: Operation not supported" \
  mount_program --mode=erofs -o "lowerdir=$REF,$(upper a),$map" "$TARGET"
check_fails "so does mode bind" 1 "map the ids of a mount: Operation not supported" \
  mount_program --mode=bind -o "lowerdir=$REF,$(upper a),$map" "$TARGET"
is "nothing is mounted" "$(mounts_beneath "$TARGET" | wc -l)" 0
check "without a mapping" mount_program --mode=auto -o "lowerdir=$REF,$(upper plain)" "$TARGET"
is "auto is mode erofs" "$(attributes etc/shadow) $(sockets)" "etc/shadow -rw-r----- 0:42 1500000000 1 0"
unmount_target

want="etc/shadow -rw-r----- 100000:200042 1500000000 1
dir drwxrwxrwt 101000:201000 1500000000 3"
check "with a mapping" mount_program --mode=auto -o "lowerdir=$REF,$(upper mapped),$map" "$TARGET"
is "auto is mode fuse" "$(sockets)" 1
is "its ids" "$(attributes etc/shadow dir)" "$want"
chmod 600 "$TARGET/etc/shadow"
is "a file that is changed" "$(attributes etc/shadow | cut -d' ' -f2,3; cat "$TARGET/etc/shadow")" \
  "-rw------- 100000:200042
shadow of one"
unmount_target
check "read-only" mount_program --mode=auto -o "lowerdir=$REF:$HOME_DIR/$ID/empty,$map" "$TARGET"
is "its ids" "$(attributes etc/shadow dir)" "$want"
unmount_target
# The kernel cannot map an ordinary layer above the image either: one index for both.
check "with a layer above it" mount_program --mode=auto -o "lowerdir=$MIDDLE:$REF,$(upper above),$map" "$TARGET"
is "its ids" "$(attributes etc/shadow dir; stat -c %u:%g "$TARGET/middle")" "$want
100007:200007"
is "content of both" "$(cat "$TARGET/middle" "$TARGET/etc/passwd")" "middle
passwd of one"
unmount_target
check "all servers go" sockets_gone
NIXSTORE_TEST_DISABLE=idmapped-mounts,fuse \
  check_fails "without mode fuse there is an error" 1 "map the ids of a mount: Operation not supported" \
  mount_program --mode=auto -o "lowerdir=$REF,$(upper none),$map" "$TARGET"
tap_done
