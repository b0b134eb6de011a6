#!/bin/bash
# parallel: yes
# timeout: 900
# nixstore-mount in mode fuse: what mode erofs shows, one server for all mounts of an image, and
# nothing left after the last.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
mount_setup
tap_need_file /dev/fuse "$FUSE" "$LISTING"
# Sockets of our own.
mount -t tmpfs -o mode=755 tmpfs /run
tap_on_exit shared_stop

# Servers of an image in our store: in this mount namespace.
servers() {
  local p
  for p in $(pgrep -x "${1:-nixstore-fuse}"); do
    [ "$(readlink "/proc/$p/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ] && echo "$p"
  done
}
shared_stop() { unmount_beneath "$T"; gone || kill -9 $(servers nixstore-keeper) $(servers); }
gone() {
  local i
  for i in {1..50}; do
    [ -n "$(servers)$(servers nixstore-keeper)$(ls /run/nixstore)" ] || return 0
    sleep 0.1
  done
  echo "left: $(servers) $(servers nixstore-keeper) $(ls /run/nixstore)"
  return 1
}

rooted_reference one
REF=$LINK REF_DIR=$LAYER
mounted() { mounts_beneath "$T" | grep -c '^'"$T"'/\(a\|ro\|many/.*\|s[0-9]*\)$'; }
fuse() { local target=$1; shift; mkdir -p "$target"; mount_program --mode=fuse "$@" "$target"; }

check "mode erofs, to compare with" mount_program --mode=erofs -o "lowerdir=$REF,$(upper e)" "$TARGET"
"$LISTING" "$TARGET" >"$T/erofs.list"
umount "$TARGET"
leak_mark

check "mount with an upper" fuse "$T/a" -o "lowerdir=$REF,$(upper a),,volatile"
is "an overlay" "$(findmnt -n -o FSTYPE "$T/a")" overlay
"$LISTING" "$T/a" >"$T/a.list"
same_file "the listing is that of mode erofs" "$T/a.list" "$T/erofs.list"
check "copying up" sh -c "chmod 600 '$T/a/etc/shadow' && echo more >>'$T/a/etc/passwd' && rm '$T/a/empty'"
is "what was copied up" "$(stat -c '%a %u:%g' "$T/a/etc/shadow") $(cat "$T/a/etc/passwd")" \
  "600 0:42 passwd of one
more"
check "mount it read-only" fuse "$T/ro" -o "lowerdir=$REF:$(dirname "$REF_DIR")/empty"
is "no overlay is needed for that" "$(findmnt -n -o FSTYPE,OPTIONS "$T/ro" | grep -c '^fuse.nixstore-fuse *ro')" 1
"$LISTING" "$T/ro" >"$T/ro.list"
same_file "the same listing" "$T/ro.list" "$T/erofs.list"
for i in {1..18}; do fuse "$T/many/$i" -o "lowerdir=$REF,$(upper "$i")" || break; done
is "twenty mounts" "$(mounted)" 20
is "one server, one keeper, one socket" \
  "$(servers | wc -l) $(servers nixstore-keeper | wc -l) $(find /run/nixstore -type s | wc -l)" "1 1 1"
map=uidmapping=:0:100000:500:500:300000:65036,gidmapping=:0:100000:40:40:200000:1000
layer
if fuse "$T/mapped" -o "lowerdir=$REF:$LAYER/../empty,$map"; then
  is "ids go through a mapping of several ranges" \
    "$(cd "$T/mapped" && stat -c '%u:%g' etc/shadow dir etc | paste -sd ' ')" \
    "100000:200002 300500:200960 100000:100000"
  is "of which another server takes care" "$(servers | wc -l)" 2
else
  tap_not_ok "mount with a mapping"
fi
unmount_beneath "$T/many"; umount "$T/mapped" "$T/ro"
NIXSTORE_FUSE_PASSTHROUGH=true
export NIXSTORE_FUSE_PASSTHROUGH
check "mount with fuse_passthrough" fuse "$T/passing" -o "lowerdir=$REF,$(upper passing)"
"$LISTING" "$T/passing" >"$T/passing.list"
same_file "the listing is that of mode erofs" "$T/passing.list" "$T/erofs.list"
is "by a server of its own, which was told so" \
  "$(servers | wc -l) $(for p in $(servers nixstore-keeper); do tr '\0' '\n' <"/proc/$p/cmdline"; done | grep -c '^--passthrough$')" "2 1"
umount "$T/passing"
unset NIXSTORE_FUSE_PASSTHROUGH
# Of an index for the whole stack the data directories are the home and the store, which grow.
layer
echo middle >"$LAYER/middle"
: >"$LAYER/.wh.empty"
MERGED=$LINK:$REF
check "mount a stack that needs one index" fuse "$T/merged" -o "lowerdir=$MERGED,$(upper merged)"
layer
mkdir /nix/store/.test-more
check "again, with a further layer and a further path there" fuse "$T/merged2" -o "lowerdir=$MERGED,$(upper merged2)"
is "one server for both" "$(cat "$T/merged2/middle"; servers | wc -l)" "middle
2"
rmdir /nix/store/.test-more
umount "$T/merged" "$T/merged2"
is "the last mount keeps it" "$(cat "$T/a/dir/sub/deep")" deep
umount "$T/a"
check "then server, keeper and socket go" gone
assert_nothing_left "nothing is left"

# In a user namespace, as in rootless Podman: its root is nobody else's.
cat >"$T/rootless" <<'END'
cd "$HOME_DIR" || exit 1
export XDG_RUNTIME_DIR=$T/runtime XDG_CACHE_HOME=$T/cache-home
mkdir -p "$XDG_RUNTIME_DIR" "$T/rl1" "$T/rl2" || exit 1
"$NIXSTORE_MOUNT" --mode=auto -o "lowerdir=$1,$2" "$T/rl1" || exit 1
"$NIXSTORE_MOUNT" --mode=auto -o "lowerdir=$1,$3,uidmapping=0:0:1,gidmapping=0:0:1" "$T/rl2" || exit 1
rm "$T/rl1/etc/passwd" && echo new >"$T/rl1/new" && chmod 700 "$T/rl1/usr/bin/tool" || exit 1
cat "$T/rl1/etc/shadow" "$T/rl1/new" "$T/rl2/etc/passwd"
stat -c '%a %u' "$T/rl1/etc/fifo" "$T/rl2/dir"
ls "$T/runtime/nixstore" | wc -l
umount "$T/rl1" "$T/rl2"
END
if unshare --user --map-root-user --mount true 2>/dev/null; then
  export T HOME_DIR NIXSTORE_MOUNT
  is "in a user namespace" "$(unshare --user --map-root-user --mount bash "$T/rootless" "$REF" "$(upper rl1)" "$(upper rl2)" 2>&1 | paste -sd ' ')" \
    "shadow of one new passwd of one 620 0 1777 65534 2"
  for i in {1..30}; do [ -n "$(ls "$T/runtime/nixstore")" ] || break; sleep 0.1; done
  is "its servers go, too" "$(ls "$T/runtime/nixstore")" ""
else
  tap_skip "in a user namespace" "there are none for us"
fi

# Someone comes at every moment of its leaving, and two at once come to nothing.
cycle() {
  local i
  for i in {1..25}; do
    fuse "$T/r$1" -o "lowerdir=$REF,$(upper "r$1")" || { echo "mount failed"; return 1; }
    [ "$(cat "$T/r$1/dir/sub/deep")" = deep ] || { echo "wrong content"; return 1; }
    umount "$T/r$1" || return 1
  done
}
for i in 1 2 3 4; do cycle "$i" >"$T/cycle.$i" 2>&1 & pids="${pids-} $!"; done
failures=0
for p in $pids; do wait "$p" || failures=$((failures + 1)); done
is "a hundred mounts and unmounts, four at once" "$failures $(cat "$T"/cycle.*)" "0 "
check "all is gone again" gone
for i in {1..10}; do (fuse "$T/s$i" -o "lowerdir=$REF,$(upper "s$i")" || echo "failed" >>"$T/start.err") & done
wait
is "ten first starts at once" "$(cat "$T/start.err" 2>/dev/null; mounted) $(servers | wc -l)" "10 1"

kill -9 $(servers)
is "a server that was killed is replaced" "$(cat "$T/s1/etc/passwd")" "passwd of one"
kill -9 $(servers nixstore-keeper)
is "without its keeper it goes on" "$(cat "$T/s2/etc/passwd")" "passwd of one"
check "a start then gets a new one" fuse "$T/new" -o "lowerdir=$REF,$(upper new)"
is "which is another" "$(servers | wc -l)" 2
unmount_beneath "$T"
check "both go" gone

# A server that died three times of itself answers with errors, and is nobody else's.
check "mount" fuse "$T/broken" -o "lowerdir=$REF,$(upper broken)"
for i in 1 2 3; do
  old=$(servers)
  kill -SEGV "$old"
  for ((n = 0; n < 50; n++)); do new=$(servers); [ -z "$new" ] || [ "$new" = "$old" ] || break; sleep 0.1; done
done
check_fails "one that dies again and again gives up" 1 'Input/output error' cat "$T/broken/dir/sub/deep"
check "who mounts now" fuse "$T/next" -o "lowerdir=$REF,$(upper next)"
is "gets another" "$(servers | wc -l) $(cat "$T/next/dir/sub/deep")" "2 deep"
umount "$T/broken"
sleep 0.5
is "whose socket stays when the first goes" "$(servers | wc -l) $(find /run/nixstore -type s | wc -l)" "1 1"
umount "$T/next"
check "both go" gone

# nixstore-mount, nixstore-fuse, its keeper and the server: no room for one of them.
if pids_group; then
  for max in 1 2 3; do
    mkdir -p "$T/room"
    check_fails "room for $max: no mount" 1 'Resource temporarily unavailable' with_pids $max \
      env -C "$HOME_DIR" "$NIXSTORE_MOUNT" --mode=fuse -o "lowerdir=$REF,$(upper room)" "$T/room"
    check "nothing is left" gone
  done
  check "room for all: mount" with_pids max \
    env -C "$HOME_DIR" "$NIXSTORE_MOUNT" --mode=fuse -o "lowerdir=$REF,$(upper room)" "$T/room"
  echo 1 >"$PIDS/pids.max"
  kill -9 $(servers)
  is "where there is no room for a new server, the keeper still gives mounts" "$(python3 - /run/nixstore/* <<'END'
import socket, sys, time
for path in sys.argv[1:]:
    time.sleep(0.5)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(2)
        s.connect(path)
        print(len(socket.recv_fds(s, 1, 1)[1]))
END
)" 1
  umount "$T/room"
  check "and goes with the last" gone
  pids_leave
else
  tap_skip "no room for a server" "no control group can limit processes here"
fi

# systemctl stop kills whatever is in the control group of a service or scope.
cgroup=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
in_group() { local name=$1; shift; (echo "$BASHPID" >"$cgroup/$name/cgroup.procs" && "$@"); }
stop_group() { # as systemd does, whatever is forked meanwhile
  local i
  for i in {1..100}; do
    [ -d "$cgroup/$1" ] || return 0
    xargs -r kill -9 <"$cgroup/$1/cgroup.procs"
    rmdir "$cgroup/$1" && return
    sleep 0.05
  done
  return 1
}
for unit in service scope; do
  group=nixstore-test-$$.$unit
  tap_on_exit "stop_group $group"
  if ! { [ -n "$cgroup" ] && mkdir "$cgroup/$group" && in_group "$group" true; } 2>/dev/null; then
    tap_skip "the server of a $unit" "no control group can be made here"
    continue
  fi
  fuse "$T/outside" -o "lowerdir=$REF,$(upper "outside-$unit")"
  sockets=$(ls /run/nixstore)
  check "a $unit mounts" in_group "$group" fuse "$T/inside" -o "lowerdir=$REF,$(upper "inside-$unit")"
  in_group "$group" fuse "$T/inside2" -o "lowerdir=$REF,$(upper "inside2-$unit")"
  is "by a server of its own" "$(servers | wc -l)" 2
  check "which goes with it" stop_group "$group"
  is "that outside stays" "$(cat "$T/outside/dir/sub/deep")" deep
  # What is left of who was killed is gc's.
  (cd /run/nixstore && rm -f $(ls | grep -vxF "$sockets"))
  unmount_beneath "$T"
  check "and goes with its mount" gone
done
group=podman-$$.scope
tap_on_exit "stop_group $group"
if { [ -n "$cgroup" ] && mkdir "$cgroup/$group" && in_group "$group" true; } 2>/dev/null; then
  fuse "$T/outside" -o "lowerdir=$REF,$(upper outside-podman)"
  in_group "$group" fuse "$T/inside" -o "lowerdir=$REF,$(upper inside-podman)"
  is "the scope of a Podman has none of its own" "$(servers | wc -l)" 1
  unmount_beneath "$T"
  check "it goes with the last mount" gone
  check "and so may the scope" stop_group "$group"
fi

chmod 1777 /run/nixstore
check_fails "a directory that others may write to is refused" 1 "must belong to you alone" \
  fuse "$T/a" -o "lowerdir=$REF,$(upper b)"
chmod 700 /run/nixstore
cat >"$T/without" <<END
mount --bind /dev/null /dev/fuse && cd "$HOME_DIR" &&
  exec "$NIXSTORE_MOUNT" --mode=fuse -o "lowerdir=$REF,$(upper c)" "$T/a"
END
check_fails "an error of the server is nixstore-mount's" 1 "^nixstore-mount: .*filesystem" \
  unshare -m sh "$T/without"
# The best that works.
export NIXSTORE_TEST_DISABLE=one-step,detached-layers,layer-descriptors,layer-names,classic-mount
check_fails "nothing works where all is disabled" 1 "." mount_program --mode=auto -o "lowerdir=$REF,$(upper d)" "$TARGET"
export NIXSTORE_TEST_DISABLE=erofs
check "auto takes mode fuse where there is no EROFS" mount_program --mode=auto -o "lowerdir=$REF,$(upper auto)" "$TARGET"
is "and that is it" "$(servers | wc -l) $(cat "$TARGET/dir/sub/deep")" "1 deep"
umount "$TARGET"
check "which goes, too" gone
unset NIXSTORE_TEST_DISABLE
for without in one-step,detached-layers one-step,detached-layers,layer-descriptors \
  one-step,detached-layers,layer-descriptors,layer-names; do
  export NIXSTORE_TEST_DISABLE=$without
  check "a kernel without $without" fuse "$T/old" -o "lowerdir=$REF,$(upper "old-${without//,/-}")"
  "$LISTING" "$T/old" >"$T/old.list"
  same_file "shows the same" "$T/old.list" "$T/erofs.list"
  umount "$T/old"
done
unset NIXSTORE_TEST_DISABLE
check "all is gone" gone
tap_done
