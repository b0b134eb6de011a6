#!/bin/bash
# parallel: yes
# timeout: 1200
# nixstore export: an ordinary image again, which stock Podman shows as it shows the original.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"
. "$TESTLIB/stock.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE" "$LISTING"
nix_private
podman_setup
mkdir "$T/hello" "$T/out"
handmade_stage "$T/hello"
P=$(handmade_add "$T/hello")
cd "$T/out"
leak_mark

export_to() { "$NIXSTORE" export "$P" "$@"; }
check "an oci-archive" export_to oci-archive:a.tar
check "an oci directory" export_to oci:dir
check "a docker-archive" export_to docker-archive:d.tar
is "what is there" "$(ls)" "$(printf '%s\n' a.tar d.tar dir)"
check "the same again" export_to oci-archive:b.tar
check "gives the same bytes" cmp a.tar b.tar
# Names, too, do not hang on the locale.
check "in another locale" env LC_ALL=C "$NIXSTORE" export "$P" oci-archive:b.tar
check "gives the same bytes there" cmp a.tar b.tar
check "to standard output" bash -c "'$NIXSTORE' export '$P' oci-archive:- >b.tar"
check "gives the same bytes there too" cmp a.tar b.tar
check "zstd" export_to oci-archive:z.tar --compress zstd
check "no compression" export_to oci-archive:n.tar --compress=none
touch -d @1 a.tar
check "an archive that is there is replaced" export_to oci-archive:a.tar
check "by a new one" cmp a.tar b.tar
mkdir links empty links/empty
echo old >links/target
ln -s target links/one; ln -s one links/two; ln -s nowhere links/dangling; ln -s empty links/dir
check "through symlinks" export_to oci-archive:links/two
is "which stay, and what they lead to is replaced" \
  "$(readlink links/two links/one | paste -sd ' '), $(cmp links/target a.tar && echo same)" "one target, same"
check "through a symlink to an empty directory" export_to oci:links/dir
check "which is used" test -L links/dir -a -e links/empty/index.json
check_fails "a symlink to nothing" 1 'follow the symlink links/dangling: No such file' export_to oci-archive:links/dangling
is "and nothing else is there" "$(ls links | paste -sd ' ')" "dangling dir empty one target two"
rm -r links
mkdir -m 777 "$T/nobody"
check "without any privilege" setpriv --reuid 65534 --regid 65534 --clear-groups \
  env HOME="$T/nobody" "$NIXSTORE" export "$P" "oci-archive:$T/nobody/a.tar"
check "gives the same bytes as well" cmp a.tar "$T/nobody/a.tar"
check "an empty directory is used" export_to oci:empty:team/name:1
check "a directory with a slash behind, which is made" export_to oci:slash//
is "and is what it is without" "$(diff -r slash dir 2>&1; ls)" "$(ls)"
is "all of it is in it" "$(ls -A slash | paste -sd ' ')" "blobs index.json oci-layout"
rm -r slash; mkdir -m 750 slash
check "the same where it is there" export_to oci:slash/
is "it stays what it was" "$(stat -c %a slash; diff -r slash dir; ls -A slash | paste -sd ' ')" "750
blobs index.json oci-layout"
rm -r slash; mkdir -p slash/nixstore-scratch-abcdef/blobs
check "a directory with what a killed process left" export_to oci:slash
is "which is gone" "$(ls -A slash | paste -sd ' ')" "blobs index.json oci-layout"
rm -r slash; mkdir slash
check "the working directory" bash -c "cd slash && '$NIXSTORE' export '$P' oci:. && test -e index.json"
check_fails "which is not empty any more" 1 'write .: it exists and is not an empty' bash -c "cd slash && '$NIXSTORE' export '$P' oci:."
rm -r slash; mkdir slash
mount -t tmpfs none slash
check "a mount point" export_to oci:slash
is "and all of it is there" "$(diff -r slash dir; ls -A slash | paste -sd ' ')" "blobs index.json oci-layout"
umount slash
mount -t tmpfs -o size=8k none slash
check_fails "one that is full" 1 'No space left' export_to oci:slash
is "is left empty" "$(ls -A slash)" ""
umount slash; rmdir slash

# skopeo is the judge of the layouts, by what it says of them.
skopeo_says() { skopeo inspect --config "$1" | python3 -c '
import json, sys
c = json.load(sys.stdin)
print(len(c["rootfs"]["diff_ids"]), c["config"]["Entrypoint"], c["config"]["User"], c["created"],
      [h.get("empty_layer", False) for h in c["history"]])'; }
if command -v skopeo >/dev/null; then
  said="1 ['/bin/hello'] 1000:1000 2020-09-13T12:26:40Z [True, True, False]"
  for source in oci-archive:a.tar oci:dir oci:empty:localhost/team/name:1 oci-archive:z.tar oci-archive:n.tar docker-archive:d.tar; do
    is "skopeo reads $source" "$(skopeo_says "$source")" "$said"
  done
  check "through skopeo to another transport" export_to dir:skopeo-dir
  is "skopeo reads that" "$(skopeo_says dir:skopeo-dir)" "$said"
  check_fails "a name that skopeo would not get" 2 'DEST itself names the image' export_to dir:named --name a
  check_fails "skopeo fails" 1 'skopeo copy: .*127.0.0.1:1' export_to docker://127.0.0.1:1/a
else
  tap_skip "the layouts" "skopeo is not installed"
fi
layer=$(tar -xOf d.tar manifest.json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["Layers"][0])')
is "the layer's names and attributes" "$(tar -xOf d.tar "$layer" | tar tvf - --utc --full-time --numeric-owner | sed 's/  */ /g')" \
  "drwxr-xr-x 0/0 0 2020-09-13 12:26:40 ./
drwxr-xr-x 0/0 0 2020-09-13 12:26:40 bin/
-rwsr-xr-x 0/0 21 2020-09-13 12:26:40 bin/hello
hrwsr-xr-x 0/0 0 2020-09-13 12:26:40 bin/hello2 link to bin/hello
drwxr-xr-x 0/0 0 2020-09-13 12:26:40 dev/
crw-rw-rw- 0/0 1,3 2020-09-13 12:26:40 dev/null
drwxr-xr-x 0/0 0 2020-09-13 12:26:40 etc/
lrwxrwxrwx 0/0 0 2020-09-13 12:26:40 etc/link -> shadow
-rw-r----- 0/42 14 2020-09-13 12:26:40 etc/shadow"

check_fails "no transport" 2 'is no destination' export_to out.tar
check_fails "an unknown transport" 2 'is no destination' export_to frob:out.tar
check_fails "no file" 2 'names no file' export_to oci-archive:
check_fails "a directory to standard output" 2 'cannot go to standard output' export_to oci:-
check_fails "an unknown compression" 2 'unknown compression' export_to oci-archive:x --compress lzma
check_fails "compression in a docker-archive" 2 'not compressed' export_to docker-archive:x --compress gzip
check_fails "a name that cannot be" 2 'no name for an image' export_to oci-archive:x:UPPER
check_fails "a directory that is missing" 1 'write /nosuch/x: No such file' export_to oci-archive:/nosuch/x
check_fails "a directory that is full" 1 'not an empty directory' export_to oci:dir
check_fails "a device" 1 'no regular file' export_to oci-archive:/dev/full
check_fails "standard output full" 1 'write standard output: No space' \
  bash -c "sh -c \"'$NIXSTORE' export '$P' oci-archive:- 2>&3 >/dev/full\" 3>&2"
# The other end of the pipe is closed before anything is written.
# The other end of the pipe is closed before anything is written.
is "a pipe that nobody reads ends it without a word" \
  "$(bash -c 'exec 5> >(:); wait $!; exec "$0" export "$1" oci-archive:- >&5' "$NIXSTORE" "$P" 2>&1; echo $?)" 141
is "and leaves nothing" "$(ls -A "$TMPDIR")" ""
check_fails "no image path" 1 'is not in the Nix store' "$NIXSTORE" export /etc oci-archive:x
mkdir small
mount -t tmpfs -o size=8k none small
check_fails "no room" 1 'write small/x: No space left' export_to oci-archive:small/x --compress none
is "nothing is left there" "$(ls small)" ""
umount small
assert_nothing_left "nothing is left"
is "nothing but what was asked for" "$(ls)" \
  "$(printf '%s\n' a.tar b.tar d.tar dir empty n.tar skopeo-dir small z.tar | if command -v skopeo >/dev/null; then cat; else grep -v skopeo; fi)"

# Interrupted: a large file into a pipe that nobody reads would take for ever.
mkdir "$T/large"; handmade_stage "$T/large"
truncate -s 300M "$T/large/rootfs/large"
chmod 444 "$T/large/rootfs/large"
echo ./large >>"$T/large/ownership.mtree"
handmade_seal "$T/large"
LARGE=$(handmade_add "$T/large")
for signal in TERM HUP; do
  "$NIXSTORE" export "$LARGE" oci-archive:large.tar 2>/dev/null &
  pid=$!
  for _ in {1..100}; do [ -z "$(find . -name 'large.tar.*' -size +0)" ] || break; sleep 0.02; done
  check "SIG$signal: it was at work" test -n "$(find . -name 'large.tar.*')"
  kill -"$signal" $pid
  wait $pid 2>/dev/null; rc=$?
  check "SIG$signal ends it" test $rc -gt 128
  is "SIG$signal: nothing is left" "$(find . -name 'large*')" ""
done
# On a terminal there is a bar, which goes away again.
on_terminal() { TERM=xterm script -qec "$*" /dev/null </dev/null >"$T/terminal"; }
to_terminal="$NIXSTORE export $LARGE oci-archive:large.tar --compress none"
check "on a terminal: it succeeds" on_terminal "$to_terminal"
check "on a terminal: a bar that moves" test "$(grep -o 'exporting \[' "$T/terminal" | wc -l)" -gt 1
is "on a terminal: which is taken away" "$(tail -c 4 "$T/terminal")" "$(printf '\r\033[K')"
check "on a terminal, --quiet" on_terminal "$to_terminal --quiet"
is "on a terminal, --quiet: nothing is shown" "$(cat "$T/terminal")" ""
check "verify on a terminal: it succeeds" on_terminal "$NIXSTORE verify $LARGE"
check "verify on a terminal: a bar" \
  test "$(grep -oE 'verifying \[[#.]*\] +[0-9]+%' "$T/terminal" | sort -u | wc -l)" -ge 1
like "verify on a terminal: which is taken away" "$(tail -n 1 "$T/terminal")" ": ok"
# Converted again: the archive is decompressed, its layer applied, the tree added.
gzip -1 large.tar
check "convert on a terminal: it succeeds" on_terminal "$NIXSTORE convert oci-archive:large.tar.gz --name x"
for what in 'reading the archive' 'applying layers' 'adding to the Nix store'; do
  check "convert on a terminal: $what, a bar that moves" \
    test "$(grep -oE "$what \[[#.]*\] +[0-9]+%" "$T/terminal" | sort -u | wc -l)" -gt 1
done
is "convert on a terminal: the last is taken away" "$(tail -n 1 "$T/terminal" | grep -c $'\r\033\[K/nix/store')" 1
check "out of a pipe" on_terminal "cat large.tar.gz | $NIXSTORE convert oci-archive:/dev/stdin --name x"
check "out of a pipe: at least what came" grep -qE 'reading the archive [0-9]' "$T/terminal"
check "convert on a terminal, --quiet" on_terminal "$NIXSTORE convert --quiet oci-archive:large.tar.gz --name x"
is "convert on a terminal, --quiet: nothing is shown" "$(grep -c '\[' "$T/terminal")" 0
rm large.tar.gz
nix-store --delete "$LARGE" >/dev/null 2>&1

# Fidelity: stock Podman's overlay driver lists the exported image (one layer, nothing copied) as the
# drivers list the original; `/` aside, which overlay never takes from a layer.
without_top() { "$@" && sed -i '/^\/ /d' "${!#}"; }
judge() {
  local name=$1 compress=$2 source dir=$T/l/$1 path
  mkdir -p "$dir"
  source=$(image "$name") || { tap_not_ok "$name: the image can be made"; return; }
  path=$("$NIXSTORE" convert -q "$source" --name "$name" 2>"$dir/err") ||
    { tap_not_ok "$name: convert" "$(cat "$dir/err")"; return; }
  check "$name: verify" "$NIXSTORE" verify "$path"
  check "$name: export" "$NIXSTORE" export "$path" "oci-archive:$dir/x.tar" --compress "$compress" || return
  without_top stock_listing_kept vfs "$source" "$dir/vfs" || { tap_not_ok "$name: stock vfs" "$(cat "$dir/vfs.err")"; return; }
  without_top stock_listing_kept overlay "$source" "$dir/overlay" || rm -f "$dir/overlay"
  check "$name: stock Podman loads the export" without_top stock_listing overlay "oci-archive:$dir/x.tar" "$dir/got"
  check "$name: and shows what it shows of the original" \
    "$TESTLIB/compare-listings" --start "$(cat "$dir/vfs.start")" "$dir/vfs" "$dir/overlay" "$dir/got"
  check "$name: convert of the export" bash -c \
    "'$NIXSTORE' convert -q 'oci-archive:$dir/x.tar' --name '$name' >'$dir/again'"
  check "$name: gives the same tree" cmp "$path/ownership.mtree" "$(cat "$dir/again")/ownership.mtree"
  check "$name: and files" diff -r --no-dereference "$path/rootfs" "$(cat "$dir/again")/rootfs"
  rm -rf "$dir"
}
compress=gzip
for name in ${EXPORT_IMAGES:-nasty nasty-links nasty-trusted many-layers}; do
  judge "$name" $compress
  if [ $compress = gzip ]; then compress=zstd; else compress=gzip; fi
done
cd /
tap_done
