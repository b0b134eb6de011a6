#!/bin/bash
# parallel: yes
# nixstore-mount killed midway, at many points, in every way of mounting: no mount but a whole one, no
# loop device, no process is left, and the next start works.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
tap_need python3
mount_setup

rooted_reference one
REF=$LINK
check "once undisturbed" mount_program -o "lowerdir=$REF" "$TARGET"
unmount_target
leak_mark

# kill_often OPTIONS: 60 starts, killed after 0 to 12 ms; the cache is cold at every third.
kill_often() {
  python3 - "$HOME_DIR" "$NIXSTORE_MOUNT" "$1" "$TARGET" "$CACHE" <<'END'
import shutil, subprocess, sys, time
home, program, options, target, cache = sys.argv[1:]
for i in range(60):
    if i % 3 == 0:
        shutil.rmtree(cache + "/index", ignore_errors=True)
    child = subprocess.Popen([program, "-o", options, target], cwd=home, stderr=subprocess.DEVNULL)
    time.sleep(i / 5000)
    child.kill()
    child.wait()
END
}

map=uidmapping=0:100000:65536,gidmapping=0:100000:65536
for disabled in "" one-step,detached-layers,layer-descriptors \
  one-step,detached-layers,layer-descriptors,layer-names,erofs-file; do
  export NIXSTORE_TEST_DISABLE=$disabled
  case $disabled in
    *erofs-file) [ -e /dev/loop-control ] || continue ;;
  esac
  kill_often "lowerdir=$REF,$(upper a),$map"
  is "$(mounts_beneath "$TARGET" | sort -u | wc -l) mounts, all on the target (${disabled:-best way})" \
    "$(mounts_beneath "$T/target/" | wc -l)" 0
  unmount_target
  # The kernel clears a loop device in its own time.
  for _ in {1..50}; do [ "$(loops)" = 0 ] && break; sleep 0.1; done
  is "no loop device" "$(loops)" 0
  is "no process" "$(test_processes)" ""
  check "the next start" mount_program -o "lowerdir=$REF,$(upper b),$map" "$TARGET"
  is "is whole" "$(cat "$TARGET/etc/shadow")" "shadow of one"
  unmount_target
done
unset NIXSTORE_TEST_DISABLE
is "nothing stays aside in the cache" "$(find "$CACHE" -name '*.new')" ""
assert_nothing_left "nothing is left"
tap_done
