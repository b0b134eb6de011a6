#!/bin/bash
# parallel: yes
# timeout: 1200
# What goes wrong around a conversion: a full disk, signals, a Nix that refuses.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE"
nix_private
source=$(image debian-base) || tap_skip_all "no image: $source"
small=$(image empty)
store_is_empty() { [ -z "$(ls -A /nix/store | grep -v '^\.links$')" ]; }

# eventually COMMAND...: within ten seconds; processes of Nix's end after ours.
eventually() {
  local i
  for i in {1..100}; do
    "$@" && return 0
    sleep 0.1
  done
  return 1
}
# nix_bin NAME: a directory for Nix's programs in $T/NAME, which has nix-store.
nix_bin() {
  mkdir "$T/$1"
  ln -s "$(command -v nix-store)" "$T/$1/nix-store"
}
nix_bin plain
without_daemon() { NIXSTORE_NIX_STORE=$T/plain/nix-store "$@"; }

# ---- a disk that is full
mkdir "$T/full"
mount -t tmpfs -o size=20m,mode=1777 full "$T/full"
check_fails "no space for the stage" 1 'No space left on device' \
  env TMPDIR="$T/full" "$NIXSTORE" convert "$source"
is "nothing is left there" "$(ls -A "$T/full")" ""
mkdir "$T/fullstore"
mount -t tmpfs -o size=20m,mode=755 full "$T/fullstore"
mkdir -p "$T/fullstore/store"
check_fails "no space in the store" 1 'No space left on device' \
  unshare --mount --propagation private bash -c '
    mount --bind "$T/fullstore" /nix && nix-store --init && exec "$0" convert "$1"' "$NIXSTORE" "$source"
is "no stage is left" "$(ls -A "$TMPDIR")" ""

# ---- signals
# staging PID: waits until it has written to its stage, a file without a name.
staging() {
  local i f
  for i in {1..200}; do
    for f in /proc/"$1"/fd/*; do
      case $(readlink "$f") in "$TMPDIR"/*deleted*) [ -s "$f" ] && return 0 ;; esac
    done
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.02
  done
  return 1
}
# adding PID: waits until Nix has begun to write to the store.
adding() {
  local i
  for i in {1..2000}; do
    [ -z "$(find /nix/store -mindepth 3 -path '*/rootfs/*' -print -quit 2>/dev/null)" ] || return 0
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.01
  done
  return 1
}
collected() { nix-store --gc >/dev/null 2>&1; store_is_empty; }
for signal in TERM HUP KILL; do
  "$NIXSTORE" convert "$source" --name "killed" >"$T/out" 2>&1 &
  pid=$!
  if staging $pid; then
    kill -$signal $pid
    wait $pid 2>/dev/null
    is "SIG$signal ends it" $? $((128 + $(kill -l $signal)))
    is "SIG$signal: nothing is left" "$(ls -A "$TMPDIR")" ""
  else
    wait $pid
    tap_skip "SIG$signal" "it was through before the signal came"
  fi
done
for signal in TERM KILL; do
  "$NIXSTORE" convert "$source" --name "killed" >"$T/out" 2>&1 &
  pid=$!
  if adding $pid; then
    kill -$signal $pid
    wait $pid 2>/dev/null
    is "SIG$signal while Nix adds ends it" $? $((128 + $(kill -l $signal)))
    is "SIG$signal while Nix adds: nothing is left" "$(ls -A "$TMPDIR")" ""
    is "nothing is registered" "$(nix-store --query --requisites /nix/store/*-killed 2>/dev/null)" ""
    check "and a collection empties the store" eventually collected
  else
    wait $pid
    tap_skip "SIG$signal while Nix adds" "it was through before the signal came"
    collected
  fi
done
"$NIXSTORE" convert "$source" --name "killed" >"$T/out" 2>&1 &
pid=$!
if adding $pid && kill -KILL "$(cat "/proc/$pid/task/$pid/children")"; then
  wait $pid
  is "Nix is killed: it fails" $? 1
  is "with one line" "$(wc -l <"$T/out")" 1
  check "which says so" grep -q 'nix-daemon ended' "$T/out"
  is "nothing is left of that" "$(ls -A "$TMPDIR")" ""
  check "a collection empties the store after that, too" eventually collected
else
  wait $pid
  tap_skip "Nix is killed" "it was through before the signal came"
fi
# A scratch of a killed process.
mkdir "$TMPDIR/nixstore-scratch-fedcba"
check "the next run succeeds" "$NIXSTORE" convert "$small" --name next
check "a run with a scratch of its own, too" without_daemon "$NIXSTORE" convert "$small" --name other
is "and that has removed what a killed one left" "$(ls -A "$TMPDIR")" ""
mkdir "$TMPDIR/nixstore-scratch-abcdef"
exec 9<"$TMPDIR/nixstore-scratch-abcdef"
flock -n 9
check "with a directory that is in use" without_daemon "$NIXSTORE" convert "$small" --name another
is "that stays" "$(ls -A "$TMPDIR")" "nixstore-scratch-abcdef"
exec 9<&-
rmdir "$TMPDIR/nixstore-scratch-abcdef"

# ---- a Nix that refuses, or is not there
printf '#!/bin/sh\necho "error: it is not my day" >&2\nexit 1\n' >"$T/refuse"
chmod +x "$T/refuse"
check_fails "Nix refuses" 1 'not my day' env NIXSTORE_NIX_STORE="$T/refuse" "$NIXSTORE" convert "$small"
check_fails "no Nix" 1 'install nix-bin' env NIXSTORE_NIX_STORE=/nosuch "$NIXSTORE" convert "$small"
check_fails "a file that is not there" 1 'No such file' "$NIXSTORE" convert oci-archive:/nosuch
check_fails "no temporary directory" 1 'temporary directory' \
  env TMPDIR=/nosuch "$NIXSTORE" convert "$small"
is "no stage is left" "$(ls -A "$TMPDIR")" ""

# ---- a Nix without its daemon's protocol: the tree is made, and added
theirs=$("$NIXSTORE" convert "$(image nasty-links)" --name way)
nix-store --delete "$theirs" >/dev/null 2>&1
is "without nix-daemon: the same path" \
  "$(without_daemon "$NIXSTORE" convert "$(image nasty-links)" --name way)" "$theirs"
# On that way the path has no root between its addition and ours. collects N: a nix-store after
# whose first N additions everything without a root is collected.
collects() {
  local dir=$T/collects$1
  mkdir "$dir"
  cat >"$dir/nix-store" <<END
#!/bin/sh
"$(command -v nix-store)" "\$@" || exit
[ "\$1" = --add ] || exit 0
echo >>"$dir/added"
[ \$(wc -l <"$dir/added") -gt $1 ] || nix-store --gc >/dev/null 2>&1
END
  chmod +x "$dir/nix-store"
}
collect_store() { nix-store --gc >/dev/null 2>&1; }
collects 2
collect_store
is "collected before it had a root: added again" \
  "$(NIXSTORE_NIX_STORE=$T/collects2/nix-store "$NIXSTORE" convert "$(image nasty-links)" --name way)" "$theirs"
is "after the third time it stayed" "$(wc -l <"$T/collects2/added")" 3
check "and is there" nix-store --check-validity "$theirs"
is "its root is gone" "$(find "$TMPDIR" /nix/var/nix/gcroots/auto -mindepth 1)" ""
collects 100
check_fails "always collected: given up" 1 'added to the Nix store 5 times, and collected' \
  env NIXSTORE_NIX_STORE="$T/collects100/nix-store" "$NIXSTORE" convert "$small" --name never
is "nothing is left of that, too" "$(find "$TMPDIR" /nix/var/nix/gcroots/auto -mindepth 1)" ""
# The root lasts until the image has one: here all is collected before import makes its own.
mkdir "$T/later"
cat >"$T/later/nix-store" <<END
#!/bin/sh
if [ "\$1" = --realise ] && [ -e "$T/later/once" ]; then
  nix-store --gc >/dev/null 2>&1
  nix-store --check-validity "$theirs" && touch "$T/later/kept"
fi
[ "\$1" != --realise ] || touch "$T/later/once"
exec "$(command -v nix-store)" "\$@"
END
chmod +x "$T/later/nix-store"
collect_store
printf '#!/bin/sh\necho "Error: no podman here" >&2\nexit 1\n' >"$T/no-podman"
chmod +x "$T/no-podman"
check_fails "a collection before the import" 1 'no podman here' \
  env NIXSTORE_NIX_STORE="$T/later/nix-store" "$NIXSTORE" convert "$(image nasty-links)" --name way \
  --import --podman "$T/no-podman"
check "leaves the path" test -e "$T/later/kept"
# speaks NAME: nix-daemon is a Python script, from standard input.
speaks() {
  nix_bin "$1"
  { echo '#!/usr/bin/env python3'; cat; } >"$T/$1/nix-daemon"
  chmod +x "$T/$1/nix-daemon"
}
through() { env NIXSTORE_NIX_STORE="$T/$1/nix-store" "$NIXSTORE" convert "$small" --name "$2"; }
speaks silent </dev/null
check "a nix-daemon that ends at once is not used" through silent silent
speaks garbage <<'EOF'
import sys
sys.stdout.write("Content-Type: text/html; nothing here that Nix would say\n" * 3)
EOF
check "one that says something else is not used" through garbage garbage
greeting='import struct, sys
out = sys.stdout.buffer
def put(*numbers): out.write(b"".join(struct.pack("<Q", n) for n in numbers)); out.flush()
def text(s): put(len(s)); out.write(s + bytes(-len(s) % 8)); out.flush()
def greet(version): sys.stdin.buffer.read(32); put(0x6478696f, version, 0x616c7473)'
speaks old <<<"$greeting
greet(0x118)"
check "one that is too old is not used" through old old
speaks ends <<<"$greeting
greet(0x122); sys.stdin.buffer.read(8); sys.exit('error: out of ideas')"
check_fails "one that ends in the middle" 1 'nix-daemon ended: out of ideas' through ends ends
speaks refuses <<<"$greeting
greet(0x122)
put(0x6f6c6d67); text(b'a line of the log\n')
put(0x53545254, 1, 3, 100); text(b'an activity'); put(2, 0, 7, 1); text(b'field'); put(0)
put(0x52534c54, 1, 105, 1, 0, 5, 0x53544f50, 1)
put(0x63787470); text(b'\x1b[31;1merror:\x1b[0m not today'); put(1)
sys.stdin.buffer.read()"
check_fails "one that refuses" 1 'add to the Nix store: not today' through refuses refuses
speaks strange <<<"$greeting
greet(0x122); put(12345); sys.stdin.buffer.read()"
check_fails "one that is not understood" 1 'answer is not understood' through strange strange
speaks long <<<"$greeting
greet(0x122); put(0x6f6c6d67, 1 << 62); sys.stdin.buffer.read()"
check_fails "one whose texts have no end" 1 'answer is not understood' through long long
speaks astray <<<"$greeting
greet(0x122); put(0x616c7473); text(b'/etc/passwd'); sys.stdin.buffer.read()"
check_fails "one that names a path outside the store" 1 'not in the Nix store' through astray astray
is "nothing is left of all that" "$(ls -A "$TMPDIR")" ""

# ---- nobody in particular
tap_need setpriv
mkdir -m 777 "$T/nobody"
as_nobody() {
  setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$T/nobody" TMPDIR="$T/nobody" \
    NIX_STORE_DIR="$T/nobody/store" NIX_STATE_DIR="$T/nobody/state" NIX_LOG_DIR="$T/nobody/log" \
    XDG_CONFIG_HOME="$T/nobody" "$@"
}
chmod 755 "$T" "$T/nix-conf"
check "without any privilege" as_nobody "$NIXSTORE" convert "$(image nasty)" --name nasty
mine=$OUT
theirs=$("$NIXSTORE" convert "$(image nasty)" --name nasty)
check "the manifest is the same" cmp "$mine/ownership.mtree" "$theirs/ownership.mtree"
check "and so is rootfs" diff -r --no-dereference "$mine/rootfs" "$theirs/rootfs"

# ---- nobody in particular, through Nix's daemon
by_daemon() {
  setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$T/nobody" TMPDIR="$T/nobody" \
    NIX_REMOTE=daemon XDG_CONFIG_HOME="$T/nobody" "$@"
}
# daemon_serves [SETTING]: Nix's daemon, with one more line in nix.conf.
daemon_serves() {
  mkdir -p "$T/daemon-conf"
  { cat "$T/nix-conf/nix.conf"; echo "${1-}"; } >"$T/daemon-conf/nix.conf"
  rm -f /nix/var/nix/daemon-socket/socket
  NIX_CONF_DIR=$T/daemon-conf NIX_REMOTE='' nix-daemon >"$T/daemon.log" 2>&1 3>&- &
  daemon=$!
  eventually test -S /nix/var/nix/daemon-socket/socket
}
nix-store --delete "$theirs" >/dev/null 2>&1
daemon=
end_daemon() { [ -z "$daemon" ] || kill -KILL "$daemon"; daemon=; }
tap_on_exit end_daemon
daemon_serves
is "the daemon listens" $? 0
check "through the daemon" by_daemon "$NIXSTORE" convert "$(image nasty)" --name nasty
is "it is the same path" "$OUT" "$theirs"
check "and what the store says it is" nix-store --verify-path "$theirs"
end_daemon
daemon_serves 'allowed-users = root'
is "the daemon listens to root alone" $? 0
check_fails "a daemon that refuses" 1 'add to the Nix store .*: nix-store: ' \
  by_daemon "$NIXSTORE" convert "$small" --name refused
end_daemon
is "nothing is left of nobody's" "$(ls -A "$T/nobody" | grep -v -e '^store$' -e '^state$' -e '^log$' -e '^\.')" ""
tap_done
