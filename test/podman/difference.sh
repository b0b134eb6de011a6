#!/bin/bash
# parallel: yes
# timeout: 900
# After the same changes in a container, `podman diff` and the layer made by
# `podman commit` are those of the stock overlay driver. With stock Podman and
# nixstore-mount, whose layers come from another way of comparing, it is the
# committed image that must look the same.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store skopeo
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
need_podman_nixstore

# What a container does. Times are set where a run would leave its own.
cat >"$T/all" <<'SH'
set -e
echo x >>/etc/passwd
chmod 700 /usr/bin/passwd
chown 5:6 /etc/group
rm /etc/issue
rm -rf /usr/share/doc
rm -rf /usr/share/zoneinfo; mkdir -m 700 /usr/share/zoneinfo; echo new >/usr/share/zoneinfo/x
rm -rf /usr/lib/locale; echo file >/usr/lib/locale
ln /etc/fstab /etc/fstab2
ln /usr/bin/perl /usr/bin/perl-link
ln -sfn /nowhere /etc/mylink
mv /etc/debian_version /etc/debian_moved
mv /usr/share/perl5 /usr/share/perl5.new
mkdir -p /new/a/b; echo hi >/new/a/b/c
mkdir /usr/local/lib/empty
mkfifo /new/fifo
mknod /new/null c 1 3 || : >/new/null # not in a user namespace
echo gone >/usr/gone; rm /usr/gone
mkdir /usr/again; rmdir /usr/again
: >/etc/shells
touch -d @1400000000.123456789 /etc/shadow
touch -d @1500000000 /new/fifo /new/null /new/a/b/c /new/a/b /new/a /new
SH
# A file's content or attributes change its directory no more than stock says:
# of a large directory, whose copy has another size, it says so.
cat >"$T/in-place" <<'SH'
set -e
chmod 700 /usr/bin/passwd
echo >>"$(ls /var/lib/dpkg/info/*.list | head -n 1)"
chmod 600 /usr/lib/x86_64-linux-gnu/libc.so.6
chown 3 /etc/fstab
touch -d @1000000000 /usr/sbin/chroot
SH
printf 'rm -r /etc/skel; echo now a file >/etc/skel; rm /etc/issue; mkdir -p /etc/issue/deep\n' >"$T/types"

# layer FILE START: the last layer of a docker archive, an entry each line in
# its order. What was made since START has a time of its own.
layer() {
  python3 - "$@" <<'PY'
import json, sys, tarfile
archive, start = tarfile.open(sys.argv[1]), int(sys.argv[2])
layer = json.load(archive.extractfile("manifest.json"))[0]["Layers"][-1]
for e in tarfile.open(fileobj=archive.extractfile(layer)):
    xattrs = sorted((k, v) for k, v in e.pax_headers.items() if k.startswith("SCHILY."))
    print(e.name, e.type.decode(), "%o" % e.mode, e.uid, e.gid, e.uname, e.gname, e.size, e.linkname or "-",
          "%d,%d" % (e.devmajor, e.devminor), xattrs, "now" if e.mtime >= start else "%.9f" % e.mtime)
PY
}

# tree PODMAN-FUNCTION IMAGE: what it holds; sizes and link counts of
# directories are a matter of the filesystem.
tree() {
  "$1" run --rm --network=none "$2" find / -xdev \( -path /etc/hosts -o -path /etc/hostname \
    -o -path /etc/resolv.conf -o -path /etc/mtab \) -prune -o -type d -printf '%p %y %U:%G %m\n' \
    -o -printf '%p %y %U:%G %m %s %l\n' | grep -v -e '^/ ' -e '^/run' | sort
}

# changed WAY SCRIPT RUN-OPTION...: leaves in $T/r.WAY what became of it.
changed() {
  local podman=podman_$1 script=$2 result=$T/r.$1 start
  shift 2
  rm -rf "$result"; mkdir "$result"
  "$podman" rm -f --ignore it >/dev/null
  start=$(date +%s)
  "$podman" run --name it --network=none "$@" -v "$T/$script:/script:ro" localhost/x:1 sh /script &&
    "$podman" commit -q it localhost/y:1 >/dev/null &&
    "$podman" save -q --format docker-archive -o "$result/tar" localhost/y:1 &&
    layer "$result/tar" "$start" >"$result/layer" &&
    tree "$podman" localhost/y:1 >"$result/tree" || return 1
  "$podman" diff it >"$result/diff" 2>"$result/diff.err"
  "$podman" diff localhost/y:1 >"$result/image-diff" 2>>"$result/diff.err"
  # Podman's own clean-up of the container may still be at it.
  { "$podman" rm -f it || { sleep 2; "$podman" rm -f it; }; } >/dev/null 2>&1 &&
    "$podman" rmi localhost/y:1 >/dev/null
}

compare() {
  local script=$1 title="$name, $*"
  shift
  for way in overlay nixstore; do
    check "$title: $way" changed "$way" "$script" "$@" || return
  done
  same_file "$title: the layer" "$T/r.nixstore/layer" "$T/r.overlay/layer"
  same_file "$title: the committed image" "$T/r.nixstore/tree" "$T/r.overlay/tree"
  same_file "$title: podman diff of the container" "$T/r.nixstore/diff" "$T/r.overlay/diff"
  same_file "$title: podman diff of the image" "$T/r.nixstore/image-diff" "$T/r.overlay/image-diff"
}

compare_mountprogram() {
  check "$name, $1: mountprogram" changed mountprogram "$@" || return
  check "$name, $1: overlay" changed overlay "$@" || return
  same_file "$name, $1: the committed image, mountprogram" "$T/r.mountprogram/tree" "$T/r.overlay/tree"
}

for name in debian-base debian-app; do
  source=$(image "$name") || tap_bail "no image $name"
  podman_overlay tag "$(podman_overlay pull -q "$source" | tail -n 1)" localhost/x:1
  path=$("$NIXSTORE" convert "$source" --name "$name") || tap_bail "cannot convert $name"
  for way in nixstore mountprogram; do
    nixstore_for "$way" import "$path" --name localhost/x:1 >/dev/null || tap_bail "cannot import $name"
  done
  [ "$name" != debian-base ] || leak_mark
  compare all
  compare in-place
  if [ "$name" = debian-base ]; then
    compare types
    compare all --uidmap 0:100000:65536 --gidmap 0:200000:65536
  else
    compare_mountprogram all
  fi
  for way in overlay nixstore mountprogram; do "podman_$way" rmi -f localhost/x:1 >/dev/null; done
done
nix-store --gc --print-roots >/dev/null 2>&1 # forgets the roots whose links are gone
assert_nothing_left "nothing is left"
tap_done
