#!/bin/bash
# parallel: yes
# Mode fuse in little, as test/kernel runs it under other kernels: the tree, an overlay on it, what is
# asked twice, a server that is killed.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need
tap_need_file "$LISTING"

mkdir -p "$T/src/bin" "$T/plain"
cp /bin/true "$T/src/bin"
for d in {1..10}; do
  mkdir "$T/src/$d"
  for f in {1..10}; do head -c $((f * f * 700)) /dev/urandom >"$T/src/$d/$f"; done
done
ln -s 1/2 "$T/src/link"; ln "$T/src/1/3" "$T/src/2/hard"; mkfifo "$T/src/fifo"
chown 1000:42 "$T/src/3"; chmod 4711 "$T/src/bin/true"
mount --bind "$T/src" "$T/plain" && mount -o remount,bind,ro "$T/plain"
"$LISTING" "$T/plain" >"$T/plain.list"

check "mount" fuse_mount "$T/src" "$T/m"
"$LISTING" "$T/m" >"$T/m.list"
same_file "the listing is that of the files" "$T/m.list" "$T/plain.list"
all() { find "$T/m" -printf '%U %G %m %s %T@ %l\n'; tar -C "$T/m" -cf - . | cat; "$T/m/bin/true"; }
# What else runs on the machine may have had caches dropped in between.
for i in {1..12}; do
  [ "$i" -lt 4 ] || sleep 1
  all >/dev/null
  before=$(fuse_count "$T/m")
  all >/dev/null
  sent=$(($(fuse_count "$T/m") - before))
  [ "$sent" != 0 ] || break
done
is "a second walk, reading and exec send nothing" "$sent" 0
mkdir "$T/upper" "$T/work" "$T/o"
check "an overlay" mount -t overlay -o "lowerdir=$T/m,upperdir=$T/upper,workdir=$T/work" overlay "$T/o"
check "copies up" sh -c "echo more >>'$T/o/1/10' && chmod 600 '$T/o/2/hard' && rm '$T/o/link' && mv '$T/o/4/4' '$T/o/4/moved'"
is "and shows it" "$(stat -c '%s %a' "$T/o/1/10" "$T/o/2/hard" | paste -sd ' '; cmp "$T/o/4/moved" "$T/src/4/4")" "70005 644 6300 600"
umount "$T/o"

# Someone reads all the while.
(until [ -e "$T/enough" ]; do echo 3 >/proc/sys/vm/drop_caches; cat "$T"/m/*/* 2>/dev/null | sha256sum; done) >"$T/sums" &
reader=$!
for _ in {1..4}; do sleep 0.3; kill -9 $(fuse_processes nixstore-fuse) 2>/dev/null; done
sleep 0.3
touch "$T/enough"
for i in {1..600}; do kill -0 $reader 2>/dev/null || break; sleep 0.1; done
[ "$i" -lt 600 ] && tap_ok "who reads while servers are killed does not hang" ||
  tap_not_ok "who reads while servers are killed does not hang"
wait $reader
tap_diag "readings that came through: $(grep -c "$(cat "$T"/src/*/* | sha256sum)" "$T/sums") of $(wc -l <"$T/sums")"
if [ "$(printf '6.9\n%s\n' "$(uname -r)" | sort -V | head -n 1)" = 6.9 ]; then
  is "and notices nothing" "$(sort -u "$T/sums")" "$(cat "$T"/src/*/* | sha256sum)"
else
  tap_skip "and notices nothing" "this kernel cannot send requests again (6.9)"
fi
echo 3 >/proc/sys/vm/drop_caches
"$LISTING" "$T/m" >"$T/m.list"
same_file "what comes later works" "$T/m.list" "$T/plain.list"
umount "$T/m"
check "the server ends with its mount" fuse_wait_gone
tap_done
