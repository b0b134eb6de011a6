#!/bin/bash
# parallel: yes
# nixstore verify: every difference is found, each is said, none is made up.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE"
nix_private
mkdir "$T/hello"
handmade_stage "$T/hello"
P=$(handmade_add "$T/hello")

is "a good path" "$("$NIXSTORE" verify "$P")" "$P: ok"
is "as JSON" "$("$NIXSTORE" verify --json "$P" | python3 -c 'import json, sys; print(json.load(sys.stdin))')" \
  "[{'argument': '$P', 'storePath': '$P', 'ok': True, 'problems': []}]"
is "what names no path is a problem, and no reason to leave the others" "$("$NIXSTORE" verify "$P" /nosuch "$P" 2>"$T/stderr"; echo $?)" \
  "$P: ok
/nosuch: /nosuch is not in the Nix store /nix/store
$P: ok
1"
is "and counts" "$(cat "$T/stderr")" "nixstore: 1 of 3 image paths are not as recorded"
is "as JSON, too" "$("$NIXSTORE" verify --json "$P" /nosuch "$P" 2>"$T/stderr" | python3 -c 'import json, sys; print([(i["argument"], i["storePath"], i["ok"], len(i["problems"])) for i in json.load(sys.stdin)])')" \
  "[('$P', '$P', True, 0), ('/nosuch', None, False, 1), ('$P', '$P', True, 0)]"
check_fails "the only argument" 1 '^nixstore: /nosuch is not in the Nix store' "$NIXSTORE" verify /nosuch

# spoil COMMAND: a fresh path whose files COMMAND, run in it, changes behind the store's back;
# $BAD is the path, $SAID what verify prints, without the path and what the store says.
spoil() {
  rm -rf "$T/spoilt"; mkdir "$T/spoilt"
  handmade_stage "$T/spoilt"
  echo "$1" >"$T/spoilt/unique"
  BAD=$(handmade_add "$T/spoilt")
  (cd "$BAD" && chmod u+w . rootfs rootfs/etc rootfs/bin && eval "$1" && chmod 555 . rootfs rootfs/etc rootfs/bin)
  SAID=$("$NIXSTORE" verify "$BAD" 2>"$T/stderr"); RC=$?
  SAID=${SAID//"$BAD: "/}
}
# found DESCRIPTION PROBLEMS: one line each, sorted.
found() {
  is "$1: exit status" "$RC" 1
  is "$1: one line on stderr" "$(cat "$T/stderr")" "nixstore: 1 of 1 image path is not as recorded"
  is "$1: the problems" "$(grep -v 'nix-store: path .* was modified' <<<"$SAID" | sort)" "$2"
}
spoil 'chmod u+w rootfs/etc/shadow; echo x >>rootfs/etc/shadow; chmod 444 rootfs/etc/shadow'
found "changed content" ""
like "changed content: the store's word" "$SAID" 'was modified! expected hash'
check_fails "also where the caller ignores SIGCHLD" 1 "not as recorded" \
  env --ignore-signal=CHLD "$NIXSTORE" verify "$BAD"
spoil 'rm rootfs/etc/shadow'
found "a missing file" "rootfs/etc/shadow: missing, the manifest has it"
spoil 'echo x >rootfs/etc/new; mkdir rootfs/etc/newdir; chmod 444 rootfs/etc/new; chmod 555 rootfs/etc/newdir'
found "what is too much" "rootfs/etc/new: not in the manifest
rootfs/etc/newdir: not in the manifest"
spoil 'rm rootfs/etc/shadow; mkdir rootfs/etc/shadow; rm rootfs/etc/link; ln rootfs/bin/hello rootfs/etc/link; chmod -R 555 rootfs/etc/shadow'
found "other types" "rootfs/etc/link: a regular file, but the manifest has a symlink
rootfs/etc/shadow: a directory, but the manifest has a regular file"
spoil 'chmod 4755 rootfs/bin/hello'
found "a mode" "rootfs/bin/hello: mode 4755, which no file of the store has"
spoil 'ln rootfs/bin/hello rootfs/bin/hello2'
found "a further name of a hard link" \
  "rootfs/bin/hello2: must not be there: the manifest has a special file or a further name of a hard link"
spoil 'rm rootfs/bin/hello; rm -rf rootfs/bin; ln -s /etc rootfs/bin; mkdir x; mv x "rootfs/new
line"; mkdir rootfs/bin 2>/dev/null; true'
RC_SYMLINK=$RC
is "a symlink for a directory: exit status" "$RC_SYMLINK" 1
like "a symlink for a directory: is said" "$SAID" 'rootfs/bin: a symlink, but the manifest has a directory'
like "a name with a newline stays on its line" "$SAID" '^rootfs/new\\x0aline: not in the manifest$'
check "and /etc is not looked at" test -z "$(grep passwd <<<"$SAID")"
spoil 'chmod u+w ownership.mtree; echo "#" >>ownership.mtree; chmod 444 ownership.mtree'
found "another manifest" \
  "$BAD/ownership.mtree has the digest sha256:$(sha256sum <"$BAD/ownership.mtree" | cut -d' ' -f1), not sha256:$(sha256sum <"$P/ownership.mtree" | cut -d' ' -f1), as image.json says"
spoil 'chmod u+w config.json; echo >>config.json; chmod 444 config.json; rm rootfs/etc/shadow'
is "two parts at once" "$(grep -c -e 'config.json has the digest' -e 'rootfs/etc/shadow: missing' <<<"$SAID")" 2
spoil 'rm image.json'
like "no image.json" "$SAID" 'no image path: it has no image.json'

nix-store --optimise >/dev/null 2>&1
check "hard links of the store's optimiser are no problem" "$NIXSTORE" verify "$P"
GONE=/nix/store/00000000000000000000000000000000-a
OUT=$("$NIXSTORE" verify "$P" "$GONE" "$BAD" 2>"$T/stderr"); RC=$?
is "several paths: exit status" "$RC" 1
is "several paths: one line on stderr" "$(cat "$T/stderr")" "nixstore: 2 of 3 image paths are not as recorded"
like "several paths: the good one" "$OUT" "^$P: ok$"
like "several paths: the one that is gone" "$OUT" "^$GONE: the Nix store does not have $GONE: fetch it"
is "as JSON" "$("$NIXSTORE" verify --json "$P" "$GONE" "$BAD" 2>/dev/null |
  python3 -c 'import json, sys; print([(x["ok"], bool(x["problems"])) for x in json.load(sys.stdin)])')" \
  "[(True, False), (False, True), (False, True)]"
check_fails "not in the store" 1 'is not in the Nix store' "$NIXSTORE" verify /etc
tap_done
