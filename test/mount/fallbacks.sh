#!/bin/bash
# parallel: yes
# The ways to mount that older kernels need, each forced by taking the newer ones away: the same tree
# must come out, writable and read-only, with and without id mappings, and nothing stay behind.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

rooted_reference one
REF=$LINK
layer
echo middle >"$LAYER/middle"
mkdir -p "$LAYER/etc"
mknod "$LAYER/etc/passwd" c 0 0
MIDDLE=$LINK
leak_mark

listing() { (cd "$TARGET" && find . -mindepth 1 -printf '%p %y %m %U:%G %s %T@ %l\n' | sort); }

# way NAME DISABLED: every shape of mount by this way.
N=0
way() {
  local name=$1 map=uidmapping=:0:100000:65536,gidmapping=:0:200000:65536 up
  export NIXSTORE_TEST_DISABLE=$2
  N=$((N + 1))
  up=$(upper "$N")
  if check "$name: with an upper" mount_program -o "lowerdir=$MIDDLE:$REF,$up" "$TARGET"; then
    listing >"$T/listing.rw.$N"
    same_file "$name: the tree" "$T/listing.rw.$N" "$T/listing.rw.1"
    case $2 in
      *one-step*) is "$name: a lower of its own" "$(findmnt -n -o OPTIONS "$TARGET" | grep -c 'datadir\|::')" 0 ;;
    esac
    is "$name: content" "$(cat "$TARGET/etc/shadow" "$TARGET/middle")" "shadow of one
middle"
    chmod 600 "$TARGET/etc/shadow"
    is "$name: copied up whole" "$(cat "$T/upper/$N/diff/etc/shadow")" "shadow of one"
    is "$name: no xattr of overlayfs but its origin" \
      "$(getfattr -R -h -d -m trusted.overlay --absolute-names "$T/upper/$N/diff" | grep -E 'metacopy|redirect')" ""
    is "$name: one device number" "$(find "$TARGET" ! -type c -printf '%D\n' | sort -u | wc -l)" 1
    unmount_target
  fi
  rm -rf "$T/upper/$N"
  up=$(upper "$N")
  if check "$name: reference and upper alone" mount_program -o "lowerdir=$REF,$up,volatile" "$TARGET"; then
    mv "$TARGET/usr/bin/tool" "$TARGET/tool"
    is "$name: renamed" "$("$TARGET/tool")" one
    unmount_target
  fi
  if check "$name: volatile again" mount_program -o "lowerdir=$REF,$up,volatile" "$TARGET"; then
    unmount_target
  fi
  for lowers in "$REF" "$MIDDLE:$REF"; do
    if check "$name: read-only $((${#lowers} > ${#REF} ? 2 : 1))" mount_program -o "lowerdir=$lowers" "$TARGET"; then
      is "$name: read-only content" "$(cat "$TARGET/etc/shadow")" "shadow of one"
      unmount_target
    fi
  done
  rm -rf "$T/upper/$N"
  up=$(upper "$N")
  if check "$name: mapped" mount_program -o "lowerdir=$MIDDLE:$REF,$up,$map" "$TARGET"; then
    is "$name: mapped ids" "$(attributes etc/shadow dir middle)" "etc/shadow -rw-r----- 100000:200042 1500000000 1
dir drwxrwxrwt 101000:201000 1500000000 3
middle -rw-r--r-- 100000:200000 $(stat -c %Y "$TARGET/middle") 1"
    chmod 644 "$TARGET/etc/shadow"
    is "$name: mapped ids after copy-up" "$(stat -c %u:%g "$T/upper/$N/diff/etc/shadow")" 100000:200042
    is "$name: mapped content" "$(cat "$TARGET/etc/shadow" "$TARGET/middle")" "shadow of one
middle"
    unmount_target
  fi
  if check "$name: ordinary layers" mount_program -o "lowerdir=$MIDDLE,$(upper "plain$N")" "$TARGET"; then
    is "$name: an ordinary file" "$(cat "$TARGET/middle")" middle
    unmount_target
  fi
}

way "the best way here" ""
way "two overlays" one-step
way "layers attached" one-step,detached-layers
way "layers by name" one-step,detached-layers,layer-descriptors
way "mount(2)" one-step,detached-layers,layer-descriptors,layer-names
if [ -e /dev/loop-control ]; then
  way "loop device" erofs-file
  way "loop device, two overlays" erofs-file,one-step
  way "loop device, mount(2)" erofs-file,one-step,detached-layers,layer-descriptors,layer-names
  is "no loop device is left" "$(loops)" 0
else
  tap_skip "loop devices" "there are none here"
fi
export NIXSTORE_TEST_DISABLE=one-step,detached-layers,layer-descriptors,layer-names,classic-mount
check_fails "no way at all" 1 "disabled" mount_program -o "lowerdir=$REF" "$TARGET"
unset NIXSTORE_TEST_DISABLE

# A cache that EROFS cannot mount files from.
mkdir "$T/memory"
mount -t tmpfs -o mode=755 nixstore-test "$T/memory"
if [ -e /dev/loop-control ]; then
  NIXSTORE_CACHE=$T/memory/cache \
    check "a cache in memory" mount_program -o "lowerdir=$REF,$(upper memory)" "$TARGET"
  is "its content" "$(cat "$TARGET/etc/shadow")" "shadow of one"
  is "through a loop device" "$(loops)" 1
  unmount_target
  is "which goes with the mount" "$(loops)" 0
fi
umount "$T/memory"

assert_nothing_left "nothing is left"
tap_done
