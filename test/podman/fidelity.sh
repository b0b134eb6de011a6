#!/bin/bash
# parallel: yes
# timeout: 1500
# Fidelity: the whole file system of a container, listed from inside, is what
# stock Podman makes of the same image.
#
# Stock Podman has two opinions.  What differs between its drivers overlay and
# vfs (containers/storage 1.43, Podman 4.3.1), and what is taken as true:
#
#  * A directory that an upper layer names only through its children: overlay
#    makes it root:root 0755, vfs keeps what the lower layer said.  vfs.
#  * A name through a directory that an earlier layer made a symlink: overlay
#    puts a new directory in the symlink's place, vfs follows it, beneath the
#    root.  vfs.
#  * Hard links into a lower layer: overlay can't load the image, vfs links.
#    Link counts after a name was deleted or replaced: overlay's are stale.  vfs.
#  * A whiteout and then a directory of the same name, in one layer: overlay
#    shows the lower directory's files again, vfs does not.  vfs.
#  * A whiteout after the file of the same name, in one layer: overlay can't
#    load it, in vfs the file is gone.  vfs.
#  * xattrs of a directory that two layers name: overlay shows the upper's, vfs
#    the union.  vfs.
#  * `/`: overlay makes it 0555 root:root and ignores a layer's `./`.  vfs.
#  * overlayfs' own marks (trusted.overlay.*, char 0:0): overlay obeys them, vfs
#    keeps them as data.  Neither: see nasty-overlay below.
#  * vfs copies the tree for each layer and each container, and in copying loses
#    xattrs but security.capability and user.*, and breaks up hard links
#    between symlinks, devices and FIFOs.  Here overlay is right.
#  * Directory times that no layer gives are the time of unpacking in both.
#
# test/lib/compare-listings applies this.  Images that stock Podman refuses
# (duplicates, old GNU sparse files, user.* on symlinks) are not judged here, nor
# are xattrs with an empty value: Podman 4.3 drops them, 5.4 keeps them.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/stock.sh"

tap_need python3 nix-store
tap_need_file "$LISTING" "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways

images=${FIDELITY_IMAGES:-nasty nasty-dirs nasty-links nasty-order nasty-redo-dir nasty-trusted
  nasty-global nasty-deep empty many-layers debian-base debian-app}

# ours WAY NAME SOURCE FILE
ours() {
  local path
  path=$("$NIXSTORE" convert "$3" --name "$2") &&
    nixstore_for "$1" import "$path" --name "localhost/$2:latest" >/dev/null &&
    container_listing "podman_$1" "localhost/$2:latest" "$4" &&
    "podman_$1" rmi "localhost/$2:latest" >/dev/null
}

judge() {
  local name=$1 source dir=$T/l/$1
  mkdir -p "$dir"
  source=$(image "$name") || { tap_not_ok "$name: the image can be made"; return; }
  stock_listing_kept vfs "$source" "$dir/vfs" || { tap_not_ok "$name: stock vfs can load it" "$(cat "$dir/vfs.err")"; return; }
  stock_listing_kept overlay "$source" "$dir/overlay" || rm -f "$dir/overlay"
  for way in $WAYS; do
    if check "$name: $way runs it" ours "$way" "$name" "$source" "$dir/$way"; then
      check "$name: $way shows what stock Podman shows" \
        "$TESTLIB/compare-listings" --start "$(cat "$dir/vfs.start")" "$dir/vfs" "$dir/overlay" "$dir/$way"
    fi
  done
  [ -n "${NIXSTORE_TEST_KEEP-}" ] || rm -rf "$dir"
}

for name in $images; do judge "$name"; done

# Nothing in an image is a mark to overlayfs: /d does not lead to /etc, /e hides
# nothing, and the files with redirects do not show /d/secret.  Refusing the
# image, with one line, is as good.
source=$(image nasty-overlay)
if path=$("$NIXSTORE" convert "$source" --name nasty-overlay 2>"$T/refusal"); then
  for way in $WAYS; do
    check "nasty-overlay: $way imports it" \
      nixstore_for "$way" import "$path" --name localhost/nasty-overlay:latest
    check "nasty-overlay: $way lists it" container_listing "podman_$way" localhost/nasty-overlay:latest "$T/l.$way"
    is "nasty-overlay: $way obeys no mark" "$(sed -nE 's,^(/(d|e|d/[^ ]*|e/[^ ]*|gone|(user|trusted)-[^ ]*)) .* size=([^ ]*) .*,\1 \4,p' "$T/l.$way")" \
      "$(printf '%s\n' '/d -' '/d/secret 24' '/e -' '/e/f 1' '/trusted-redirect 0' '/trusted-whiteout 0' \
        '/user-redirect 0' '/user-whiteout 0')"
  done
else
  is "nasty-overlay: refused in one line" "$(wc -l <"$T/refusal")" 1
fi
tap_done
