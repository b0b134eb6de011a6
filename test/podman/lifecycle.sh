#!/bin/bash
# parallel: yes
# Every verb of issue and README on an image out of the Nix store, with the driver and with stock
# Podman and nixstore-mount: what it shows is right, and nothing is left of it. Then: containers
# that are killed, and what the garbage collector may take.
# timeout: 1200
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
tap_need nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
source=$(image debian-base) || tap_skip_all "debian-base cannot be made here"
# Nix looks for paths in use in all processes of the machine: hence a path of our own.
path=$("$NIXSTORE" convert "$source" --name "lifecycle-${T##*.}") || tap_bail "convert failed"

# A layer above the image, and one above that: deletions, an opaque directory, a file over a directory.
mkdir "$T/build"
cat >"$T/build/Containerfile" <<'END'
FROM localhost/base:1
RUN rm /etc/motd /usr/bin/env && mkdir /new && echo one >/new/one
RUN rm -r /etc/apt /new && mkdir /etc/apt && echo only >/etc/apt/only && rm -r /media && echo file >/media
END

try() { # WAY COMMAND...: Podman with the storage of WAY, without a network
  local way=$1 verb=$2; shift 2
  case $verb in
    run | create) "podman_$way" "$verb" --network=none "$@" ;;
    *) "podman_$way" "$verb" "$@" ;;
  esac
}

verbs() {
  local way=$1 id
  check "$way: import" nixstore_for "$way" import "$path" --name localhost/base:1
  check "$way: import again succeeds" nixstore_for "$way" import "$path" --name localhost/base:1
  like "$way: and says so" "$OUT" 'there already'
  check "$way: info" try "$way" info
  like "$way: images" "$(try "$way" images)" '^localhost/base +1 '
  is "$way: owner and mode" "$(try "$way" run --rm base:1 stat -c '%a %u:%g' /etc/shadow)" '640 0:42'
  like "$way: setuid" "$(try "$way" run --rm base:1 stat -c %A /usr/bin/passwd)" '^-rws'
  is "$way: setuid works" "$(try "$way" run --rm --user 65534 base:1 sh -c 'su --version >/dev/null; id -u')" 65534
  check "$way: read-only" try "$way" run --rm --read-only base:1 sh -c '! touch /x 2>/dev/null'

  id=$(try "$way" run -d --name box base:1 sh -c 'echo hello; echo new >/etc/new; rm /etc/motd; exec sleep 1000')
  sleep 1
  like "$way: ps" "$(try "$way" ps)" ' box$'
  is "$way: logs" "$(try "$way" logs box)" hello
  is "$way: exec" "$(try "$way" exec box cat /etc/new)" new
  is "$way: cp out of it" "$(try "$way" cp box:/etc/new "$T/new" && cat "$T/new")" new
  check "$way: cp into it" try "$way" cp "$T/new" box:/root/copied
  is "$way: copied" "$(try "$way" exec box cat /root/copied)" new
  if [ "$way" = mountprogram ] && podman_is_5; then
    tap_skip "$way: diff while it runs" "Podman 5's stock driver renames over the mount point (README)"
  else
    is "$way: diff while it runs" "$(try "$way" diff box | sort | tr '\n' ' ')" \
      'A /etc/new A /root/copied C /etc C /root D /etc/motd '
  fi
  check "$way: commit while it runs" try "$way" commit -q box localhost/committed:1
  like "$way: export" "$(try "$way" export box | tar -tvf - etc/shadow)" '^-rw-r----- 0/42 |^-rw-r----- root/shadow '
  check "$way: stop" try "$way" stop -t 0 box
  check "$way: start again" try "$way" start box
  check "$way: rm" try "$way" rm -f -t 0 box
  is "$way: what was committed" "$(try "$way" run --rm committed:1 sh -c 'cat /etc/new; ls /etc/motd 2>&1 | wc -l')" 'new
1'

  is "$way: image mount" "$(stat -c '%a %g' "$(try "$way" image mount base:1)/etc/shadow")" '640 42'
  check "$way: image umount" try "$way" image umount base:1
  check "$way: --mount type=image" try "$way" run --rm --mount type=image,source=base:1,destination=/m base:1 \
    test -f /m/etc/shadow
  is "$way: a user namespace of its own" "$(try "$way" run --rm --uidmap 0:100000:65536 base:1 \
    sh -c 'stat -c %u:%g /etc/shadow; touch /x && stat -c %u /x')" '0:42
0'
  mkdir -p "$T/user/.nixstore" && echo '{}' >"$T/user/.nixstore/reference.json"
  is "$way: a user's directory is no reference" \
    "$(try "$way" run --rm -v "$T/user:/u:O" base:1 cat /u/.nixstore/reference.json)" '{}'

  check "$way: build" try "$way" build -q --isolation=chroot -t localhost/built:1 "$T/build"
  is "$way: what was built" "$(try "$way" run --rm built:1 \
    sh -c 'ls -A /etc/apt; cat /media; for f in /new /usr/bin/env /etc/motd; do [ ! -e $f ] || echo "$f is there"; done; find / -xdev -name ".wh.*"')" \
    'only
file'
  check "$way: save" try "$way" save -q --format oci-archive -o "$T/ref.tar" base:1
  is "$way: what is saved is the reference" "$(($(stat -c %s "$T/ref.tar") < 65536))" 1
  rm -f "$T/ref.tar"
  check "$way: rmi what was built" try "$way" rmi built:1 committed:1
}

# signal_kill WAY CONTAINER FIELD...: SIGKILL to the processes that these fields of its state name.
signal_kill() {
  local way=$1 container=$2 field pid; shift 2
  for field; do
    pid=$(try "$way" inspect -f "{{.State.$field}}" "$container")
    # 0 would be our own process group.
    [ "${pid:-0}" -gt 1 ] && kill -9 "$pid"
  done
}

none_runs() {
  local i
  for i in {1..50}; do
    [ -n "$(try "$1" ps -q)" ] || return 0
    sleep 0.2
  done
  return 1
}

# What SIGKILL leaves, Podman's next call takes away: the container's, the monitor's, Podman's own.
kills() {
  local way=$1
  try "$way" run -d --name k base:1 sleep 1000 >/dev/null
  check "$way: the container is killed" signal_kill "$way" k Pid
  check "$way: killed: it ends" none_runs "$way"
  check "$way: killed: start again" try "$way" start k
  check "$way: the container and its monitor are killed" signal_kill "$way" k ConmonPid Pid
  sleep 0.5
  # Stock Podman 4.3 too fails to stop such a container the first time, and knows better after.
  try "$way" rm -f -t 0 k >/dev/null 2>&1
  check "$way: monitor killed: rm" try "$way" rm -f -i -t 0 k
  "podman_$way" run --network=none --name k2 base:1 sleep 1000 >/dev/null 2>&1 &
  sleep 0.3
  kill -9 $!
  wait $! 2>/dev/null
  sleep 0.5
  check "$way: Podman killed while it starts: rm" try "$way" rm -f -i -t 0 k2
  check "$way: and it runs again" try "$way" run --rm base:1 true
}

collect() { nix-store --gc >"$T/gc.log" 2>&1; }

for way in $WAYS; do
  try "$way" info >/dev/null 2>&1 # what Podman makes once for a storage is not ours
  leak_mark
  is "$way: the same path as ever" "$("$NIXSTORE" convert "$source" --name "lifecycle-${T##*.}")" "$path"
  verbs "$way"
  kills "$way"
  collect
  check "$way: what Podman has is not collected" test -e "$path/rootfs"
  check "$way: rmi" try "$way" rmi base:1
  collect # takes the dangling link too that an indirect root leaves in gcroots/auto
  check "$way: what Podman has no longer is collected" test ! -e "$path"
  assert_nothing_left "$way: nothing is left"
done
tap_done
