#!/bin/bash
# parallel: yes
# timeout: 1200
# SIGKILL to Podman, conmon and nixstore-mount at random moments of what they do, root's and a
# user's: the next start works, and at the end nothing is left.
# NIXSTORE_CRASH_ROUNDS: rounds for each way as root (12), a quarter of that for the user;
# NIXSTORE_CRASH_SEED; NIXSTORE_CRASH_WAYS.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/rootless.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix-store jq
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
# Nix looks for paths in use in all processes of the machine: hence a path of our own.
path=$("$NIXSTORE" convert "$source" --name "crash-${T##*.}") || tap_bail "convert failed"
rounds=${NIXSTORE_CRASH_ROUNDS:-12}
RANDOM=${NIXSTORE_CRASH_SEED:-$$}
tap_diag "NIXSTORE_CRASH_SEED=${NIXSTORE_CRASH_SEED:-$$}"

# nixstore-mount, which is killed when it has run for as long as $T/kill says.
real_mount=$NIXSTORE_MOUNT
NIXSTORE_MOUNT=$T/mount
cat >"$NIXSTORE_MOUNT" <<END
#!/bin/bash
[ -e "$T/kill" ] || exec "$real_mount" "\$@"
"$real_mount" "\$@" & pid=\$!
sleep "\$(cat "$T/kill")"
kill -9 \$pid 2>/dev/null
wait \$pid
END
chmod +x "$NIXSTORE_MOUNT"
rootless_setup
cp "$real_mount" "$T/bin/real-mount"
sed -i "s,$real_mount,$T/bin/real-mount," "$T/mount"
cp "$T/mount" "$T/bin/nixstore-mount"

p() { case $way in user-*) rootless_podman "${way#*-}" "$@" ;; *) "podman_$way" "$@" ;; esac; }
import() { case $way in user-*) rootless_nixstore "${way#*-}" import "$@" ;; *) nixstore_for "$way" import "$@" ;; esac; }
moment() { printf '0.%03d' $((RANDOM % $1)); }

# What is done, of which each may be broken off anywhere.
act() {
  case $1 in
    run) p run --name k --network=none base:1 sh -c 'echo x >/etc/x; sleep 0.2' ;;
    detached) p run -d --name k --network=none base:1 sleep 1000 ;;
    rm) p rm -f -t 0 k2 ;;
    commit) p commit -q k2 localhost/committed:1 ;;
    diff) p diff k2 ;;
    exec) p start k2 && p exec k2 touch /touched ;;
    mount) p image mount base:1 ;;
    import) import "$path" --name localhost/again:1 ;;
  esac
}
acts=(run detached rm commit diff exec mount import)

# The first call after a crash may find out, as with stock Podman; the second works.
works() {
  [ "$(p run --rm --network=none base:1 stat -c '%a %u:%g' /etc/shadow 2>"$T/first")" = '640 0:42' ] ||
    [ "$(p run --rm --network=none base:1 stat -c '%a %u:%g' /etc/shadow)" = '640 0:42' ]
}

# What storage knows and Podman does not, of a container that was just being made, is
# called external, and prune leaves it to be removed by name.
clean() {
  local id
  p rm -f -a -t 0 >/dev/null 2>&1
  p image umount -a >/dev/null 2>&1
  p rm -f -a -i -t 0 >/dev/null 2>&1
  for id in $(p ps -aq --external); do p rm -f "$id" >/dev/null 2>&1; done
  [ -z "$(p ps -aq --external)" ]
}

round() {
  local what=$1 victim=$2 pid
  p create --name k2 --network=none base:1 sh -c 'echo y >/etc/y; sleep 1000' >/dev/null || return
  case $victim in
    mount) moment 40 >"$T/kill"; act "$what" >/dev/null 2>&1; rm "$T/kill" ;;
    conmon)
      act "$what" >/dev/null 2>&1 & pid=$!
      sleep "$(moment 600)"
      # conmon's command line names the storage.
      pkill -9 -f "^[^ ]*conmon .*$T/(user/)?p/" || :
      wait $pid
      ;;
    podman)
      act "$what" >/dev/null 2>&1 & pid=$!
      sleep "$(moment 600)"
      # A user's Podman is two processes, one in the user's namespaces. conmon is none of them.
      case $way in
        user-*) pkill -9 -f "^[^ ]*(podman|nixstore)[^ ]* .*--root $(storage)" ;;
        *) pkill -9 -P $pid ;;
      esac
      kill -9 $pid 2>/dev/null
      wait $pid 2>/dev/null
      ;;
  esac
  works && { clean || clean; }
}

shopt -s extglob
storage() { case $way in nixstore) echo "$T/p/nixstore/root" ;; mountprogram) echo "$T/p/mp/root" ;; user-*) echo "$RHOME/p/${way#*-}" ;; esac; }

# What is left where a container was just being made is its layer, which no command of Podman 4
# removes (`system check' of Podman 5 does): stock Podman on overlay leaves four of 150 killed creates.
drop_orphans() {
  local books layers
  books=$(echo "$(storage)"/@(nixstore|overlay))
  layers=$books-layers/layers.json
  jq -r --slurpfile images "$books-images/images.json" --slurpfile containers "$books-containers/containers.json" '
    INDEX(.[]; .id) as $all
    | [$images[0][] | .layer, (."mapped-layers" // [])[]] + [$containers[0][].layer]
    | [.[] | select(. != null) | recurse($all[.].parent // empty; . != "")] as $used
    | ($all | keys) - $used | .[]' "$layers" | while read -r id; do
    tap_diag "$way: a layer that nobody uses: $id"
    jq -c --arg id "$id" 'map(select(.id != $id))' "$layers" >"$layers.new" && mv "$layers.new" "$layers"
    chown --reference="$books" "$layers"
    rm -rf "${books:?}/$id"
  done
}

for way in ${NIXSTORE_CRASH_WAYS-$WAYS $(printf "user-%s " $WAYS)}; do
  [ "${way#user-}" = "$way" ] || rounds=$(((${NIXSTORE_CRASH_ROUNDS:-12} + 3) / 4))
  import "$path" --name localhost/base:1 >/dev/null || tap_bail "$way: import failed"
  p run --rm --network=none base:1 true
  leak_mark
  failed=()
  for ((i = 0; i < rounds; i++)); do
    what=${acts[RANDOM % ${#acts[@]}]}
    for victim in podman conmon mount; do
      case $victim:$what in conmon:rm | conmon:commit | conmon:diff | conmon:mount | conmon:import | mount:import) continue ;; esac
      round "$what" "$victim" >"$T/round" 2>&1 </dev/null || { failed+=("round $i: $victim killed in $what: $(tail -n 3 "$T/round")"); clean; }
    done
  done
  is "$way: $rounds rounds of SIGKILL to podman, conmon and nixstore-mount: the next start works" "${failed[*]-}" ""
  p rmi -f localhost/committed:1 localhost/again:1 >/dev/null 2>&1
  p image prune -f >/dev/null 2>&1
  # What stock Podman leaves on overlay as well: an image without a manifest, of a commit that was
  # killed (prune does not see it), a conmon that was not yet written down, and a container that was
  # made and never told to start.
  for id in $(jq -r '.[] | select((.names // []) == []) | .id' "$(storage)"/*-images/images.json); do
    p rmi -f "$id" >/dev/null 2>&1
  done
  drop_orphans
  pkill -9 -f "^[^ ]*conmon .*$T/(user/)?p/"
  for id in $(pgrep -f '^[^ ]*runc init$'); do
    ! grep -qF "=$T/" "/proc/$id/mountinfo" 2>/dev/null || kill -9 "$id"
  done
  # Podman's own temporary files do not go with it; the roots in ours do at a collection. Two
  # Podmans at once may both make the home a mount.
  rm -rf "${TMPDIR:?}"/* "${ROOTLESS_TMP:?}"/*
  nix-store --gc >"$T/gc.log" 2>&1
  home=$(echo "$(storage)"/@(nixstore|overlay))
  while [ "$(mounts_beneath "$home" | grep -cx "$home")" -gt 1 ]; do umount -l "$home"; done
  assert_nothing_left "$way: nothing is left"
  check "$way: rmi" p rmi base:1
  is "$way: no layer is left" "$(find "$(storage)" -mindepth 3 -maxdepth 3 -name diff | wc -l)" 0
  nix-store --gc >"$T/gc.log" 2>&1
  check "$way: the path is collected" test ! -e "$path"
  "$NIXSTORE" convert "$source" --name "crash-${T##*.}" >/dev/null
done

tap_done
