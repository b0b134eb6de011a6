#!/bin/bash
# parallel: yes
# nixstore-fuse shows what the files themselves show, and what the kernel's EROFS shows of the same
# index: attributes, contents, errors, permissions, listings.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need
tap_need_file "$LISTING"

make_tree "$T/src"
mkdir "$T/plain" "$T/erofs" "$T/kernel"
mount --bind "$T/src" "$T/plain" && mount -o remount,bind,ro "$T/plain"
check "mount" fuse_mount "$T/src" "$T/m"
is "it is FUSE, and read-only" "$(findmnt -n -o FSTYPE "$T/m") $(findmnt -n -o OPTIONS "$T/m" | grep -cw ro)" \
  "fuse.nixstore-fuse 1"

"$LISTING" "$T/plain" >"$T/plain.list"; "$LISTING" "$T/m" >"$T/m.list"
same_file "the listing is that of the files" "$T/m.list" "$T/plain.list"
"$LISTING" "$T/m" >"$T/m2.list"
same_file "and again, from the kernel's cache" "$T/m2.list" "$T/plain.list"

python3 "$SRCDIR/test/fuse/behaviour.py" "$T/plain" >"$T/plain.out" 2>&1
python3 "$SRCDIR/test/fuse/behaviour.py" "$T/m" >"$T/m.out" 2>&1
same_file "everything behaves as on the files" "$T/m.out" "$T/plain.out"

if mount -t erofs -o ro "$T/src.index" "$T/erofs" 2>/dev/null &&
  mount -t overlay -o "ro,metacopy=on,lowerdir=$T/erofs::$T/src" overlay "$T/kernel" 2>/dev/null; then
  # EROFS alone does not know of the holes in the content.
  "$LISTING" "$T/kernel" | sed 's/ blocks=[0-9]*//' >"$T/kernel.list"
  sed 's/ blocks=[0-9]*//' "$T/m.list" >"$T/m4.list"
  same_file "the listing is that of the same index in mode erofs" "$T/m4.list" "$T/kernel.list"
  python3 "$SRCDIR/test/fuse/behaviour.py" "$T/kernel" 2>&1 | grep -v "inode numbers\|blocks of" >"$T/kernel.out"
  grep -v "inode numbers\|blocks of" "$T/m.out" >"$T/m3.out"
  same_file "everything behaves as in mode erofs" "$T/m3.out" "$T/kernel.out"
else
  tap_skip "the same as the kernel's EROFS" "this kernel mounts no EROFS file, or no data-only layers"
fi
like "statfs is sane" "$(python3 - "$T/m" <<'PY'
import os, sys
s = os.statvfs(sys.argv[1])
print(s.f_namemax, s.f_bavail, s.f_files > 3000, s.f_blocks > 0, bool(s.f_flag & os.ST_RDONLY))
PY
)" "^255 0 True True True$"

# xattrs that overlayfs would obey are data in an image.
mkdir -p "$T/marked/dir" "$T/below/dir" "$T/over"
echo under >"$T/below/dir/file"
setfattr -n trusted.overlay.opaque -v y "$T/marked/dir"
setfattr -n user.overlay.opaque -v z "$T/marked/dir"
check "mount a tree with xattrs of overlayfs" fuse_mount "$T/marked" "$T/k"
check "and an overlay on it" mount -t overlay -o "lowerdir=$T/k:$T/below" overlay "$T/over"
is "which does not obey them" "$(cat "$T/over/dir/file")" under
is "but shows them" "$(getfattr --only-values -n trusted.overlay.opaque "$T/over/dir")" y
is "all of them" "$(getfattr -d -m overlay --absolute-names "$T/k/dir" | sort | paste -sd ' ')" \
  " # file: $T/k/dir trusted.overlay.overlay.opaque=\"y\" user.overlay.overlay.opaque=\"z\""
umount "$T/over" "$T/k"

# A directory of 100,000 entries.
mkdir -p "$T/big/d"
python3 -c '
import os, sys
os.chdir(sys.argv[1])
for i in range(100000): os.close(os.open("entry-%06d" % i, os.O_CREAT))' "$T/big/d"
check "mount a tree with 100,000 names in one directory" fuse_mount "$T/big" "$T/b"
is "all of them are listed" "$(ls -U "$T/b/d" | sort | sha256sum)" "$(ls -U "$T/big/d" | sort | sha256sum)"
is "and all can be looked at" "$(find "$T/b/d" -type f -size 0 | wc -l)" 100000
memory() {
  local p
  for p in $(fuse_processes nixstore-fuse) $(fuse_processes nixstore-keeper); do
    grep -qF "$T/big" "/proc/$p/cmdline" && sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$p/status"
  done | awk '{ sum += $1 } END { print sum }'
}
tap_diag "memory of server and keeper: $(memory VmRSS) KiB, at most $(memory VmHWM)"
[ "$(memory VmHWM)" -lt $((20 * 1024)) ] && tap_ok "server and keeper never took 20 MiB" ||
  tap_not_ok "server and keeper never took 20 MiB"
umount "$T/b"

# Without privilege: in a user namespace, where "container" ids are all that there is.
mkdir "$T/u"
cat >"$T/in-namespace" <<END
"$FUSE" --index="$T/src.index" --data="$T/src" --uidmapping=0:0:1:1000:1:1 --gidmapping=0:0:1:42:2:5 "$T/u" &&
  stat -c '%u:%g %a' "$T/u/etc/shadow" "$T/u/etc/private" "$T/u/bin/setuid" &&
  cmp "$T/u/etc/large" "$T/src/etc/large" && umount "$T/u"
END
if unshare --user --map-root-user --mount true 2>/dev/null; then
  is "in a user namespace" "$(unshare --user --map-root-user --mount sh "$T/in-namespace" 2>&1 | paste -sd ' ')" \
    "0:65534 640 65534:65534 600 0:0 4755"
else
  tap_skip "in a user namespace" "there are none for us"
fi

# An ACL that names ids of nobody, by the mapping and by the namespace: user 1000, group 2000.
cat >"$T/acl" <<'END'
import os, struct, sys
value = os.getxattr(sys.argv[1], "system.posix_acl_access")
print(*("%x:%o:%d" % e for e in struct.iter_unpack("<HHi", value[4:])), open(sys.argv[1]).read(), end="")
END
acl() { "$FUSE" --index="$T/src.index" --data="$T/src" "$@" "$T/u" && python3 "$T/acl" "$T/u/acl" && umount "$T/u"; }
is "an ACL with a user who is not mapped" "$(acl --uidmapping=0:100000:1000 --gidmapping=0:200000:65536 2>&1)" \
  "1:6:-1 4:4:-1 8:6:202000 10:6:-1 20:0:-1 shared"
is "with nobody who is mapped" "$(acl --uidmapping=0:100000:1000 --gidmapping=0:200000:1000 2>&1)" \
  "1:6:-1 4:4:-1 10:6:-1 20:0:-1 shared"
if unshare --user --map-root-user --mount true 2>/dev/null; then
  export -f acl; export FUSE
  for map in "" "--uidmapping=0:0:1:1000:1:1 --gidmapping=0:0:1"; do
    is "with nobody who is in the user namespace${map:+, mapped}" \
      "$(unshare --user --map-root-user --mount bash -c "acl $map" 2>&1)" "1:6:-1 4:4:-1 10:6:-1 20:0:-1 shared"
  done
else
  tap_skip "in a user namespace" "there are none for us"
fi

umount "$T/m"
check "the server ends with its mount" fuse_wait_gone
tap_done
