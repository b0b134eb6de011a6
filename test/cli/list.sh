#!/bin/bash
# parallel: yes
# nixstore list and inspect, and the settings.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman() { podman_mountprogram "$@"; }
ours() { nixstore_for mountprogram "$@"; }
podman info >/dev/null 2>&1
json() { python3 -c "import json, sys; x = json.load(sys.stdin); print($1)"; }

mkdir "$T/hello"
handmade_stage "$T/hello"
P=$(handmade_add "$T/hello")
is "no image: only the header" "$(ours list | wc -l)" 1
is "no image, as JSON" "$(ours list --json)" "[]"
ours import -q "$P" >/dev/null
ours import -q "$P" --name team/greeter:1 >/dev/null
ID=$(podman image inspect --format '{{.Id}}' hello)
NAR_SIZE=$(nix-store -q --size "$P")

# An ordinary image, one that is built FROM ours, and one without a name.
tar -C "$T" -cf "$T/plain.tar" hello/config.json
podman import "$T/plain.tar" plain:1 >/dev/null 2>&1
mkdir "$T/context"; echo new >"$T/context/new"
printf 'FROM localhost/hello\nCOPY new /etc/new\nLABEL more=1\n' >"$T/context/Dockerfile"
check "build FROM an image path" podman build -q --network=none -t built "$T/context"
BUILT=$(podman image inspect --format '{{.Id}}' built)

is "list, as JSON" "$(ours list --json | json 'sorted((i["id"], sorted(i["names"]), i["storePath"], i["present"], i["narSize"]) for i in x)')" \
  "$(python3 -c "print(sorted([('$ID', ['localhost/hello:latest', 'localhost/team/greeter:1'], '$P', True, $NAR_SIZE), ('$BUILT', ['localhost/built:latest'], '$P', True, $NAR_SIZE)]))")"
is "list: a line for each name" "$(ours list | sed 1d | sed 's/  */ /g' | sort)" "$(
  for n in "hello:latest $ID" "team/greeter:1 $ID" "built:latest $BUILT"; do
    read -r name id <<<"$n"
    echo "localhost/$name ${id:0:12} 3.0 KiB $P"
  done | sort)"
# Podman takes labels that C has no strings for, in values and in names.
for label in '"a\u0000b": "c"' '"a": "b\u0000c"' '"a": "\ud800"'; do
  mkdir "$T/odd"
  python3 - "$SRCDIR/test/images" "$T/odd" "{$label}" "$(echo "$T/hello/rootfs/etc/shadow")" <<'END' || tap_not_ok "the odd image is made"
import hashlib, io, json, sys, tarfile
images, out, labels, content = sys.argv[1:]
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as t:
    t.add(content, "file")
layer = layer.getvalue()
config = ('{"architecture":"amd64","os":"linux","config":{"Labels":%s},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}'
          % (labels, hashlib.sha256(layer).hexdigest())).encode()
name = hashlib.sha256(config).hexdigest() + ".json"
manifest = json.dumps([{"Config": name, "RepoTags": ["localhost/odd:1"], "Layers": ["layer.tar"]}]).encode()
with tarfile.open(out + "/odd.tar", "w") as t:
    for n, data in (("layer.tar", layer), (name, config), ("manifest.json", manifest)):
        info = tarfile.TarInfo(n)
        info.size = len(data)
        t.addfile(info, io.BytesIO(data))
END
  podman load -q -i "$T/odd/odd.tar" >/dev/null || tap_not_ok "Podman takes $label"
  cat >"$T/odd/podman" <<END
#!/bin/sh
case "\$*" in *'image inspect'*) echo x >>"$T/odd/asked" ;; esac
exec "$PODMAN" "\$@"
END
  chmod +x "$T/odd/podman"
  is "an image with the label $label: list has what it has without" "$(ours list --podman "$T/odd/podman" 2>&1)" \
    "$(podman rmi odd:1 >/dev/null; ours list)"
  is "and Podman was asked once" "$(wc -l <"$T/odd/asked")" 1
  rm -r "$T/odd"
done
check "list is quick: at most four of podman's own turns" python3 - "$NIXSTORE" "$PODMAN" "$T" "$RUNROOTS" <<'END'
import resource, subprocess, sys
nixstore, podman, t, run = sys.argv[1:]
where = ["--root", t + "/p/mp/root", "--runroot", run + "/mp", "--storage-driver", "overlay"]
def spent():  # by processors: what else runs here makes no difference
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
def best(*args):
    times = []
    for _ in range(5):
        start = spent()
        subprocess.run(args, check=True, stdout=subprocess.DEVNULL)
        times.append(spent() - start)
    return min(times)
a, b = best(nixstore, "list", *where), best(podman, *where, "images")
print(a, b)
sys.exit(a > 4 * b)
END

is "inspect of the path and of the image say the same" \
  "$(ours inspect hello | grep -v -e '^In Podman' -e '^  *localhost')" "$("$NIXSTORE" inspect "$P")"
is "inspect, as JSON" "$(ours inspect --json hello | json '[x[k] for k in ("storePath", "formatVersion", "imageId", "manifestDigest", "narHash", "narSize", "tree")] + [x["podman"]["id"], x["config"]["config"]["Entrypoint"]]')" \
  "$(python3 -c "print(['$P', 1, 'sha256:$(sha256sum <"$P/config.json" | cut -d' ' -f1)', 'sha256:$(sha256sum <"$P/ownership.mtree" | cut -d' ' -f1)', '$(nix-store -q --hash "$P")', $NAR_SIZE, {'entries': 9, 'directories': 4, 'files': 3, 'symlinks': 1, 'others': 1, 'contentSize': 35}, '$ID', ['/bin/hello']])")"
is "inspect by ID" "$(ours inspect "${ID:0:12}" | grep '^Store path')" "Store path:     $P"
is "inspect of an image built FROM it" "$(ours inspect built | grep '^Store path')" "Store path:     $P"
is "verify of images" "$(ours verify hello "${ID:0:12}" built)" "$(printf '%s: ok\n' "$P" "$P" "$P")"
check_fails "verify of an ordinary image" 1 'plain:1 is an ordinary image' ours verify plain:1
ours export hello "oci-archive:$T/image.tar"; "$NIXSTORE" export "$P" "oci-archive:$T/path.tar"
check "export of an image is that of its path" cmp "$T/image.tar" "$T/path.tar"
check_fails "export of an ordinary image" 1 'plain:1 is an ordinary image' ours export plain:1 "oci-archive:$T/plain-1.tar"
check_fails "export into a storage that the options do not name" 2 'in brackets' ours export hello containers-storage:x
check_fails "inspect of an ordinary image" 1 'plain:1 is an ordinary image' ours inspect plain:1
check_fails "inspect of no image" 1 'podman image inspect: .*nosuch' ours inspect nosuch
check_fails "inspect of no store path" 1 '/etc is not in the Nix store' ours inspect /etc

# A layer that says what is not so: others are still listed.
for layer in "$T"/p/mp/root/overlay/*/diff/.nixstore; do
  cp "$layer/reference.json" "$T/reference.json"
done
echo '{"version":1,"storePath":"/etc"}' >"$layer/reference.json"
is "a bad reference: the list goes on" "$(ours list 2>/dev/null | wc -l)" 1
like "and says what it left out" "$(ours list 2>&1 >/dev/null)" 'left out: .*reference: `narHash. is missing'
check_fails "inspect of it" 1 'reference' ours inspect hello
sed '/narHash/ { s/sha256:0/sha256:1/; t; s/sha256:./sha256:0/ }' "$T/reference.json" >"$layer/reference.json"
check_fails "another NAR hash" 1 'hello refers to /nix/store/.* with the NAR hash .*, but the store has it with' ours inspect hello
cp "$T/reference.json" "$layer/reference.json"

# The path is gone, as after a root that was lost.
rm "$T"/p/mp/root/overlay/*/nixstore-gcroot
nix-store --gc >/dev/null 2>&1
check "the path is gone" test ! -e "$P"
is "list says so" "$(ours list | sed 1d | awk '{print $3}' | sort -u)" missing
is "list says so, as JSON" "$(ours list --json | json '{(i["present"], i["narSize"]) for i in x}')" "{(False, None)}"
check_fails "inspect says how to get it" 1 "does not have $P: fetch it" ours inspect hello
mkdir -p "$P"
is "a directory that the store does not know is not the path" "$(ours list | sed 1d | awk '{print $3}' | sort -u)" missing
rmdir "$P"

# ---- settings
P=$(handmade_add "$T/hello")
export XDG_CONFIG_HOME=$T/config
conf=$XDG_CONFIG_HOME/nixstore/nixstore.conf
mkdir -p "${conf%/*}"
verify() { "$NIXSTORE" verify "$P"; }
printf '# a comment\n[nixstore]\nnix_store = /nosuch/nix-store \n' >"$conf"
check_fails "a file's setting is heeded" 1 'not as recorded' verify
like "and named" "$("$NIXSTORE" verify "$P" 2>/dev/null)" '/nosuch/nix-store: not found: install nix-bin, or set nix_store in'
check "the environment takes precedence" env NIXSTORE_NIX_STORE=nix-store "$NIXSTORE" verify "$P"
printf '[nixstore]\nnix_stor = x\n' >"$conf"
like "an unknown key" "$(verify 2>/dev/null)" "nixstore.conf: unknown key .nix_stor'"
printf '[nixstor]\n' >"$conf"
like "an unknown group" "$(verify 2>/dev/null)" "unknown group \[nixstor\]"
printf 'nonsense\n' >"$conf"
like "no key file" "$(verify 2>/dev/null)" 'nixstore.conf: '
printf '[nixstore]\ncache = here\n' >"$conf"
like "a relative path" "$(verify 2>/dev/null)" "cache must be an absolute path, not .here'"
printf '[nixstore]\n' >"$conf"
chmod 666 "$conf"
like "others may write it" "$(verify 2>/dev/null)" 'refused, others may write it'
chmod 644 "$conf"; chown 1 "$conf"
like "another user's" "$(verify 2>/dev/null)" 'refused, others may write it'
chown 0 "$conf"
check "and then it is heeded again" verify
printf '[nixstore]\nstore = /other/store/\n' >"$conf"
check_fails "another store directory" 1 "$P is not in the Nix store /other/store\$" verify
tap_done
