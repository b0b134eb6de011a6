#!/bin/bash
# parallel: yes
# timeout: 900
# import, list and inspect with the Podman that has the storage driver nixstore built in: GC roots and
# layers are found there too, and containers run.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
need_podman_nixstore
podman_nixstore info >/dev/null 2>&1
leak_mark

mkdir "$T/hello"
handmade_stage "$T/hello"
# Something that runs by itself in there.
cp "$(command -v busybox)" "$T/hello/rootfs/bin/sh" 2>/dev/null || tap_skip_all "busybox-static is not installed"
chmod 555 "$T/hello/rootfs/bin/sh"
sed -i 's,^./dev type,./bin/sh mode=0755\n&,' "$T/hello/ownership.mtree"
handmade_seal "$T/hello"
P=$(handmade_add "$T/hello")

is "import: no warning" "$(nixstore_for nixstore import "$P" --name app:1 2>&1)" localhost/app:1
is "the GC root is beside diff" "$(readlink "$T"/p/nixstore/root/nixstore/*/nixstore-gcroot)" "$P"
is "list" "$(nixstore_for nixstore list | awk 'NR > 1 { print $1, $NF }')" "localhost/app:1 $P"
is "inspect" "$(nixstore_for nixstore inspect app:1 | grep -c "^Store path:  *$P\$")" 1
is "a container sees owners and modes" \
  "$(podman_nixstore run --rm --network=none --user 0 --entrypoint /bin/sh app:1 -c 'busybox stat -c "%u:%g %a" /etc/shadow /bin/hello; cat /etc/shadow' 2>&1)" \
  "$(printf '0:42 640\n0:0 4755\nroot:*:19000:')"
is "once more: it is there" "$(nixstore_for nixstore import "$P" --name app:1 2>&1 | head -n 1 | cut -c1-42)" \
  "nixstore: localhost/app:1 is there already"
podman_nixstore rmi app:1 >/dev/null
nix-store --gc >/dev/null 2>&1
check "after rmi and gc the path is gone" test ! -e "$P"
is "list is empty" "$(nixstore_for nixstore list --json)" "[]"
assert_nothing_left "nothing is left"
tap_done
