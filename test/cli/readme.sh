#!/bin/bash
# parallel: yes
# Every example in the README: the blocks marked `sh` are run in order, line by line, as root types
# them after `make install` and `contrib/podman/build`.
# timeout: 900
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$SRCDIR/test/lib/env.sh"
tap_need podman make
nix_private
podman_setup
need_podman_nixstore

# Installed where a user installs: over this namespace's /usr/local alone.
make -s -C "$BUILDDIR" install DESTDIR="$T/inst" >"$T/install.log" 2>&1 ||
  tap_bail "make install: $(tail -n 3 "$T/install.log")"
[ -x "$T/inst/usr/local/bin/nixstore" ] || tap_skip_all "configured for a prefix other than /usr/local"
cp "$PODMAN_NIXSTORE" "$T/inst/usr/local/bin/podman"
python3=$(command -v python3)
mount --bind "$T/inst/usr/local" /usr/local || tap_bail "cannot mount on /usr/local"
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The README names storage of its own for the second way: it must not stay on the machine.
mkdir -p "$T/lib" /var/lib/nixstore-readme
mount --bind "$T/lib" /var/lib/nixstore-readme || tap_bail "cannot mount in /var/lib"
tap_on_exit 'rmdir /var/lib/nixstore-readme'

archive=$("$python3" "$SRCDIR/test/images/make-image" debian-base oci-archive) ||
  tap_skip_all "no image: $(tail -n 1 <<<"$archive")"
mkdir "$T/work"
cd "$T/work" || exit 1
cp --reflink=auto "$archive" app.tar

commands=0
while IFS= read -r line; do
  commands=$((commands + 1))
  if eval "$line" >"$T/out" 2>&1 </dev/null; then
    tap_ok "$line"
  else
    tap_not_ok "$line" "exit status $?
$(tail -n 20 "$T/out")"
  fi
  case $line in
    *'ls -l /etc/shadow') like "the owner is the image's" "$(cat "$T/out")" '^-rw-r----- .* root shadow ' ;;
    *' diff web') is "the diff names what changed" "$(sort "$T/out" | tr '\n' ' ')" 'A /etc/motd.new C /etc ' ;;
    *'stat -c %u:%g /etc/shadow') is "the owner is mapped" "$(cat "$T/out")" 0:42 ;;
  esac
done < <(awk '/^```sh$/ { on = 1; next } /^```/ { on = 0 } on && NF' "$SRCDIR/README.md")
[ "$commands" -ge 10 ] && tap_ok "the README has examples" || tap_not_ok "the README has examples"

check "what was exported runs under the stock drivers" \
  "$PODMAN" --root "$T/x" --runroot "$RUNROOTS/x" --storage-driver vfs load -q -i ordinary.tar
/usr/bin/podman --root /var/lib/nixstore-readme "$stock" rmi -a -f >/dev/null 2>&1
podman --storage-driver=nixstore rmi -a -f >/dev/null 2>&1
tap_done
