#!/bin/bash
# parallel: yes
# The tar reader against Go's archive/tar, by which stock Podman reads layers,
# over mutated archives: what both accept is the same, and we refuse more only
# for the reasons that doc/ARCHITECTURE.md gives.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"

tap_need go
mutants=$BUILDDIR/test/fuzz/tar-mutants
tap_need_file "$mutants"
export NIXSTORE_TAR_MUTANTS=$T/mutants GOCACHE=$T/go-cache GO111MODULE=off HOME=$T

check "the judge is built" go build -o "$T/judge" "$SRCDIR/test/fuzz/tar-judge.go" || tap_done
check "mutants are made" env NIXSTORE_FUZZ_RUNS="${NIXSTORE_FUZZ_RUNS:-20000}" "$mutants" || tap_done
verdicts=$("$T/judge" "$T/mutants")
count() { local n; n=$(sed -n "s/^$1: \([0-9]*\)$/\1/p" <<<"$verdicts"); echo "${n:-0}"; }
is "none is read as something else" "$(grep differ <<<"$verdicts")" ""
is "none is refused without a known reason" "$(grep '^\(tar .*: \)\?refused:' <<<"$verdicts")" ""
check "thousands are read the same" [ "$(count "the same")" -gt 2000 ]
check "thousands are refused by both" [ "$(count "both refuse")" -gt 2000 ]
tap_diag "$verdicts"
tap_done
