#!/bin/bash
# parallel: yes
# timeout: 900
# Sources that skopeo fetches, what skopeo and Podman write, and convert --import.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store skopeo podman
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
export NIXSTORE_CACHE=$T/cache
source=$(image nasty-links) || tap_skip_all "no image: $source"
want=$("$NIXSTORE" convert "$source" --name x)
convert() { "$NIXSTORE" convert --name x "$@"; }
leak_mark

# ---- what skopeo writes
copies=$T/copies
mkdir "$copies"
for how in zstd:chunked zstd gzip; do
  if skopeo copy -q --dest-compress-format "$how" --dest-compress \
    "$(image nasty-links oci:plain)" "dir:$copies/$how" 2>"$T/skopeo.err"; then
    is "dir: compressed as $how" "$(convert "dir:$copies/$how")" "$want"
  else
    tap_skip "dir: compressed as $how" "skopeo can't: $(tail -n1 "$T/skopeo.err")"
  fi
done
skopeo copy -q "$source" "docker-archive:$copies/docker.tar:localhost/a/b:c"
is "docker-archive by skopeo" "$(convert "docker-archive:$copies/docker.tar")" "$want"
is "named by its tag" "$("$NIXSTORE" convert "docker-archive:$copies/docker.tar" | sed 's/.*-b-/b-/')" b-c
is "asked for by its tag" "$(convert "docker-archive:$copies/docker.tar:localhost/a/b:c")" "$want"
check_fails "another tag" 1 'no image called' convert "docker-archive:$copies/docker.tar:localhost/a/b:d"
skopeo copy -q --format v2s2 "$source" "dir:$copies/v2s2"
like "Docker's v2s2 manifests" "$(convert "dir:$copies/v2s2")" '^/nix/store/.*-x$'

# Docker before 1.10 to 24: a directory for each layer, doubles as symlinks.
python3 - "$copies/docker.tar" "$copies/old.tar" <<'END'
import io, json, sys, tarfile
src, dest = tarfile.open(sys.argv[1]), tarfile.open(sys.argv[2], "w", format=tarfile.USTAR_FORMAT)
manifest = json.load(src.extractfile("manifest.json"))
def add(name, data=None, link=None):
    info = tarfile.TarInfo(name)
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    else:
        info.size = len(data)
    dest.addfile(info, io.BytesIO(data or b""))
for image in manifest:
    add(image["Config"], src.extractfile(image["Config"]).read())
    layers = []
    for i, layer in enumerate(image["Layers"]):
        add(f"real{i}/layer.tar", src.extractfile(layer).read())
        add(f"id{i}/layer.tar", link=f"../real{i}/layer.tar")
        layers.append(f"id{i}/layer.tar")
    image["Layers"] = layers
add("manifest.json", json.dumps(manifest).encode())
dest.close()
END
is "an old docker archive with symlinks" "$(convert "docker-archive:$copies/old.tar")" "$want"

# ---- Podman's own storage
id=$(podman_vfs pull -q "$source" | tail -n 1)
root=$T/p/vfs/root run=$(podman_vfs info --format '{{.Store.RunRoot}}')
is "containers-storage:" "$(convert "containers-storage:[vfs@$root+$run]$id")" "$want"
podman_vfs tag "$id" localhost/some/name:v1
is "named by its tag" \
  "$("$NIXSTORE" convert "containers-storage:[vfs@$root+$run]localhost/some/name:v1" | sed 's/.*-name/name/')" name-v1
podman_vfs tag "$id" localhost/some/plain
is "or by the tag that it stands for" \
  "$("$NIXSTORE" convert "containers-storage:[vfs@$root+$run]localhost/some/plain" | sed 's/.*-plain/plain/')" plain-latest
is "an ID is no name" "$("$NIXSTORE" convert "containers-storage:[vfs@$root+$run]${id:0:12}" | cut -d- -f 2-)" "${id:0:12}"
for name in "$id" localhost/some/name:v1 some/name:v1; do
  is "of the storage that options name: ${name/$id/ID}" "$(convert "containers-storage:$name" --storage-driver vfs --root "$root" --runroot "$run")" "$want"
done
is "which gives the same name" \
  "$("$NIXSTORE" convert "containers-storage:localhost/some/plain" --storage-driver vfs --root "$root" --runroot "$run" | sed 's/.*-plain/plain/')" plain-latest
check_fails "an image that is not in that storage" 1 '^nixstore: containers-storage:nosuch: podman image inspect:.*nosuch' \
  convert containers-storage:nosuch --storage-driver vfs --root "$root" --runroot "$run"
check "brackets take precedence" convert "containers-storage:[vfs@$root+$run]$id" --storage-driver overlay --root "$T/nosuch" --runroot "$run"
check_fails "an image that is not there" 1 'skopeo' convert "containers-storage:[vfs@$root+$run]nosuch"

# ---- a registry
if command -v docker-registry >/dev/null; then
  port=$(free_port)
  cat >"$T/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $T/registry}}
http: {addr: 127.0.0.1:$port}
END
  docker-registry serve "$T/registry.yml" >"$T/registry.log" 2>&1 &
  registry=$!
  tap_on_exit "kill $registry"
  printf '[[registry]]\nlocation = "127.0.0.1:%s"\ninsecure = true\n' $port >"$T/registries.conf"
  export CONTAINERS_REGISTRIES_CONF=$T/registries.conf
  for _ in {1..50}; do
    skopeo --registries-conf "$T/registries.conf" copy -q "$source" "docker://127.0.0.1:$port/team/app:1.2" 2>/dev/null && break
    sleep 0.2
  done
  is "docker://" "$(convert "docker://127.0.0.1:$port/team/app:1.2")" "$want"
  is "named by its reference" \
    "$("$NIXSTORE" convert "docker://127.0.0.1:$port/team/app:1.2" | sed 's/.*-app/app/')" app-1.2
  for name in "docker://127.0.0.1:$port/team/app" "docker-archive:$copies/latest.tar:localhost/app:latest" \
    "oci-archive:$copies/latest.oci:localhost/app:latest"; do
    skopeo --registries-conf "$T/registries.conf" copy -q "$source" "$name"
  done
  for name in "docker://127.0.0.1:$port/team/app" "docker-archive:$copies/latest.tar" "oci-archive:$copies/latest.oci"; do
    is "${name%%:*}: latest is in the name" "$("$NIXSTORE" convert "$name" | cut -d- -f 2-)" app-latest
  done
  check_fails "a tag that is not there" 1 'skopeo.*(manifest unknown|reading manifest)' \
    convert "docker://127.0.0.1:$port/team/app:9"
  unset CONTAINERS_REGISTRIES_CONF
  check_fails "a registry without TLS" 1 '^nixstore: docker://.*: skopeo copy: ' convert "docker://127.0.0.1:$port/team/app:1.2"
  is "is taken with --tls-verify=false" "$(convert --tls-verify=false "docker://127.0.0.1:$port/team/app:1.2")" "$want"
  check "and gets what export writes" "$NIXSTORE" export --tls-verify=false "$want" "docker://127.0.0.1:$port/team/exported:1"
  like "which is there" "$(convert --tls-verify=false "docker://127.0.0.1:$port/team/exported:1")" '^/nix/store/'
  kill $registry; wait $registry 2>/dev/null
else
  tap_skip "docker://" "docker-registry is not installed"
fi
mkdir "$T/tells"
printf '#!/bin/sh\necho "$*" >&2\nexit 1\n' >"$T/tells/skopeo"
chmod +x "$T/tells/skopeo"
check_fails "skopeo gets --authfile" 1 'copy .*--src-authfile /a/b .*docker://c/d ' \
  env PATH="$T/tells:$PATH" "$NIXSTORE" convert --authfile /a/b docker://c/d
check_fails "also for export" 1 'copy .*--dest-authfile /a/b .*--dest-tls-verify=true .*docker://c/d' \
  env PATH="$T/tells:$PATH" "$NIXSTORE" export --authfile /a/b --tls-verify true "$want" docker://c/d
check_fails "--tls-verify of something else" 2 'neither true nor false' convert --tls-verify=perhaps docker://c/d
check_fails "--authfile in vain" 2 'are for docker://' convert --authfile /a/b "$source"
check_fails "--tls-verify in vain" 2 'are for docker://' "$NIXSTORE" export --tls-verify=false "$want" "oci:$T/x"
check_fails "no skopeo" 1 'install skopeo' env PATH=/nosuch "$NIXSTORE" convert docker://127.0.0.1:1/x
is "nothing is left of skopeo" "$(ls -A "$TMPDIR")" ""

# ---- and straight into Podman
is "convert --import prints the path" \
  "$(nixstore_for mountprogram convert --import --tag localhost/app:1 --name x "$source")" "$want"
is "and Podman has the image" "$(podman_mountprogram images --format '{{.Repository}}:{{.Tag}}')" localhost/app:1
is "again: it is there already" \
  "$(nixstore_for mountprogram convert --import --tag localhost/app:1 --name x "$source")" "$want"
is "--json says both what it is and what Podman has" \
  "$(nixstore_for mountprogram convert --json --import --tag localhost/app:1 --name x "$source" | python3 -c '
import json, sys
x = json.load(sys.stdin)
print(list(x), x["storePath"], x["image"], x["id"])')" \
  "['storePath', 'name', 'imageId', 'layers', 'image', 'id'] $want localhost/app:1 $(podman_mountprogram image inspect -f '{{.Id}}' localhost/app:1)"
check_fails "an import that fails" 1 'no-such-podman' \
  "$NIXSTORE" convert --import --podman /no-such-podman --name x "$source"
is "leaves the path, which is printed" \
  "$("$NIXSTORE" convert --import --podman /no-such-podman --name x "$source" 2>/dev/null)" "$want"
check_fails "a --tag that cannot be is found before anything is read" 2 "is no name for an image" \
  convert --import --tag Foo:x oci-archive:/nosuch.tar
podman_mountprogram rmi -a -f >/dev/null 2>&1
is "nothing is left in the temporary directory" "$(ls -A "$TMPDIR")" ""
tap_done
