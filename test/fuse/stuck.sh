#!/bin/bash
# A request that waits for a file of the store holds up no other. The store's files are themselves
# served by nixstore-fuse here, and that server is stopped. Not beside tests that drop caches: what is
# cached is to be read.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need

mkdir -p "$T/src/many" "$T/src/large" "$T/m"
for f in {1..200}; do echo "content of $f" >"$T/src/many/$f"; done
echo opened >"$T/src/opened"
echo stuck >"$T/src/stuck"
head -c 1500000 /dev/urandom >"$T/src/large/file" # its blocks are asked of the store
check "the store" fuse_mount "$T/src" "$T/store"
below=$(fuse_processes nixstore-fuse)
check "the image on top of it" \
  "$FUSE" --index="$T/src.index" --data="$T/store" --counters="$T/m.count" "$T/m"
go_on() { kill -CONT "$below"; }
tap_on_exit go_on

# stuck OPCODE COMMAND...: in the background, until its request has come.
waiting=()
stuck() {
  local sent i
  sent=$(fuse_count "$T/m" "$1")
  "${@:2}" >"$T/said.$1" 2>&1 &
  waiting+=($!)
  for i in {1..600}; do
    [ "$(fuse_count "$T/m" "$1")" = "$sent" ] || return
    sleep 0.05
  done
}
# Sends the server a READ again.
read_again() {
  python3 -c "
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
sys.stdout.write(os.read(fd, 100).decode())" "$1"
}

is "a file is opened" "$(cat "$T/m/opened")" opened
kill -STOP "$below"
stuck 15 cat "$T/m/stuck"
is "while one waits for the store: names and attributes come" "$(timeout 60 find "$T/m/many" -printf '%s\n' | wc -l)" 201
stuck 44 ls -s "$T/m/large"
is "while one lists a file of which the store must be asked: names that are not there" "$(timeout 60 stat "$T/m/many/none" "$T/m/none" 2>&1 | grep -c "No such file")" 2
is "what is open and cached is read" "$(timeout 60 env LC_ALL=C.UTF-8 bash -c "$(declare -f read_again); read_again $T/m/opened")" opened
is "the others still wait" "$(cat "$T"/said.*; ps -o pid= -p "${waiting[*]}" | wc -l)" 2
go_on
wait "${waiting[@]}"
is "and come to their end with the store" "$(cat "$T/said.15") $(grep -c file "$T/said.44")" "stuck 1"
tap_done
