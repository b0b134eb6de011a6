# shellcheck shell=bash
# A driver's home and store paths made by hand, for tests of nixstore-mount alone. Source it after
# tap.sh and env.sh.

NIXSTORE_MOUNT=${NIXSTORE_MOUNT:-$BUILDDIR/nixstore-mount}
HOME_DIR= # the driver's home
LAYERS=0

# mount_setup [tmpfs]: a store, a home, a cache of the test's own.
mount_setup() {
  tap_private_mounts
  tap_need_file "$NIXSTORE_MOUNT"
  nix_private "${1:-disk}"
  HOME_DIR=$T/storage/overlay
  mkdir -p "$HOME_DIR/l"
  chmod 700 "$HOME_DIR"
  CACHE=$T/cache
  export NIXSTORE_CACHE=$CACHE
  mkdir -p "$T/target"
  TARGET=$T/target
}

# layer NAME: an ordinary layer; its directory of files in $LAYER, its id in $ID, what Podman calls
# it in $LINK.
layer() {
  local name
  LAYERS=$((LAYERS + 1))
  ID=$(printf '%064x' "$LAYERS")
  name=$(printf 'LINK%022d' "$LAYERS")
  mkdir -p "$HOME_DIR/$ID/diff" "$HOME_DIR/$ID/work" "$HOME_DIR/$ID/empty" "$HOME_DIR/$ID/merged"
  printf %s "$name" >"$HOME_DIR/$ID/link"
  ln -s "../$ID/diff" "$HOME_DIR/l/$name"
  LAYER=$HOME_DIR/$ID/diff
  LINK=$HOME_DIR/l/$name
}

digest() { printf 'sha256:%s' "$(sha256sum "$1" | cut -d' ' -f1)"; }

# image_path NAME: puts $T/image/NAME, which holds rootfs/ and ownership.mtree, into the store as an
# image path, which is this test's alone: what another test's processes have in use, Nix would not
# collect; $STORE_PATH, $NAR_HASH, $MANIFEST.
image_path() {
  local dir=$T/image/$1
  [ -e "$dir/config.json" ] || printf '{"architecture":"amd64","os":"linux","name":"%s"}' "$1 of $NIXSTORE_TEST_ID" >"$dir/config.json"
  MANIFEST=$(digest "$dir/ownership.mtree")
  printf '{"version":1,"configDigest":"%s","manifestDigest":"%s"}\n' \
    "$(digest "$dir/config.json")" "$MANIFEST" >"$dir/image.json"
  STORE_PATH=$(nix-store --add "$dir") || tap_bail "nix-store --add failed"
  NAR_HASH=$(nix-store -q --hash "$STORE_PATH")
}

# reference [STORE-PATH [NAR-HASH [MANIFEST-DIGEST]]]: a reference layer, as layer() leaves it.
reference() {
  layer
  mkdir "$LAYER/.nixstore"
  printf '{"version":1,"storePath":"%s","narHash":"%s","manifestDigest":"%s"}' \
    "${1:-$STORE_PATH}" "${2:-$NAR_HASH}" "${3:-$MANIFEST}" >"$LAYER/.nixstore/reference.json"
}

# small_image NAME: rootfs and manifest with something of everything; $STORE_PATH and the rest as
# image_path() leaves them.
small_image() {
  local dir=$T/image/$1
  mkdir -p "$dir/rootfs/etc" "$dir/rootfs/usr/bin" "$dir/rootfs/dir/sub"
  echo "shadow of $1" >"$dir/rootfs/etc/shadow"
  echo "passwd of $1" >"$dir/rootfs/etc/passwd"
  printf '#!/bin/sh\necho %s\n' "$1" >"$dir/rootfs/usr/bin/tool"
  chmod 755 "$dir/rootfs/usr/bin/tool"
  ln -s ../etc/passwd "$dir/rootfs/dir/link"
  echo deep >"$dir/rootfs/dir/sub/deep"
  : >"$dir/rootfs/empty"
  cat >"$dir/ownership.mtree" <<'END'
#mtree
/set type=file uid=0 gid=0 mode=0644
/set time=1500000000.000000000
. type=dir mode=0755
./dir type=dir mode=1777 uid=1000 gid=1000
./dir/link type=link mode=0777 uid=1000 gid=1000
./dir/sub type=dir mode=0700
./dir/sub/deep uid=1000 mode=0600 xattr.user.note=aGVsbG8=
./empty
./etc type=dir mode=0755
./etc/fifo type=fifo mode=0620
./etc/null type=char mode=0666 device=native,1,3
./etc/passwd
./etc/shadow gid=42 mode=0640
./usr type=dir mode=0755
./usr/bin type=dir mode=0755
./usr/bin/tool mode=4755
./usr/bin/tool2 hardlink=./usr/bin/tool
END
  image_path "$1"
}

# rooted_reference NAME: small_image NAME in a reference layer that has its GC root, as after an
# import; what image_path and reference leave. The root goes with the layer.
rooted_reference() {
  small_image "$1"
  reference
  nix-store --add-root "$HOME_DIR/$ID/nixstore-gcroot" --realise "$STORE_PATH" >/dev/null
}

# mount_program ARG...: the program as Podman calls it.
mount_program() { (cd "$HOME_DIR" && exec "$NIXSTORE_MOUNT" "$@"); }

# upper NAME: prints upperdir and workdir options of fresh directories.
upper() {
  mkdir -p "$T/upper/$1/diff" "$T/upper/$1/work"
  chmod 755 "$T/upper/$1/diff"
  printf 'upperdir=%s,workdir=%s' "$T/upper/$1/diff" "$T/upper/$1/work"
}

# attributes PATH...: what ls would say, below $TARGET.
attributes() { (cd "$TARGET" && stat -c '%n %A %u:%g %Y %h' "$@"); }

# unmount_target: every mount that there is on $TARGET.
unmount_target() { while umount "$TARGET" 2>/dev/null; do :; done; }

# Loop devices that hold one of our files.
loops() { losetup -a 2>/dev/null | grep -c "$NIXSTORE_TEST_ID"; }
