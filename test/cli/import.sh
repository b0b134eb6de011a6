#!/bin/bash
# parallel: yes
# nixstore import: the reference image, its GC root, what is refused, and that nothing is left.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
export NIXSTORE_CACHE=$T/cache
import() { nixstore_for mountprogram import "$@"; }
podman() { podman_mountprogram "$@"; }
podman info >/dev/null 2>&1

mkdir "$T/hello"
handmade_stage "$T/hello"
P=$(handmade_add "$T/hello")
like "an image path in the store" "$P" '^/nix/store/.{32}-hello$'
root_layers=$T/p/mp/root/overlay
gcroots() { find /nix/var/nix/gcroots/auto -type l; }
check_nothing() {
  is "$1: Podman has no image" "$(podman images -q --all)" ""
  assert_nothing_left "$1: nothing is left"
}

# ---- what is refused
leak_mark
check_fails "not in the store" 1 '^nixstore: /etc is not in the Nix store /nix/store$' import /etc
check_fails "below a store path" 1 'is not a path of the Nix store' import "$P/rootfs"
check_fails "a path that is gone: how to get it" 1 \
  'does not have /nix/store/0{32}-a: fetch it, as with .nix-copy-closure' \
  import /nix/store/00000000000000000000000000000000-a
mkdir "$T/plain"; echo x >"$T/plain/file"
PLAIN=$(handmade_add "$T/plain")
check_fails "no image path" 1 "$PLAIN is no image path: it has no image.json" import "$PLAIN"
check_fails "no name" 2 "no name for an image" import "$P" --name 'A B'
check_fails "no Podman" 1 '/nosuch: not found: install podman' import "$P" --podman /nosuch
check_fails "a Podman that fails" 1 'podman load: no message' import "$P" --podman /bin/false
check_fails "no Nix" 1 '/nosuch: not found: install nix-bin, or set nix_store' \
  env NIXSTORE_NIX_STORE=/nosuch "$NIXSTORE" import "$P"
cat >"$T/refuses" <<'END'
#!/bin/sh
echo "warning: something" >&2
printf '\033[31;1merror:\033[0m the store is on strike\n' >&2
echo "(use --show-trace)" >&2
exit 1
END
chmod +x "$T/refuses"
check_fails "a Nix that refuses" 1 'nix-store: the store is on strike$' \
  env NIXSTORE_NIX_STORE="$T/refuses" "$NIXSTORE" import "$P"
check_fails "a storage driver that can't" 1 "storage driver here is vfs, which cannot run" \
  "$NIXSTORE" import "$P" --root "$T/p/mpvfs" --runroot "$RUNROOTS/vfs" --storage-driver vfs
is "and no image of it" \
  "$(command podman --root "$T/p/mpvfs" --runroot "$RUNROOTS/vfs" --storage-driver vfs images -q)" ""

# bad NAME COMMAND: an image path that COMMAND, run in its directory, has spoilt.
bad() {
  mkdir "$T/$1"
  handmade_stage "$T/$1"
  (cd "$T/$1" && eval "$2")
  BAD=$(handmade_add "$T/$1")
}
bad no-rootfs 'rm -r rootfs'
check_fails "no rootfs" 1 'no image path: it has no rootfs' import "$BAD"
bad rootfs-link 'mv rootfs r; ln -s r rootfs'
check_fails "rootfs is a symlink" 1 'rootfs' import "$BAD"
bad config-link 'mv config.json c; ln -s /etc/passwd config.json'
check_fails "config.json is a symlink" 1 'config.json' import "$BAD"
bad version 'sed -i "s/\"version\": 1/\"version\": 99/" image.json'
check_fails "a later format" 1 'image format version 99: this nixstore knows version 1' import "$BAD"
bad json 'echo "{" >image.json'
check_fails "no JSON" 1 'image.json: line' import "$BAD"
bad config 'echo "{}" >config.json'
check_fails "another config" 1 'config.json has the digest' import "$BAD"
bad manifest 'sed -i s/mode=4755/mode=4777/ ownership.mtree'
check_fails "another manifest" 1 'ownership.mtree has the digest' import "$BAD"
bad missing 'rm -f rootfs/etc/shadow; handmade_seal .'
check_fails "a file that is not there" 1 'etc/shadow' import "$BAD"
bad extra 'echo x >rootfs/extra; handmade_seal .'
check_fails "a file that the manifest does not have" 1 'extra' import "$BAD"
bad escape 'printf "./../x\n" >>ownership.mtree; handmade_seal .'
check_fails "a manifest that leads out" 1 'ownership.mtree' import "$BAD"
bad words 'echo x >"rootfs/no such file or directory"; handmade_seal .'
check_fails "nor one that is called like an error" 1 'no such file or directory' import "$BAD"
bad link-out 'rm -r rootfs/etc; ln -s /etc rootfs/etc; handmade_seal .'
check_fails "a symlink where the manifest has a directory" 1 'etc' import "$BAD"
nix-store --delete "$PLAIN" "$P" >/dev/null 2>&1
check_nothing "refusals"

# ---- what is done
P=$(handmade_add "$T/hello")
nix-store --gc >/dev/null 2>&1
check "without an image the path is garbage" test ! -e "$P"
P=$(handmade_add "$T/hello")
is "import prints the image's name" "$(import "$P" 2>&1)" localhost/hello:latest
ID=$(podman image inspect --format '{{.Id}}' hello)
is "one layer" "$(podman image inspect --format '{{len .RootFS.Layers}}' hello)" 1
is "the config is the original's" \
  "$(podman image inspect --format '{{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.User}} {{.Config.Env}} {{.Config.WorkingDir}} {{.Config.Labels}}' hello)" \
  "[/bin/hello] [world] 1000:1000 [PATH=/bin] /etc map[a:b]"
is "the annotations say what the layer says" \
  "$(podman image inspect --format '{{index .Annotations "nixstore.version"}} {{index .Annotations "nixstore.storePath"}} {{index .Annotations "nixstore.narHash"}} {{index .Annotations "nixstore.manifestDigest"}}' hello)" \
  "1 $P $(nix-store -q --hash "$P") sha256:$(sha256sum <"$P/ownership.mtree" | cut -d' ' -f1)"
is "the reference" "$(cat "$root_layers"/*/diff/.nixstore/reference.json)" "{
  \"version\": 1,
  \"storePath\": \"$P\",
  \"narHash\": \"$(nix-store -q --hash "$P")\",
  \"manifestDigest\": \"sha256:$(sha256sum <"$P/ownership.mtree" | cut -d' ' -f1)\"
}"
check "Podman stores less than 20 kB" test "$(podman image inspect --format '{{.Size}}' hello)" -lt 20000
is "the history has one layer" \
  "$(podman history --format '{{.CreatedBy}} {{.Size}}' hello | tr -d ' ' | tr '\n' ';')" "two2.56kB;ENV0B;one0B;"
is "one GC root, beside diff" "$(readlink "$root_layers"/*/nixstore-gcroot)" "$P"
is "and the store knows it" "$(gcroots | wc -l)" 1
nix-store --gc >/dev/null 2>&1
check "with the image the path is not garbage" test -e "$P/image.json"
check "the index was compiled" test -n "$(ls "$NIXSTORE_CACHE"/index)"
is "podman diff shows nothing of ours" "$(podman diff hello 2>&1 | grep gcroot)" ""

like "--json" "$(import -q --json "$P" | tr -d ' \n')" \
  "^\{\"storePath\":\"$P\",\"name\":\"hello\",\"imageId\":\"sha256:$(sha256sum <"$P/config.json" | cut -d' ' -f1)\",\"image\":\"localhost/hello:latest\",\"id\":\"$ID\",\"existed\":true\}\$"
is "once more: it says that it is there" "$(import "$P" 2>&1)" \
  "nixstore: localhost/hello:latest is there already, as ${ID:0:12}
localhost/hello:latest"
is "--quiet" "$(import -q "$P" 2>&1)" localhost/hello:latest
is "under another name" "$(import "$P" --name team/greeter:1 2>&1)" localhost/team/greeter:1
is "it is the same image" "$(podman image inspect --format '{{.Id}}' team/greeter:1)" "$ID"
is "still one GC root" "$(gcroots | wc -l)" 1
ln -s "$P" "$T/result"
is "a symlink to a store path" "$(import -q "$T/result" 2>&1)" localhost/hello:latest
rm "$root_layers"/*/nixstore-gcroot
import -q "$P" >/dev/null
is "a root that was lost is made anew" "$(readlink "$root_layers"/*/nixstore-gcroot)" "$P"

like "a Podman that could not run it: it says so" \
  "$("$NIXSTORE" import "$P" --root "$T/p/other" --runroot "$RUNROOTS/other" --storage-driver overlay 2>&1)" \
  'need nixstore-mount as the overlay driver.s mount_program'
ID2=$("$NIXSTORE" import -q "$P" --root "$T/p/other" --runroot "$RUNROOTS/other" --storage-driver overlay >/dev/null &&
  command podman --root "$T/p/other" --runroot "$RUNROOTS/other" --storage-driver overlay images -q --no-trunc)
is "elsewhere it has the same ID" "$ID2" "sha256:$ID"
command podman --root "$T/p/other" --runroot "$RUNROOTS/other" --storage-driver overlay rmi -a >/dev/null

podman rmi team/greeter:1 >/dev/null
podman rmi hello >/dev/null
is "after rmi there is no image" "$(podman images -q --all)" ""
nix-store --gc >/dev/null 2>&1
check "after rmi and gc the path is gone" test ! -e "$P"
is "and no root is left" "$(gcroots)" ""

# ---- a config of Docker's
mkdir "$T/healthy"
handmade_stage "$T/healthy"
sed -i 's|"config":{|&"Healthcheck":{"Test":["CMD","/bin/hello"],"Interval":7000000000},|' "$T/healthy/config.json"
handmade_seal "$T/healthy"
HEALTHY=$(handmade_add "$T/healthy")
check "an image with a HEALTHCHECK" import "$HEALTHY"
like "has it in Podman" "$(podman image inspect --format '{{.HealthCheck}}' healthy)" '/bin/hello.* 7s'
is "and its reference" "$(cat "$root_layers"/*/diff/.nixstore/reference.json | grep -c "$HEALTHY")" 1
podman rmi healthy >/dev/null
nix-store --gc >/dev/null 2>&1

# ---- interrupted
P=$(handmade_add "$T/hello")
cat >"$T/slow" <<END
#!/bin/sh
touch "$T/slow-began"
sleep 3
exec nix-store "\$@"
END
chmod +x "$T/slow"
rm -rf "$NIXSTORE_CACHE"
leak_mark
for signal in INT TERM HUP; do
  rm -f "$T/slow-began"
  NIXSTORE_NIX_STORE=$T/slow "$NIXSTORE" import "$P" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" \
    --storage-driver overlay >/dev/null 2>&1 &
  pid=$!
  for _ in {1..100}; do [ ! -e "$T/slow-began" ] || break; sleep 0.05; done
  # In the background bash has SIGINT ignored; the test wants it heard.
  kill -"$signal" "$pid"
  [ "$signal" != INT ] || kill -TERM "$pid"
  wait "$pid" 2>/dev/null; rc=$?
  check "SIG$signal ends it" test "$rc" -gt 128
done
check_nothing "interrupted"
# Between Podman's load and the GC root: what was begun is brought to its end.
cat >"$T/slow-podman" <<END
#!/bin/sh
for word; do [ "\$word" != load ] || load=1; done
"$PODMAN" "\$@" || exit
if [ "\${load-}" ]; then touch "$T/slow-began"; sleep 1; fi
END
chmod +x "$T/slow-podman"
rm -f "$T/slow-began"
"$NIXSTORE" import "$P" --podman "$T/slow-podman" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" \
  --storage-driver overlay >/dev/null 2>&1 &
pid=$!
for _ in {1..100}; do [ ! -e "$T/slow-began" ] || break; sleep 0.05; done
kill -TERM "$pid"
wait "$pid" 2>/dev/null; rc=$?
is "SIGTERM after the image was loaded: no temporary directory is left" "$(ls "$TMPDIR")" ""
is "and the image has its root" "$(podman images -q | wc -l) $(readlink "$root_layers"/*/nixstore-gcroot)" "1 $P"
podman rmi hello >/dev/null
nix-store --gc >/dev/null 2>&1
P=$(handmade_add "$T/hello")

# ---- an image that lost its reference and is in use: it keeps its names, and gets them when it is repaired
import -q "$P" >/dev/null
podman tag hello team/greeter:1
podman create --name user hello >/dev/null
: >"$(echo "$root_layers"/*/diff/.nixstore/reference.json)"
check_fails "a damaged image that a container uses" 1 'has lost its reference, .* and is in use' import "$P"
is "has its names" "$(podman images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" "localhost/hello:latest localhost/team/greeter:1 "
podman rm user >/dev/null
check "one that nothing uses is repaired" import "$P"
is "and has its names" "$(podman images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" "localhost/hello:latest localhost/team/greeter:1 "
podman rmi -a -f >/dev/null

# ---- a NUL in a config, which Podman takes and prints as it is
mkdir "$T/nul"
handmade_stage "$T/nul"
sed -i 's|"a":"b"|"a":"b\\u0000c"|' "$T/nul/config.json"
handmade_seal "$T/nul"
NUL=$(handmade_add "$T/nul")
check "an image with a NUL in a label" import "$NUL"
is "it has its root" "$(readlink "$root_layers"/*/nixstore-gcroot)" "$NUL"
podman rmi -a -f >/dev/null
# What Podman says of an image is not understood: the image goes again.
cat >"$T/babbles" <<END
#!/bin/sh
case "\$*" in *'image inspect'*) echo '[{}]' ;; *) exec "$PODMAN" "\$@" ;; esac
END
chmod +x "$T/babbles"
check_fails "a Podman that is not understood" 1 'its answer is not understood' \
  "$NIXSTORE" import "$P" --podman "$T/babbles" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" --storage-driver overlay
is "leaves no image without a root" "$(podman images -q | wc -l)" 0

# ---- somebody removes the image between two steps of an import, as prune does: before the verb that
# $T/meddle names, or after it; once, or whenever there is an image to remove. What fails then says so in
# words of which nobody knows any.
cat >"$T/meddle-podman" <<END
#!/bin/sh
meddle() {
  case " \$2 " in *" \$(cat "$T/meddle" 2>/dev/null) "*) ;; *) return ;; esac
  [ "\$(cat "$T/meddle-when")" != "\$1" ] || { [ -e "$T/meddle-again" ] || rm "$T/meddle"; $(printf '%q ' "$PODMAN" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp") rmi -f $ID >/dev/null 2>&1; }
}
program=$PODMAN
[ "\${0##*/}" != meddle-nix ] || program=$(command -v nix-store)
meddle before "\$*"
"\$program" "\$@" 2>"$T/meddle-said"
rc=\$?
if [ \$rc = 0 ]; then cat "$T/meddle-said"; else echo "Datei oder Verzeichnis nicht gefunden"; fi >&2
meddle after "\$*"
exit \$rc
END
chmod +x "$T/meddle-podman"
ln "$T/meddle-podman" "$T/meddle-nix"
import_meddled() {
  NIXSTORE_NIX_STORE=$T/meddle-nix "$NIXSTORE" import "$P" --podman "$T/meddle-podman" --root "$T/p/mp/root" \
    --runroot "$RUNROOTS/mp" --storage-driver overlay
}
for meddle in 'tag before' 'load after' "$root_layers/[^ ]* before"; do
  # What the directory of the layer is called is known when there is one.
  import -q "$P" >/dev/null
  layer=$(echo "$root_layers"/*/nixstore-gcroot)
  case $meddle in
    tag*) podman tag hello other; podman untag hello ;;
    load*) podman rmi hello >/dev/null ;;
    *) rm "$layer"; meddle="$layer before" ;;
  esac
  echo "${meddle% *}" >"$T/meddle"; echo "${meddle#* }" >"$T/meddle-when"
  what=${meddle/"$layer"/nix-store}
  check "removed (${what/ /, }): import" import_meddled
  check "removed ($what): it was" test ! -e "$T/meddle"
  is "removed ($what): the image is there with its root, and nothing besides" \
    "$(podman images -q | wc -l) $(readlink "$root_layers"/*/nixstore-gcroot) $(find "$root_layers" -mindepth 1 -maxdepth 1 -type d ! -name l | wc -l)" "1 $P 1"
  podman rmi -a -f >/dev/null
done

echo load >"$T/meddle"; echo after >"$T/meddle-when"; : >"$T/meddle-again"
check "removed each time that it was loaded: no error, as from podman load" import_meddled
like "but said" "$OUT" '^nixstore: localhost/hello:latest was removed again by somebody'
is "and nothing is left" "$(podman images -q | wc -l) $(find "$root_layers" -mindepth 1 -maxdepth 1 -type d ! -name l | wc -l)" "0 0"
rm "$T/meddle" "$T/meddle-again"

# ---- Nix collects garbage at the same time: an image that is imported keeps its path; one whose path went
# first is not imported.
imported=0 refused=0 wrong=
# delay: seconds from the start of the import to that of the collection, or the other way round; once the
# collection is waited for.
for delay in 0 0.01 0.02 0.05 0.1 0.2 -0.005 -0.01 -0.02 -0.03 -0.05 before; do
  P=$(handmade_add "$T/hello")
  { case $delay in -* | before) ;; *) sleep $delay ;; esac; nix-store --gc; } >/dev/null 2>&1 &
  case $delay in
    -*) sleep ${delay#-} ;;
    before) wait ;;
  esac
  if import -q "$P" >"$T/out" 2>&1; then
    imported=$((imported + 1))
    wait
    [ -e "$P/image.json" ] || wrong="$wrong imported-but-gone($delay)"
    nix-store --gc >/dev/null 2>&1
    [ -e "$P/image.json" ] || wrong="$wrong collected($delay)"
    podman rmi hello >/dev/null
  else
    refused=$((refused + 1))
    wait
    [ "$(wc -l <"$T/out")" = 1 ] || wrong="$wrong lines($delay)"
    [ -z "$(podman images -q --all)" ] || wrong="$wrong image-left($delay)"
  fi
done
is "imported or refused while Nix collects garbage, never in between" "$wrong" ""
check "some were imported, some refused" test $imported -gt 0 -a $refused -gt 0
tap_diag "$imported imported, $refused refused"
nix-store --gc >/dev/null 2>&1
P=$(handmade_add "$T/hello")

# ---- a collection after convert has added the path, before import holds it
mkdir "$T/collects"
ln -s "$(command -v nix-daemon)" "$T/collects/nix-daemon"
cat >"$T/collects/nix-store" <<EOF
#!/bin/sh
mkdir "$T/collects/first" 2>/dev/null &&
  { $(command -v nix-store) --gc >"$T/collects/log" 2>&1; : >"$T/collects/done"; }
while [ ! -e "$T/collects/done" ]; do sleep 0.1; done
exec $(command -v nix-store) "\$@"
EOF
chmod +x "$T/collects/nix-store"
garbage=$(handmade_add "$T/plain")
check "convert --import while Nix collects" env NIXSTORE_NIX_STORE="$T/collects/nix-store" "$NIXSTORE" \
  convert --import --name collected --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" \
  --storage-driver overlay --storage-opt "overlay.mount_program=$NIXSTORE_MOUNT" "$(image empty)"
check "the path is there" nix-store --query --hash "$OUT"
check "what nobody holds was collected" test ! -e "$garbage"
podman rmi collected >/dev/null 2>&1
nix-store --gc >/dev/null 2>&1
P=$(handmade_add "$T/hello")

# ---- a Podman elsewhere: it takes the image, and says that its layers are where they are not
cat >"$T/elsewhere-podman" <<END
#!/bin/sh
case "\$*" in
  *ServiceIsRemote*) echo true ;;
  *inspect*) "$PODMAN" "\$@" >"$T/elsewhere-says" && sed "s,$T/p/mp/root,$T/\$(cat "$T/elsewhere"),g" "$T/elsewhere-says" ;;
  *) exec "$PODMAN" "\$@" ;;
esac
END
chmod +x "$T/elsewhere-podman"
mkdir -p "$T/like-here/overlay"
for elsewhere in nosuch like-here; do
  echo $elsewhere >"$T/elsewhere"
  for loaded in loaded "there before"; do
    [ "$loaded" = loaded ] || import -q "$P" >/dev/null
    check_fails "Podman's storage is on another host ($elsewhere, $loaded)" 1 \
      "^nixstore: Podman has its layers in .*/$elsewhere/overlay, which is not on this host: .*needs a local Podman" \
      "$NIXSTORE" import "$P" --podman "$T/elsewhere-podman" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" --storage-driver overlay
    is "($elsewhere, $loaded) Podman has what it had before" "$(podman images -q | wc -l)" "$([ "$loaded" = loaded ]; echo $?)"
    podman rmi -a >/dev/null 2>&1
  done
done
P=$(handmade_add "$T/hello")

# ---- a storage that takes no layer: Podman complains once for each format that it tries
chattr +i "$root_layers"
check_fails "of Podman's complaints the one that counts" 1 '^nixstore: podman load: .*operation not permitted' import "$P"
chattr -i "$root_layers"

# ---- a full disk
mkdir "$T/full"
mount -t tmpfs -o size=16k none "$T/full"
dd if=/dev/zero of="$T/full/fill" bs=1k count=16 2>/dev/null
check_fails "no room for the reference" 1 'No space left' \
  env TMPDIR="$T/full" "$NIXSTORE" import "$P" --root "$T/p/mp/root" --runroot "$RUNROOTS/mp" \
  --storage-driver overlay
is "nothing is left there" "$(ls "$T/full")" fill
umount "$T/full"
tap_done
