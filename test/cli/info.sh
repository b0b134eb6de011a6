#!/bin/bash
# parallel: yes
# nixstore info: what it says is what mounts do, and each thing that is taken away shows.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
leak_mark
ours() { nixstore_for mountprogram "$@"; }
# field EXPRESSION [VARIABLE=VALUE...]: of the JSON object x; no Podman is asked.
field() { local e=$1; shift; env "$@" "$NIXSTORE" info --json --podman /nosuch/podman | json "$e"; }
json() { python3 -c "import json, sys; x = json.load(sys.stdin); print($1)"; }
modes='[(m["mode"], m["available"]) for m in x["modes"] if m["mode"] in ("erofs", "fuse", "bind")]'
reason() { echo "[m['reason'] for m in x['modes'] if m['mode'] == '$1'][0]"; }

is "kernel and Nix" "$(field '(x["kernel"]["release"], x["nix"]["version"], x["nix"]["store"], x["nix"]["storeExists"])')" \
  "('$(uname -r)', '$(nix-store --version 2>/dev/null | awk '{ print $NF }')', '/nix/store', True)"
like "the human output names them" "$(ours info)" "^Kernel: +Linux $(uname -r), "
is "its lines fit a terminal, settings' paths apart" "$(ours info | grep -v -e /tmp -e /var | awk 'length > 100')" ""

# ---- Podman
is "stock Podman as it is: no mount program" \
  "$("$NIXSTORE" info --json --podman "$PODMAN" | json '[x["podman"][k] for k in ("program", "storageDriver", "hasDriver", "mountProgram", "mountProgramSource")]')" \
  "['$PODMAN', 'overlay', False, None, None]"
is "the mount program of the command line" \
  "$(ours info --json | json '(x["podman"]["mountProgram"], x["podman"]["mountProgramSource"], x["podman"]["graphRoot"])')" \
  "('$NIXSTORE_MOUNT', '--storage-opt', '$T/p/mp/root')"
cat >"$T/other.conf" <<END
[storage]
driver = "overlay"
runroot = "$RUNROOTS/other"
graphroot = "$T/p/other"
[storage.options.overlay]
mount_program = "$NIXSTORE_MOUNT"
END
is "the mount program of storage.conf" \
  "$(CONTAINERS_STORAGE_CONF=$T/other.conf "$NIXSTORE" info --json --podman "$PODMAN" |
    json '[x["podman"][k] for k in ("mountProgram", "mountProgramSource", "configFile")]')" \
  "['$NIXSTORE_MOUNT', '$T/other.conf', '$T/other.conf']"
is "no Podman: the rest is shown" \
  "$("$NIXSTORE" info --json --podman /nosuch/podman | json '(x["podman"]["error"], x["podman"]["hasDriver"], len(x["modes"]) > 2)')" \
  "('/nosuch/podman: not found: install podman, or name it with --podman', None, True)"
if find_podman_nixstore; then
  is "a Podman with the driver" \
    "$(nixstore_for nixstore info --json | json '(x["podman"]["hasDriver"], x["podman"]["storageDriver"])')" "(True, 'nixstore')"
else
  tap_skip "a Podman with the driver" "$PODMAN_NIXSTORE_MISSING"
fi
is "nothing of the question is left in /tmp" "$(find /tmp -maxdepth 1 -name 'nixstore-scratch-*' -newer "$T/leaks.before")" ""

# ---- modes: each is tried, so each thing that is taken away shows
first=$(field 'x["chosen"]["mode"] if x["chosen"] else None')
if [ "$first" = erofs ]; then
  is "all modes work here" "$(field "$modes")" "[('erofs', True), ('fuse', True), ('bind', True)]"
  like "the way through the kernel" "$(field 'x["chosen"]["way"]')" '^(one-step|detached-layers|layer-descriptors|layer-names|classic-mount)$'
  way=$(field 'x["chosen"]["way"]' NIXSTORE_TEST_DISABLE=one-step,detached-layers)
  like "without the newest ways: an older one" "$way" '^(layer-descriptors|layer-names|classic-mount)$'
  is "no EROFS: fuse is chosen, and why" \
    "$(field 'x["chosen"]["mode"]' NIXSTORE_TEST_DISABLE=erofs) $(field "$(reason erofs)" NIXSTORE_TEST_DISABLE=erofs)" \
    "fuse EROFS is disabled"
  every=one-step,detached-layers,layer-descriptors,layer-names,classic-mount
  is "no way to mount: nothing is chosen" "$(field '(x["chosen"], {m["available"] for m in x["modes"]})' NIXSTORE_TEST_DISABLE=$every)" "(None, {False})"
  like "which people are told" "$(NIXSTORE_TEST_DISABLE=$every "$NIXSTORE" info --podman /nosuch/podman)" '^Chosen: +none$'
  # As where there is no FUSE: another file in its place.
  mount --bind /dev/null /dev/fuse
  like "no /dev/fuse: fuse does not work, and why" "$(field "$(reason fuse)")" '/dev/fuse|create the filesystem'
  is "and erofs does" "$(field 'x["chosen"]["mode"]')" erofs
  umount /dev/fuse
else
  tap_skip "the modes" "mode erofs does not work on this kernel"
fi
is "a mode that is set is what is chosen" "$(field '(x["chosen"]["setting"], x["chosen"]["mode"])' NIXSTORE_MODE=bind)" "('bind', 'bind')"
is "a mode that does not exist is not" "$(field 'x["chosen"]' NIXSTORE_MODE=nosuch)" None
mkdir -m 777 "$T/open"
like "a cache that others may write to: no mode with an index" \
  "$(field "$(reason erofs)" NIXSTORE_CACHE="$T/open")" 'may be written to by others'
is "nothing is left" "$(find "$T/tmp" -mindepth 1)" ""
if command -v setpriv >/dev/null; then
  mkdir -m 777 "$T/user"
  chmod 755 "$T"
  OUT=$(env -u NIXSTORE_CACHE HOME="$T/user" XDG_RUNTIME_DIR="$T/user" TMPDIR="$T/user" \
    setpriv --reuid=65534 --regid=65534 --clear-groups "$NIXSTORE" info --json --podman /nosuch)
  is "as another user: erofs does not work, bind does, the cache is the user's" \
    "$(json '([m["available"] for m in x["modes"] if m["mode"] in ("erofs", "bind")], x["cache"]["path"])' <<<"$OUT")" \
    "([False, True], '$T/user/.cache/nixstore')"
else
  tap_skip "as another user" "setpriv is not installed"
fi

# ---- passthrough: what it says is what the server would do
passthrough='[x["fusePassthrough"][k] for k in ("wanted", "available", "reason")]'
like "passthrough: not wanted" "$(field "$passthrough")" "^\[False, (True, None|False, '.+')\]$"
is "passthrough: wanted, and disabled" \
  "$(field "$passthrough" NIXSTORE_FUSE_PASSTHROUGH=true NIXSTORE_TEST_DISABLE=fuse-passthrough)" "[True, False, 'it is disabled']"
like "which people are told" \
  "$(NIXSTORE_FUSE_PASSTHROUGH=true NIXSTORE_TEST_DISABLE=fuse-passthrough "$NIXSTORE" info --podman /nosuch/podman)" \
  '^Passthrough: +no: it is disabled .fuse_passthrough=true.$'

# ---- settings and cache
export XDG_CONFIG_HOME=$T/config
conf=$XDG_CONFIG_HOME/nixstore/nixstore.conf
mkdir -p "${conf%/*}"
printf '[nixstore]\ncache_limit = 12M\nmode=erofs\n' >"$conf"
source_of() { echo "[(s['value'], s['source']) for s in x['settings'] if s['key'] == '$1'][0]"; }
is "a setting from a file" "$(field "$(source_of cache_limit)")" "('12M', '$conf')"
is "the environment over it" "$(field "$(source_of mode)" NIXSTORE_MODE=fuse)" "('fuse', 'NIXSTORE_MODE')"
is "a default" "$(field "$(source_of nix_store)")" "('nix-store', 'default')"
is "the store of NIX_STORE_DIR" "$(field "$(source_of store)" NIX_STORE_DIR=/other/store)" "('/other/store', 'NIX_STORE_DIR')"
is "the cache's limit and place" "$(field '(x["cache"]["limit"], x["cache"]["path"])')" "(12582912, '$T/cache')"
is "no limit" "$(field 'x["cache"]["limit"]' NIXSTORE_CACHE_LIMIT=0)" None
printf '[nixstore]\ncache_limit = much\n' >"$conf"
like "a limit that is none: said, and the rest is shown" "$(field 'x["settings"]["error"]')" \
  "nixstore.conf: cache_limit must be a number of bytes, perhaps with K, M, G or T, not .much'"
printf '[nixstore]\nnosuch = 1\n' >"$conf"
like "an unknown key" "$("$NIXSTORE" info --podman /nosuch/podman)" "^Settings: .*unknown key .nosuch'"
rm "$conf"
assert_nothing_left "no mount, server or file is left"
tap_done
