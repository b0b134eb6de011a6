# shellcheck shell=bash
# What stock Podman makes of an image, listed from inside a container.  Source it after env.sh.

# container_listing PODMAN-FUNCTION IMAGE FILE: in a container that may read every xattr.
container_listing() {
  "$1" run --rm --network=none --cap-add SYS_ADMIN,DAC_READ_SEARCH \
    -v "$LISTING:/.listing:ro" "$2" /.listing >"$3"
}

# stock_listing DRIVER SOURCE FILE: loads, lists, removes; fails where stock Podman can't, and says
# why in FILE.err. FILE.start is when it began to unpack the image, as compare-listings wants to know.
stock_listing() {
  local id
  date +%s >"$3.start"
  id=$("podman_$1" pull -q "$2" 2>"$3.err" | tail -n 1) && [ -n "$id" ] || return 1
  container_listing "podman_$1" "$id" "$3" && "podman_$1" rmi -f "$id" >/dev/null
}

# stock_listing_kept DRIVER SOURCE FILE: the same for an archive of ours, which is to be compared with
# and not under test itself. As vfs copies the whole tree for each layer it takes longer than all the
# rest, and is kept in the cache, under a key made of all that goes into it. NIXSTORE_TEST_FRESH=1 does
# without.
stock_listing_kept() {
  local key kept aside
  key=$(stock_key "$1" "$2") || return
  kept=$CACHEDIR/listings/$key
  if [ -z "${NIXSTORE_TEST_FRESH-}" ] && [ -e "$kept" ]; then
    touch "$kept"
    head -n 1 "$kept" >"$3.start"
    tail -n +2 "$kept" >"$3"
    return
  fi
  stock_listing "$@" || return
  mkdir -p "${kept%/*}" && aside=$(mktemp "$kept.XXXXXX") && cat "$3.start" "$3" >"$aside" && mv "$aside" "$kept"
  find "${kept%/*}" -type f -mtime +14 -delete
}

# stock_key DRIVER SOURCE: of the image's bytes, the programs, the kernel and the file system.
stock_key() {
  local archive=${2#*:}
  archive=${archive%:latest}
  [ -f "$archive" ] || return
  {
    echo "$1 $(uname -r) $(stat -f -c %T "$T")"
    sha256sum "$archive" "$TESTLIB/listing.c" "$PODMAN" "$(command -v runc)" | cut -d ' ' -f 1
  } | sha256sum | cut -c 1-24
}
