#!/bin/bash
# parallel: yes
# timeout: 1800
# Debian 13's user space: nixstore builds there without a warning, so does the
# driver with its Podman (5.4), and the tests of the two pass with its Nix,
# Podman, runc and libraries.  In a tree of its own, see test/lib/trixie.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/debian.sh"
. "$TESTLIB/elsewhere.sh"
tap_need_root
trixie=$TESTLIB/trixie
[ -d "$("$trixie" path)" ] || tap_skip_all "there is no Debian 13 tree in the cache (test/lib/trixie create)"
[ -x "$SRCDIR/configure" ] || tap_skip_all "configure was not generated"
tests=${TRIXIE_TESTS:-test/mount/erofs.sh test/podman/fidelity.sh test/cli/doctor.sh}

work=$T/w
enter() { "$trixie" run -w "$work" env NIXSTORE_IMAGE_SUITE="$(debian_codename)" "$@"; }

check "configure" enter bash -c 'cd /build && /src/configure -q --enable-werror' || tap_done
check "make" enter make -s -C /build -j2 || tap_done
check "the programs for tests" enter make -s -C /build -j2 check-programs || tap_done
driver=$(enter /src/contrib/podman/build --no-install podman 2>"$T/podman.err")
if [ -n "$driver" ]; then
  tap_ok "Podman with the driver"
  like "it is Podman 5" "$(enter "$driver" --version)" 'version 5\.'
elif grep -q "failed: Fetching the source" "$T/podman.err"; then
  # The mirror at hand may lack it; what follows takes the stock Podman alone then.
  tap_skip "Podman with the driver" "the mirror does not give Debian 13's source of Podman"
else
  tap_not_ok "Podman with the driver" "$(tail -n 20 "$T/podman.err")"
fi
# The driver's own tests, where there is a Podman that has it.
[ -z "$driver" ] || tests+=" test/podman/driver.sh"
enter env NIXSTORE_BUILDDIR=/build PODMAN_NIXSTORE="$driver" \
  FIDELITY_IMAGES="${FIDELITY_IMAGES:-nasty nasty-dirs nasty-trusted debian-base}" \
  bash -c "cd /src; $RUN_TESTS" _ $tests >"$T/points" 2>&1
points_of "Debian 13" "$T/points"
is "nothing is left of the tree" "$(mounts_beneath "$T")" ""
tap_done
