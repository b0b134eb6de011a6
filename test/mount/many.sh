#!/bin/bash
# parallel: yes
# As many layers as containers/storage allows, by every way, where a page of options once was the limit.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

rooted_reference one
REF=$LINK
LOWERS=$REF
for i in $(seq 1 480); do
  layer
  echo "$i" >"$LAYER/file$i"
  echo "$i" >"$LAYER/top"
  LOWERS=$LINK:$LOWERS
done
leak_mark
map=uidmapping=0:100000:65536,gidmapping=0:100000:65536

for disabled in "" one-step one-step,detached-layers,layer-descriptors \
  one-step,detached-layers,layer-descriptors,layer-names; do
  export NIXSTORE_TEST_DISABLE=$disabled
  for extra in "" ",$map"; do
    check "480 layers above a reference${extra:+, mapped} (${disabled:-best way})" \
      mount_program -o "lowerdir=$LOWERS,$(upper a)$extra" "$TARGET"
    is "all of them" "$(cat "$TARGET"/file* | wc -l) $(cat "$TARGET/top" "$TARGET/etc/shadow")" "480 480
shadow of one"
    unmount_target
    rm -rf "$T/upper/a"
  done
done
unset NIXSTORE_TEST_DISABLE
: >"$LAYER/.wh.file1"
touch "$LAYER"
check "merged" mount_program -o "lowerdir=$LOWERS,$(upper b)" "$TARGET"
is "but for one" "$(cat "$TARGET"/file* | wc -l) $(cat "$TARGET/top" "$TARGET/etc/shadow")" "479 480
shadow of one"
unmount_target

assert_nothing_left "nothing is left"
tap_done
