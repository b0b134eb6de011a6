#!/bin/bash
# parallel: yes
# timeout: 900
# nixstore convert --replace: an ordinary image becomes Nix-backed under its names. Its
# containers notice nothing, prune frees it, and what interrupts it changes nothing.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix-store skopeo python3
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
# Nix looks for paths in use in all processes of the machine: hence names of our own.
name=replace-$(tr 'A-Z' 'a-z' <<<"${T##*.}")
skopeo copy -q --format v2s2 "$source" "docker-archive:$T/docker.tar:registry.example/x:1" || tap_bail "skopeo failed"

stat_shadow() { "podman_$way" run --rm --network=none "$1" stat -c '%a %u:%g' /etc/shadow; }
id_of() { "podman_$way" image inspect -f '{{.Id}}' "$1"; }
store_path() { nixstore_for "$way" list | awk -v n="$1" '$1 == n { print $NF }'; }
json() { python3 -c "import json, sys; x = json.load(sys.stdin); print($1)"; }
replace() { nixstore_for "$way" convert --replace "$@"; }

for way in $WAYS; do
  old=$("podman_$way" pull -q "$source" | tail -n 1)
  "podman_$way" tag "$old" "registry.example/$name:1" "registry.example/$name:2" "localhost/mine/$name:3"
  "podman_$way" run -d --name before --network=none "registry.example/$name:1" sleep 1000 >/dev/null
  leak_mark

  # Killed before the names change hands: nothing has changed. Where all is done in less time, half of it is taken.
  for signal in TERM KILL; do
    for delay in 0.1 0.25 0.5; do
      while :; do
        replace "$old" >"$T/killed.out" 2>&1 &
        pid=$!
        sleep "$delay"
        kill -$signal $pid 2>/dev/null
        wait $pid 2>/dev/null
        "podman_$way" image exists "registry.example/$name:2" && [ "$(id_of "registry.example/$name:2")" != "$old" ] || break
        "podman_$way" tag "$old" localhost/small:1 "registry.example/$name:1" "registry.example/$name:2" "localhost/mine/$name:3"
        delay=$(awk "BEGIN { print $delay / 2 }")
      done
      is "$way: killed by $signal after $delay s: it runs" "$(stat_shadow "registry.example/$name:1" 2>&1)" "640 0:42"
    done
  done

  # Podman may outlive nixstore by a moment, with the tag that was to be the last step.
  sleep 1
  "podman_$way" tag "$old" localhost/small:1 "registry.example/$name:1" "registry.example/$name:2" "localhost/mine/$name:3"
  check "$way: replace, by one of its names" replace -q "registry.example/$name:1"
  path=$OUT
  like "$way: and it prints the path" "$path" '^/nix/store/'
  is "$way: the path of the image converted from elsewhere" \
    "$("$NIXSTORE" convert -q "$source" --name "$(sed 's,.*/[^-]*-,,' <<<"$path")")" "$path"
  for n in "registry.example/$name:1" "registry.example/$name:2" "localhost/mine/$name:3"; do
    is "$way: ${n/$name/NAME} is on the store" "$(store_path "$n")" "$path"
  done
  is "$way: it runs" "$(stat_shadow "registry.example/$name:2")" "640 0:42"
  is "$way: no other name is left" "$("podman_$way" images --format '{{.Repository}}' | grep -c nixstore-replace)" 0
  is "$way: the config's digest is the old ID" \
    "$(sha256sum <"$path/config.json" | cut -d ' ' -f 1)" "${old#sha256:}"

  is "$way: a container of the old image goes on" "$("podman_$way" exec before stat -c '%a %u:%g' /etc/shadow)" "640 0:42"
  "podman_$way" image prune -f >/dev/null
  check "$way: prune leaves what it uses" "podman_$way" image exists "$old"
  "podman_$way" stop -t 0 before >/dev/null
  is "$way: starts again" "$("podman_$way" start before && "podman_$way" exec before cat /etc/debian_version)" \
    "$(echo before; cat "$path/rootfs/etc/debian_version")"
  "podman_$way" rm -f -t 0 before >/dev/null
  "podman_$way" image prune -f >/dev/null
  is "$way: then prune frees it" "$("podman_$way" image exists "$old"; echo $?)" 1
  is "$way: the layers too" "$(($(du -sk "$T/p/${way/mountprogram/mp}/root/${way/mountprogram/overlay}" | cut -f 1) < 2000))" 1

  # Built upon it: the result has all of it, and is the store path's alone.
  "podman_$way" run --name build --network=none "registry.example/$name:1" sh -c 'echo 3 >/etc/third; rm /etc/second; chmod 600 /etc/shadow'
  "podman_$way" commit -q build "localhost/built/$name:1" >/dev/null
  "podman_$way" rm build >/dev/null
  built=$(id_of "localhost/built/$name:1")
  check "$way: replace what was built upon it" replace -q "localhost/built/$name:1"
  upper=$OUT
  is "$way: built: it is on a path of its own" "$(store_path "localhost/built/$name:1")" "$upper"
  is "$way: built: with the config of its own" "$(sha256sum <"$upper/config.json" | cut -d ' ' -f 1)" "$built"
  # Stock skopeo knows the storage of the one.
  [ $way != mountprogram ] || is "$way: built: the same out of Podman's storage" \
    "$("$NIXSTORE" convert -q --name "${upper#/nix/store/*-}" \
      "containers-storage:[overlay@$T/p/mp/root+$RUNROOTS/mp:overlay.mount_program=$NIXSTORE_MOUNT]$built")" "$upper"
  is "$way: built: in one layer" "$("podman_$way" image inspect -f '{{len .RootFS.Layers}}' "localhost/built/$name:1")" 1
  "podman_$way" image prune -f >/dev/null
  is "$way: built: it runs" \
    "$("podman_$way" run --rm --network=none "localhost/built/$name:1" sh -c 'stat -c "%a %u:%g" /etc/shadow; cat /etc/third /etc/debian_version; ls /etc/second 2>/dev/null; stat -c %a /usr/bin/passwd')" \
    "600 0:42
3
$(cat "$path/rootfs/etc/debian_version")
4755"
  check "$way: again: there is nothing to do" replace "localhost/built/$name:1"
  like "$way: and it says so" "$OUT" 'stands on the Nix store already'
  "podman_$way" save -q --format oci-archive -o "$T/reference.tar" "registry.example/$name:1"
  is "$way: the reference image is converted to the path" "$("$NIXSTORE" convert -q "oci-archive:$T/reference.tar")" "$path"
  is "$way: --json has the image that it was made of" \
    "$("$NIXSTORE" convert --json "oci-archive:$T/reference.tar" | python3 -c 'import json,sys; o=json.load(sys.stdin); print(o["storePath"], o["name"], o["imageId"])')" \
    "$path ${path#/nix/store/*-} sha256:${old#sha256:}"
  is "$way: by another name it is the same files" \
    "$(cmp "$("$NIXSTORE" convert -q "oci-archive:$T/reference.tar" --name other)/image.json" "$path/image.json" 2>&1)" ""
  rm "$T/reference.tar"
  "podman_$way" rmi -f "localhost/built/$name:1" >/dev/null
  check "$way: again: there is nothing to do" replace "registry.example/$name:1"
  like "$way: and it says so" "$OUT" 'stands on the Nix store already'
  is "$way: and prints the path" "$(replace -q "registry.example/$name:1")" "$path"
  is "$way: as JSON" "$(replace -q --json "registry.example/$name:1" | json 'sorted(x)') $(replace -q --json "registry.example/$name:1" | json 'x["storePath"], x["imageId"], x["image"], x["id"], x["replaced"]')" \
    "['id', 'image', 'imageId', 'name', 'replaced', 'storePath'] $path sha256:${old#sha256:} $("podman_$way" image inspect -f '{{index .RepoTags 0}}' "registry.example/$name:1") $(id_of "registry.example/$name:1") None"
  check_fails "$way: an image that is not there" 1 'no such image|image not known' replace nosuch
  is "$way: it runs as before" "$(stat_shadow "registry.example/$name:1")" "640 0:42"
  "podman_$way" rmi -f -a >/dev/null

  # All that were pulled; Docker's format too, in which the config is another.
  docker=$("podman_$way" load -q -i "$T/docker.tar" | sed 's/^[^:]*: *//')
  docker=$(id_of "$docker")
  "podman_$way" tag "$docker" "registry.example/$name:4"
  "podman_$way" run --name ordinary --network=none "registry.example/$name:4" touch /ordinary
  "podman_$way" commit -q ordinary localhost/ordinary:1 >/dev/null
  "podman_$way" rm ordinary >/dev/null
  check "$way: --pulled" replace -q --pulled --json
  is "$way: --json: an array, of what was done" "$(json '[(i["id"], i["replaced"], i["imageId"], i["name"] == i["storePath"][44:]) for i in x]' <<<"$OUT")" \
    "[('$(id_of "registry.example/$name:4")', '$docker', 'sha256:$docker', True)]"
  like "$way: took what came from a registry" "$(store_path "registry.example/$name:4")" '^/nix/store/'
  is "$way: in its own format" "$(sha256sum <"$(store_path "registry.example/$name:4")/config.json" | cut -d ' ' -f 1)" "$docker"
  is "$way: and left what did not" "$(store_path localhost/ordinary:1)" ""
  is "$way: again: nothing" "$(replace --pulled 2>&1)" ""
  is "$way: as JSON" "$(replace --pulled --json 2>&1)" "[]"
  is "$way: they run" "$(stat_shadow "registry.example/$name:4"; stat_shadow localhost/ordinary:1)" "640 0:42
640 0:42"
  "podman_$way" rmi -a -f >/dev/null
  nix-store --gc >"$T/gc.log" 2>&1
  check "$way: nothing holds the path" test ! -e "$path"
  assert_nothing_left "$way: nothing is left"
done

# ---- what cannot be replaced is not tried for ever: neither an image that is wrong, nor one that Podman takes and
# that is then taken out again, which changes its list of images as a pull does
cat >"$T/podman-that-fails" <<END
#!/bin/sh
echo "\$*" >>"$T/asked"
for word; do [ "\$word" != tag ] || { echo "no tags today" >&2; exit 1; }; done
exec "$PODMAN" "\$@"
END
chmod +x "$T/podman-that-fails"
pulled() { nixstore_for mountprogram convert --replace --pulled --podman "$T/podman-that-fails" "$@"; }
podman_mountprogram tag "$(podman_mountprogram pull -q "$source" | tail -n 1)" "registry.example/$name:5"
check_fails "--pulled: a step that fails" 1 '' pulled -q
check "was a conversion" grep -q -w save "$T/asked"
: >"$T/asked"
before=$(stat -c %Y.%Z "$T"/p/mp/root/overlay-images/images.json)
check "once more: it is left alone" pulled
like "with a line that says why" "$OUT" "^nixstore: .* is left as it is, as it failed before .*no tags today"
is "which is all" "$(wc -l <<<"$OUT")" 1
is "Podman's list of images has not changed" "$(stat -c %Y.%Z "$T"/p/mp/root/overlay-images/images.json)" "$before"
is "nothing was saved" "$(grep -c -w save "$T/asked")" 0
check_fails "who names it tries again" 1 'no tags today' \
  nixstore_for mountprogram convert --replace --podman "$T/podman-that-fails" "registry.example/$name:5"
like "gc forgets it" "$("$NIXSTORE" gc)" '^failures .*images that failed may be tried again'
check_fails "then it is tried again" 1 '' pulled -q
check "and saved" grep -q -w save "$T/asked"
sed -i '1s/1 .*/1 another-version/' "$NIXSTORE_CACHE/replace-failures"
: >"$T/asked"
check_fails "and by another version" 1 '' pulled -q
check "it is saved" grep -q -w save "$T/asked"
sed -i '2s/ [0-9]* / 1 /' "$NIXSTORE_CACHE/replace-failures"
: >"$T/asked"
check_fails "and when its time is over, as it was not the image that was wrong" 1 '' pulled -q
check "it is saved again" grep -q -w save "$T/asked"
check "one that works" nixstore_for mountprogram convert --replace "registry.example/$name:5"
is "is forgotten" "$(ls "$NIXSTORE_CACHE/replace-failures" 2>&1 | grep -c 'No such file')" 1
podman_mountprogram rmi -f -a >/dev/null

if command -v systemd-analyze >/dev/null; then
  # It looks for the pages that the units name, which need not be installed.
  mkdir -p "$T/man/man1"
  cp "$SRCDIR/doc/nixstore-convert.1" "$T/man/man1"
  for who in system user; do
    mkdir "$T/$who"
    cp "$SRCDIR"/contrib/systemd/nixstore-convert.* "$T/$who"
    [ $who = system ] || cp "$SRCDIR"/contrib/systemd/user/nixstore-convert.path "$T/$who"
    sed -i "s,^ExecStart=nixstore ,ExecStart=$NIXSTORE ," "$T/$who/nixstore-convert.service"
    check "the units are sound: $who" env XDG_RUNTIME_DIR="$T" MANPATH="$T/man" systemd-analyze --$who verify "$T/$who/nixstore-convert.path" "$T/$who/nixstore-convert.service"
    is "and systemd says nothing of them" "$(grep nixstore-convert <<<"$OUT")" ""
  done
else
  tap_skip "the units" "there is no systemd-analyze"
fi

check_fails "usage: an image or --pulled" 2 'takes an image, or --pulled' "$NIXSTORE" convert --replace
check_fails "usage: no --import" 2 'do not go with --replace' "$NIXSTORE" convert --replace --import x
check_fails "stock Podman on overlay could not run it" 1 'without a mount program' \
  env PATH="$PATH" "$NIXSTORE" convert --replace --podman "$PODMAN" --root "$T/p/overlay/root" --runroot "$RUNROOTS/overlay" \
  --storage-driver overlay "$(podman_overlay tag "$(podman_overlay pull -q "$source" | tail -n 1)" localhost/o:1; echo localhost/o:1)"
tap_done
