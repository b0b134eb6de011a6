#!/bin/bash
# timeout: 300
# Images without a reference layer take the stock overlay driver's own way, call for
# call: what Podman changes and mounts in its storage, options of the mounts included,
# is the same under driver nixstore, and nixstore-mount is not run.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"

tap_need strace
strace -f --seccomp-bpf -qq -o /dev/null true 2>/dev/null || tap_skip_all "strace traces nothing here"
tap_need_file "$NIXSTORE_MOUNT"
podman_setup
need_podman_nixstore
image=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"

calls=mount,umount2,fsopen,fsmount,fsconfig,move_mount,open_tree,mount_setattr,execve,mkdir,mkdirat,rmdir
calls+=,unlink,unlinkat,symlink,symlinkat,link,linkat,rename,renameat,renameat2,mknod,mknodat,truncate
calls+=,chown,fchownat,lchown,chmod,fchmodat,utimensat,setxattr,lsetxattr,removexattr,lremovexattr
mkdir "$T/bin"
for program in PODMAN PODMAN_NIXSTORE; do
  printf '#!/bin/sh\nexec strace -f --seccomp-bpf -qq -s 4096 -e trace=%s -o %q -- %q "$@"\n' "$calls" "$T/trace" "${!program}" >"$T/bin/$program"
  chmod +x "$T/bin/$program"
done

# traced WAY ARGS...: leaves in $T/calls.WAY what Podman did in the driver's home, sorted, as
# processes run beside each other. That the home itself is mounted, for whoever comes first,
# is left out.
traced() {
  local way=$1; shift
  PODMAN=$T/bin/PODMAN PODMAN_NIXSTORE=$T/bin/PODMAN_NIXSTORE "podman_$way" "$@" >"$T/out" 2>"$T/err" </dev/null || return
  sed -En "s,$T/p/$way/root/$way/,HOME/,g; /HOME/!d; /--storage-driver/d; / resumed>/d
    s/^[0-9]+ +//; s/( <unfinished.*|\) += .*)$//; s/\b[0-9a-f]{64}\b/ID/g; s/\b[A-Z0-9]{26}\b/LINK/g
    s/\b0x[0-9a-f]+/ADDRESS/g; s/[0-9]{5,}/N/g; p" "$T/trace" | sort >"$T/calls.$way"
}

same_calls() {
  local way what=$1; shift
  for way in overlay nixstore; do
    traced "$way" "$@" || { tap_not_ok "$what: $way" "$(tail -n 5 "$T/err")"; return; }
    [ -s "$T/calls.$way" ] || { tap_not_ok "$what: $way: calls are seen" "$(tail -n 5 "$T/trace")"; return; }
  done
  same_file "$what" "$T/calls.nixstore" "$T/calls.overlay"
}

printf 'FROM localhost/small:1\nRUN echo 1 >/one && rm -r /etc/skel && mkdir /etc/skel\nRUN rm /one; touch /etc/two\n' >"$T/Containerfile"
# What is tried once in each storage.
podman_nixstore rmi -f "$(podman_nixstore pull -q "$image" | tail -n 1)" >/dev/null || tap_bail "pull failed"
same_calls "pull" pull -q "$image"
same_calls "build" build -q --isolation=chroot -t localhost/built:1 -f "$T/Containerfile" "$T/bin"
same_calls "create" create --name it --network=none localhost/built:1 sh -c 'echo x >>/etc/passwd'
same_calls "start" start -a it
same_calls "diff" diff it
same_calls "commit" commit -q it localhost/committed:1
same_calls "mount" mount it
like "its options are seen" "$(cat "$T/calls.nixstore")" '^mount\("overlay", "HOME/ID/merged", "overlay", 0, "lowerdir=HOME/.*,upperdir=HOME/ID/diff,workdir='
same_calls "rm" rm it
same_calls "rmi" rmi -f localhost/built:1
tap_done
