#!/bin/bash
# parallel: yes
# timeout: 900
# Every image of the should-fail corpus is refused with one line and exit status 1, and leaves
# nothing in the store and nothing in the temporary directory.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE"
nix_private
corpus=$("$SRCDIR/test/images/make-image" --should-fail) || tap_bail "no corpus"
cd "$corpus" || tap_bail "no corpus"

left() { { ls -A "$TMPDIR"; ls -A /nix/store | grep -vx .links; } 2>/dev/null; }

# refused NAME WHAT ARGUMENT...: with $memory KiB of address space, where that is set.
refused() {
  local name=$1 what=$2 out rc; shift 2
  out=$(ulimit -v "${memory-unlimited}"; timeout 120 "$NIXSTORE" convert --name x "$@" 2>&1 </dev/null); rc=$?
  if [ $rc = 1 ] && [ "$(wc -l <<<"$out")" = 1 ] && [[ $out == nixstore:\ * ]] && [ -z "$(left)" ]; then
    tap_ok "$name: $what"
  else
    tap_not_ok "$name: $what" "exit status $rc, left: $(left), output:
$out"
    rm -rf "${TMPDIR:?}"/*
    nix-store --delete /nix/store/*-x >/dev/null 2>&1
  fi
}

while IFS=$'\t' read -r name source what; do refused "$name" "$what" "$source"; done <LIST
# What a limit of ours keeps small is not to take the machine's memory where there is none.
while IFS=$'\t' read -r name source what; do
  memory=4194304 refused "$name" "$what" "$source" --max-size 64M
done <LIST.limits
tap_done
