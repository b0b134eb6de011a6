#!/bin/bash
# parallel: yes
# Stacks that need one index for all their layers: whiteouts in AUFS's style, two references, a
# reference above ordinary layers.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

rooted_reference one
REF=$LINK
rooted_reference two
TWO=$LINK
leak_mark

names() { (cd "$TARGET" && find . -mindepth 1 -printf '%P\n' | sort | xargs); }

# A layer as stock Podman with a mount program unpacks it.
layer
AUFS=$LINK
echo new >"$LAYER/file"
mkdir "$LAYER/etc" "$LAYER/dir" "$LAYER/usr"
: >"$LAYER/etc/.wh.shadow"
: >"$LAYER/etc/.wh.never-there"
: >"$LAYER/dir/.wh..wh..opq"
echo only >"$LAYER/dir/only"
ln "$LAYER/dir/only" "$LAYER/dir/same"
ln -s only "$LAYER/dir/sym"
setfattr -n user.a -v b "$LAYER/dir/only"
chown 7:8 "$LAYER/dir/only"
: >"$LAYER/usr/.wh.bin"
mkdir "$LAYER/usr/bin"
echo tool >"$LAYER/usr/bin/newtool"
truncate -s 1M "$LAYER/sparse"
touch -d @1234567890.123456789 "$LAYER/file"

expected="dir dir/only dir/same dir/sym empty etc etc/fifo etc/null etc/passwd file sparse usr usr/bin usr/bin/newtool"
for options in "lowerdir=$AUFS:$REF,$(upper a)" "lowerdir=$AUFS:$REF"; do
  check "whiteouts in AUFS's style above a reference" mount_program -o "$options" "$TARGET"
  is "the names" "$(names)" "$expected"
  is "the layer's files" "$(attributes dir/only file sparse | sed "s/ [0-9]\{10\} / /")" "dir/only -rw-r--r-- 7:8 2
file -rw-r--r-- 0:0 1
sparse -rw-r--r-- 0:0 1"
  is "a time to the nanosecond" "$(stat -c %.Y "$TARGET/file")" 1234567890.123456789
  is "a hard link is one" "$(stat -c %i "$TARGET/dir/only")" "$(stat -c %i "$TARGET/dir/same")"
  is "an xattr" "$(getfattr --only-values --absolute-names -n user.a "$TARGET/dir/only")" b
  is "content of both" "$(cat "$TARGET/file" "$TARGET/dir/sym" "$TARGET/etc/passwd" "$TARGET/usr/bin/newtool")" "new
only
passwd of one
tool"
  is "content of a hole" "$(cmp "$TARGET/sparse" "$LAYER/sparse" 2>&1)" ""
  is "one device number" "$(find "$TARGET" ! -type c -printf '%D\n' | sort -u | wc -l)" 1
  unmount_target
done

# What is only to look like overlayfs's own is so on the upper, too.
layer
: >"$LAYER/.wh.empty"
setfattr -n trusted.overlay.overlay.opaque -v y "$LAYER"
check "a layer's root with an escaped mark" mount_program -o "lowerdir=$LINK:$REF,$(upper escaped)" "$TARGET"
is "it stays escaped on the upper" \
  "$(getfattr -d -m 'trusted.overlay.(overlay.)?opaque' --absolute-names "$T/upper/escaped/diff" | grep '=')" \
  'trusted.overlay.overlay.opaque="y"'
unmount_target

# Layers of either style above it.
layer
echo top >"$LAYER/file"
mkdir "$LAYER/etc"
mknod "$LAYER/etc/passwd" c 0 0
mkdir "$LAYER/dir"
setfattr -n trusted.overlay.opaque -v y "$LAYER/dir"
echo fresh >"$LAYER/dir/fresh"
check "both styles in one stack" mount_program -o "lowerdir=$LINK:$AUFS:$REF,$(upper b)" "$TARGET"
is "their names" "$(names)" "dir dir/fresh empty etc etc/fifo etc/null file sparse usr usr/bin usr/bin/newtool"
is "the upper one wins" "$(cat "$TARGET/file")" top
echo changed >>"$TARGET/usr/bin/newtool"
is "written to" "$(cat "$TARGET/usr/bin/newtool")" "tool
changed"
unmount_target
is "the layer is not" "$(cat "$HOME_DIR/$(printf %064x 3)/diff/usr/bin/newtool")" tool

layer
echo bottom >"$LAYER/bottom"
mkdir "$LAYER/etc"
echo bottom >"$LAYER/etc/shadow"
BOTTOM=$LINK
check "a reference above an ordinary layer" mount_program -o "lowerdir=$REF:$BOTTOM,$(upper c)" "$TARGET"
is "files of both" "$(cat "$TARGET/bottom" "$TARGET/etc/shadow")" "bottom
shadow of one"
is "owners of the reference" "$(attributes etc/shadow)" "etc/shadow -rw-r----- 0:42 1500000000 1"
unmount_target

check "two references" mount_program -o "lowerdir=$TWO:$REF,$(upper d)" "$TARGET"
is "the upper one's files" "$(cat "$TARGET/etc/shadow")" "shadow of two"
is "its hard links" "$(attributes usr/bin/tool usr/bin/tool2)" "usr/bin/tool -rwsr-xr-x 0:0 1500000000 2
usr/bin/tool2 -rwsr-xr-x 0:0 1500000000 2"
unmount_target

check "AUFS's whiteouts, no reference" \
  mount_program -o "lowerdir=$AUFS:$BOTTOM,$(upper e)" "$TARGET"
is "the names" "$(names)" "bottom dir dir/only dir/same dir/sym etc file sparse usr usr/bin usr/bin/newtool"
unmount_target
check "and read-only, a single layer" \
  mount_program -o "lowerdir=$(realpath "$AUFS"):$(dirname "$(realpath "$AUFS")")/empty" "$TARGET"
is "no whiteout shows" "$(find "$TARGET" -name '.wh.*')" ""
unmount_target

check "with ids mapped" mount_program -o \
  "lowerdir=$AUFS:$REF,$(upper f),uidmapping=:0:100000:65536,gidmapping=:0:200000:65536" "$TARGET"
is "the ids" "$(attributes dir/only etc/passwd | cut -d' ' -f1-3)" "dir/only -rw-r--r-- 100007:200008
etc/passwd -rw-r--r-- 100000:200000"
is "the content" "$(cat "$TARGET/dir/only")" only
unmount_target

# A container's own layer, mounted read-only while it changes.
layer
echo 1 >"$LAYER/one"
: >"$LAYER/.wh.bottom"
mkdir "$LAYER/../work/work"
for n in 1 2 3; do
  [ $n != 3 ] || export NIXSTORE_TEST_DISABLE=unnamed-files
  echo $n >"$LAYER/file$n"
  check "a layer that may change, $n" mount_program -o "lowerdir=$LAYER:$BOTTOM" "$TARGET"
  is "all of it, $n" "$(cat "$TARGET/one" "$TARGET/file$n" | xargs; ls "$TARGET")" "1 $n
etc
$(seq -f file%g $n)
one"
  unmount_target
done
unset NIXSTORE_TEST_DISABLE
layer
echo 1 >"$LAYER/one"
mkdir "$LAYER/../work/work" "$LAYER/sub"
check "a layer that may change, without whiteouts" mount_program -o "lowerdir=$LAYER:$REF" "$TARGET"
unmount_target
: >"$LAYER/sub/.wh.x"
check "and then with one" mount_program -o "lowerdir=$LAYER:$REF" "$TARGET"
is "none shows" "$(ls -A "$TARGET/sub")" ""
unmount_target

# In a user namespace overlayfs's marks are user.overlay.*, and a stack under a mapping is merged.
layer
mkdir "$LAYER/dir"
echo old >"$LAYER/dir/old"
OLD=$LINK
layer
mkdir "$LAYER/dir"
echo new >"$LAYER/dir/new"
setfattr -n user.overlay.opaque -v y "$LAYER/dir"
setfattr -n user.overlay.overlay.opaque -v n "$LAYER/dir"
setfattr -n user.other -v y "$LAYER/dir"
if unshare --user --map-root-user --mount true 2>/dev/null && [ -c /dev/fuse ]; then
  # in_namespace OPTIONS: the names in dir and its xattrs, as a mount in a user namespace shows them.
  in_namespace() {
    XDG_RUNTIME_DIR=$T unshare --user --map-root-user --mount bash -c "cd '$HOME_DIR' &&
      '$NIXSTORE_MOUNT' -o 'lowerdir=$LINK:$OLD,$1' '$TARGET' && ls '$TARGET/dir' &&
      getfattr --absolute-names -d -m user '$TARGET/dir' | sed 1d && umount '$TARGET'" | xargs
  }
  is "an opaque directory of a user namespace" "$(in_namespace "$(upper g)")" \
    "new user.other=y user.overlay.opaque=n"
  is "and merged, under a mapping" "$(in_namespace "$(upper h),uidmapping=0:0:1,gidmapping=0:0:1")" \
    "new user.other=y user.overlay.opaque=n"
else
  tap_skip "an opaque directory of a user namespace" "no user namespaces, or no /dev/fuse"
fi

layer
: >"$LAYER/.wh.file"
(cd "$LAYER" && for _ in {1..300}; do mkdir d && cd d || exit; done; echo deep >file)
check "more levels of directories than descriptors" bash -c \
  "ulimit -S -n 100; cd '$HOME_DIR' && '$NIXSTORE_MOUNT' -o 'lowerdir=$LINK:$REF' '$TARGET'"
is "the file in the last" "$(find "$TARGET" -name file -size -2 -exec cat {} +)" deep
unmount_target

layer
: >"$LAYER/.wh.file"
setfattr -n trusted.overlay.redirect -v /elsewhere "$LAYER"
check_fails "a layer made with redirects cannot be merged" 1 "redirect_dir" \
  mount_program -o "lowerdir=$LINK:$REF" "$TARGET"
mkdir -p "$T/users"
check_fails "nor can a user's directory" 1 "no layer" \
  mount_program -o "lowerdir=$T/image/one:$AUFS:$REF" "$TARGET"
check_fails "mode bind cannot apply them" 1 ".wh. files" \
  mount_program --mode=bind -o "lowerdir=$AUFS:$REF" "$TARGET"

assert_nothing_left "nothing is left"
tap_done
