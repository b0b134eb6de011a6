#!/bin/bash
# parallel: yes
# timeout: 900
# Containers started and killed by the dozen, images imported and removed and everything
# pruned meanwhile, the store collected: no error that stock overlay does not give, nothing
# left, no path gone that a container needs.
# NIXSTORE_STORM: how many containers for each way (45); NIXSTORE_STORM_TOGETHER: how many of them
# at a time (10).
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix-store
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT"
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
# Nix looks for paths in use in all processes of the machine: hence paths of our own.
path=$("$NIXSTORE" convert "$source" --name "storm-${T##*.}") || tap_bail "convert failed"
other=$("$NIXSTORE" convert "$source" --name "storm-other-${T##*.}") || tap_bail "convert failed"
# That is imported again and again. The other path has no root but that of its image.
nix-store --realise "$other" --add-root "$T/hold" --indirect >/dev/null
containers=${NIXSTORE_STORM:-45}
together=${NIXSTORE_STORM_TOGETHER:-10}

p() { "podman_$way" "$@"; }

# One container's life, of three kinds; what it shows must be right.
life() {
  local i=$1 name=s$1
  case $((i % 3)) in
    0) [ "$(p run --rm --network=none base:1 stat -c '%a %u:%g' /etc/shadow)" = '640 0:42' ] ;;
    1)
      p run -d --name "$name" --network=none base:1 sleep 1000 >/dev/null &&
        [ "$(p exec "$name" stat -c '%a %u:%g' /etc/shadow)" = '640 0:42' ] &&
        p kill "$name" >/dev/null && p rm -f -t 0 "$name" >/dev/null
      ;;
    2)
      p run -d --name "$name" --network=none base:1 sh -c 'echo x >/etc/x; exec sleep 1000' >/dev/null &&
        kill -9 "$(p inspect -f '{{.State.Pid}}' "$name")" && { p wait "$name" >/dev/null 2>&1 || :; } &&
        p rm -f -t 0 "$name" >/dev/null
      ;;
  esac || { echo "container $i"; return 1; }
}

# Until $T/over is there: images come and go, and what is not in use is taken away.
weather() {
  while [ ! -e "$T/over" ]; do
    if [ "$way" = overlay ]; then
      p tag "$(p pull -q "$source" | tail -n 1)" localhost/other:1
    else
      nixstore_for "$way" import "$other" --name localhost/other:1 >/dev/null &&
        [ -e "$other" ] || echo "import failed"
    fi
    p rmi -i localhost/other:1 >/dev/null 2>&1
  done
}
pruning() {
  while [ ! -e "$T/over" ]; do
    p system prune -f >/dev/null
    sleep 0.3
  done
}
collecting() {
  while [ ! -e "$T/over" ]; do
    nix-store --gc >/dev/null 2>"$T/gc.err" || { echo "nix-store --gc: $(tail -n 1 "$T/gc.err")"; return 1; }
    sleep 0.5
  done
}

# Errors of stock Podman's own making, which overlay has too: a container that
# prune took between two steps of ours, names that were just removed.
errors() {
  grep -hvE 'no such container|no container with|container state improper|already exited|can only kill running|is not running|image not known|does not exist in database|no such exec' "$1" |
    sed -E 's/[0-9a-f]{12,64}/ID/g; s/^time="[^"]*" //' | sort | uniq -c
}

for way in overlay $WAYS; do
  if [ "$way" = overlay ]; then
    p tag "$(p pull -q "$source" | tail -n 1)" localhost/base:1
  else
    "$NIXSTORE" convert -q "$source" --name "storm-${T##*.}" >/dev/null
    nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null || tap_bail "$way: import failed"
  fi
  p run --rm --network=none base:1 true
  leak_mark
  rm -f "$T/over" "$T/failed" "$T/errors"
  : >"$T/failed"
  # What keeps containers that run from being pruned is that they run.
  weather >>"$T/failed" 2>"$T/weather.err" & weather=$!
  pruning >>"$T/failed" 2>"$T/pruning.err" & pruning=$!
  collecting >>"$T/failed" 2>"$T/collecting.err" & collecting=$!
  for ((i = 0; i < containers; i += together)); do
    lives=()
    for ((j = i; j < i + together; j++)); do
      life "$j" >>"$T/failed" 2>>"$T/errors" & lives+=($!)
    done
    wait "${lives[@]}"
  done
  touch "$T/over"
  wait $weather $pruning $collecting
  errors "$T/errors" >"$T/errors.$way"
  cat "$T/pruning.err" "$T/weather.err" | errors /dev/stdin >>"$T/errors.$way"
  n=$(grep -c . "$T/failed")
  if [ "$way" = overlay ]; then
    tap_diag "overlay: $n lives of $containers went wrong; $(tr '\n' ';' <"$T/errors.overlay")"
    allowed=$n
  else
    is "$way: $containers lives, as many wrong as with stock overlay ($allowed) at most" \
      "$((n <= allowed))" 1 || tap_diag "$(sort "$T/failed" | head -n 20; cat "$T/errors.$way")"
    like "$way: its errors are none of nixstore's" "$(grep -c nixstore "$T/errors.$way")" '^0$' || tap_diag <"$T/errors.$way"
    check "$way: the path is there" test -e "$path/rootfs"
  fi
  p rm -f -a -t 0 >/dev/null 2>&1
  is "$way: no container is left" "$(p ps -aq --external)" ""
  rm -rf "$TMPDIR"/*
  nix-store --gc >/dev/null 2>&1
  assert_nothing_left "$way: nothing is left"
  p rmi -a -f >/dev/null
  [ "$way" = overlay ] || {
    nix-store --gc >/dev/null 2>&1
    check "$way: then the path is collected" test ! -e "$path"
  }
done
tap_done
