#!/bin/bash
# parallel: yes
# timeout: 900
# An image built upon a Nix-backed one: its lowest layer holds no files but stands for a path of the
# store, upon which the others are applied.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$TESTLIB/handmade.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE"
nix_private
mkdir "$T/cache" "$T/plain"
export NIXSTORE_CACHE=$T/cache
ln -s "$(command -v nix-store)" "$T/plain/nix-store"
leak_mark
convert() { "$NIXSTORE" convert "$@"; }

# reference PATH FILE [HASH]: the reference layer of PATH.
reference() {
  python3 - "$SRCDIR/test/images" "$1" "$2" "${3:-$(nix-store -q --hash "$1")}" \
    "sha256:$(sha256sum <"$1/ownership.mtree" | cut -d' ' -f1)" <<'END'
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from tarraw import TarWriter
path, out, nar, manifest = sys.argv[2:]
with open(out, "wb") as f:
    t = TarWriter(f)
    t.add(".nixstore", "dir", mtime=0)
    t.add(".nixstore/reference.json", mtime=0, mode=0o444, data=json.dumps(
        {"version": 1, "storePath": path, "narHash": nar, "manifestDigest": manifest}).encode())
    t.end()
END
}
# build DIR LAYER...: an image of these layers.
build() {
  python3 - "$SRCDIR/test/images" "$@" <<'END'
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import ociimage
ociimage.Image("built", sys.argv[3:]).write(sys.argv[2], "oci", "gzip")
END
}
same_tree() {
  check "$1: the same manifest" cmp "$2/ownership.mtree" "$3/ownership.mtree"
  check "$1: the same files" diff -r --no-dereference "$2/rootfs" "$3/rootfs"
}

# ---- built in two halves it is what it is built at once
for name in nasty many-layers; do
  mapfile -t layers < <("$SRCDIR/test/images/make-image" --layers $name)
  whole=$(convert "$(image $name)" --name whole)
  half=$((${#layers[@]} / 2)); [ $half -gt 0 ] || half=1
  build "$T/$name-base" "${layers[@]:0:half}"
  base=$(convert "oci:$T/$name-base" --name base)
  reference "$base" "$T/$name.tar"
  build "$T/$name-built" "$T/$name.tar" "${layers[@]:half}"
  check "$name, $half of ${#layers[@]} layers in the base" convert -q "oci:$T/$name-built" --name built
  built=$OUT
  same_tree "$name" "$built" "$whole"
  check "$name: verify" "$NIXSTORE" verify "$built"
  is "$name: its config is its own" "sha256:$(sha256sum <"$built/config.json" | cut -d ' ' -f 1)" \
    "$(convert --json "oci:$T/$name-built" --name built | python3 -c 'import json,sys; print(json.load(sys.stdin)["imageId"])')"
  nix-store --delete "$built" >/dev/null 2>&1
  is "$name: the same where Nix gets a directory" \
    "$(NIXSTORE_NIX_STORE=$T/plain/nix-store convert -q "oci:$T/$name-built" --name built)" "$built"
done

# ---- the base's own files: linked, moved under other names, hidden
mkdir "$T/hello"
handmade_stage "$T/hello"
P=$(handmade_add "$T/hello")
reference "$P" "$T/reference.tar"
python3 - "$SRCDIR/test/images" "$T" <<'END'
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from tarraw import TarWriter
def layer(name, entries):
    with open(sys.argv[2] + "/" + name, "wb") as f:
        t = TarWriter(f)
        for args, options in entries:
            t.add(*args, mtime=0, **options)
        t.end()
layer("links.tar", [(("etc/shadow2", "hardlink"), {"link": "etc/shadow", "gid": 42, "mode": 0o600}),
                    (("bin/.wh.hello",), {}), (("etc/.wh.link",), {}), (("new",), {"data": b"new\n"})])
layer("opaque.tar", [(("etc/.wh..wh..opq",), {}), (("etc/only",), {"data": b"only\n"})])
layer("broken.tar", [((".nixstore/reference.json",), {"data": b'{"version": 1}'})])
layer("link.tar", [(("x",), {"data": b'{"version": 1}'}), ((".nixstore/reference.json", "symlink"), {"link": "../x"})])
layer("large.tar", [((".nixstore/reference.json",), {"data": b" " * 65537})])
END
build "$T/links" "$T/reference.tar" "$T/links.tar"
check "links to files of the base" convert -q "oci:$T/links" --name links
is "their content is there once, under the first name" "$(cd "$OUT/rootfs" && find . -type f | sort | paste -sd ' '; cat "$OUT/rootfs/bin/hello2" "$OUT/rootfs/etc/shadow" "$OUT/rootfs/new")" \
  "./bin/hello2 ./etc/shadow ./new
#!/bin/sh
echo hello
root:*:19000:
new"
like "what the layer says of a link holds for the file" "$(grep '^./etc/shadow ' "$OUT/ownership.mtree")" 'gid=42 mode=0600 .*xattr.user.note=aGk='
like "the base's devices are there" "$(cat "$OUT/ownership.mtree")" '^./dev/null type=char'
build "$T/opaque" "$T/reference.tar" "$T/links.tar" "$T/opaque.tar"
check "an opaque directory over the base" convert -q "oci:$T/opaque" --name opaque
is "hides what is in the base" "$(ls "$OUT/rootfs/etc" "$OUT/rootfs/bin" | paste -sd ' ')" "$OUT/rootfs/bin: hello2  $OUT/rootfs/etc: only"

# ---- a reference alone, with a config of its own
build "$T/alone" "$T/reference.tar"
check "a reference and no more" convert -q "oci:$T/alone" --name alone
is "gives the same files" "$(diff -r --no-dereference "$OUT/rootfs" "$P/rootfs" 2>&1)" ""
is "and lines of the manifest" "$(grep '^\.' "$OUT/ownership.mtree")" "$(grep '^\.' "$P/ownership.mtree")"

# ---- what cannot be followed
reference "$P" "$T/liar.tar" sha256:0000000000000000000000000000000000000000000000000000
build "$T/liar" "$T/liar.tar" "$T/links.tar"
check_fails "another hash than the store's" 1 "not trusted: the image says that $P has" convert "oci:$T/liar" --name never
build "$T/broken" "$T/broken.tar" "$T/links.tar"
check_fails "a reference that is broken" 1 "reference: .storePath. is missing" convert "oci:$T/broken" --name never
build "$T/upside" "$T/opaque.tar" "$T/reference.tar"
check_fails "a reference above others" 1 "layer 2 of 2 refers to a path of the Nix store" convert "oci:$T/upside" --name never
for n in link large; do
  build "$T/$n" "$T/$n.tar" "$T/opaque.tar"
  check "no reference, but an ordinary file: $n" convert -q "oci:$T/$n" --name ordinary
  check "stays: $n" test -e "$OUT/rootfs/.nixstore/reference.json" -o -L "$OUT/rootfs/.nixstore/reference.json"
done
nix-store --delete "$P" >/dev/null 2>&1
check_fails "a path that is not there" 1 "$P is not in the Nix store; get it back with .nix copy" convert "oci:$T/links" --name never
check "none of them left a path" bash -c '! ls -d /nix/store/*-never 2>/dev/null'
assert_nothing_left "nothing is left"
tap_done
