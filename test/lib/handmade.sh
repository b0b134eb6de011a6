# shellcheck shell=bash
# Image paths made by hand, right and wrong ones: what the tools must read or
# refuse does not depend on what `nixstore convert` can write.

# handmade_stage DIR: a small image path in DIR, not in a store yet. It is this test's alone: what
# another test's processes have in use, Nix would not collect.
handmade_stage() {
  local d=$1
  mkdir -p "$d/rootfs/bin" "$d/rootfs/etc"
  printf '#!/bin/sh\necho hello\n' >"$d/rootfs/bin/hello"
  printf 'root:*:19000:\n' >"$d/rootfs/etc/shadow"
  ln -s shadow "$d/rootfs/etc/link"
  chmod 555 "$d/rootfs/bin/hello"; chmod 444 "$d/rootfs/etc/shadow"
  cat >"$d/ownership.mtree" <<'MTREE'
#mtree
/set type=file uid=0 gid=0 mode=0644
/set time=1600000000.000000000
. type=dir mode=0755
./bin type=dir mode=0755
./bin/hello mode=4755
./bin/hello2 hardlink=./bin/hello
./dev type=dir mode=0755
./dev/null type=char mode=0666 device=native,1,3
./etc type=dir mode=0755
./etc/link type=link mode=0777
./etc/shadow gid=42 mode=0640 xattr.user.note=aGk=
MTREE
  mkdir "$d/rootfs/dev"
  cat >"$d/config.json" <<'JSON'
{"author":"AUTHOR","architecture":"amd64","os":"linux","created":"2020-09-13T12:26:40Z","config":{"Env":["PATH=/bin"],"Entrypoint":["/bin/hello"],"Cmd":["world"],"User":"1000:1000","WorkingDir":"/etc","ExposedPorts":{"80/tcp":{}},"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000001","sha256:0000000000000000000000000000000000000000000000000000000000000002"]},"history":[{"created_by":"one"},{"created_by":"ENV","empty_layer":true},{"created_by":"two"}]}
JSON
  sed -i "s/AUTHOR/$NIXSTORE_TEST_ID/" "$d/config.json"
  handmade_seal "$d"
}

# handmade_seal DIR: image.json with the digests as they are.
handmade_seal() {
  printf '{\n  "version": 1,\n  "configDigest": "sha256:%s",\n  "manifestDigest": "sha256:%s"\n}\n' \
    "$(sha256sum <"$1/config.json" | cut -d' ' -f1)" \
    "$(sha256sum <"$1/ownership.mtree" | cut -d' ' -f1)" >"$1/image.json"
}

# handmade_add DIR: into the store; prints the path.
handmade_add() { nix-store --add "$1" 2>/dev/null; }
