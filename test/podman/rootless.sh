#!/bin/bash
# parallel: yes
# Rootless: an ordinary user's Podman, with the driver and with nixstore-mount, on a Nix store that
# belongs to root and is reached through nix-daemon.
# timeout: 1200
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/rootless.sh"
tap_need python3 nix-store jq
tap_need_file "$LISTING" "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
rootless_setup

# try WAY COMMAND...: the user's Podman with the storage of WAY, without a network.
try() {
  local way=$1 verb=$2; shift 2
  case $verb in
    run | create) rootless_podman "$way" "$verb" --network=none "$@" ;;
    *) rootless_podman "$way" "$verb" "$@" ;;
  esac
}

# listing WAY IMAGE FILE [OPTION...]: taken inside a container that may read every xattr.
listing() {
  local way=$1 image=$2 file=$3; shift 3
  try "$way" run --rm --cap-add SYS_ADMIN,DAC_READ_SEARCH -v "$T/bin/listing:/.listing:ro" "$@" "$image" /.listing >"$file"
}

stock() { # DRIVER SOURCE FILE
  local id
  id=$(try "$1" pull -q "$2" 2>"$3.err" | tail -n 1) && [ -n "$id" ] || return 1
  listing "$1" "$id" "$3"
  try "$1" rmi -f "$id" >/dev/null
}

ours() { # WAY NAME FILE
  rootless_nixstore "$1" import "$path" --name "localhost/$2:latest" >/dev/null &&
    listing "$1" "localhost/$2:latest" "$3" && try "$1" rmi "localhost/$2:latest" >/dev/null
}

# What stock Podman makes of the image for the same user: without devices, which nobody can make in a
# user namespace, and without the xattrs that it may not set.
fidelity() {
  local name=$1 dir=$T/l/$1 start way source
  mkdir -p "$dir"
  source=$(image "$name") || { tap_not_ok "$name: the image can be made"; return; }
  start=$(date +%s)
  if ! stock vfs "$source" "$dir/vfs"; then
    if podman_is_5 && grep -q 'insufficient UIDs or GIDs' "$dir/vfs.err"; then
      tap_skip "$name: stock vfs can load it" "Podman 5 refuses ids that the user has not"
    else
      tap_not_ok "$name: stock vfs can load it" "$(cat "$dir/vfs.err")"
    fi
    return
  fi
  stock overlay "$source" "$dir/overlay" || rm -f "$dir/overlay"
  path=$("$NIXSTORE" convert "$source" --name "$name")
  for way in $WAYS; do
    if check "$name: $way runs it" ours "$way" "$name" "$dir/$way"; then
      check "$name: $way shows what stock Podman shows" \
        "$TESTLIB/compare-listings" --start "$start" "$dir/vfs" "$dir/overlay" "$dir/$way"
    fi
  done
}

verbs() {
  local way=$1 id
  check "$way: import" rootless_nixstore "$way" import "$path" --name localhost/base:1
  check "$way: import again succeeds" rootless_nixstore "$way" import "$path" --name localhost/base:1
  is "$way: owner and mode" "$(try "$way" run --rm base:1 stat -c '%a %u:%g' /etc/shadow)" '640 0:42'
  like "$way: setuid" "$(try "$way" run --rm base:1 stat -c %A /usr/bin/passwd)" '^-rws'
  is "$way: setuid works" "$(try "$way" run --rm --user 65534 base:1 sh -c 'su --version >/dev/null; id -u')" 65534
  check "$way: read-only" try "$way" run --rm --read-only base:1 sh -c '! touch /x 2>/dev/null'
  id=$(try "$way" run -d --name box base:1 sh -c 'echo hello; echo new >/etc/new; rm /etc/motd; exec sleep 1000')
  sleep 1
  like "$way: ps" "$(try "$way" ps)" ' box$'
  is "$way: logs" "$(try "$way" logs box)" hello
  is "$way: exec" "$(try "$way" exec box cat /etc/new)" new
  is "$way: exec as another user" "$(try "$way" exec --user 33 box sh -c 'cat /etc/shadow 2>&1 | sed "s/.*: //"')" 'Permission denied'
  is "$way: cp out of it" "$(try "$way" cp box:/etc/new "$RHOME/new" && cat "$RHOME/new")" new
  check "$way: cp into it" try "$way" cp "$RHOME/new" box:/root/copied
  if [ "$way" = mountprogram ] && podman_is_5; then
    tap_skip "$way: diff while it runs" "stock Podman 5's driver cannot (README)"
  else
    is "$way: diff while it runs" "$(try "$way" diff box | sort | tr '\n' ' ')" \
      'A /etc/new A /root/copied C /etc C /root D /etc/motd '
  fi
  check "$way: commit while it runs" try "$way" commit -q box localhost/committed:1
  check "$way: export" try "$way" export -o "$RHOME/export.tar" box
  like "$way: what is exported" "$(tar -tvf "$RHOME/export.tar" etc/shadow)" '^-rw-r----- 0/42 |^-rw-r----- root/shadow '
  rm -f "$RHOME/export.tar"
  check "$way: stop" try "$way" stop -t 0 box
  check "$way: start again" try "$way" start box
  is "$way: what it wrote is there" "$(try "$way" exec box cat /etc/new)" new
  check "$way: rm" try "$way" rm -f -t 0 box
  is "$way: what was committed" "$(try "$way" run --rm committed:1 sh -c 'cat /etc/new; ls /etc/motd 2>&1 | wc -l')" 'new
1'
  # The mount of an image is seen in the user's namespaces alone.
  is "$way: image mount" "$(rootless_unshare "$way" 'm=$("$@" image mount base:1) && stat -c "%a %g" "$m/etc/shadow" && "$@" image umount base:1 >/dev/null')" '640 42'
  check "$way: build" try "$way" build -q --isolation=chroot -t localhost/built:1 "$RHOME/build"
  is "$way: what was built" "$(try "$way" run --rm built:1 \
    sh -c 'ls -A /etc/apt; cat /media; for f in /new /usr/bin/env /etc/motd; do [ ! -e $f ] || echo "$f is there"; done; find / -xdev -name ".wh.*"')" \
    'only
file'
  namespaces "$way"
  check "$way: save" try "$way" save -q --format oci-archive -o "$RHOME/ref.tar" base:1
  is "$way: what is saved is the reference" "$(($(stat -c %s "$RHOME/ref.tar") < 65536))" 1
  rm -f "$RHOME/ref.tar"
  check "$way: rmi" try "$way" rmi built:1 committed:1 base:1
}

# What a container sees is mapped when it is mounted: no layer is copied, of the image and of the layers
# above it.
namespaces() {
  local way=$1 before map image
  before=$(storage_size "$way")
  for map in --userns=keep-id --userns=auto:size=2000 --userns=nomap '--uidmap 0:1:2000' \
    '--uidmap 0:1:2000 --gidmap 0:0:2000' '--uidmap 0:0:2000 --gidmap 0:1:2000' "${GAP[@]}"; do
    [ "$way:$map" != "mountprogram:$GAP" ] || continue # stock Podman copies what has gaps
    for image in base built; do
      # shellcheck disable=SC2086
      is "$way: $map, $image" "$(try "$way" run --rm --user 0 $map "$image:1" \
        sh -c 'stat -c "%a %u:%g" /etc/shadow /etc/passwd / /etc/apt; touch /tmp/x && stat -c %u:%g /tmp/x')" \
        '640 0:42
644 0:0
755 0:0
755 0:0
0:0'
    done
  done
  is "$way: no layer was copied" "$(($(storage_size "$way") - before < 2000))" 1
}
GAP=('--uidmap 0:1:1000 --uidmap 5000:2000:100 --gidmap 0:1:2000')

storage_size() { du -sk "$RHOME/p/$1" | cut -f1; }

overlaydir_works() { rootless_nixstore_alone info --json | jq -e '.modes[] | select(.mode == "overlaydir").available' >/dev/null; }

# Nothing is left of the user but Podman's own pause process.
left() {
  local p
  for p in /proc/[0-9]*; do
    [ "$(stat -c %u "$p" 2>/dev/null)" = "$ROOTLESS_UID" ] || continue
    case $(cat "$p/comm" 2>/dev/null):$(sed -n 's/^State:\t\(.\).*/\1/p' "$p/status" 2>/dev/null) in
      podman*:* | catatonit:* | *:Z | :*) ;;
      *) echo "process $(tr '\0' ' ' <"$p/cmdline")" ;;
    esac
  done 2>/dev/null
  rootless_unshare "$1" 'cut -d" " -f5- /proc/self/mountinfo | grep -E " nixstore|/merged "'
  find "/run/user/$ROOTLESS_UID/nixstore" "$ROOTLESS_TMP" -mindepth 1 \
    ! -path "$ROOTLESS_TMP/intermediate-mountpoint-*" 2>/dev/null # which Podman 5 keeps
  find /nix/var/nix/gcroots -lname "$RHOME/*"
}

assert_nothing_left_rootless() {
  local i
  for i in {1..50}; do
    left "$1" >"$T/left"
    [ -s "$T/left" ] || { tap_ok "$1: nothing is left"; return; }
    sleep 0.2
  done
  tap_not_ok "$1: nothing is left" "$(cat "$T/left")"
}

# The first start of an image goes through FUSE and leaves a directory behind, which the second one is
# mounted from; it shows no less, and goes with the image.
overlaydirs_of() { find "$RHOME/p/$1" -path '*/nixstore-overlaydir/*' -prune -print 2>/dev/null; }

await_overlaydirs() { # WAY NUMBER
  local i
  for i in {1..1500}; do
    [ "$(overlaydirs_of "$1" | wc -l)" != "$2" ] || return 0
    sleep 0.2
  done
  overlaydirs_of "$1"
  return 1
}

overlaydir() {
  local way=$1 option n=0 start
  start=$(date +%s)
  rootless_nixstore "$way" import "$path" --name localhost/base:1 >/dev/null
  for option in --userns=host --userns=nomap; do
    n=$((n + 1)) ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=overlaydir)
    check "$way: $option: without a directory" listing "$way" base:1 "$T/l/fuse" --user 0 "$option"
    is "$way: $option: none is made where the mode is disabled" "$(overlaydirs_of "$way" | wc -l)" $((n - 1))
    ROOTLESS_EXTRA=()
    check "$way: $option: first start" try "$way" run --rm --user 0 "$option" base:1 true
    check "$way: $option: leaves a directory" await_overlaydirs "$way" "$n"
    ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=fuse)
    check "$way: $option: second start, from the directory" listing "$way" base:1 "$T/l/overlaydir" --user 0 "$option"
    check "$way: $option: it shows the same" \
      "$TESTLIB/compare-listings" --start "$start" "$T/l/fuse" "$T/l/fuse" "$T/l/overlaydir"
    check_fails "$way: $option: a changed file is copied whole" 3 . \
      try "$way" run --rm --user 0 "$option" base:1 sh -c 'a=$(cat /etc/shadow); chmod 600 /etc/shadow; [ "$a" = "$(cat /etc/shadow)" ] && echo ok >&2 && exit 3'
  done
  ROOTLESS_EXTRA=()
  check "$way: rmi with its directories" try "$way" rmi base:1
  is "$way: they are gone" "$(overlaydirs_of "$way"; find "$RHOME/p/$way" -maxdepth 1 -name 'nixstore-overlaydir*')" ""
}

# What was killed while it made one is begun again; two at once make one.
overlaydir_killed() {
  local way=$1 i pid
  rootless_nixstore "$way" import "$path" --name localhost/base:1 >/dev/null
  for i in 1 2 3; do try "$way" run --rm base:1 true & done
  for i in {1..100}; do
    [ ! -e "$RHOME/p/$way/nixstore-overlaydir.new" ] || break
    sleep 0.05
  done
  for pid in $(pgrep -u "$ROOTLESS_UID" '^nixstore-[ml]'); do kill -9 "$pid"; done
  wait $(jobs -p | grep -v "^$ROOTLESS_DAEMON$")
  try "$way" run --rm base:1 true
  check "$way: killed while it was made: made again" await_overlaydirs "$way" 1
  ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=fuse)
  is "$way: and whole" "$(try "$way" run --rm base:1 sh -c 'find / -xdev | wc -l')" "$(ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=overlaydir); try "$way" run --rm base:1 sh -c 'find / -xdev | wc -l')"
  ROOTLESS_EXTRA=()
  try "$way" rmi base:1 >/dev/null
}

for name in ${FIDELITY_IMAGES:-nasty-trusted nasty-dirs debian-base}; do fidelity "$name"; done

mkdir -p "$T/l"
as_user mkdir "$RHOME/build"
cat >"$RHOME/build/Containerfile" <<'END'
FROM localhost/base:1
RUN rm /etc/motd /usr/bin/env && mkdir /new && echo one >/new/one
RUN rm -r /etc/apt /new && mkdir /etc/apt && echo only >/etc/apt/only && rm -r /media && echo file >/media
END
# The user adds to the store through the daemon, and gets the path that root gets.
source=$(image debian-base)
is "convert" "$(rootless_nixstore_alone convert "$source" --name base)" "$("$NIXSTORE" convert "$source" --name base)"
for way in $WAYS; do
  path=$("$NIXSTORE" convert "$source" --name base)
  # In mode fuse throughout: directories that are made meanwhile would come at any time.
  ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=overlaydir)
  verbs "$way"
  ROOTLESS_EXTRA=()
  if overlaydir_works; then
    overlaydir "$way"
    overlaydir_killed "$way"
  else
    tap_skip "$way: mode overlaydir" "this kernel has no data-only layers in user namespaces (6.16)"
  fi
  nix-store --gc >/dev/null 2>&1 # takes the dangling links that indirect roots leave
  assert_nothing_left_rootless "$way"
done
tap_done
