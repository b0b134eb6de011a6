#!/bin/bash
# parallel: yes
# timeout: 1200
# What is the storage driver's own: its options, ID mappings without copies,
# images of an additional store, and errors that say what is wrong.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
need_podman_nixstore
source=$(image debian-base) || tap_skip_all "debian-base cannot be made here"
path=$("$NIXSTORE" convert "$source" --name base) || tap_bail "convert failed"
nixstore_for nixstore import "$path" --name localhost/base:1 >/dev/null || tap_bail "import failed"
home=$T/p/nixstore/root/nixstore
show='stat -c %n,%u:%g,%a /etc/shadow /usr/bin/passwd'
shown='/etc/shadow,0:42,640
/usr/bin/passwd,0:0,4755'

run() { podman_nixstore run --rm --network=none "$@"; }
size() { du -sk "$home" | cut -f1; }

like "podman info names the driver" "$(podman_nixstore info --format '{{.Store.GraphDriverName}}')" '^nixstore$'
like "and what mounts" "$(podman_nixstore info)" "Nix Store Mount Program: $NIXSTORE_MOUNT"

# An ordinary image beside it, on the stock path: the mount program is not even there.
ordinary=$(podman_nixstore pull -q "$source" | tail -n 1)
cp "$NIXSTORE_MOUNT" "$T/mount"
without() {
  "$PODMAN_NIXSTORE" --root "$T/p/nixstore/root" --runroot "$RUNROOTS/nixstore" --storage-driver nixstore \
    --storage-opt "nixstore.mount_program=$T/mount" "$@"
}
printf '#!/bin/sh\necho "nixstore-mount: no, not today" >&2\nexit 1\n' >"$T/mount"
# shellcheck disable=SC2086
is "an ordinary image needs no nixstore-mount" "$(without run --rm --network=none "$ordinary" $show)" "$shown"
check_fails "otherwise its line is the error" 126 'nixstore-mount: no, not today' \
  without run --rm --network=none base:1 true
leak_mark
without run --rm --network=none base:1 true 2>/dev/null
rm "$T/mount"
check_fails "a mount program that is not there" 125 'mount_program' without run --rm base:1 true
assert_nothing_left "nothing is left of what failed"

# What a user namespace sees is shifted when it is mounted, never copied.
printf 'containers:500000:200000\n' >"$T/subid"
mount --bind "$T/subid" /etc/subuid && mount --bind "$T/subid" /etc/subgid
before=$(size)
for map in '--uidmap 0:100000:65536 --gidmap 0:200000:65536' '--uidmap 0:100000:1000 --uidmap 5000:300000:60000' \
  '--userns=auto:size=1000'; do
  # shellcheck disable=SC2086
  is "$map" "$(run $map base:1 $show)" "$shown"
done
# Of ranges with a gap containers/storage makes a layer, which stays empty.
is "no layer was copied" "$(($(size) - before < 200))" 1
is "a file made there is root's" "$(run --uidmap 0:100000:65536 base:1 sh -c 'echo x >/etc/new && stat -c %u:%g /etc/new')" 0:0

is "mode bind shows what the store has" \
  "$(NIXSTORE_STORAGE_OPTS=nixstore.mode=bind run base:1 stat -c %u:%g /etc/shadow)" 0:0
NIXSTORE_STORAGE_OPTS=nixstore.mode=nonsense \
  check_fails "an unknown mode" 126 nonsense podman_nixstore run --rm --network=none base:1 true
NIXSTORE_STORAGE_OPTS=overlay.mount_program=/bin/true \
  check_fails "the overlay driver's option" 125 'did you mean nixstore.mount_program' podman_nixstore images
is "mountopt's flags reach the mount" "$(NIXSTORE_STORAGE_OPTS=nixstore.mountopt=nosuid,metacopy=on \
  run base:1 sh -c 'grep " / " /proc/self/mounts' | grep -o nosuid)" nosuid

# Another storage that has this one as its additional image store.
second() {
  podman_at second "$PODMAN_NIXSTORE" --storage-driver nixstore --storage-opt "nixstore.mount_program=$NIXSTORE_MOUNT" \
    --storage-opt "nixstore.imagestore=$T/p/nixstore/root" -- "$@"
}
# shellcheck disable=SC2086
is "an ordinary image of an additional store" "$(second run --rm --network=none "$ordinary" $show)" "$shown"
# shellcheck disable=SC2086
is "an image path of an additional store" "$(second run --rm --network=none base:1 $show)" "$shown"
second run --name it --network=none base:1 sh -c 'rm -r /usr/share/doc && mkdir /usr/share/doc && echo a >/a'
is "podman diff on an additional store" "$(second diff it | sort | tr '\n' ' ')" "A /a C /etc C /usr C /usr/share D /usr/share/doc "
check "podman commit on an additional store" second commit -q it localhost/second:1
is "what was committed" "$(second run --rm --network=none second:1 sh -c 'cat /a; ls /usr/share/doc')" a
second rm -f it >/dev/null 2>&1

# To compare needs the index alone, which the last mount left a link to.
printf '#!/bin/sh\necho "nixstore-mount: no, not today" >&2\nexit 1\n' >"$T/mount"
chmod 755 "$T/mount"
podman_nixstore run --name changed --network=none base:1 sh -c 'echo x >/etc/new'
changes() { "$1" diff changed | sort | tr '\n' ' '; }
links=("$home"/*/nixstore-index)
if mkdir "$T/index" && mount -t erofs -o ro "$(readlink "${links[0]}")" "$T/index"; then
  umount "$T/index"
  is "podman diff starts no program" "$(changes without)" "A /etc/new C /etc "
else
  tap_skip "podman diff starts no program" "EROFS is not mounted from a file here"
fi
rm "${links[@]}"
check_fails "unless there is no link to the index" 125 'no, not today' without diff changed
is "and then it is made" "$(changes podman_nixstore)$(test -h "${links[0]}" && echo link)" "A /etc/new C /etc link"
NIXSTORE_STORAGE_OPTS=nixstore.mode=bind run base:1 true
check "not in mode bind, which shows no index" test ! -h "${links[0]}"
podman_nixstore rm changed >/dev/null
tap_done
