#!/bin/bash
# parallel: yes
# nixstore gc: every kind of leftover is made, seen, kept while it is of use, and removed.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"

tap_need python3 nix-store flock
mount_setup
tap_need_file "$NIXSTORE" "$BUILDDIR/nixstore-fuse"
# Sockets of our own; the machine's temporary directories are shared, so only ours are looked at.
mkdir -p /run/nixstore "$T/run"
chmod 700 "$T/run"
mount --bind "$T/run" /run/nixstore || tap_bail "cannot mount on /run/nixstore"

gc() { "$NIXSTORE" gc -q "$@"; }
# found [VARIABLE=VALUE...]: kinds and reasons of what gc would remove of ours, a line each.
found() {
  env "$@" "$NIXSTORE" gc --json --dry-run | python3 -c '
import json, os, sys
t = os.environ["T"]
out = json.load(sys.stdin)
assert out["dryRun"] is True and out["freed"] == sum(i["size"] for i in out["removed"])
for i in out["removed"]:
    if i["path"].startswith((t, "/nix/", "/run/nixstore/")):
        print(i["kind"], i["reason"].replace(t, "T"))' | sort
}
mount_it() { mount_program -o "lowerdir=$LINK:$HOME_DIR/$ID/empty${1-}" "$TARGET"; }
mount_and_leave() { mount_it "$@" && umount "$TARGET"; }
indexes() { find "$CACHE/index" -name '*.erofs' | wc -l; }

# ---- an image in use
small_image one
reference
ONE=$STORE_PATH ONE_ID=$ID
check "an image is mounted" mount_it ",$(upper one)"
is "of what is in use nothing is found" "$(found)" ""
check "and nothing is removed" gc
is "its index stays" "$(indexes)" 1
like "its text is beside it" "$(cat "$CACHE"/index/*.text)" "^$ONE\$"

# ---- its layer goes, as with podman rmi; a container is still there
rm -r "${HOME_DIR:?}/$ID"
is "the layer is gone: index, verdict and the store's note" "$(found)" \
  "index no image in Podman stands on $ONE
root the layer of T/storage/overlay/$ID/nixstore-gcroot is gone
verdict no image in Podman stands on $ONE"
is "--dry-run removes nothing" "$(indexes) $(ls /nix/var/nix/gcroots/auto | wc -l)" "1 1"
OUT=$("$NIXSTORE" gc --json 2>"$T/err")
check "the JSON counts what was freed" python3 -c '
import json, sys
x = json.loads(sys.argv[1])
assert {"index", "root", "verdict"} <= {i["kind"] for i in x["removed"]}, x
assert x["freed"] >= 8192, x' "$OUT"
is "and standard error is silent then" "$(cat "$T/err")" ""
is "all of it is removed" "$(indexes) $(ls "$CACHE/verdict" | wc -l) $(ls /nix/var/nix/gcroots/auto | wc -l)" "0 0 0"
is "no text stays either" "$(find "$CACHE/index" -name '*.text')" ""
is "the mount goes on" "$(cat "$TARGET/etc/shadow")" "shadow of one"
umount "$TARGET"
check "the store path is untouched" test -e "$ONE/rootfs"
like "who deletes those is said" "$("$NIXSTORE" gc 2>&1)" '^nixstore: store paths .*nix-store --gc'
reference "$ONE"
check "the image comes back" mount_and_leave
is "and is compiled again" "$(indexes)" 1
rm -r "${HOME_DIR:?}/$ID"
nix-store --gc >/dev/null 2>&1
is "the path is gone as well" "$(found | grep -v ^root)" "index $ONE is gone
verdict $ONE is gone"
gc >/dev/null
is "removed" "$(indexes)" 0

# ---- a merged index, and verdicts on layers
small_image two
reference
TWO_LINK=$LINK
layer
echo more >"$LAYER/more"; : >"$LAYER/etc-not"; : >"$LAYER/.wh.empty"
MORE=$LAYER
check "a merged index" mount_program -o "lowerdir=$LINK:$TWO_LINK,$(upper two)" "$TARGET"
umount "$TARGET"
is "is of use" "$(found)" ""
touch "$MORE/new"
is "until a layer changes" "$(found)" "index T/storage/overlay/$ID/diff is not the same any more
verdict T/storage/overlay/$ID/diff is not the same any more"
rm -r "${HOME_DIR:?}/$ID"
is "or is gone" "$(found)" "index T/storage/overlay/$ID/diff is gone
verdict T/storage/overlay/$ID/diff is gone"
gc >/dev/null
is "then both go" "$(found)$(indexes)" 0

# ---- damaged, unfinished, unknown
check "an index" mount_program -o "lowerdir=$TWO_LINK,$(upper three)" "$TARGET"
umount "$TARGET"
INDEX=$(echo "$CACHE"/index/*.erofs) KEY=$(basename "$INDEX" .erofs)
cp "$INDEX" "$T/index"
truncate -s 1000 "$INDEX"
is "a truncated index" "$(found)" "index it is damaged, or others may write to it"
cp "$T/index" "$INDEX"; chmod 666 "$INDEX"
is "one that others may write to" "$(found)" "index it is damaged, or others may write to it"
chmod 644 "$INDEX"
is "whole again" "$(found)" ""
: >"$CACHE/index/$KEY.new"; : >"$CACHE/index/unnamed-1.new"; : >"$CACHE/index/${KEY//[0-9]/a}.text"
is "what killed compilations leave" "$(found)" "remnant it was never finished
remnant it was never finished
remnant it was never finished"
# The text of before the NAR hash was in it: nothing opens such an index any more.
sed 3q "$CACHE/index/$KEY.text" >"$T/text"
OLD=$(sha256sum "$T/text" | cut -d' ' -f1)
cp "$T/text" "$CACHE/index/$OLD.text"; cp "$T/index" "$CACHE/index/$OLD.erofs"
is "an index of a version that had other keys" "$(found | grep -v remnant)" "index it is of another version of nixstore"
rm "$CACHE/index/$OLD".*
printf 'index 0\n%s\nx\n' "$STORE_PATH" >"$T/text"
OLD=$(sha256sum "$T/text" | cut -d' ' -f1)
cp "$T/text" "$CACHE/index/$OLD.text"; cp "$T/index" "$CACHE/index/$OLD.erofs"
is "an index of another version" "$(found | grep -v remnant)" "index it is of another version of nixstore"
echo tampered >>"$CACHE/index/$OLD.text"
is "a text that is not its key's" "$(found | grep -v remnant)" "index nobody knows what it is for"
printf 1 >"$CACHE/verdict/$OLD"
like "a verdict without a question" "$(found)" "^verdict nobody knows what it is for"
gc >/dev/null
is "all of them go" "$(found)" ""
is "the good one stays" "$(indexes) $(test -e "$INDEX" && echo there)" "1 there"

# ---- what is being compiled is left alone
mkdir -p "$T/no-roots/gcroots/auto"
no_roots=NIX_STATE_DIR=$T/no-roots
is "without roots nothing is of use" "$(found $no_roots | grep -c '^index no image')" 1
python3 - "$CACHE/index/lock" "$KEY" >"$T/locked" <<'END' &
import fcntl, struct, sys, time
f = open(sys.argv[1], "r+")
lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, int(sys.argv[2][:15], 16), 1, 0)
fcntl.fcntl(f, 37, lock)  # F_OFD_SETLK
print("locked", flush=True)
time.sleep(60)
END
LOCKER=$!
for ((i = 0; i < 100; i++)); do [ -s "$T/locked" ] && break; sleep 0.05; done
check "gc beside a compilation" env $no_roots "$NIXSTORE" gc -q
is "leaves its index alone" "$(indexes)" 1
kill $LOCKER; wait $LOCKER 2>/dev/null
check "gc after it" env $no_roots "$NIXSTORE" gc -q
is "removes it" "$(indexes)" 0

# ---- mounts and gc at once: no mount fails, whatever gc deletes under it
mkdir -p "$T/many"
storm() {
  local n=$1 i
  mkdir -p "$T/many/$n"
  for ((i = 0; i < 8; i++)); do
    mount_program -o "lowerdir=$TWO_LINK,$(upper "storm$n-$i")" "$T/many/$n" || return 1
    [ "$(cat "$T/many/$n/etc/shadow")" = "shadow of two" ] || return 1
    umount "$T/many/$n" || return 1
  done
}
(while [ ! -e "$T/stop" ]; do env $no_roots "$NIXSTORE" gc -q >>"$T/storm.log" 2>&1; done) &
COLLECTOR=$!
for n in 1 2 3; do storm $n & pids[n]=$!; done 2>"$T/storm.err"
failed=0
for n in 1 2 3; do wait "${pids[n]}" || failed=1; done
touch "$T/stop"; wait $COLLECTOR
is "24 mounts beside a gc that deletes all it can" "$failed $(cat "$T/storm.err")" "0 "
like "which it did" "$(cat "$T/storm.log")" '^index '

# ---- servers that are gone
check "mode fuse" mount_program --mode fuse -o "lowerdir=$TWO_LINK,$(upper four)" "$TARGET"
is "a server that is there" "$(found)" ""
check "gc, twice" eval 'gc && gc'
is "it serves on" "$(cat "$TARGET/etc/passwd")" "passwd of two"
pids=$(test_processes)
kill -9 $pids; umount "$TARGET"
for ((i = 0; i < 50; i++)); do [ "$(found)" ] && break; sleep 0.1; done
is "a server and its keeper that were killed" "$(found)" "socket its FUSE server is gone"
gc >/dev/null
is "the socket goes" "$(ls /run/nixstore)" ""

# ---- temporary directories
mkdir -p "$TMPDIR/nixstore-scratch-abcdef/some" "$TMPDIR/nixstore-scratch-ghijkl" "$TMPDIR/nixstore-scratch-mine"
head -c 100000 /dev/zero >"$TMPDIR/nixstore-scratch-abcdef/some/layer"
mkfifo "$T/fifo"
(exec 8<"$TMPDIR/nixstore-scratch-ghijkl"; flock 8; read -r _ <"$T/fifo") &
for ((i = 0; i < 50; i++)); do flock -n "$TMPDIR/nixstore-scratch-ghijkl" true || break; sleep 0.1; done
is "of a command that was killed" "$(found)" "scratch the command that made it was killed"
check "gc" gc
is "what is locked, or is not ours, stays" "$(ls "$TMPDIR" | tr '\n' ' ')" "nixstore-scratch-ghijkl nixstore-scratch-mine "
echo >"$T/fifo"; wait
gc >/dev/null
is "the other when its lock is gone" "$(ls "$TMPDIR" | tr '\n' ' ')" "nixstore-scratch-mine "
rmdir "$TMPDIR/nixstore-scratch-mine"

# ---- directories of mode overlaydir that another version has made, as root of a user namespace
if unshare --user --map-root-user true 2>/dev/null; then
  mkdir "$T/inside"
  inside=(unshare --user --map-root-user --mount env -u NIXSTORE_CACHE XDG_CACHE_HOME="$T/inside" XDG_RUNTIME_DIR="$T/inside")
  old=$(dirname "$(realpath "$TWO_LINK")")/nixstore-overlaydir/3d6fd44e349aa6bd41e09a79235953da
  mkdir -p -m 700 "$old/etc"
  chmod 700 "$(dirname "$old")"
  mkdir "${old%/*}/v99.1-3d6fd44e349aa6bd41e09a79235953da"
  check "the image is mounted" mount_program -o "lowerdir=$TWO_LINK,$(upper overlaydir)" "$TARGET"
  is "an old directory stays with it" "$(found "${inside[@]}")" ""
  umount "$TARGET"
  is "and is found without it" "$(found "${inside[@]}")" "overlaydir it is of another version of nixstore
overlaydir it is of another version of nixstore"
  is "but not for root" "$(found)" ""
  check "gc inside" "${inside[@]}" "$NIXSTORE" gc -q
  is "it goes" "$(ls -A "${old%/*}")" ""
  rm -r "$T/inside" "${old%/*}"
else
  tap_skip "directories of mode overlaydir" "no user namespaces"
fi

# ---- a graph root that is not mounted at the moment
mkdir "$T/away"
mv "$T/storage" "$T/away/"
is "its roots are not touched" "$(found | grep ^root)" ""
mv "$T/away/storage" "$T/"
mkdir "$T/elsewhere"
ln -s "$STORE_PATH" "$T/elsewhere/nixstore-gcroot"
nix-store --realise "$STORE_PATH" --add-root "$T/elsewhere/result" --indirect >/dev/null 2>&1
rm -r "$T/elsewhere"
is "nor are those of others" "$(found | grep ^root)" ""

# ---- the limit
rm -rf "$CACHE"
references=()
for name in a b c; do
  small_image $name
  reference
  references+=("$LINK")
done
use() { mount_program -o "lowerdir=${references[$1]},$(upper "limit$1-$RANDOM")" "$TARGET" && umount "$TARGET"; }
kept() { cat "$CACHE"/index/*.text | grep -o -- '-[abc]$' | sort | tr -d '\n-'; }
check "two images" eval 'use 0 && use 1'
size=$(du -B1 --apparent-size -c "$CACHE"/index/*.erofs | tail -n 1 | cut -f1)
touch -d '2 days ago' "$CACHE"/index/*
touch -d '3 days ago' "$(grep -l -- '-a$' "$CACHE"/index/*.text | sed 's/text$/erofs/')"
check "a third within the limit" use 2
is "all are kept" "$(kept)" abc
rm "$CACHE/index/$(basename "$(grep -l -- '-c$' "$CACHE"/index/*.text)" .text)".*
check "the oldest is used" use 0
export NIXSTORE_CACHE_LIMIT=$((size + 4096))
check "a third beyond the limit" use 2
is "what was not used for longest goes" "$(kept)" ac
export NIXSTORE_CACHE_LIMIT=1K
check "a limit below a single index" use 1
is "the one in use stays" "$(kept)" b
unset NIXSTORE_CACHE_LIMIT

# ---- another user has a cache of their own
if command -v setpriv >/dev/null; then
  mkdir -p "$T/user/.cache/nixstore/verdict" "$T/user/.cache/nixstore/index"
  echo 1 >"$T/user/.cache/nixstore/verdict/x"
  chown -R 65534:65534 "$T/user"
  as_user() { env -u NIXSTORE_CACHE HOME="$T/user" XDG_RUNTIME_DIR="$T/user" TMPDIR="$T/user" \
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
  like "as another user" "$(as_user "$NIXSTORE" gc -q)" "^verdict .*$T/user/.cache/nixstore/verdict/x: it is damaged"
  is "it is removed there" "$(ls "$T/user/.cache/nixstore/verdict")" ""
  is "and root's are not" "$(indexes)" 1
else
  tap_skip "as another user" "setpriv is not installed"
fi
mkdir -m 777 "$T/open"
check_fails "a cache that others may write to" 1 'may be written to by others' env NIXSTORE_CACHE="$T/open" "$NIXSTORE" gc -q
tap_done
