#!/bin/bash
# parallel: yes
# nixstore-mount in mode erofs: a reference layer alone, with an upper, below ordinary layers; what the
# store keeps no record of is there.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

rooted_reference one
REF=$LINK REF_ID=$ID
leak_mark

check "mount with an upper" mount_program -o "lowerdir=$REF,$(upper a),,volatile" "$TARGET"
is "ownership" "$(attributes etc/shadow usr/bin/tool dir dir/sub/deep etc/null etc/fifo)" \
  "etc/shadow -rw-r----- 0:42 1500000000 1
usr/bin/tool -rwsr-xr-x 0:0 1500000000 2
dir drwxrwxrwt 1000:1000 1500000000 3
dir/sub/deep -rw------- 1000:0 1500000000 1
etc/null crw-rw-rw- 0:0 1500000000 1
etc/fifo prw--w---- 0:0 1500000000 1"
is "content" "$(cat "$TARGET/etc/shadow")" "shadow of one"
is "a hard link's content" "$("$TARGET/usr/bin/tool2")" "one"
is "an xattr" "$(getfattr --absolute-names --only-values -n user.note "$TARGET/dir/sub/deep")" hello
is "no xattr of overlayfs shows" "$(getfattr -h -d -m - "$TARGET/etc/shadow" 2>/dev/null)" ""
is "one device number" "$(find "$TARGET" ! -type c -printf '%D\n' | sort -u | wc -l)" 1
is "the source of the mount" "$(findmnt -n -o FSTYPE "$TARGET")" overlay
chmod 600 "$TARGET/etc/passwd"
is "a chmod copies the content up" "$(cat "$T/upper/a/diff/etc/passwd")" "passwd of one"
is "no metacopy" "$(getfattr -h -d -m trusted.overlay.metacopy "$T/upper/a/diff/etc/passwd" 2>/dev/null)" ""
rm "$TARGET/etc/shadow"
check "a whiteout in the upper" test -c "$T/upper/a/diff/etc/shadow"
mv "$TARGET/usr/bin/tool" "$TARGET/usr/bin/moved"
is "a renamed file" "$("$TARGET/usr/bin/moved")" one
check "the GC root" test "$(readlink "$HOME_DIR/$REF_ID/nixstore-gcroot")" = "$STORE_PATH"
check "the path is alive" bash -c "nix-store --gc --print-live 2>/dev/null | grep -qxF '$STORE_PATH'"
unmount_target

check "mount volatile again" mount_program -o "lowerdir=$REF,$(upper a),,volatile" "$TARGET"
check_fails "the deleted file stays away" 1 "No such file" cat "$TARGET/etc/shadow"
unmount_target

check "mount read-only, with Podman's placeholder" \
  mount_program -o "lowerdir=$HOME_DIR/$REF_ID/diff:$HOME_DIR/$REF_ID/empty" "$TARGET"
check_fails "nothing can be written" 1 "Read-only" touch "$TARGET/new"
is "content, read-only" "$(cat "$TARGET/etc/shadow")" "shadow of one"
is "one mount" "$(mounts_beneath "$TARGET" | wc -l)" 1
unmount_target

layer
PLAIN=$LINK
echo upper >"$LAYER/added"
mkdir "$LAYER/etc" "$LAYER/dir"
mknod "$LAYER/etc/shadow" c 0 0
setfattr -n trusted.overlay.opaque -v y "$LAYER/dir"
echo new >"$LAYER/dir/new"
for mode in upper read-only; do
  options="lowerdir=$LINK:$REF"
  [ $mode = read-only ] || options+=",$(upper b)"
  check "mount an ordinary layer above the reference, $mode" mount_program -o "$options" "$TARGET"
  is "its file" "$(cat "$TARGET/added")" upper
  is "its whiteout" "$(ls "$TARGET/etc")" "fifo
null
passwd"
  is "its opaque directory" "$(ls "$TARGET/dir")" new
  is "a file below" "$(cat "$TARGET/etc/passwd")" "passwd of one"
  unmount_target
done
check "both with ids mapped" mount_program -o \
  "lowerdir=$LINK:$REF,$(upper both),uidmapping=0:100000:65536,gidmapping=0:200000:65536" "$TARGET"
is "owners of both" "$(cd "$TARGET" && stat -c '%n %u:%g' added etc/passwd)" "added 100000:200000
etc/passwd 100000:200000"
is "content of both" "$(cat "$TARGET/added" "$TARGET/etc/passwd")" "upper
passwd of one"
unmount_target

# containers/storage makes an upper's root like the raw directory of the layer below.
small_image rooted
sed -i 's/^\. type=dir mode=0755/. type=dir mode=0710 uid=3 gid=4 xattr.user.top=eA==/' "$T/image/rooted/ownership.mtree"
image_path rooted
reference
chmod 555 "$LAYER" && upper root >/dev/null && chmod 555 "$T/upper/root/diff"
check "an image whose root has an owner" mount_program -o "lowerdir=$LINK,$(upper root)" "$TARGET"
is "it shows" "$(attributes . | cut -d' ' -f1-3)" ". drwx--x--- 3:4"
is "with xattrs" "$(getfattr --absolute-names --only-values -n user.top "$TARGET")" x
is "layers made from it inherit it" "$(stat -c '%a %u:%g' "$LAYER")" "710 3:4"
chmod 700 "$TARGET"
unmount_target
check "mount it again" mount_program -o "lowerdir=$LINK,upperdir=$T/upper/root/diff,workdir=$T/upper/root/work" "$TARGET"
is "a change in the container stays" "$(stat -c %a "$TARGET")" 700
unmount_target
check "with ids mapped" mount_program -o \
  "lowerdir=$LINK,$(upper mapped),uidmapping=0:100000:65536,gidmapping=0:200000:65536" "$TARGET"
is "its owner is mapped" "$(stat -c '%a %u:%g' "$TARGET")" "710 100003:200004"
unmount_target
rm -rf "${LAYER%/*}" "$LINK"
# Nix forgets a root whose link is gone when it next looks.
nix-store --gc --print-roots >/dev/null 2>&1

truncate -s 3000 "$CACHE"/index/*.erofs
check "a truncated index is compiled again" mount_program -o "lowerdir=$REF,$(upper c)" "$TARGET"
is "content after that" "$(cat "$TARGET/etc/shadow")" "shadow of one"
unmount_target
rm -rf "$CACHE"
NIXSTORE_TEST_DISABLE=unnamed-files \
  check "a cache without unnamed files" mount_program -o "lowerdir=$REF,$(upper c)" "$TARGET"
is "content from that" "$(cat "$TARGET/etc/shadow")" "shadow of one"
unmount_target
rm -rf "$CACHE"
check "the cache may go" mount_program -o "lowerdir=$REF,$(upper c)" "$TARGET"
unmount_target

OPTIONS="lowerdir=$REF,$(upper d)"
rm -rf "$CACHE"
mkdir -p "$T/many/1" "$T/many/2" "$T/many/3"
for i in 1 2 3; do
  mount_program -o "lowerdir=$REF,$(upper "many$i")" "$T/many/$i" &
done
wait
is "three starts at once on a cold cache" "$(cat "$T"/many/*/etc/shadow | wc -l)" 3
is "nothing stays aside in the cache" "$(ls "$CACHE/index" | sed 's/^[0-9a-f]*\././' | sort | xargs)" ".erofs .text lock"
for i in 1 2 3; do umount "$T/many/$i"; done

check "mount" mount_program -o "$OPTIONS" "$TARGET"
check "mount what is mounted" mount_program -o "$OPTIONS" "$TARGET"
is "a clone, not a second overlay" "$(findmnt -n -o SOURCE,MAJ:MIN "$TARGET" | sort -u | wc -l)" 1
is "two mounts" "$(mounts_beneath "$TARGET" | wc -l)" 2
echo x >"$TARGET/x"
umount "$TARGET"
is "one of them gone" "$(cat "$TARGET/x")" x
umount "$TARGET"

# A path of the same name and manifest with other files, as another host or a later build may have it:
# their sizes and symlinks are in the index.
REBUILT=/nix/store/33333333333333333333333333333333-rebuilt
rebuilt() { # NAME CONTENT [ABOVE]: the path with this, as Nix registers what it has built; shown below ABOVE
  rm -rf "$REBUILT"
  cp -r "$STORE_PATH" "$REBUILT"
  echo "$2" >"$REBUILT/rootfs/etc/shadow"
  ln -sfn "$2" "$REBUILT/rootfs/dir/link"
  printf '%s\n\n0\n' "$REBUILT" | nix-store --register-validity --reregister
  reference "$REBUILT" "$(nix-store -q --hash "$REBUILT")"
  check "$1" mount_program -o "lowerdir=${3:+$3:}$LINK,$(upper "rebuilt$LAYERS")" "$TARGET"
  is "$1: symlink and size" "$(readlink "$TARGET/dir/link"; stat -c %s "$TARGET/etc/shadow")" "$2
$((${#2} + 1))"
  unmount_target
  rm -rf "${LAYER%/*}" "$LINK"
}
rebuilt "a path" first
rebuilt "built again, of other content" "second, and longer"
layer
: >"$LAYER/.wh.empty"
ABOVE=$LINK
rebuilt "below a layer that needs one index" third "$ABOVE"
rebuilt "and built again" "fourth, and longer" "$ABOVE"
nix-store --gc --print-roots >/dev/null 2>&1

chmod 777 "$CACHE/index"
check_fails "a cache that others write to" 1 "not trusted" mount_program -o "$OPTIONS" "$TARGET"
check "it is not needed for ordinary layers" mount_program -o "lowerdir=$PLAIN,$(upper e)" "$TARGET"
unmount_target
chmod 755 "$CACHE/index"
assert_nothing_left "nothing is left"
tap_done
