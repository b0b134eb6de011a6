#!/bin/bash
# parallel: yes
# timeout: 1800
# A few of Podman's own system tests on the ways into nixstore, with ordinary images and with images in
# the Nix store: what passes on stock overlay passes here (contrib/ci/suites runs all of them). Each test and
# way is a point. SUITES names others, as contrib/ci/suites takes them.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"

tap_need_root
tap_need apt-get podman bats docker-registry skopeo ip nix-store
tap_need_file "$BUILDDIR/nixstore-mount" "$BUILDDIR/nixstore-fuse" "$BUILDDIR/nixstore"
[ -e /bin/busybox ] || tap_skip_all "/bin/busybox is not installed"
[ -n "${PODMAN_NIXSTORE-}" ] || "$SRCDIR/contrib/podman/build" --no-install podman >/dev/null 2>"$T/build.log" ||
  tap_skip_all "Podman with the driver can't be built: $(tail -n 1 "$T/build.log")"

selected=(
  'podman image mount'
  'podman run --mount image'
  'podman build --layers test'
  'podman load - multi-image archive'
  'podman diff'
  'podman volume create copyup'
)
files=060-mount+070-build+120-load+140-diff+160-volumes
if [ -n "${SUITES-}" ]; then
  options=() selected=()
else
  # What the driver does with ordinary images is the overlay driver's business.
  options=(--alone "--ways=mount-program,nixstore-nix,mount-program-nix" --filter="^($(IFS='|'; echo "${selected[*]}"))\$")
fi
# shellcheck disable=SC2086
"$SRCDIR/contrib/ci/suites" --builddir="$BUILDDIR" --results="$T/results" --lazy "${options[@]}" \
  ${SUITES:-podman:$files} >"$T/different" 2>"$T/log"
status=$?
tap_diag <"$T/log"

ways=()
while IFS=$'\t' read -r file name rest; do
  IFS=$'\t' read -ra results <<<"$rest"
  if [ "$file" = suite/file ]; then
    ways=("${results[@]}")
    continue
  fi
  case ${results[0]} in ok | -) ;; *) continue ;; esac
  label=$file
  case $file in *+*) label=${file%%/*} ;; esac
  for ((i = 1; i < ${#ways[@]}; i++)); do
    if [ "${results[i]}" = ok ]; then
      tap_ok "${ways[i]}: $label: $name"
    elif grep -qF ".bats: $name: ${results[i]} on ${ways[i]}, " "$T/different"; then
      tap_not_ok "${ways[i]}: $label: $name" "$(tail -n 40 "$T/results/$file.${ways[i]}.tap")"
    else
      tap_skip "${ways[i]}: $label: $name" "${results[i]}: an exception, or passes when run again"
    fi
  done
done <"$T/results/results.tsv"
for name in "${selected[@]}"; do
  is "it is there: $name" "$(cut -f2 "$T/results/results.tsv" | grep -cxF "$name")" 1
done
is "no test is different" "$status" 0 || tail -n 20 "$T/log" | tap_diag
tap_done
