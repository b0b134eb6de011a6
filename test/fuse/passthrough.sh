#!/bin/bash
# timeout: 1200
# fuse_passthrough: the kernel reads the store's files by itself, so that mount and store have one page
# cache; servers that are killed leave behind what the next one needs.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need
tap_need_file "$LISTING"
tap_need python3
ulimit -n 4096

py() { python3 "$SRCDIR/test/fuse/passthrough.py" "$@"; }
over() { # TARGET: an overlay on $T/m
  mkdir -p "$1" "$1.upper" "$1.work"
  mount -t overlay -o "xino=on,lowerdir=$T/m,upperdir=$1.upper,workdir=$1.work" overlay "$1"
}
# pages DESCRIPTION MOUNT WANTED: how many pages of the file `big' the page cache holds, as the store shows and
# as the mount shows, after it was read through the mount; then the same after the store's own were given
# up.  What else runs on the machine may have had caches dropped in between, hence the tries.
pages() {
  local got i
  for i in {1..8}; do
    echo 3 >/proc/sys/vm/drop_caches
    cat "$2/big" >/dev/null
    got=$(py resident "$T/src/big" "$2/big")
    dd if="$T/src/big" iflag=nocache count=0 status=none
    got+=", $(py resident "$T/src/big" "$2/big")"
    [ "$got" != "$3" ] || break
  done
  is "$1" "$got" "$3"
}

make_tree "$T/src"
truncate -s 5M "$T/src/huge" # 5 GiB take their time, and are in conformance.sh
head -c 4194304 /dev/urandom >"$T/src/big"
mkdir "$T/plain"
mount --bind "$T/src" "$T/plain" && mount -o remount,bind,ro "$T/plain"
sync

# ---- what it is without
reason=$("$FUSE" --try-passthrough --data="$T/src" 2>&1) && can=1 || can=0
tap_diag "passthrough here: ${reason:-yes}"
if [ $can = 0 ]; then
  like "a reason is given" "$reason" "^nixstore-fuse: .*(the kernel does not offer it|stacked filesystem|root of the host)"
  check "it is done without" fuse_mount "$T/src" "$T/m" --passthrough
  check "and shows the files" cmp "$T/m/big" "$T/src/big"
  is "OPEN is refused once and for all" "$(cat "$T/m/etc/page" >/dev/null; fuse_count "$T/m" 14)" 1
  umount "$T/m"
  check "all ends with the mount" fuse_wait_gone
  tap_skip "passthrough" "${reason#nixstore-fuse: }"
  tap_done
  exit
fi
like "forced off: a reason" "$(NIXSTORE_TEST_DISABLE=fuse-passthrough "$FUSE" --try-passthrough --data="$T/src" 2>&1)" disabled
mkdir -p "$T/stacked" "$T/stacked.upper" "$T/stacked.work"
mount -t overlay -o "lowerdir=$T/src,upperdir=$T/stacked.upper,workdir=$T/stacked.work" overlay "$T/stacked"
like "a store on overlayfs: a reason" "$("$FUSE" --try-passthrough --data="$T/stacked" 2>&1)" "stacked filesystem"
cp "$T/src.index" "$T/stacked.index" 2>/dev/null || "$MAKE_INDEX" "$T/src" "$T/stacked.index"
check "and no passthrough" fuse_mount "$T/stacked" "$T/m" --passthrough
cat "$T/m/etc/page" "$T/m/etc/page1" >/dev/null
is "OPEN is refused once and for all" "$(fuse_count "$T/m" 14) $(fuse_count "$T/m" 18)" "1 0"
umount "$T/m" "$T/stacked"
if unshare --user --map-root-user --mount true 2>/dev/null; then
  like "in a user namespace: a reason" \
    "$(unshare --user --map-root-user --mount "$FUSE" --try-passthrough --data="$T/src" 2>&1)" "root of the host"
fi
check "mount without" fuse_mount "$T/src" "$T/m"
pages "without, mount and store have pages of their own" "$T/m" "1024 1024, 0 1024"
umount "$T/m"
check "all ends with the mount" fuse_wait_gone

# ---- with
check "mount with passthrough" fuse_mount "$T/src" "$T/m" --passthrough
pages "mount and store have the same pages" "$T/m" "1024 1024, 0 0"
"$LISTING" "$T/plain" >"$T/plain.list"; "$LISTING" "$T/m" >"$T/m.list"
same_file "the listing is that of the files" "$T/m.list" "$T/plain.list"
python3 "$SRCDIR/test/fuse/behaviour.py" "$T/plain" >"$T/plain.out" 2>&1
python3 "$SRCDIR/test/fuse/behaviour.py" "$T/m" >"$T/m.out" 2>&1
same_file "everything behaves as on the files" "$T/m.out" "$T/plain.out"
echo 3 >/proc/sys/vm/drop_caches
before=$(fuse_count "$T/m" 15)
for f in bin/cat etc/large holes many/file-00007; do
  cmp "$T/m/$f" "$T/src/$f" || tap_not_ok "$f is the same"
done
is "no READ is sent" "$(($(fuse_count "$T/m" 15) - before))" 0
check "programs run" "$T/m/bin/cat" "$T/m/etc/page"
check "who may not read it does not" sh -c "! setpriv --reuid=65534 --regid=65534 --clear-groups cat '$T/m/etc/shadow' 2>/dev/null"
check "an overlay above" over "$T/o"
pages "and so has the overlay" "$T/o" "1024 1024, 0 0"
check "which copies up" sh -c "echo more >>'$T/o/etc/page' && mv '$T/o/big' '$T/o/moved' && cmp '$T/o/moved' '$T/src/big'"
is "what was copied up" "$(stat -c %s "$T/o/etc/page")" 4101
check "a second one" over "$T/o2"
is "has nothing of that" "$(cmp "$T/o2/etc/page" "$T/src/etc/page" && echo same)" same
umount "$T/o" "$T/o2"

umount "$T/m"
check "all ends with the mount" fuse_wait_gone

# ---- more files than stay registered, and servers that are killed
mkdir -p "$T/wide/bin"
cp /bin/true "$T/wide/bin"
for d in {1..20}; do mkdir "$T/wide/$d"; for f in {1..65}; do echo "$d $f" >"$T/wide/$d/$f"; done; done
check "mount a wide tree" fuse_mount "$T/wide" "$T/m" --passthrough
exec 7<"$T/m/1/1" 8<"$T/m/20/65"
for _ in 1 2; do tar -C "$T/m" -cf - . | cat >/dev/null; done
is "open files stay what they are among 1,300 others" \
  "$(cat <&7; cat "$T/m/1/1" "$T/m/20/65"; cat <&8)" "$(printf '1 1\n1 1\n20 65\n20 65')"
exec 7<&- 8<&-
is "open files outlive servers, and are opened again by those that follow" \
  "$(timeout 300 python3 "$SRCDIR/test/fuse/passthrough.py" hold "$T/m" "$T/wide" "$(fuse_processes nixstore-keeper)")" \
  "1302 opened"
result=$(timeout 300 python3 "$SRCDIR/test/fuse/storm.py" "$T/m" "$T/wide" "${NIXSTORE_TEST_KILLS:-12}" \
  "$(fuse_processes nixstore-keeper)" 2>&1)
tap_diag "$(tail -n 1 <<<"$result")"
is "8 processes notice nothing of more deaths" "$(grep -v 'times killed$' <<<"$result")" ""
umount "$T/m"
check "all ends with the mount" fuse_wait_gone
tap_done
