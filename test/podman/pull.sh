#!/bin/bash
# parallel: yes
# timeout: 600
# The setting convert=pull: what a Podman with the driver pulls becomes Nix-backed as soon as it is
# there, by a process that ends with Podman's.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
. "$TESTLIB/rootless.sh"
tap_need nix-store skopeo curl jq
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
need_podman_nixstore
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
mkdir -p "$T/images"
id=$(podman_overlay pull -q "$source" | tail -n 1)
# A layer of its own each: one that is there already is not unpacked.
for n in 1 2 3 4 5 6; do
  podman_overlay run --name "made$n" --network=none "$id" sh -c "echo $n >/number" &&
    podman_overlay commit -q "made$n" "registry.example/pulled:$n" >/dev/null &&
    podman_overlay save -q --format docker-archive -o "$T/images/$n.tar" "registry.example/pulled:$n" || tap_bail "save failed"
done
chmod -R a+rX "$T/images"

pull() { podman_nixstore pull -q "docker-archive:$T/images/$1.tar" >/dev/null; }
path_of() { nixstore_for nixstore list | awk -v n="registry.example/pulled:$1" '$1 == n { print $NF }'; }
followers() { test_processes | while read -r p; do tr '\0' ' ' <"/proc/$p/cmdline"; done | grep -c -e --follow; }
# wait_for COMMAND...: until it says something, at most a minute.
wait_for() {
  local i
  for i in {1..120}; do
    [ -z "$("$@")" ] || return 0
    sleep 0.5
  done
  echo "nothing yet: $*"
  return 1
}
no_followers() { [ "$(followers)" != 0 ] || echo none; }

# Where nobody asks for it, nothing is started.
leak_mark
export NIXSTORE_CONVERT=
check "without the setting: pull" pull 1
is "it starts nothing" "$(followers)" 0
is "and the image stays as it is" "$(path_of 1)" ""

export NIXSTORE_STORAGE_OPTS=nixstore.convert=pull
check "as a storage option: pull" pull 2
check "nixstore ends by itself" wait_for no_followers
like "it is Nix-backed" "$(path_of 2)" '^/nix/store/'
is "it runs" "$(podman_nixstore run --rm --network=none registry.example/pulled:2 stat -c '%a %u:%g' /etc/shadow)" "640 0:42"
like "what was pulled before, too" "$(path_of 1)" '^/nix/store/'
podman_nixstore rmi -f registry.example/pulled:2 >/dev/null
check "storage option none: pull" env NIXSTORE_CONVERT=pull bash -c '
  "$0" --root "$1" --runroot "$2" --storage-driver nixstore --storage-opt "nixstore.mount_program=$3" \
    --storage-opt nixstore.convert=none pull -q "$4"' "$PODMAN_NIXSTORE" "$T/p/nixstore/root" "$RUNROOTS/nixstore" \
  "$NIXSTORE_MOUNT" "docker-archive:$T/images/2.tar"
is "it takes precedence: nothing is started" "$(followers)" 0
NIXSTORE_STORAGE_OPTS=nixstore.convert=push
check_fails "another value" 125 'must be none or pull' podman_nixstore images
NIXSTORE_STORAGE_OPTS=

# In nixstore.conf(5).
export XDG_CONFIG_HOME=$T/config
mkdir -p "$XDG_CONFIG_HOME/nixstore"
printf '[nixstore]\nconvert = none\n' >"$XDG_CONFIG_HOME/nixstore/nixstore.conf"
check "in the file, none: pull" pull 3
check "nixstore has ended" wait_for no_followers
is "and the image stays as it is" "$(path_of 3)" ""
printf '[nixstore]\nconvert = pull\n' >"$XDG_CONFIG_HOME/nixstore/nixstore.conf"
check "in the file: pull" pull 4
check "nixstore has ended" wait_for no_followers
like "it is Nix-backed" "$(path_of 4)" '^/nix/store/'

# A process that goes on, whatever it takes in, and that dies.
eval "exec $(cat "$T/p/nixstore/command") system service -t 0 unix://$T/socket" >"$T/service.log" 2>&1 3>&- &
service=$!
for _ in {1..100}; do [ ! -S "$T/socket" ] || break; sleep 0.1; done
for n in 5 6; do
  check "by the service: load" curl -sf --unix-socket "$T/socket" -T "$T/images/$n.tar" -X POST http://d/v4.0.0/libpod/images/load
  check "it becomes Nix-backed" wait_for path_of $n
done
is "one process has done so" "$(followers)" 1
kill -9 $service
wait $service 2>/dev/null
check "it ends with a service that was killed" wait_for no_followers
podman_nixstore rmi -a -f >/dev/null
nix-store --gc >"$T/gc.log" 2>&1
assert_nothing_left "nothing is left"

check_fails "usage: --follow alone" 2 'is for --pulled' "$NIXSTORE" convert --follow
check_fails "usage: --follow with an image" 2 'is for --pulled' "$NIXSTORE" convert --replace --follow x
check "without the setting --follow has nothing to do" env NIXSTORE_CONVERT=none "$NIXSTORE" convert --replace --pulled --follow

# A user's.
rootless_setup
ROOTLESS_EXTRA=(NIXSTORE_CONVERT=pull)
check "rootless: pull" rootless_podman nixstore pull -q "docker-archive:$T/images/1.tar"
user_path() { rootless_nixstore nixstore list | awk '$1 == "registry.example/pulled:1" { print $NF }'; }
check "rootless: nixstore ends by itself" wait_for no_followers
like "rootless: it is Nix-backed" "$(user_path)" '^/nix/store/'
is "rootless: it runs" \
  "$(rootless_podman nixstore run --rm --network=none registry.example/pulled:1 stat -c '%a %u:%g' /etc/shadow)" "640 0:42"
tap_done
