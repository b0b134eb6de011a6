# shellcheck shell=bash
# What the rows of the table need, a function each; test/bench/run calls those that are wanted, once
# each, and the rows find what they made in the environment.

bench_say() { printf 'bench: %s\n' "$*" >&2; }

# bench_argv NAME COMMAND...: leaves COMMAND for a row in the variable NAME.
bench_argv() { local v=$1; shift; printf -v "$v" '%q ' "$@"; export "${v?}"; }

# The image, and its path in the store.
bench_image() {
  [ -z "${BENCH_PATH-}" ] || return 0
  bench_say "image $IMAGE_NAME"
  BENCH_ARCHIVE=$("$SRCDIR/test/images/make-image" "$IMAGE_NAME" oci-archive:gzip)
  BENCH_PATH=$("$NIXSTORE" convert -q --name "$IMAGE_NAME" "oci-archive:$BENCH_ARCHIVE:latest")
  bench_say "$(find "$BENCH_PATH/rootfs" | wc -l) entries, $(du -sh "$BENCH_PATH/rootfs" | cut -f1)"
}

# bench_import STORAGE PODMAN...
bench_import() {
  local pm=$1; shift
  "$NIXSTORE" import -q --podman "$pm" --name "$BENCH_IMAGE" "$BENCH_PATH" "$@" >/dev/null
}

# The image in Podman: ordinary, and out of the store both ways.
prepare_podman() {
  local stock mp ours
  bench_image
  need_podman_nixstore
  export BENCH_IMAGE=localhost/$IMAGE_NAME:latest BENCH_DIR=$T BENCH_ORDINARY=$T/ordinary.tar
  bench_say "podman load, import"
  stock=("$PODMAN" --root "$T/p/overlay/root" --runroot "$T/p/overlay/run" --storage-driver overlay)
  "${stock[@]}" load -q -i "$BENCH_ARCHIVE" >"$T/loaded"
  "${stock[@]}" tag "$(sed -n 's/.*: *//p' "$T/loaded" | tail -n 1)" "$BENCH_IMAGE"
  mp=("$PODMAN" --root "$T/p/mp/root" --runroot "$T/p/mp/run" --storage-driver overlay
    --storage-opt "overlay.mount_program=$NIXSTORE_MOUNT")
  bench_import "$PODMAN" "${mp[@]:1}"
  ours=("$PODMAN_NIXSTORE" --root "$T/p/ours/root" --runroot "$T/p/ours/run" --storage-driver nixstore
    --storage-opt "nixstore.mount_program=$NIXSTORE_MOUNT")
  bench_import "$PODMAN_NIXSTORE" "${ours[@]:1}"
  bench_argv BENCH_PODMAN_OVERLAY "${stock[@]}"
  bench_argv BENCH_PODMAN_MP "${mp[@]}"
  bench_argv BENCH_PODMAN_NIXSTORE "${ours[@]}"
  # With a layer that is in none of the storages.
  "$SRCDIR/test/bench/make-tree" 100 5000 "$T/tree.tar"
  skopeo copy -q "oci-archive:$T/tree.tar" \
    "oci-archive:$BENCH_ORDINARY:localhost/ordinary:1"
}

# convert --import against load of the same file, each into a storage, and under a name in the Nix
# store, of its own, which stays until the end: on an ext4 without a journal, files made soon after
# many were deleted cost three times the system time (recently_deleted in fs/ext4/ialloc.c), which
# would measure the deletion of the run before.
prepare_convert() {
  local side
  bench_image
  cat >"$T/once" <<EOF
#!/bin/bash
n=\$(cat "$T/\$1.n") storage="$T/p/\$1\$(cat "$T/\$1.n")"
podman=(--root "\$storage/root" --runroot "\$storage/run" --storage-driver overlay)
case \$1 in
  convert) exec "$NIXSTORE" convert -q --import --name "bench-$IMAGE_NAME-\$n" --podman "$PODMAN" \
    "\${podman[@]}" "oci-archive:$BENCH_ARCHIVE:latest" ;;
  load) exec "$PODMAN" "\${podman[@]}" load -q -i "$BENCH_ARCHIVE" ;;
esac
EOF
  cat >"$T/next" <<EOF
#!/bin/bash
echo \$((\$(cat "$T/\$1.n" 2>/dev/null) + 1)) >"$T/\$1.n"
sync
EOF
  chmod +x "$T/once" "$T/next"
  for side in CONVERT:convert LOAD:load; do
    bench_argv "BENCH_${side%:*}" "$T/once" "${side#*:}"
    bench_argv "BENCH_${side%:*}_NEXT" "$T/next" "${side#*:}"
  done
  bench_say "a layer of 1 GiB"
  "$SRCDIR/test/bench/make-tree" 1024 2000 "$T/big.tar"
  bench_argv BENCH_CONVERT_BIG "$NIXSTORE" convert -q --name big "oci-archive:$T/big.tar"
}

prepare_index() { bench_argv BENCH_INDEX "$BUILDDIR/test/bench/bench-index" 100000; }
