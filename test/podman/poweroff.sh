#!/bin/bash
# parallel: yes
# timeout: 1200
# The power goes off while a container starts and while an image is imported: when the
# disk is mounted again the next start works.  The disk is an ext4 that is shut down
# without its journal flushed, as the file systems' own tests do it: what was not synced is
# lost.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix-store python3 mkfs.ext4
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"

p() { "podman_$way" "$@"; }

# The first call after a crash may find out, as with stock Podman; the second works.
works() {
  [ "$(p run --rm --network=none base:1 stat -c '%a %u:%g' /etc/shadow 2>"$T/first")" = '640 0:42' ] ||
    [ "$(p run --rm --network=none base:1 stat -c '%a %u:%g' /etc/shadow)" = '640 0:42' ]
}

clean() {
  local id
  p rm -f -a -i -t 0
  for id in $(p ps -aq --external); do p rm -f "$id"; done >/dev/null 2>&1
  [ -z "$(p ps -aq --external)" ]
}

# ---- power off: ext4 shut down without its journal flushed, as XFS's and ext4's own tests do
power_off() {
  python3 - "$1" <<'END'
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
END
}
# A loop device of its own: what is dead may still be on the last one for a while.
disk_up() {
  local loop
  loop=$(losetup --find --show "$T/disk.img") && mount "$loop" "$T/p" && losetup -d "$loop" &&
    mkdir -p "$T/p/nix" && mount --bind "$T/p/nix" /nix
}
# Processes in containers: in other mount namespaces that show the disk.
inmates() {
  local p
  for p in $(grep -ls "$T/p" /proc/[0-9]*/mountinfo); do
    p=${p#/proc/} p=${p%/mountinfo}
    [ "$(readlink "/proc/$p/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ] || echo "$p"
  done
}
everything_down() {
  local i
  for i in $(test_processes) $(inmates); do kill -9 "$i"; done 2>/dev/null
  # What was running ends by itself: there is nothing left to read or write.
  for _ in {1..50}; do [ -n "$(jobs -r)" ] || break; sleep 0.2; done
  umount -R "$RUNROOTS" 2>/dev/null
  mounts_beneath "$T/p" | grep -v "^$T/p$" | while read -r i; do umount -l "$i"; done
  umount -l /nix
  umount "$T/p" || { sleep 1; umount -l "$T/p"; }
  # What was in /run is gone when the machine comes up.
  rm -rf "$T/var/run"/*/* "$T/var$RUNROOTS"/*
  mount --bind "$T/var$RUNROOTS" "$RUNROOTS" 2>/dev/null
}
truncate -s 2G "$T/disk.img"
mkfs.ext4 -q -E lazy_itable_init=1 "$T/disk.img" || tap_bail "mkfs.ext4 failed"
for way in $WAYS; do
  rm -rf "$T/p"/*
done
umount /nix
disk_up && mkdir -p "$T/p/cache" || tap_bail "cannot mount"
export NIXSTORE_CACHE=$T/p/cache
nix-store --init
path=$("$NIXSTORE" convert "$source" --name small) || tap_bail "convert failed"
for way in $WAYS; do
  for moment in 0.1 0.4 0.9; do
    for what in run import; do
      # sync: what is older than this is on the disk, as it is a minute later.
      p rmi -a -f >/dev/null 2>&1; sync
      [ "$what" = import ] || { nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null; }
      case $what in
        run) p run -d --network=none base:1 sh -c 'while echo x >>/etc/x; do :; done' >/dev/null 2>&1 & ;;
        import) nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null 2>&1 & ;;
      esac
      sleep "$moment"
      power_off "$T/p"
      everything_down >/dev/null 2>&1
      disk_up || tap_bail "the disk does not mount again"
      if [ "$what" = import ]; then
        check "$way: power off $moment s after import began: import again" \
          nixstore_for "$way" import "$path" --name localhost/base:1
      fi
      check "$way: power off $moment s after $what began: it runs" works
      check "$way: and its containers go" clean
    done
  done
done

# What import said is there is there: Nix itself has flushed neither the files nor its books.
for way in $WAYS; do
  p rmi -a -f >/dev/null 2>&1; sync
  fresh=$("$NIXSTORE" convert "$source" --name "fresh-$way") &&
    nixstore_for "$way" import "$fresh" --name localhost/base:1 >/dev/null || tap_not_ok "$way: convert and import"
  power_off "$T/p"
  everything_down >/dev/null 2>&1
  disk_up || tap_bail "the disk does not mount again"
  check "$way: power off right after import: the store has the path" nix-store --verify-path "$fresh"
  check "$way: and it runs" works
  check "$way: and its containers go" clean
  p rmi -a -f >/dev/null 2>&1
done

# What the moment between Podman's books and our flushing may leave: import repairs it.
for way in $WAYS; do
  nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null
  p tag base:1 localhost/second:1
  layer=$(dirname "$(dirname "$(dirname "$(find "$T/p/${way/mountprogram/mp}/root" -path '*/diff/.nixstore/reference.json')")")")
  for lost in diff/.nixstore/reference.json link; do
    : >"$layer/$lost"
    check "$way: import of an image whose ${lost##*/} is empty" nixstore_for "$way" import "$path" --name localhost/base:1
    check "$way: it runs" works
    check "$way: under its other name too" p run --rm --network=none second:1 true
  done
  # The layer is in the books, and the image above it was not yet made.
  : >"$layer/link"
  for books in "$T/p/${way/mountprogram/mp}"/root/*-images/images.json; do echo '[]' >"$books"; done
  check "$way: import above a layer whose link is empty" nixstore_for "$way" import "$path" --name localhost/base:1
  check "$way: it runs" works
  p rmi -a -f >/dev/null 2>&1
done
everything_down >/dev/null 2>&1
tap_done
