#!/bin/bash
# parallel: yes
# The tests' own tools: each of them can fail, and leaves the machine alone.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
tap_need python3 nix-store losetup
machine_nix=$(stat -c '%d:%i' /nix 2>/dev/null)
nix_private

# ------------------------------------------------------------ the runner ----
cat >"$T/tap.head" <<END
#!/bin/bash
. "$TESTLIB/tap.sh"
END
try() { # NAME BODY: a test of one's own, and the runner's last line for it
  { cat "$T/tap.head"; printf '%s\n' "$2"; } >"$T/$1.sh"
  env -u NIXSTORE_TEST_NS NIXSTORE_TEST_TMPDIR="$T/tmp" \
    "$SRCDIR/test/run" -t 3 -o "$T/logs-$1" "$T/$1.sh" >"$T/$1.out" 2>&1
  echo "$? $(tail -n 1 "$T/$1.out")"
}
is "runner: counts points" "$(try good 'check a true; tap_skip b "not here"; tap_done')" \
  "0 1 passed, 0 failed, 1 skipped"
is "runner: a failed point" "$(try bad 'check a true; check b false; tap_done')" \
  "1 1 passed, 1 failed, 0 skipped"
is "runner: a test that ends early fails" "$(try early 'check a true; exit 0')" \
  "1 1 passed, 1 failed, 0 skipped"
is "runner: a test that keeps no plan fails" "$(try plan 'tap_plan 3; check a true; tap_done')" \
  "1 1 passed, 1 failed, 0 skipped"
is "runner: a test that dies fails" "$(try dies 'check a true; kill -9 $$')" \
  "1 1 passed, 1 failed, 0 skipped"
is "runner: a test that tests nothing fails" "$(try nothing 'tap_done')" \
  "1 0 passed, 1 failed, 0 skipped"
is "runner: a file that skips itself" "$(try skips 'tap_skip_all "no such thing"')" \
  "0 0 passed, 0 failed, 1 skipped"
is "runner: a test that hangs fails" "$(try hangs 'check a true; sleep 60; tap_done')" \
  "1 1 passed, 1 failed, 0 skipped"
is "runner: what a failed test left is gone" "$(find "$T/tmp" -mindepth 1)" ""
like "runner: shows the output of what failed" "$(cat "$T/bad.out")" '\| not ok 2 - b'

# ------------------------------------------------------------- the store ----
echo content >"$T/file"
path=$(nix-store --add "$T/file")
like "private Nix: adds a path" "$path" '^/nix/store/[0-9a-z]{32}-file$'
is "private Nix: the path lies in this test" "$(cat "$T/nix/store/${path##*/}")" content
is "private Nix: the machine's /nix is another" \
  "$(nsenter -t "$PPID" -m stat -c '%d:%i' /nix 2>/dev/null | grep -cx "$(stat -c '%d:%i' /nix)")" 0
[ -z "$machine_nix" ] ||
  is "private Nix: the machine's /nix has no such path" \
    "$(nsenter -t "$PPID" -m ls "$path" 2>/dev/null)" ""

# ------------------------------------------------------- the leak check -----
# Run in a subshell whose points are read instead of counted.
leaks() { (exec 3>"$T/leaks.out"; assert_nothing_left x); head -n 1 "$T/leaks.out" | cut -d' ' -f1; }
leak_mark
is "leak check: finds nothing when there is nothing" "$(leaks)" ok
LEAK_TRIES=1 # It waits for stragglers: not in these.
mkdir "$T/m"
mount -t tmpfs selftest "$T/m"
is "leak check: finds a mount" "$(leaks)" not
umount "$T/m"
truncate -s 1M "$T/image"
if loop=$(losetup -f --show "$T/image" 2>/dev/null); then
  is "leak check: finds a loop device" "$(leaks)" not
  losetup -d "$loop"
else
  tap_skip "leak check: finds a loop device" "no loop devices here"
fi
ln -s /bin/sleep "$T/nixstore-sleeps"
"$T/nixstore-sleeps" 60 3>&- &
is "leak check: finds a process" "$(leaks)" not
kill $!
wait $! 2>/dev/null
ln -s "$path" /nix/var/nix/gcroots/selftest
is "leak check: finds a GC root" "$(leaks)" not
rm /nix/var/nix/gcroots/selftest
touch "$TMPDIR/left"
is "leak check: finds a file in TMPDIR" "$(leaks)" not
rm "$TMPDIR/left"
is "leak check: is content again" "$(leaks)" ok

# --------------------------------------------------------- the listing ------
tap_need_file "$LISTING"
mkdir -p "$T/t/d" "$T/t/proc/hidden"
printf 'x' >"$T/t/a b"
ln "$T/t/a b" "$T/t/d/c"
ln -s 'to where' "$T/t/l"
touch -d @1.5 "$T/t/a b"
"$LISTING" "$T/t" >"$T/listing"
like "listing: a file, its links, its content" "$(cat "$T/listing")" \
  '^/a\\040b type=f mode=0644 uid=0 gid=0 mtime=1.500000000 nlink=2 link=/a\\040b size=1 blocks=8 dev=same rdev=- target= sha256=2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 xattrs=$'
like "listing: the other name of it" "$(cat "$T/listing")" '^/d/c .* link=/a\\040b '
like "listing: a symlink" "$(cat "$T/listing")" '^/l type=l .* target=to\\040where '
is "listing: /proc is left out" "$(grep -c hidden "$T/listing")" 0
cp "$T/listing" "$T/listing2"
check "compare-listings: the same" "$TESTLIB/compare-listings" --start 9999999999 "$T/listing" "$T/none" "$T/listing2"
for change in 's/mode=0644/mode=0640/' 's/uid=0/uid=1/' 's/mtime=1.5/mtime=1.6/' 's/nlink=2/nlink=1/' \
  's/sha256=2/sha256=3/' 's/blocks=8/blocks=0/' 's/target=to/target=no/' 's/xattrs=$/xattrs=user.a:/' \
  's/dev=same/dev=other/' '/^.l /d'; do
  sed "$change" "$T/listing" >"$T/listing2"
  check_fails_quietly() { ! "$TESTLIB/compare-listings" --start 9999999999 "$T/listing" "$T/none" "$T/listing2"; }
  check "compare-listings: sees $change" check_fails_quietly
done
# What ext4 needs to map a large file that lies in many pieces is not the image's.
sed -n 's/size=1 blocks=8/size=2000000 blocks=3912/p' "$T/listing" >"$T/large"
for blocks in 3920:0 3904:0 3952:1 0:1; do
  sed "s/blocks=3912/blocks=${blocks%:*}/" "$T/large" >"$T/large2"
  "$TESTLIB/compare-listings" --start 9999999999 "$T/large" "$T/none" "$T/large2" >/dev/null
  is "compare-listings: ${blocks%:*} blocks for 3912" $? "${blocks#*:}"
done
tap_done
