#!/bin/bash
# parallel: yes
# timeout: 1200
# nixstore doctor: the host is broken in each way that it knows, it says so, and is content after what
# it advises was done.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"
. "$TESTLIB/rootless.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT" "$BUILDDIR/nixstore-fuse"
nix_private
podman_setup
mkdir -p /run/nixstore "$T/run"
chmod 700 "$T/run"
mount --bind "$T/run" /run/nixstore || tap_bail "cannot mount on /run/nixstore"
# As distributions ship it.
mknod -m 666 "$T/fuse-device" c 10 229 && mount --bind "$T/fuse-device" /dev/fuse ||
  tap_skip_all "there is no /dev/fuse"

podman() { podman_mountprogram "$@"; }
doctor() { nixstore_for mountprogram doctor "$@"; }
# What others leave in the machine's temporary directories is none of ours.
lines() { python3 -c '
import json, sys
out = json.load(sys.stdin)
findings = [f for f in out["findings"] if not ("nobody needs" in f["what"] and "keep" not in sys.argv)]
bad = [f for f in findings if f["severity"] != "note" and not f["fixed"]]
assert out["ok"] == (not bad), out
for f in findings:
    assert f["what"] and f["advice"] and "\n" not in f["what"] + f["advice"], f
    print(("fixed" if f["fixed"] else f["severity"]), f["check"] + ":", f["what"], "=>", f["advice"])' "$@"; }
findings() { doctor --json "$@" 2>/dev/null | lines; }
# What does not hang on Podman is looked at without it: it takes its time.
findings_host() { "$NIXSTORE" doctor --json --podman /nosuch/podman 2>/dev/null | lines | grep -v '^error podman: /nosuch/podman'; }
# finds DESCRIPTION REGEX [VARIABLE=VALUE...]: there is one finding, and it matches.
finds() {
  local desc=$1 regex=$2; shift 2
  like "$desc" "$(with "${findings_of:-findings}" "$@" | sed -n '1{h;$p};2{g;s/^/more than one: /p}')" "$regex"
}
with() { local f=$1; shift; (for v; do export "${v?}"; done; $f); }
fine() { is "$1" "$(findings)" ""; }
# The same of the host alone.
host_finds() { local findings_of=findings_host; finds "$@"; }
host_fine() { is "$1" "$(findings_host)" ""; }

PODMAN5_NOTE=
case $("$PODMAN" --version) in
  *' '[5-9].*)
    PODMAN5_NOTE=$(findings)
    like "Podman 5: warned of system check --repair" "$PODMAN5_NOTE" \
      '^note podman: `podman system check. .*--repair would remove' 
    # All that follows is about what comes on top of it.
    findings() { doctor --json "$@" 2>/dev/null | lines | grep -vxF "$PODMAN5_NOTE"; } ;;
esac
fine "a host that is in order"
like "which people are told" "$(doctor | tail -n 1)" '^All is well: [0-9]+ checks$'
check "exit status 0" doctor

# ---- settings
export XDG_CONFIG_HOME=$T/config
conf=$XDG_CONFIG_HOME/nixstore/nixstore.conf
mkdir -p "${conf%/*}"
printf '[nixstore]\nmoed = fuse\n' >"$conf"
host_finds "an unknown key" "^error settings: $conf: unknown key .moed. => correct it"
check_fails "exit status 1, and a line that counts" 1 '^nixstore: 1 problem found$' doctor
like "two lines for people" "$(doctor 2>/dev/null | sed -n 2p)" '^         correct it'
printf '[nixstore]\nmode = fuse\n' >"$conf"
host_fine "corrected"
rm "$conf"

# ---- the store
chmod 777 /nix/store
host_finds "others may write to the store" '^error store: /nix/store may be written to by others .*=> chown root /nix/store && chmod 1775 /nix/store'
chown root /nix/store && chmod 1775 /nix/store
host_fine "done as advised"
host_finds "no store" '^error store: there is no Nix store at /nosuch/store =>' NIXSTORE_STORE=/nosuch/store
host_finds "no nix-store" '^error store: /nosuch/nix-store: not found: install nix-bin' NIXSTORE_NIX_STORE=/nosuch/nix-store

# ---- the kernel
if [ "$("$NIXSTORE" info --json --podman /nosuch | python3 -c 'import json, sys; print(json.load(sys.stdin)["chosen"]["mode"])')" = erofs ]; then
  host_finds "no EROFS: fuse does" '^note modes: mode erofs does not work: EROFS is disabled => mounts use mode fuse instead' NIXSTORE_TEST_DISABLE=erofs
  host_finds "no EROFS, but set" '^error modes: mode erofs does not work: .*erofs: EROFS is disabled.* => set mode=auto' NIXSTORE_TEST_DISABLE=erofs NIXSTORE_MODE=erofs
  host_finds "a mode that does not exist" '^error modes: unknown mode "nosuch" \(known: auto, erofs.*\) => set mode=auto' NIXSTORE_MODE=nosuch
  host_finds "no way at all" '^error modes: mode auto does not work: erofs: .*; fuse: .* => erofs needs root and Linux 6.5' \
    NIXSTORE_TEST_DISABLE=one-step,detached-layers,layer-descriptors,layer-names,classic-mount
else
  tap_skip "the kernel" "mode erofs does not work on this kernel"
fi
chmod 600 /dev/fuse
host_finds "/dev/fuse for root alone" '^note fuse: /dev/fuse has mode 0600: users cannot use it => chmod 666 /dev/fuse'
chmod 666 /dev/fuse
host_fine "done as advised"
: >"$T/no-device"
mount --bind "$T/no-device" /dev/fuse
like "no /dev/fuse" "$(findings_host)" '^note fuse: there is no /dev/fuse => modprobe fuse'
umount /dev/fuse

# ---- Podman
finds "no Podman" '^error podman: /nosuch/podman: not found: install podman' PODMAN=/nosuch/podman
conf() { # conf DRIVER [LINE...]: a storage.conf
  local driver=$1; shift
  printf '[storage]\ndriver = "%s"\nrunroot = "%s"\ngraphroot = "%s"\n[storage.options.overlay]\n' \
    "$driver" "$RUNROOTS/conf" "$T/p/conf"
  [ $# = 0 ] || printf '%s\n' "$@"
} >"$T/other.conf"
findings_conf() { CONTAINERS_STORAGE_CONF=$T/other.conf "$NIXSTORE" doctor --json --podman "$PODMAN" 2>/dev/null | lines |
  grep -vF 'podman system check'; }
conf overlay
like "overlay without a mount program" "$(findings_conf)" \
  "^warning podman: Podman's storage driver is overlay without nixstore-mount: .*$T/p/conf => give --storage-driver nixstore.*, or set mount_program"
conf overlay "mount_program = \"$NIXSTORE_MOUNT\""
is "with one" "$(findings_conf)" ""
conf overlay 'mount_program = "/nosuch/mount"'
like "one that is not there" "$(findings_conf)" "^error podman: .*stat program .*/nosuch/mount.* => correct mount_program in storage.conf: /.*/nixstore-mount$"
cp "$NIXSTORE_MOUNT" "$T/mounter"; chmod 644 "$T/mounter"
conf overlay "mount_program = \"$T/mounter\""
like "one that is not executable" "$(findings_conf)" "^error podman: mount_program $T/mounter \(of $T/other.conf\): Permission denied => chmod 755 $T/mounter"
chmod 755 "$T/mounter"
is "done as advised" "$(findings_conf)" ""
conf overlay 'mount_program = "/bin/true"'
like "another program" "$(findings_conf)" '^error podman: mount_program /bin/true .* is not nixstore-mount'
conf overlay "mount_program = \"$NIXSTORE_MOUNT\"" 'mountopt = "nodev"'
like "mountopt" "$(findings_conf)" '^note podman: mountopt "nodev" has no effect.* => take it out of storage.conf'
conf vfs
like "a graph root of another driver" "$(findings_conf | grep ' asks for ')" \
  "^warning podman: $T/other.conf asks for the storage driver vfs, but overlay is in use => $T/p/conf was made with overlay: give the driver another graphroot"
sed -i "s,/p/conf\",/p/conf2\"," "$T/other.conf"
is "done as advised" "$(findings_conf | grep ' asks for ')" ""
sed -i "s,/p/conf2\",/p/conf3\",; s,vfs,nixstore," "$T/other.conf"
like "a driver that this Podman has not" "$(findings_conf)" '^error podman: .*driver not supported => this Podman has not that storage driver built in'
if find_podman_nixstore; then
  is "the Podman that has it" "$(CONTAINERS_STORAGE_CONF=$T/other.conf "$NIXSTORE" doctor --json --podman "$PODMAN_NIXSTORE" 2>/dev/null | lines | grep -vF 'podman system check')" ""
else
  tap_skip "the Podman that has it" "$PODMAN_NIXSTORE_MISSING"
fi
umount -l "$T/p/conf3/nixstore" "$T/p/conf/overlay" 2>/dev/null

# ---- images
mkdir "$T/hello"
handmade_stage "$T/hello"
P=$(handmade_add "$T/hello")
nixstore_for mountprogram import -q "$P" >/dev/null
fine "an image, imported"
LAYER=$(dirname "$(echo "$T"/p/mp/root/overlay/*/diff/.nixstore)")
ROOT=${LAYER%/diff}/nixstore-gcroot
cp "$LAYER/.nixstore/reference.json" "$T/reference.json"
rm "$ROOT"
finds "no GC root" "^warning images: localhost/hello:latest has no GC root: the next .nix-store --gc. deletes $P => .nixstore doctor --fix. makes it"
like "--fix makes it" "$(findings --fix)" "^fixed images: localhost/hello:latest has no GC root.* => made $ROOT"
is "it is there" "$(readlink "$ROOT")" "$P"
rm /nix/var/nix/gcroots/auto/*
finds "a GC root that the store forgot" '^warning images: localhost/hello:latest has no GC root'
check "--fix: exit status 0" doctor --fix
fine "fixed"
sed '/narHash/ { s/sha256:0/sha256:1/; t; s/sha256:./sha256:0/ }' "$T/reference.json" >"$LAYER/.nixstore/reference.json"
finds "another NAR hash" "^error images: localhost/hello:latest: not trusted: .* $P has the NAR hash .*, the Nix store says .* => do not trust this image: .podman rmi localhost/hello:latest."
echo '{"version":1,"storePath":"/etc"}' >"$LAYER/.nixstore/reference.json"
finds "a reference that is none" '^error images: localhost/hello:latest: .*reference: .* => .podman rmi. the image'
cp "$T/reference.json" "$LAYER/.nixstore/reference.json"
fine "the reference as it was"
nix-store --export "$P" >"$T/export"
rm "$ROOT" && nix-store --gc >/dev/null 2>&1
finds "the path is gone" "^error images: localhost/hello:latest: the Nix store does not have $P => .nix-copy-closure --from HOST $P.*; or .podman rmi localhost/hello:latest.$"
check "the path comes back" test "$(nix-store --add "$T/hello" 2>/dev/null)" = "$P"
check "its root is made" doctor --fix
fine "as before"

# ---- mounts that nobody has
mkdir -p "$T/upper" "$T/work"
MERGED=${LAYER%/diff}/merged
mkdir -p "$MERGED"
stray() { (cd "$T/p/mp/root/overlay" && "$NIXSTORE_MOUNT" "$@" -o "lowerdir=$LAYER,upperdir=$T/upper,workdir=$T/work" "$MERGED"); }
check "a mount behind Podman's back" stray
finds "a mount that Podman knows nothing of" "^warning mounts: $MERGED is mounted, but Podman knows nothing of it => umount $MERGED$"
umount "$MERGED"
fine "done as advised"
check "a mount of Podman's" podman image mount hello
fine "is none"
podman image umount hello >/dev/null

# ---- servers
mkdir -p "$MERGED"
check "a FUSE server" stray --mode fuse
SERVERS=$(test_processes)
host_fine "is none while it serves"
kill -STOP $SERVERS
umount "$MERGED"
OUT=$(findings_host)
like "a server that does not leave" "$OUT" "^warning servers: FUSE servers run, though nobody has their filesystem mounted: .* => kill -9 [0-9]+"
for pid in $SERVERS; do like "server $pid is named" "$OUT" "kill -9.* $pid( |\$)"; done
kill -9 $SERVERS
for ((i = 0; i < 50; i++)); do [ -z "$(test_processes)" ] && break; sleep 0.1; done
fine "done as advised"

# ---- the cache
rest() { doctor --json 2>/dev/null | lines keep | grep 'nobody needs'; }
like "the socket of a killed server is left" "$(rest)" '^note leftovers: [0-9]+ things? nobody needs any more, .* => .nixstore gc. removes'
"$NIXSTORE" gc -q >/dev/null
is "done as advised" "$(rest)" ""
INDEX=$(echo "$NIXSTORE_CACHE"/index/*.erofs)
truncate -s 100 "$INDEX"
host_finds "a damaged index" "^warning leftovers: $INDEX: it is damaged, or others may write to it => .nixstore gc. removes it"
"$NIXSTORE" gc -q >/dev/null
host_fine "done as advised"
echo 1 >"$NIXSTORE_CACHE/verdict/nonsense"
host_finds "a verdict that is none" "^warning leftovers: $NIXSTORE_CACHE/verdict/nonsense: it is damaged"
"$NIXSTORE" gc -q >/dev/null
chmod 777 "$NIXSTORE_CACHE/index"
like "a cache that others may write to" "$(findings_host)" "error leftovers: $NIXSTORE_CACHE/index may be written to by others .* => chown and chmod it"
chmod 755 "$NIXSTORE_CACHE/index"
host_fine "done as advised"

# ---- without root
umount /dev/fuse
for command in newuidmap newgidmap setpriv nix-daemon runc; do
  command -v $command >/dev/null || { tap_skip "without root" "$command is not installed"; tap_done; }
done
rootless_setup
as() { rootless_nixstore mountprogram doctor --json "$@" 2>/dev/null | lines | grep -vF 'podman system check'; }
is "a user's host that is in order" "$(as)" ""
cp /etc/subuid "$T/subuid"
grep -v "^$ROOTLESS_USER:" "$T/subuid" >/etc/subuid
like "no subordinate ids" "$(as)" "^error subids: /etc/subuid has no range for $ROOTLESS_USER: .* => usermod --add-subuids 100000-165535 $ROOTLESS_USER"
# From a directory service: Podman knows what it got.
cat >"$T/bin/mapped" <<'END'
#!/bin/sh
podman "$@" | sed '/"uidmap"/,/\]/s/"size": [0-9]*/"size": '"$(cat "$HOME/mapped")/"
END
chmod +x "$T/bin/mapped"
echo 'subid: sss # files' >>/etc/nsswitch.conf
echo 65536 >"$RHOME/mapped"
is "subordinate ids that are in no file" "$(as --podman "$T/bin/mapped")" ""
echo 0 >"$RHOME/mapped"
like "none there either" "$(as --podman "$T/bin/mapped")" '^error subids: Podman has a single uid .* => give this user ranges of subordinate ids in `sss'
sed -i '/^subid:/d' /etc/nsswitch.conf
cat "$T/subuid" >/etc/subuid
chmod 600 /dev/fuse
like "/dev/fuse for root alone" "$(as | grep ' fuse: ')" '^error fuse: /dev/fuse has mode 0600: this user cannot use it => chmod 666 /dev/fuse'
chgrp "$ROOTLESS_UID" /dev/fuse
chmod 660 /dev/fuse
is "/dev/fuse for the user's group" "$(as | grep ' fuse: ')" ""
chmod 666 /dev/fuse
check "a user imports an image" rootless_nixstore mountprogram import -q "$P"
is "all is well" "$(as)" ""
is "nothing of it is for gc" "$(rootless_nixstore_alone gc -n -q | grep -v '^scratch')" "0 to remove, 0 bytes to free"
ROOT=$(dirname "$(echo "$RHOME"/p/mountprogram/overlay/*/diff/.nixstore)")
ROOT=${ROOT%/diff}/nixstore-gcroot
rm "$ROOT"
like "no GC root" "$(as)" '^warning images: localhost/hello:latest has no GC root'
like "--fix makes it, through the daemon" "$(as --fix)" "^fixed images: .* => made $ROOT"
is "done as advised" "$(as)" ""
tap_done
