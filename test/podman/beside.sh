# shellcheck shell=bash
# The same done with stock Podman on overlay and with ours, and what it shows
# compared.  Source it after env.sh.
#
# A scene is a function.  It calls Podman as `p` on $IMAGE and prints what a user
# would see; one that fails has failed, whatever it printed.  What stock Podman
# on overlay cannot do here is skipped, with stock Podman's reason.
#
# Images, under the same names in all storages:
#   localhost/base:1   in ours Nix-backed
#   localhost/mixed:1  an ordinary layer above that
#   localhost/plain:1  ordinary in ours; to overlay that is base

# shellcheck source=small.sh
. "$SRCDIR/test/podman/small.sh"

# beside_setup: the ways into Podman in $WAYS, and the images in each.
beside_setup() {
  tap_need nix-store
  tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
  nix_private
  podman_setup
  podman_ways
  # Podman makes it once and leaves it.
  mkdir -p /run/netns
  mountpoint -q /run/netns || { mount --bind /run/netns /run/netns && mount --make-rshared /run/netns; }
  # Ranges for --userns=auto, and none of the machine's.
  printf 'containers:500000:1000000\nroot:100000:65536\n' >"$T/subid"
  mount --bind "$T/subid" /etc/subuid && mount --bind "$T/subid" /etc/subgid || tap_bail "cannot mount on /etc/subuid"
  local source path way image # a name of our own: Nix looks for paths in use in all processes
  source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
  path=$("$NIXSTORE" convert "$source" --name "beside-${T##*.}") || tap_bail "convert failed"
  STORE_PATH=$path
  mkdir -p "$T/mixed" "$T/scenes"
  printf 'FROM localhost/base:1\nRUN rm /etc/motd && mkdir /mixed && echo mixed >/mixed/file\n' >"$T/mixed/Containerfile"
  for way in overlay $WAYS; do
    WAY=$way
    image=plain
    [ "$way" != overlay ] || image=base
    p tag "$(p pull -q "$source" | tail -n 1)" "localhost/$image:1" && p untag "localhost/$image:1" localhost/small:1 ||
      tap_bail "$way: pull failed"
    if [ "$way" != overlay ]; then
      nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null || tap_bail "$way: import failed"
    fi
    p build -q -t localhost/mixed:1 "$T/mixed" >/dev/null || tap_bail "$way: build failed"
  done
}

# p VERB...: Podman in the storage of $WAY, without a network.
p() {
  local verb=$1; shift
  case $verb in
    run | create) "podman_$WAY" "$verb" --network=none "$@" ;;
    build) "podman_$WAY" build --isolation=chroot "$@" ;;
    *) "podman_$WAY" "$verb" "$@" ;;
  esac
}

# scene_run WAY KIND SCENE: leaves what it printed, without IDs, in FILE, and
# what it complained of in FILE.err.
scene_run() {
  local file=$T/scenes/$3.$1.$2 rc
  [ ! -e "$file.rc" ] || return "$(cat "$file.rc")"
  rm -rf "$T/w" "$T/w.tmp"
  mkdir "$T/w" "$T/w.tmp"
  (
    export TMPDIR=$T/w.tmp
    WAY=$1 IMAGE=localhost/$2:1
    set -eE
    trap 'echo "line $LINENO: $BASH_COMMAND" >&2' ERR
    cd "$T/w"
    "$3"
  ) >"$file.raw" 2>"$file.err" </dev/null
  rc=$?
  [ $rc = 0 ] || {
    WAY=$1
    p pod rm -f -a -t 0
    p rm -f -a -t 0
    p image umount -a -f
  } >/dev/null 2>&1
  # Stock Podman too leaves files of some verbs: as many as it does.
  echo "temporary files left: $(find "$T/w.tmp" -mindepth 1 | wc -l)" >>"$file.raw"
  sed -E "s/\b(sha256:)?[0-9a-f]{64}\b/ID/g; s/\b[0-9a-f]{12}\b/ID/g; s,localhost/$2:1,IMAGE,g" "$file.raw" >"$file"
  echo "$rc" >"$file.rc"
  return "$rc"
}

# scene FUNCTION KINDS DESCRIPTION: KINDS are names of images, without
# localhost/ and :1; of KIND/driver the mount program is spared, and of all but the
# first, unless NIXSTORE_TEST_LONG is set. SCENES names the only ones to be played.
scene() {
  local scene=$1 kinds=$2 what=$3 kind stock way ways=$WAYS rc
  [[ " ${SCENES-$scene} " = *" $scene "* ]] || return 0
  for kind in $kinds; do
    [ "${kind%/driver}" = "$kind" ] || ways=nixstore
    [ -z "${NIXSTORE_TEST_LONG-}" ] && [ "$WAYS" != mountprogram ] || ways=$WAYS
    kind=${kind%/driver}
    # To stock Podman base and plain are the same.
    stock=${kind/plain/base}
    # Not as a condition: Bash would forget about `set -e` inside.
    scene_run overlay "$stock" "$scene"
    rc=$?
    if [ $rc != 0 ]; then
      tap_skip "$what, $kind" "stock Podman on overlay here: $(tail -n 2 "$T/scenes/$scene.overlay.$stock.err" | tr '\n' ' ')"
      continue
    fi
    for way in $ways; do
      scene_run "$way" "$kind" "$scene"
      rc=$?
      if [ $rc = 0 ]; then
        same_file "$way, $kind: $what" "$T/scenes/$scene.$way.$kind" "$T/scenes/$scene.overlay.$stock"
      else
        tap_not_ok "$way, $kind: $what" "$(tail -n 5 "$T/scenes/$scene.$way.$kind"; tail -n 40 "$T/scenes/$scene.$way.$kind.err")"
      fi
    done
    ways=nixstore
  done
}

# fails COMMAND...: succeeds, and prints nothing, if COMMAND fails and says why.
fails() {
  local said
  if said=$("$@" 2>&1); then echo "succeeded: $*"; return 1; fi
  [ -n "$said" ]
}

# What beside_setup and the scenes left.
beside_done() {
  local way
  for way in overlay $WAYS; do
    WAY=$way
    p rm -f -a -t 0 >/dev/null 2>&1
  done
  assert_nothing_left "nothing is left of the containers"
  for way in $WAYS; do
    WAY=$way
    check "$way: all images go" p rmi -f -a
  done
  nix-store --gc >"$T/gc.log" 2>&1
  check "then the path is collected" test ! -e "$STORE_PATH"
  tap_done
}
