# shellcheck shell=bash
# Debian trees for tests, made by debootstrap from the mirror that this
# machine's own apt uses.

# debian_codename: of the machine itself, which is also that of the images; in a
# tree of another Debian $NIXSTORE_IMAGE_SUITE keeps the images the same.
debian_codename() {
  (. /etc/os-release && printf '%s\n' "${NIXSTORE_IMAGE_SUITE:-${VERSION_CODENAME:?}}")
}

# debian_mirror: the archive that has the machine's own release.
debian_mirror() {
  apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v r="$(debian_codename)" '
      $1 == r && $2 == "main" { print $3; found = 1; exit }
      END { exit !found }'
}

# debian_keyring: the archive's keys, as installed here.
debian_keyring() { echo /usr/share/keyrings/debian-archive-keyring.gpg; }

# debian_bootstrap SUITE DIR [DEBOOTSTRAP-OPTION...]: a minimal tree.
debian_bootstrap() {
  local suite=$1 dir=$2 script=/usr/share/debootstrap/scripts; shift 2
  # A release newer than this machine's debootstrap is made like sid.
  if [ -e "$script/$suite" ]; then script=$script/$suite; else script=$script/sid; fi
  debootstrap --variant=minbase --keyring="$(debian_keyring)" "$@" \
    "$suite" "$dir" "$(debian_mirror)" "$script"
}
