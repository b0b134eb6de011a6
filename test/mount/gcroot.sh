#!/bin/bash
# parallel: yes
# Images also arrive by podman load and pull, without nixstore import: a mount makes the path a root
# of the garbage collector, renews a root that was lost, and the layer's end releases it.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/mount/lib.sh"
mount_setup

small_image one
reference
ROOT=$HOME_DIR/$ID/nixstore-gcroot
mount_it() { mount_program -o "lowerdir=$LINK:$HOME_DIR/$ID/empty" "$TARGET" && umount "$TARGET"; }

check "a mount without a root" mount_it
is "makes one beside diff" "$(readlink "$ROOT")" "$STORE_PATH"
nix-store --gc >/dev/null 2>&1
check "which keeps the path" test -e "$STORE_PATH/rootfs"
rm "$ROOT"
check "a mount after it was lost" mount_it
is "makes it anew" "$(readlink "$ROOT")" "$STORE_PATH"
rm /nix/var/nix/gcroots/auto/*
check "a mount after the store forgot it" mount_it
nix-store --gc >/dev/null 2>&1
check "tells the store again" test -e "$STORE_PATH/rootfs"
rm -r "${HOME_DIR:?}/$ID"
nix-store --gc >/dev/null 2>&1
check "without the layer the path goes" test ! -e "$STORE_PATH"

# A store that gets the path the way a substituter would bring it: Nix flushes nothing of it.
cat >"$T/nix-store" <<END
#!/bin/sh
case " \$* " in
  *" narinfo-cache-negative-ttl "*) $(command -v nix-store) --add "$T/image/one" >/dev/null ;;
esac
exec $(command -v nix-store) "\$@"
END
chmod 755 "$T/nix-store"
if ! strace -y -qq -o /dev/null true 2>/dev/null; then
  tap_skip "what a mount fetches is flushed" "strace traces nothing here"
  tap_done
fi
reference
traced() {
  (cd "$HOME_DIR" && NIXSTORE_SUBSTITUTE=true NIXSTORE_NIX_STORE=$T/nix-store strace -y -qq -o "$T/trace" \
    -e trace=syncfs,fsync,openat "$NIXSTORE_MOUNT" -o "lowerdir=$LINK:$HOME_DIR/$ID/empty" "$TARGET") && umount "$TARGET"
}
check "a mount fetches the path" traced
is "and is mounted" "$(readlink "$HOME_DIR/$ID/nixstore-gcroot")" "$STORE_PATH"
is "the store is flushed before the verdict is kept" \
  "$(sed -n 's/^\(syncfs\)(.*/\1/p; s:^openat(.*/verdict>.*O_CREAT.*:verdict:p' "$T/trace" | uniq | paste -sd ' ')" "syncfs verdict"
is "and so are the links of its root" \
  "$(grep -c "^fsync([0-9]*<\($HOME_DIR/$ID\|/nix/var/nix/gcroots/auto\)>)" "$T/trace")" 2
tap_done
