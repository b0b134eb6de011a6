# shellcheck shell=bash
# An image of a few megabytes made of this machine's own programs, for tests that
# start hundreds of containers or store it a dozen times.  Source it after env.sh.

# small_rootfs DIR: a shell, coreutils and what else the tests call.
small_rootfs() {
  local d=$1 program file
  mkdir -p "$d"/{bin,etc/apt/apt.conf.d,etc/skel,etc/alternatives,usr/bin,usr/share/doc,var/lib/dpkg,opt,srv,mnt,root,proc,sys,dev,run,home,media}
  mkdir -m 1777 "$d/tmp" "$d/var/tmp"
  ln -s ../bin "$d/usr/sbin"; ln -s bin "$d/sbin"
  for program in sh bash cat ls stat touch mkdir rmdir rm mv cp ln chmod chown id echo head tail tr cut sort wc sleep true test \
    readlink md5sum df uname find grep sed tar mount hostname cmp passwd env; do
    file=$(command -v "$program") || file=$(type -P "$program") || continue
    file=$(readlink -f "$(type -P "$program")")
    cp "$file" "$d/bin/$program"
    ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' | while read -r lib; do
      [ -e "$d$lib" ] || { mkdir -p "$d${lib%/*}" && cp -L "$lib" "$d$lib"; }
    done
  done
  mv "$d/bin/passwd" "$d/usr/bin/passwd"; chmod 4755 "$d/usr/bin/passwd"
  printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\n' >"$d/etc/passwd"
  printf 'root:x:0:\ndaemon:x:1:\nshadow:x:42:\n' >"$d/etc/group"
  echo 'root:*:1::::::' >"$d/etc/shadow"; chmod 640 "$d/etc/shadow"; chown 0:42 "$d/etc/shadow"
  for file in motd fstab debian_version issue; do echo "$file" >"$d/etc/$file"; done
  echo conf >"$d/etc/apt/apt.conf.d/x"; echo doc >"$d/usr/share/doc/x"; ln -s /bin/sh "$d/etc/alternatives/sh"
  echo rc >"$d/etc/skel/.bashrc"; : >"$d/var/lib/dpkg/status"
}

# small_image: its name for skopeo and nixstore. Two layers; needs podman_setup.
small_image() {
  if [ ! -e "$T/small.tar" ]; then
    small_rootfs "$T/small" &&
      tar -C "$T/small" -cf "$T/small-rootfs.tar" . &&
      podman_overlay import -q -c 'CMD ["sh"]' "$T/small-rootfs.tar" localhost/small:0 &&
      podman_overlay run --name small --network=none localhost/small:0 sh -c 'echo 2 >/etc/second; rm /etc/issue' &&
      podman_overlay commit -q small localhost/small:1 && podman_overlay rm small &&
      podman_overlay save -q --format oci-archive -o "$T/small.tar" localhost/small:1 &&
      podman_overlay rmi localhost/small:1 localhost/small:0 || return
    rm -rf "$T/small" "$T/small-rootfs.tar"
  fi >&2
  echo "oci-archive:$T/small.tar"
}
