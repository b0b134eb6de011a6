#!/bin/bash
# parallel: yes
# timeout: 1200
# Images beside stock overlay: names, history, archives in all formats, import and
# export, removal and pruning, manifests, mounts.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/beside.sh"
beside_setup
leak_mark

names() {
  p tag "$IMAGE" localhost/other:2 localhost/third
  p images --format '{{.Repository}}:{{.Tag}}' --filter reference=localhost/other --filter reference=localhost/third | sort
  p untag "$IMAGE" localhost/third
  p image exists localhost/other:2 && echo there
  p image exists localhost/third || echo gone
  p inspect -f '{{.Config.Cmd}} {{.Os}} {{.Architecture}} {{.Author}}' "$IMAGE"
  p rmi localhost/other:2 >/dev/null
  p image exists "$IMAGE" && echo there
  p images -q --filter "dangling=true" | wc -l
}

# Of a Nix-backed image the layers are one; the commands are the same.
looks() {
  p history --format '{{.CreatedBy}}' "$IMAGE"
  p image tree "$IMAGE" | grep -c 'Image Layers'
  p image diff "$IMAGE" >/dev/null
  p image inspect "$IMAGE" | grep -c '"RootFS"'
}

in_use() {
  p run --name user "$IMAGE" true
  fails p rmi "$IMAGE" && p image exists "$IMAGE" && echo kept
  p ps -a --filter "ancestor=$IMAGE" --format '{{.Names}}'
  p rm user >/dev/null
}

archives() {
  local format
  p run --name change "$IMAGE" sh -c 'echo saved >/saved; rm /etc/fstab'
  p commit -q change localhost/saved:1 >/dev/null
  p rm change >/dev/null
  for format in docker-archive oci-archive docker-dir oci-dir; do
    p save -q --format "$format" -o "saved.$format" localhost/saved:1
    p rmi localhost/saved:1 >/dev/null
    p load -q -i "saved.$format" | grep -c Loaded
    # A directory has no name in it.
    p image exists localhost/saved:1 || p tag "$(p images -q | head -n 1)" localhost/saved:1
    p run --rm localhost/saved:1 sh -c 'cat /saved; ls /etc/fstab 2>/dev/null || echo gone; stat -c %a:%g /etc/shadow'
    rm -rf "saved.$format"
  done
  p save -q -m --format docker-archive -o two.tar localhost/saved:1 "$IMAGE"
  p rmi localhost/saved:1 >/dev/null
  p load -q -i two.tar | wc -l
  p run --rm localhost/saved:1 cat /saved
  p save -q --compress --format docker-dir -o comp localhost/saved:1
  p rmi localhost/saved:1 >/dev/null
}

transports() {
  local to
  p run --name change "$IMAGE" sh -c 'echo pushed >/pushed'
  p commit -q change localhost/pushed:1 >/dev/null
  p rm change >/dev/null
  for to in "dir:$PWD/dir" "oci-archive:$PWD/oci.tar:localhost/pushed:1"; do
    p push -q localhost/pushed:1 "$to"
    p rmi localhost/pushed:1 >/dev/null
    p tag "$(p pull -q "$to" | tail -n 1)" localhost/pushed:1
    p run --rm localhost/pushed:1 sh -c 'cat /pushed; stat -c %a:%g /etc/shadow'
  done
  p rmi -f localhost/pushed:1 >/dev/null
}

flattened() {
  p run --name flat "$IMAGE" sh -c 'echo flat >/flat'
  p export -o flat.tar flat
  p rm flat >/dev/null
  p import -q -c 'CMD ["cat", "/flat"]' -c 'ENV A=b' -m message flat.tar localhost/flat:1 >/dev/null
  p run --rm localhost/flat:1
  p run --rm localhost/flat:1 sh -c 'stat -c %a:%g /etc/shadow; echo $A'
  p history --format '{{.Comment}}' localhost/flat:1
  cat flat.tar | p import -q - localhost/flat:2 >/dev/null
  p rmi localhost/flat:1 localhost/flat:2 >/dev/null
}

removal() {
  printf 'FROM %s\nLABEL l=1\nRUN echo 1 >/1\nRUN echo 2 >/2\n' "$IMAGE" >Containerfile
  p build -q -t localhost/rm:1 . >/dev/null
  p run --name old localhost/rm:1 true
  printf 'RUN echo 3 >/3\n' >>Containerfile
  p build -q -t localhost/rm:1 . >/dev/null
  p rm old >/dev/null
  p image prune -f >/dev/null
  p run --rm localhost/rm:1 sh -c 'cat /1 /2 /3'
  p tag localhost/rm:1 localhost/rm:2
  p rmi localhost/rm:1 | sed 's/:.*//' | sort
  p image prune -a -f --filter label=l=1 >/dev/null
  p image exists localhost/rm:2 || echo pruned
  p images -a -q --filter dangling=true | wc -l
  p image exists "$IMAGE" && echo kept
  fails p rmi localhost/rm:1; p rmi --ignore localhost/rm:1 2>/dev/null || echo "no --ignore here"
}

manifests() {
  p manifest create localhost/list:1 >/dev/null
  p manifest add localhost/list:1 "containers-storage:$IMAGE" >/dev/null
  p manifest add --arch arm64 localhost/list:1 "containers-storage:$IMAGE" >/dev/null || :
  p manifest inspect localhost/list:1 | grep -c digest
  p manifest push -q --all localhost/list:1 "oci:$PWD/list" >/dev/null
  ls list/index.json
  p manifest rm localhost/list:1 >/dev/null
}

mounts() {
  local m
  m=$(p image mount "$IMAGE")
  stat -c %a:%g "$m/etc/shadow"
  touch "$m/x" 2>/dev/null || echo read-only
  p image mount | wc -l
  p run --rm "$IMAGE" cat /etc/debian_version
  stat -c %a:%g "$m/etc/shadow"
  p image umount "$IMAGE" >/dev/null
  p image mount | wc -l
}

scene names 'base/driver' 'tag, untag, exists, inspect, images with filters'
scene looks 'base' 'history, tree, diff, inspect'
scene in_use 'base' 'rmi of an image that a container uses'
scene archives 'base/driver mixed' 'commit, save and load in all formats, several images'
scene transports 'mixed/driver' 'push and pull: dir, oci-archive'
scene flattened 'base' 'export and import'
scene removal 'base/driver mixed' 'dangling images, prune, rmi by name'
scene manifests 'base/driver' 'manifest lists'
scene mounts 'base mixed' 'image mount'
beside_done
