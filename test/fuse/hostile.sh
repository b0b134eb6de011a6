#!/bin/bash
# parallel: yes
# timeout: 900
# Broken indexes, as the corpus of the index reader has them: refused, or served with errors, by a
# server that lives on. Built with --enable-sanitizers, this looks for reads beyond the index, too.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
# shellcheck source=lib.sh
. "$SRCDIR/test/fuse/lib.sh"
fuse_need
tap_need_file "$BUILDDIR/test/fuzz/make-should-fail"

mkdir -p "$T/corpus" "$T/m" "$T/src/dir"
"$BUILDDIR/test/fuzz/make-should-fail" "$T/corpus" >/dev/null 2>"$T/err" || tap_bail "corpus: $(cat "$T/err")"
echo content >"$T/src/dir/file"

# Looks at everything, through every request that there is; what comes of it does not matter.
cat >"$T/look.py" <<'PY'
import os, sys
left = 2000
def look(path, depth):
    global left
    for call in (os.lstat, os.listxattr, os.readlink, os.statvfs,
                 lambda p: os.getxattr(p, "user.x"), lambda p: os.getxattr(p, "system.posix_acl_access"),
                 lambda p: os.lstat(p + "/no-such-name")):
        try: call(path)
        except (OSError, ValueError): pass
    try:
        if os.path.isfile(path):
            with open(path, "rb") as f:
                f.read(100000), f.seek(0, os.SEEK_DATA)
    except (OSError, ValueError): pass
    try: names = os.listdir(path) if os.path.isdir(path) and not os.path.islink(path) else []
    except OSError: names = []
    for name in names:
        left -= 1
        if left > 0 and depth < 20: look(os.path.join(path, name), depth + 1)
look(sys.argv[1], 0)
PY

# The one server that there is, once the last one has left and the new one has its name.
server() {
  local i
  for i in {1..100}; do
    [ "$(fuse_processes nixstore-fuse 2>/dev/null | wc -l) $(fuse_processes nixstore-keeper 2>/dev/null | wc -l)" != "1 1" ] || break
    sleep 0.05
  done
  fuse_processes nixstore-fuse
}

served=0 refused=0
for index in "$T"/corpus/*; do
  name=${index##*/}
  [ -f "$index" ] || continue
  if ! timeout 20 "$FUSE" --index="$index" --data="$T/src" "$T/m" 2>"$T/err"; then
    refused=$((refused + 1))
    grep -q '^nixstore-fuse: .' "$T/err" || { tap_not_ok "$name is refused with a reason" "$(head -n 5 "$T/err")"; }
    continue
  fi
  served=$((served + 1))
  before=$(server)
  timeout 60 python3 "$T/look.py" "$T/m" 2>"$T/err" || tap_not_ok "$name can be looked at" "$(tail -n 3 "$T/err")"
  [ "$(server)" = "$before" ] || tap_not_ok "the server of $name lives on"
  umount "$T/m"
done
tap_diag "$served served, $refused refused"
[ $served -gt 0 ] && [ $refused -gt 0 ] && tap_ok "broken indexes are refused, or served with errors" ||
  tap_not_ok "broken indexes are refused, or served with errors"
check "no server is left" fuse_wait_gone
tap_done
