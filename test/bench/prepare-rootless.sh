# shellcheck shell=bash
# An ordinary user with an image of 50,000 files, for the rows of its first start; as prepare.sh.

# shellcheck source=../lib/rootless.sh
. "$SRCDIR/test/lib/rootless.sh"

# What a row runs: get WAY-N (into a storage that has nothing yet; see prepare_convert for why none is
# used twice), start WAY-N (prints the mode that shows the image).
bench_rootless_script() {
  cat <<END
#!/bin/bash
. "$SRCDIR/test/lib/rootless.sh"
$(declare -p T ROOTLESS_UID PODMAN PODMAN_NIXSTORE RHOME ROOTLESS_ENV)
archive=$T/files.tar path=$1
END
  cat <<'END'
way=$2
case $way in *-fuse*) ROOTLESS_EXTRA=(NIXSTORE_TEST_DISABLE=overlaydir) ;; esac
case $1:$way in
  get:overlay*)
    id=$(rootless_podman "$way" pull -q "oci-archive:$archive" | tail -n 1) &&
      rootless_podman "$way" tag "$id" localhost/bench:1 ;;
  get:*) rootless_nixstore "$way" import -q "$path" --name localhost/bench:1 ;;
  start:*)
    rootless_podman "$way" run --rm --network=none --userns=keep-id --user 0 -v /bin/busybox:/busybox:ro bench:1 \
      /busybox sh -c '/busybox grep " / / " /proc/self/mountinfo | /busybox grep -q "datadir\|::" && echo overlaydir || echo fuse' ;;
esac
END
}

prepare_rootless() {
  local path
  need_podman_nixstore
  rootless_setup
  bench_say "an image of 50,000 files"
  "$SRCDIR/test/bench/make-tree" 200 "${BENCH_ENTRIES:-50000}" "$T/files.tar"
  path=$("$NIXSTORE" convert -q --name files "oci-archive:$T/files.tar")
  bench_rootless_script "$path" >"$T/rootless"
  export BENCH_ROOTLESS_SECOND=fuse
  ! rootless_nixstore_alone info --json | jq -e '.modes[] | select(.mode == "overlaydir").available' >/dev/null ||
    BENCH_ROOTLESS_SECOND=overlaydir
  bench_argv BENCH_ROOTLESS bash "$T/rootless"
  export BENCH_ROOTLESS_STORAGES=$RHOME/p
}
