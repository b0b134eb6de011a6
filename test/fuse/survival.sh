#!/bin/bash
# parallel: yes
# timeout: 1200
# A server that is killed is replaced, and nobody notices. NIXSTORE_TEST_KILLS: how many times (40).
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need

mkdir -p "$T/src/bin" "$T/src/lib"
cp /bin/true "$T/src/bin"
for d in {1..40}; do
  mkdir "$T/src/lib/$d"
  for f in {1..40}; do head -c $((f * f * 300)) /dev/urandom >"$T/src/lib/$d/$f"; done
done

# storm KILLS: kills the server at random moments while 8 processes read, walk and exec. Prints what
# they saw.
storm() {
  timeout 300 python3 "$SRCDIR/test/fuse/storm.py" "$T/m" "$T/src" "$1" $(fuse_processes nixstore-keeper)
}

check "mount" fuse_mount "$T/src" "$T/m"
can_resend=$(python3 - <<'PY'
import platform
print(int(tuple(int(x) for x in platform.release().split(".")[:2]) >= (6, 9)))
PY
)
result=$(storm "${NIXSTORE_TEST_KILLS:-40}"); tap_diag "$result"
is "nobody hangs" "$(grep -c stuck <<<"$result")" 0
is "no byte is wrong" "$(grep -c wrong <<<"$result")" 0
if [ "$can_resend" = 1 ]; then
  is "no call fails" "$(grep -c failed <<<"$result")" 0
else
  tap_skip "no call fails" "this kernel cannot send requests again (6.9)"
fi
keeper=$(fuse_processes nixstore-keeper)

# A limit of processes that leaves no room for a new server just now.
if pids_group && echo "$keeper" >"$PIDS/cgroup.procs"; then
  echo 1 >"$PIDS/pids.max"
  kill -9 $(fuse_processes nixstore-fuse)
  timeout 60 stat -f "$T/m" >/dev/null & waiting=$! # never answered from a cache
  sleep 0.5
  is "no room for a server: the keeper stays" "$(fuse_processes nixstore-keeper)" "$keeper"
  is "and has none" "$(fuse_processes nixstore-fuse)" ""
  echo max >"$PIDS/pids.max"
  wait "$waiting"
  is "who asks has waited until there is room" $? 0
  pids_leave
else
  tap_skip "no room for a server" "no control group can limit processes here"
fi
kill -TERM $(fuse_processes nixstore-fuse)
check "a server that was told to end is replaced" cmp "$T/m/bin/true" "$T/src/bin/true"
kill -HUP "$keeper"
check "the keeper ignores SIGHUP" cmp "$T/m/lib/1/40" "$T/src/lib/1/40"
umount "$T/m"
check "all ends with the mount" fuse_wait_gone

export NIXSTORE_TEST_DISABLE=fuse-resend
check "mount, as on a kernel without resend" fuse_mount "$T/src" "$T/m"
result=$(storm 15); tap_diag "$(sort <<<"$result" | uniq -c | sort -rn | head -n 5)"
is "nobody hangs" "$(grep -c stuck <<<"$result")" 0
is "no byte is wrong" "$(grep -c wrong <<<"$result")" 0
check "what comes later works" diff -r "$T/m" "$T/src"
# There a server opens clones of its own.
keeper=$(fuse_processes nixstore-keeper)
few=$(prlimit --pid "$keeper" --nofile --noheadings --raw -o SOFT)
if prlimit --pid "$keeper" --nofile=4: 2>"$T/err"; then
  kill -9 $(fuse_processes nixstore-fuse)
  timeout 60 stat -f "$T/m" >/dev/null & waiting=$!
  sleep 2
  is "no room for descriptors: the keeper stays" "$(fuse_processes nixstore-keeper)" "$keeper"
  prlimit --pid "$keeper" --nofile="$few:"
  wait "$waiting"
  is "who asks has waited until there is room" $? 0
  check "what comes later works" diff -r "$T/m" "$T/src"
  prlimit --pid "$keeper" --nofile=4:
  kill -9 $(fuse_processes nixstore-fuse)
  kill -TERM "$keeper" # unmounts, and asks nobody
else
  tap_skip "no room for descriptors" "$(cat "$T/err")"
  umount "$T/m"
fi
check "all ends with the mount" fuse_wait_gone
unset NIXSTORE_TEST_DISABLE

# No room for the keeper, or for its server, where a mount is made: nobody gets one without a server.
if pids_group; then
  for max in 1 2; do
    check_fails "room for $max: no mount" 1 'Resource temporarily unavailable' \
      with_pids $max "$FUSE" --index="$T/src.index" --data="$T/src" --counters="$T/m.count" "$T/m"
    check "nothing is mounted" sh -c "! findmnt '$T/m'"
    check "and nothing is left" fuse_wait_gone
  done
  check "room for a server of one thread: mount" with_pids 3 \
    "$FUSE" --index="$T/src.index" --data="$T/src" --counters="$T/m.count" "$T/m"
  check "it serves" cmp "$T/m/bin/true" "$T/src/bin/true"
  umount "$T/m"
  check "all ends with the mount" fuse_wait_gone
  pids_leave
else
  tap_skip "no room at the start" "no control group can limit processes here"
fi

# The store is gone: errors, no hang.
check "mount" fuse_mount "$T/src" "$T/m"
rm -r "$T/src/lib/1"
kill -9 $(fuse_processes nixstore-fuse)
check "content that is gone is an input/output error" \
  sh -c "! timeout 20 cat '$T/m/lib/1/1' 2>'$T/err' && grep -q 'Input/output' '$T/err'"
check "other content is not" cmp "$T/m/lib/2/2" "$T/src/lib/2/2"
printf xx >>"$T/src/lib/3/3"
echo 2 >/proc/sys/vm/drop_caches
check "nor is content of another size shown" \
  sh -c "! timeout 20 cat '$T/m/lib/3/3' 2>'$T/err' && grep -q 'Input/output' '$T/err'"
umount "$T/m"
check "all ends with the mount" fuse_wait_gone

# An index that was cut off kills whoever reads it.
rm "$T/src.index"
check "mount" fuse_mount "$T/src" "$T/m"
cp "$T/src.index" "$T/whole.index"
truncate -s 4096 "$T/src.index"
timeout 20 find "$T/m" -type f >"$T/found" 2>"$T/err" & finding=$!
sleep 0.5
cat "$T/whole.index" >"$T/src.index"
wait "$finding"
found="$? $(wc -l <"$T/found") $(cat "$T/err")"
if [ "$can_resend" = 1 ]; then
  is "an index that cannot be read for a moment is waited for" "$found" "0 $(find "$T/src" -type f | wc -l) "
else
  tap_skip "an index that cannot be read for a moment is waited for" "this kernel cannot send requests again (6.9)"
fi
umount "$T/m"
check "mount" fuse_mount "$T/src" "$T/m"
truncate -s 4096 "$T/src.index"
sh -c "timeout 20 find '$T/m' -type f" >/dev/null 2>"$T/err"; rc=$?
[ $rc -ne 124 ] && grep -q 'Input/output' "$T/err" && tap_ok "a truncated index is an error, not a hang" ||
  tap_not_ok "a truncated index is an error, not a hang" "$rc $(head -n 3 "$T/err")"
umount "$T/m"
check "all ends with the mount" fuse_wait_gone

# Told to go.
rm "$T/src.index"
check "mount" fuse_mount "$T/src" "$T/m"
exec 8<"$T/m/bin/true"
kill -TERM "$(fuse_processes nixstore-keeper)"
for i in {1..50}; do findmnt "$T/m" >/dev/null || break; sleep 0.1; done
check "SIGTERM to the keeper unmounts" sh -c "! findmnt '$T/m'"
is "who has a file open keeps it" "$(cmp /dev/fd/8 "$T/src/bin/true" && echo same)" same
exec 8<&-
check "and then all ends" fuse_wait_gone
tap_done
