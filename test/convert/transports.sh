#!/bin/bash
# parallel: yes
# timeout: 1200
# However an image is transported and compressed, it is the same path; its name comes from what the
# source calls it; its parts are what they should be.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"

tap_need python3 nix-store
tap_need_file "$NIXSTORE"
nix_private
leak_mark
convert() { "$NIXSTORE" convert "$@"; }

want=$(convert "$(image nasty oci:plain)" --name nasty)
like "oci:plain is converted" "$want" '^/nix/store/[0-9a-z]{32}-nasty$'
for form in oci:gzip oci:zstd oci:mixed oci-archive:gzip oci-archive:zstd oci-index docker-archive; do
  is "$form gives the same path" "$(convert "$(image nasty "$form")" --name nasty)" "$want"
done
nix-store --delete "$want" >/dev/null 2>&1
is "and again in a store without it" "$(convert "$(image nasty)" --name nasty)" "$want"
check "nothing is wrong with it" "$NIXSTORE" verify "$want"

# ---- the parts
is "only these" "$(ls "$want" | tr '\n' ' ')" "config.json image.json ownership.mtree rootfs "
config=$("$SRCDIR/test/images/make-image" nasty config)
check "config.json is the image's, byte for byte" cmp "$want/config.json" "$config"
is "image.json has its digest" \
  "$(sed -n 's/.*"configDigest": "\(.*\)".*/\1/p' "$want/image.json")" \
  "sha256:$(sha256sum <"$want/config.json" | cut -d' ' -f1)"
is "image.json has the manifest's digest" \
  "$(sed -n 's/.*"manifestDigest": "\(.*\)".*/\1/p' "$want/image.json")" \
  "sha256:$(sha256sum <"$want/ownership.mtree" | cut -d' ' -f1)"
is "linked content is there once" "$(find "$want" -type f -links +1 | wc -l)" 0
is "no whiteout is left" "$(find "$want/rootfs" -name '.wh.*' | wc -l)" 0
is "other name, other path" "$(convert "$(image nasty)" --name other | sed 's,.*-,,')" other
is "other platforms are other images" \
  "$(convert "$(image nasty oci-index)" --name nasty --platform linux/arm64 2>&1 | grep -cx "$want")" 0

# ---- other archives of the same
dir=$T/archive
mkdir "$dir"
docker=$(image nasty docker-archive)
gzip -1 <"${docker#docker-archive:}" >"$dir/docker.tar.gz"
is "a docker archive that is compressed as a whole" \
  "$(convert "docker-archive:$dir/docker.tar.gz" --name nasty)" "$want"
# Out of a pipe, compressed or not, under the same limit.
is "a docker archive out of a pipe" \
  "$(cat "${docker#docker-archive:}" | convert docker-archive:/dev/stdin --name nasty)" "$want"
is "compressed, out of a pipe" \
  "$(cat "$dir/docker.tar.gz" | convert docker-archive:/dev/stdin --name nasty)" "$want"
mkfifo "$dir/fifo"
cat "${docker#docker-archive:}" >"$dir/fifo" &
is "out of a FIFO" "$(convert "docker-archive:$dir/fifo" --name nasty)" "$want"
check_fails "a pipe without an end" 1 'more than 1048576 bytes come out of it: --max-size allows more' \
  bash -c "cat /dev/zero | '$NIXSTORE' convert docker-archive:/dev/stdin --max-size 1M"
check_fails "an empty pipe" 1 'nothing came out of it' bash -c ": | '$NIXSTORE' convert docker-archive:/dev/stdin"
check_fails "a device" 1 'neither a regular file nor a pipe' convert docker-archive:/dev/zero
for method in bzip2 xz; do
  if command -v $method >/dev/null; then
    $method -1 <"${docker#docker-archive:}" >"$dir/docker.tar.$method"
    check_fails "an archive that is compressed by $method" 1 "compressed with bzip2 or xz, which" \
      convert "docker-archive:$dir/docker.tar.$method"
  else
    tap_skip "an archive that is compressed by $method" "it is not installed"
  fi
done
oci=$(image nasty oci)
oci=${oci#oci:}
tar -C "${oci%:latest}" -cf "$dir/gnu.tar" .
is "an oci archive by GNU tar, names with ./" "$(convert "oci-archive:$dir/gnu.tar" --name nasty)" "$want"

# The variant that comes first in an index may want more than the CPU has; its blob is missing here.
cp -r "${oci%:latest}" "$dir/variants"
python3 - "$dir/variants/index.json" <<'END'
import json, sys
with open(sys.argv[1]) as f:
    index = json.load(f)
index["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
index["manifests"].insert(0, dict(
    index["manifests"][0], digest="sha256:" + "4" * 64,
    platform={"os": "linux", "architecture": "amd64", "variant": "v4"}))
with open(sys.argv[1], "w") as f:
    json.dump(index, f)
END
is "an image without a variant is for every CPU" \
  "$(convert "oci:$dir/variants" --name nasty --platform linux/amd64)" "$want"
check_fails "a variant that is asked for" 1 "4444" \
  convert "oci:$dir/variants" --name nasty --platform linux/amd64/v4

# dir: holds the same blobs without a layout.
python3 - "${oci%:latest}" "$dir/dir" <<'END'
import json, os, shutil, sys
src, dest = sys.argv[1:]
os.mkdir(dest)
for f in os.listdir(src + "/blobs/sha256"):
    shutil.copy(src + "/blobs/sha256/" + f, dest)
with open(src + "/index.json") as f:
    digest = json.load(f)["manifests"][0]["digest"].split(":")[1]
os.rename(dest + "/" + digest, dest + "/manifest.json")
END
is "dir:" "$(convert "dir:$dir/dir" --name nasty)" "$want"

# Some builders get the history wrong, and stock Podman does not mind.
"$SRCDIR/test/images/make-image" --layers empty | python3 -c '
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import ociimage
layers = sys.stdin.read().split()
ociimage.Image("x", layers, history=["one"]).write(sys.argv[2] + "/few", "oci", "gzip")
ociimage.Image("x", layers, history=["one"] * 9).write(sys.argv[2] + "/many", "oci", "gzip")
' "$SRCDIR/test/images" "$dir"
check "a history of fewer layers than there are" convert "oci:$dir/few" --name few
check "a history of more" convert "oci:$dir/many" --name many

# ---- names
name_of() { convert "$@" | sed -E 's,/nix/store/.{32}-,,'; }
small=$(image empty oci)
is "the reference names it" "$(name_of "$small")" latest
is "dir: names nothing" "$(name_of "dir:$dir/dir")" image
cp -r "${small%:latest}" "$dir/named" 2>/dev/null || cp -r "$(p=${small#oci:}; echo "${p%:latest}")" "$dir/named"
rename() { sed -i "s|\"org.opencontainers.image.ref.name\": *\"[^\"]*\"|\"org.opencontainers.image.ref.name\":\"$1\"|" "$dir/named/index.json"; }
while read -r reference name; do
  rename "$reference"
  is "$reference gives $name" "$(name_of "oci:$dir/named")" "$name"
done <<'END'
docker.io/library/nginx:1.27 nginx-1.27
localhost/a_b.c:latest a_b.c-latest
registry.example:5000/x/y@sha256:0123 y
1.27 1.27
END
rename .hidden
is "a name that the store cannot have" "$(name_of "oci:$dir/named")" image
check_fails "a reference that is not there" 1 'no image called .nosuch' convert "oci:$dir/named:nosuch"

# ---- a root
mkdir "$T/roots"
cd "$T/roots" || tap_bail "there is no $T/roots"
rooted=$(convert "$small" --name rooted --add-root here)
is "--add-root makes a link" "$(readlink "$T/roots/here")" "$rooted"
unrooted=$(convert "$small" --name unrooted)
nix-store --gc >/dev/null 2>&1
check "which keeps the path" test -e "$rooted" -a ! -e "$unrooted"
rooted2=$(convert "$small" --name rooted-2 --add-root "$T/roots/here")
is "a link is replaced" "$(readlink "$T/roots/here")" "$rooted2"
rm "$T/roots/here"
nix-store --gc >/dev/null 2>&1
check "without it the path goes" test ! -e "$rooted2"
: >"$T/roots/file"
check_fails "a file is not, which is found first" 1 'it exists and is no symlink' convert oci-archive:/nosuch --add-root "$T/roots/file"
check_fails "a directory that is missing" 1 'make the GC root /nosuch/link: No such file' convert oci-archive:/nosuch --add-root /nosuch/link
cd /
want=$(convert "$(image nasty oci:plain)" --name nasty)

# ---- output
json=$(convert --json "$small" --name x)
is "--json: storePath" "$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["storePath"])' "$json")" \
  "$(convert "$small" --name x)"
is "--json: imageId" "$(python3 -c 'import json,sys; print(json.loads(sys.argv[1])["imageId"])' "$json")" \
  "sha256:$(sha256sum <"$("$SRCDIR/test/images/make-image" empty config)" | cut -d' ' -f1)"
is "nothing on standard error" "$(convert "$small" --name x 2>&1 >/dev/null)" ""
check_fails "a bad name" 2 "no name for the Nix store" convert "$small" --name 'a b'
check_fails "a bad size" 2 "no number of bytes" convert "$small" --max-size 1X
check_fails "a source without a transport" 2 "names no source" convert /nosuch.tar
check_fails "an unknown transport" 2 "names no source" convert frob:/nosuch
check_fails "a bad platform" 2 "no platform" convert "$small" --platform linux
check_fails "another platform than the image's" 1 "it (is|has no image) for" \
  convert "$small" --platform plan9/amd64
assert_nothing_left "nothing is left"
tap_done
