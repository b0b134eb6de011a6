#!/bin/bash
# parallel: yes
# timeout: 900
# contrib/podman/build makes a program of sources that it has yet to fetch, and Skopeo with the driver opens a
# storage that the stock one does not know.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix-store skopeo jq go
nix_private
podman_setup
need_podman_nixstore
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
path=$("$NIXSTORE" convert "$source" --name others) || tap_bail "convert failed"
nixstore_for nixstore import "$path" --name localhost/base:1 >/dev/null || tap_bail "import failed"

# Nothing of it is there but what was compiled of other people's packages.
cache=${NIXSTORE_BUILD_CACHE:-/var/cache/nixstore-build}
mkdir -p "$T/cache" "$cache/go-cache"
ln -s "$cache/go-cache" "$T/cache/go-cache"
built=$(NIXSTORE_BUILD_CACHE=$T/cache "$SRCDIR/contrib/podman/build" --no-install skopeo 2>"$T/build.err") ||
  ! grep -q 'failed: Fetching the source\|no source package' "$T/build.err" ||
  tap_skip_all "the mirror does not give the source of Skopeo"
check "skopeo is built" test -f "$built" -a -x "$built" || tail -n 5 "$T/build.err" | tap_diag
image="containers-storage:[nixstore@$T/p/nixstore/root+$RUNROOTS/nixstore]localhost/base:1"
is "it reads an image's config from a storage of the driver" \
  "$("$built" inspect --config "$image" | jq -r .architecture)" \
  "$(jq -r .architecture "$path/config.json")"
check "it copies it elsewhere" "$built" copy -q "$image" "oci:$T/copy:latest"
is "which is the reference" "$(($(du -sk "$T/copy" | cut -f 1) < 200))" 1
is "that convert leads back to the path" "$("$NIXSTORE" convert -q "oci:$T/copy:latest")" "$path"
like "the stock one does not know the driver" "$(skopeo inspect --config "$image" 2>&1)" 'driver not supported'
tap_done
