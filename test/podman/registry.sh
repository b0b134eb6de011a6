#!/bin/bash
# parallel: yes
# timeout: 900
# A reference image goes through a registry to another host: some 10 kB are sent. There
# it runs if the path is in the host's store, is fetched from Nix's substituters if that
# is allowed, and otherwise fails with a line that names the path.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix nix-store docker-registry python3 curl
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
path=$("$NIXSTORE" convert "$source" --name "registry-${T##*.}") || tap_bail "convert failed"

# Nix looks for paths in use in all processes of the machine: hence a path of our own.

# ---- a registry, a binary cache, and a server that never answers
registry=$(free_port)
cat >"$T/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $T/registry}}
http: {addr: 127.0.0.1:$registry}
END
docker-registry serve "$T/registry.yml" >"$T/registry.log" 2>&1 &
tap_on_exit "kill $!"
mkdir "$T/binary-cache"
nix --extra-experimental-features nix-command copy --to "file://$T/binary-cache?compression=none" "$path" 2>"$T/copy.err" ||
  tap_bail "nix copy: $(tail -n 1 "$T/copy.err")"
binary_cache=$(free_port)
python3 -m http.server --bind 127.0.0.1 -d "$T/binary-cache" "$binary_cache" >"$T/http.log" 2>&1 &
tap_on_exit "kill $!"
python3 - "$T/silent-port" <<'END' &
import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(50)
open(sys.argv[1], "w").write(str(s.getsockname()[1]))
time.sleep(1000)
END
tap_on_exit "kill $!"
# A third machine's Nix store, reached by ssh: the store of this test, in which sshd runs.
find_sshd() { PATH=$PATH:/usr/sbin:/sbin type -P sshd; }
start_sshd() {
  mkdir -p -m 755 /run/sshd
  mkdir -m 700 "$T/ssh"
  ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/host" && ssh-keygen -q -t ed25519 -N '' -f "$T/ssh/user" || return
  cp "$T/ssh/user.pub" "$T/ssh/authorized"
  ssh_port=$(free_port)
  echo "[127.0.0.1]:$ssh_port $(cat "$T/ssh/host.pub")" >"$T/ssh/known"
  # sshd lets nobody in whose account is locked.
  sed 's/^root:!/root:*/' /etc/shadow >"$T/ssh/shadow" && mount --bind "$T/ssh/shadow" /etc/shadow || return
  cat >"$T/ssh/config" <<END
ListenAddress 127.0.0.1:$ssh_port
HostKey $T/ssh/host
PidFile none
AuthorizedKeysFile $T/ssh/authorized
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
END
  "$(find_sshd)" -D -f "$T/ssh/config" -E "$T/ssh/log" &
  tap_on_exit "kill $!"
}
ssh_port=
[ -z "$(find_sshd)" ] || start_sshd || tap_bail "sshd cannot be set up"
ssh_options="-F none -p $ssh_port -i $T/ssh/user -o UserKnownHostsFile=$T/ssh"
for _ in {1..50}; do
  curl -sf "http://127.0.0.1:$registry/v2/" >/dev/null &&
    curl -sf "http://127.0.0.1:$binary_cache/nix-cache-info" >/dev/null && [ -s "$T/silent-port" ] && break
  sleep 0.2
done

# ---- the other host: a store, a cache of indexes and a graph root of its own
new_host() {
  rm -rf "$T/host"; mkdir -p "$T/host/nix" "$T/host/home" "$T/host/conf"
  substituters ''
  host nix-store --init
}
substituters() {
  printf 'build-users-group =\nsandbox = false\nsubstituters = %s\n' "$1" >"$T/host/conf/nix.conf"
}
host() {
  unshare --mount --propagation private bash -c 'mount --bind "$T/host/nix" /nix && exec "$@"' _ \
    env HOME="$T/host/home" NIX_CONF_DIR="$T/host/conf" NIXSTORE_CACHE="$T/host/cache" "$@"
}
export T
host_podman() {
  case $way in
    nixstore) host "$PODMAN_NIXSTORE" --root "$T/host/root" --runroot "$RUNROOTS/host" --storage-driver nixstore \
      --storage-opt "nixstore.mount_program=$NIXSTORE_MOUNT" "$@" ;;
    mountprogram) host "$PODMAN" --root "$T/host/root" --runroot "$RUNROOTS/host" --storage-driver overlay \
      --storage-opt "overlay.mount_program=$NIXSTORE_MOUNT" "$@" ;;
  esac
}
start() { host_podman run --rm --network=none "$name" stat -c '%a %u:%g' /etc/shadow; }
# Stock Podman wraps the program's line in lines of its own.
refused() { # DESCRIPTION REGEX
  local out rc
  case $way in
    nixstore) check_fails "$1" 126 "$2" start ;;
    *)
      out=$(start 2>&1) && rc=0 || rc=$?
      is "$1: it fails" "$rc" 126
      like "$1" "$out" "$2"
      ;;
  esac
}
root_of() { readlink "$T"/host/root/*/*/nixstore-gcroot; }

for way in $WAYS; do
  name=127.0.0.1:$registry/$way:1
  nixstore_for "$way" import "$path" --name "$name" >/dev/null || tap_bail "import failed"
  rm -rf "$T/registry"
  check "$way: push" "podman_$way" push -q --tls-verify=false "$name"
  sent=$(find "$T/registry" -path '*/blobs/*' -name data -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }')
  is "$way: $sent bytes were sent" "$((sent > 0 && sent < 20000))" 1

  new_host
  check "$way: pull on another host" host_podman pull -q --tls-verify=false "$name"
  is "$way: as the same image" "$(host_podman images -q --no-trunc)" "$("podman_$way" images -q --no-trunc "$name")"
  # That there is a cache makes no difference yet.
  substituters "http://127.0.0.1:$binary_cache"
  refused "$way: without the path it does not start, and says what is missing" \
    "$path is not in the Nix store; get it back with .nix copy --from"
  check "$way: nothing was fetched" test ! -e "$T/host$path"

  # What the host has none of, its caches have.
  export NIXSTORE_SUBSTITUTE=true
  substituters ''
  refused "$way: no cache has it" "$path is neither in the Nix store nor.*nix-copy-closure --from HOST $path"
  substituters "http://127.0.0.1:$(cat "$T/silent-port")"
  SECONDS=0
  NIXSTORE_SUBSTITUTE_TIMEOUT=2 refused "$way: a cache that does not answer" \
    "$path: not done after 2 seconds .substitute_timeout."
  is "$way: was not waited for" "$((SECONDS < 20))" 1
  reference=$(echo "$T"/host/root/*/*/diff/.nixstore/reference.json)
  substituters "http://127.0.0.1:$binary_cache"
  sed -i.orig -E '/narHash/ { s/sha256:0/sha256:1/; t; s/sha256:./sha256:0/ }' "$reference"
  refused "$way: a reference that says another hash is not followed" "not trusted"
  is "$way: nor is the path held for it" "$(root_of 2>/dev/null)" ""
  mv "$reference.orig" "$reference"
  host nix-store --gc >/dev/null 2>&1
  check "$way: it may be collected" test ! -e "$T/host$path"
  is "$way: fetched at the start" "$(start)" "640 0:42"
  host nix-store --gc >/dev/null 2>&1
  check "$way: and kept from then on" test -e "$T/host$path/rootfs"
  unset NIXSTORE_SUBSTITUTE
  substituters ''
  is "$way: it runs again without a cache" "$(start)" "640 0:42"
  check "$way: rmi" host_podman rmi "$name"
  host nix-store --gc >/dev/null 2>&1
  check "$way: and collected after" test ! -e "$T/host$path"

  # Or it is copied beforehand.
  nix-store --export "$path" >"$T/closure"
  host nix-store --import <"$T/closure" >/dev/null
  check "$way: pull again" host_podman pull -q --tls-verify=false "$name"
  is "$way: a path that is there is enough" "$(start)" "640 0:42"
  host_podman rmi "$name" >/dev/null

  # Or a store is asked over ssh.
  if [ -z "$ssh_port" ]; then
    tap_skip "$way: fetched over ssh" "sshd is not installed"
  else
    new_host
    host_podman pull -q --tls-verify=false "$name" >/dev/null
    substituters "ssh://root@127.0.0.1"
    export NIXSTORE_SUBSTITUTE=true NIX_SSHOPTS="$ssh_options/unknown"
    refused "$way: a host that ssh does not know" "$path is neither in the Nix store nor"
    check "$way: nothing came from it" test ! -e "$T/host$path"
    NIX_SSHOPTS=$ssh_options/known
    is "$way: fetched over ssh at the start" "$(start)" "640 0:42"
    unset NIXSTORE_SUBSTITUTE NIX_SSHOPTS
    host nix-store --gc >/dev/null 2>&1
    check "$way: and kept" test -e "$T/host$path/rootfs"
    host_podman rmi "$name" >/dev/null
  fi
  "podman_$way" rmi "$name" >/dev/null
done
tap_done
