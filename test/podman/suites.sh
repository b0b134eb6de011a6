#!/bin/bash
# timeout: 600
# A few files of Podman's own system tests, on stock overlay and on nixstore: what passes on the first
# passes on the others (contrib/ci/suites runs all of them). Each test and way is a point.
# SUITES names others, as contrib/ci/suites takes them.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"

tap_need_root
tap_need apt-get podman bats docker-registry skopeo ip nix-store
tap_need_file "$BUILDDIR/nixstore-mount" "$BUILDDIR/nixstore-fuse" "$BUILDDIR/nixstore"
[ -e /bin/busybox ] || tap_skip_all "/bin/busybox is not installed"
[ -n "${PODMAN_NIXSTORE-}" ] || "$SRCDIR/contrib/podman/build" --no-install podman >/dev/null 2>"$T/build.log" ||
  tap_skip_all "Podman with the driver can't be built: $(tail -n 1 "$T/build.log")"

"$SRCDIR/contrib/ci/suites" --builddir="$BUILDDIR" --results="$T/results" ${SUITES:-podman:020-tag,125-import,320-system-df} \
  >"$T/different" 2>"$T/log"
status=$?
tap_diag <"$T/log"

ways=()
while IFS=$'\t' read -r file name rest; do
  IFS=$'\t' read -ra results <<<"$rest"
  if [ "$file" = suite/file ]; then
    ways=("${results[@]}")
    continue
  fi
  [ "${results[0]}" = ok ] || continue
  for ((i = 1; i < ${#ways[@]}; i++)); do
    if [ "${results[i]}" = ok ]; then
      tap_ok "${ways[i]}: $file: $name"
    elif grep -qF "$file.bats: $name: ${results[i]} on ${ways[i]}, " "$T/different"; then
      tap_not_ok "${ways[i]}: $file: $name" "$(tail -n 40 "$T/results/$file.${ways[i]}.tap")"
    else
      tap_skip "${ways[i]}: $file: $name" "${results[i]}: an exception, or passes when run again"
    fi
  done
done <"$T/results/results.tsv"
is "no test is different" "$status" 0 || tail -n 20 "$T/log" | tap_diag
tap_done
