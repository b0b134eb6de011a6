#!/bin/bash
# parallel: yes
# A layer with AUFS's whiteouts mounted as an upper, as stock Podman does when it compares it with its
# parent.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$(dirname "$0")/lib.sh"
mount_setup

layer
below=$LAYER below_link=$LINK
mkdir -p "$below"/{dir/sub,opaque/old,again}
for f in gone dir/gone dir/stays opaque/old/x again/old; do echo below >"$below/$f"; done
layer
upper=$LAYER options="lowerdir=$below_link,upperdir=$LAYER,workdir=$HOME_DIR/$ID/work"
mkdir -p "$upper"/{dir,opaque,again}
: >"$upper/.wh.gone"
: >"$upper/.wh.never-there"
: >"$upper/dir/.wh.gone"
: >"$upper/opaque/.wh..wh..opq"
: >"$upper/.wh.again"
echo new >"$upper/opaque/new"
echo new >"$upper/again/new"
touch -d @1500000000.25 "$upper/dir" "$upper/opaque"

mount_it() { mount_program -o "$options" "$TARGET"; }
tree() { (cd "$TARGET" && find . -mindepth 1 | sort | tr '\n' ' '); }

check "it is mounted" mount_it
wanted="./again ./again/new ./dir ./dir/stays ./dir/sub ./opaque ./opaque/new "
is "whiteouts hide what is below, and do not show" "$(tree)" "$wanted"
is "directories keep their times" "$(cd "$TARGET" && stat -c %.Y dir opaque | tr '\n' ' ')" "1500000000.250000000 1500000000.250000000 "
is "it can be written to" "$(echo x >"$TARGET/gone" && cat "$TARGET/gone"; rm "$TARGET/gone"; tree)" "x
$wanted"
umount "$TARGET"

# What was an upper before is a container's, whose files are its own.
: >"$upper/.wh.mine"
check "it is mounted again" mount_it
is "a name of the container's own is left alone" "$(ls -A "$TARGET" | grep -c '^\.wh\.mine$')" 1
umount "$TARGET"

mkdir -p "$T/user/upper" "$T/user/work"
: >"$T/user/upper/.wh.gone"
check "a user's directory as upper" mount_program \
  -o "lowerdir=$below_link,upperdir=$T/user/upper,workdir=$T/user/work" "$TARGET"
is "its files are left alone" "$(cat "$TARGET/gone") $(ls -A "$T/user/upper")" "below .wh.gone"
umount "$TARGET"

# Of two that come at once, the second gets what the first has mounted.
filesystems() { awk -v target="$TARGET" '$5 == target { print $3 }' /proc/self/mountinfo | sort -u | wc -l; }
for n in {1..8}; do
  options="lowerdir=$below_link,$(upper "twice$n")"
  for _ in 1 2 3; do mount_it & done
  wait
  filesystems
  unmount_target
done >"$T/filesystems"
is "an upper is mounted once" "$(sort "$T/filesystems" | uniq -c | xargs)" "8 1"

# Root, but not the host's, though its ids look as if it were.
if unshare --user --mount true 2>/dev/null; then
  cat >"$T/inside" <<END
until grep -q . /proc/self/gid_map; do sleep 0.05; done
exec setpriv --reuid 0 --regid 0 --clear-groups sh -c '
  cd "$HOME_DIR" && "$NIXSTORE_MOUNT" -o "lowerdir=$below_link,$(upper identity)" "$TARGET" &&
  rm -r "$TARGET/opaque" && mkdir "$TARGET/opaque" && ls -A "$TARGET/opaque" && umount "$TARGET" && echo well'
END
  NIXSTORE_CACHE=$T/cache-inside unshare --user --mount sh "$T/inside" >"$T/said" 2>&1 &
  inside=$!
  for _ in {1..100}; do
    [ "$(readlink "/proc/$inside/ns/user")" = "$(readlink /proc/self/ns/user)" ] || break
    sleep 0.05
  done
  for map in uid_map gid_map; do echo 0 0 4294967295 >"/proc/$inside/$map"; done
  wait "$inside"
  is "in a user namespace with every id as it is" "$(cat "$T/said")" well
else
  tap_skip "in a user namespace with every id as it is" "no user namespaces"
fi
tap_done
