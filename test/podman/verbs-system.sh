#!/bin/bash
# parallel: yes
# timeout: 1200
# Podman as a system beside stock overlay: user namespaces, pods, kube, units for
# systemd, auto-update, the REST service with real clients, and the verbs of `podman
# system`.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/beside.sh"
beside_setup
leak_mark

show='stat -c "%n %a %u:%g" /etc/shadow /usr/bin/passwd; echo new >/new && stat -c %u:%g /new; cat /proc/self/uid_map | tr -s " "'

userns() {
  p run --rm --uidmap 0:100000:65536 "$IMAGE" sh -c "$show"
  p run --rm --userns=auto:size=2000 "$IMAGE" sh -c "$show" | sed 's/5[0-9]*00 /AUTO /'
  p run --rm --userns=host "$IMAGE" sh -c "$show"
  p run --rm --userns=keep-id "$IMAGE" id -u 2>/dev/null || echo "keep-id refused"
  p run --rm --userns=nomap "$IMAGE" id -u 2>/dev/null || echo "nomap refused"
  p run --rm --subuidname containers --subgidname containers "$IMAGE" sh -c "$show"
  p run -d --name ns --uidmap 0:100000:65536 "$IMAGE" sleep 100 >/dev/null
  p exec ns sh -c "$show"
  p run --rm --userns=container:ns "$IMAGE" sh -c "$show"
  p rm -f -t 0 ns >/dev/null
  p run --rm --uidmap 0:100000:65536 --read-only "$IMAGE" stat -c '%a %u:%g' /etc/shadow
  p run --rm --uidmap 0:100000:65536 -v nsv:/etc "$IMAGE" sh -c 'stat -c "%a %u:%g" /etc/shadow'
  p volume rm nsv >/dev/null
}

# With a mount program, stock Podman compares a tree of shifted owners with one of
# others, and finds everything changed.
shifted() {
  p run -d --name ns --uidmap 0:100000:65536 "$IMAGE" sleep 100 >/dev/null
  p exec ns sh -c "$show"
  p cp ns:/etc/shadow shadow && stat -c '%a %u:%g' shadow
  p diff ns
  p commit -q ns localhost/ns:1 >/dev/null
  p run --rm localhost/ns:1 stat -c '%a %u:%g' /etc/shadow /new
  p rm -f -t 0 ns >/dev/null; p rmi localhost/ns:1 >/dev/null
}

pods() {
  p pod create --name pod --network=none --share net,ipc,uts >/dev/null
  podman_"$WAY" run -d --pod pod --name in1 "$IMAGE" sleep 100 >/dev/null
  podman_"$WAY" run -d --pod pod --name in2 "$IMAGE" sh -c 'echo two >/dev/shm/two; exec sleep 100' >/dev/null
  sleep 0.5
  p exec in1 cat /dev/shm/two
  p pod ps --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'
  p pod pause pod >/dev/null; p pod unpause pod >/dev/null
  p pod ps --format '{{.Name}} {{.Status}}'
  p pod restart pod >/dev/null; p pod stop -t 0 pod >/dev/null; p pod start pod >/dev/null
  p pod top pod comm | sort | uniq -c
  p pod inspect pod | grep -c '"State": "running"'
  p pod rm -f -t 0 pod >/dev/null
  p pod prune -f; p ps -aq
}

kube() {
  p pod create --name gen --network=none >/dev/null
  podman_"$WAY" create --pod gen --name gen-c -v kv:/etc "$IMAGE" sh -c 'echo from kube; stat -c %a:%g /etc/shadow; exec sleep 100' >/dev/null
  p generate kube gen >gen.yaml
  p pod rm -f -t 0 gen >/dev/null; p volume rm kv >/dev/null
  cat >play.yaml <<END
apiVersion: v1
kind: Pod
metadata: {name: played}
spec:
  volumes:
  - {name: data, emptyDir: {}}
  containers:
  - name: c
    image: $IMAGE
    imagePullPolicy: Never
    command: ["sh", "-c", "echo from kube; stat -c %a:%g /etc/shadow; exec sleep 100"]
    volumeMounts: [{name: data, mountPath: /data}]
END
  local f pod
  for f in gen played; do
    if [ $f = gen ]; then pod=gen.yaml; else pod=play.yaml; fi
    p kube play --network none "$pod" >/dev/null
    sleep 1
    p logs "$f-c" 2>/dev/null || p logs "$(p ps -q --filter pod=$f --filter ancestor="$IMAGE")"
    p exec "$(p ps -q --filter pod=$f --filter ancestor="$IMAGE" | head -n 1)" test -r /etc/shadow
    p kube down "$pod" >/dev/null
  done
  p volume rm -a -f >/dev/null
  p ps -aq
}

units() {
  local how
  p create --name unit "$IMAGE" sleep 100 >/dev/null
  for how in '' --new; do
    # shellcheck disable=SC2086
    p generate systemd --files $how --name unit >/dev/null
    systemd-analyze verify ./container-unit.service
    grep -c '^Exec' container-unit.service
  done
  # It calls Podman as it was called.
  grep -q -e "--storage-driver" container-unit.service
  p rm unit >/dev/null
}

images_total() { p system df --format '{{.Type}} {{.Total}}' | sed -n 's/^Images //p'; }

tidy() {
  printf 'FROM %s\nRUN echo 1 >/1\n' "$IMAGE" >Containerfile
  p build -q -t localhost/td:1 . >/dev/null; p untag localhost/td:1
  p create --name td "$IMAGE" true >/dev/null; p volume create tdv >/dev/null
  # To overlay base and plain are one image: not how many there are is compared, but how many go.
  local before after
  before=$(images_total)
  p system df --format '{{.Type}} {{.Total}} {{.Active}}' | grep -v ^Images
  p system df -v | grep -c "${IMAGE%:1}"
  p system prune -f --volumes >/dev/null
  after=$(images_total)
  echo "images pruned: $((before - after))"
  p system df --format '{{.Type}} {{.Total}} {{.Active}}' | grep -v ^Images
  p image exists "$IMAGE" && echo kept
  p run -d --name rn "$IMAGE" sleep 100 >/dev/null
  p stop -t 0 rn >/dev/null
  p system migrate; p start rn; p exec rn echo migrated; p stop -t 0 rn >/dev/null
  p system renumber; p start rn; p exec rn echo renumbered
  p rm -f -t 0 rn >/dev/null
  p system info --format '{{.Store.ContainerStore.Number}}'
}

updates() {
  p run -d --name au --label io.containers.autoupdate=local "$IMAGE" sleep 100 >/dev/null
  p auto-update --dry-run --format '{{.Container}} {{.Updated}}' 2>&1 | grep -c au || echo "not under systemd"
  p rm -f -t 0 au >/dev/null
}

# Docker's API with Docker's own Python client, libpod's with Podman's own.
service() {
  local pid socket=$RUNROOTS/$WAY.sock
  podman_"$WAY" system service -t 20 "unix://$socket" & pid=$!
  trap "pkill -P $pid" EXIT # the function runs in a shell of its own
  for _ in {1..50}; do [ ! -S "$socket" ] || break; sleep 0.1; done
  curl -sf --unix-socket "$socket" http://d/_ping; echo
  python3 - "$socket" "$IMAGE" <<'PY'
import docker, io, sys, tarfile
client = docker.DockerClient("unix://" + sys.argv[1], timeout=60)
image = sys.argv[2]
assert any(image in i.tags for i in client.images.list())
c = client.containers.create(image, ["sh", "-c", "stat -c %a:%g /etc/shadow; echo api >/api; rm /etc/fstab"], network_mode="none", name="api")
c.start(); print(c.wait()["StatusCode"]); print(c.logs().decode(), end="")
print(sorted((d["Path"], d["Kind"]) for d in c.diff()))
stream, stat = c.get_archive("/api")
print(tarfile.open(fileobj=io.BytesIO(b"".join(stream))).extractfile("api").read())
tar = io.BytesIO(); t = tarfile.open(fileobj=tar, mode="w"); i = tarfile.TarInfo("put"); i.size = 3; t.addfile(i, io.BytesIO(b"put")); t.close()
print(c.put_archive("/", tar.getvalue()))
n = c.commit("localhost/api", "1"); c.remove()
print(sum(len(b) for b in c.client.images.get("localhost/api:1").save()) > 0)
c = client.containers.create("localhost/api:1", ["cat", "/put"], network_mode="none"); c.start(); c.wait(); print(c.logs()); c.remove()
client.images.remove("localhost/api:1")
PY
  "$PODMAN" --remote --url "unix://$socket" run --rm --network=none "$IMAGE" sh -c "$show"
  printf 'FROM %s\nRUN echo remote >/remote\n' "$IMAGE" >Containerfile
  "$PODMAN" --remote --url "unix://$socket" build --isolation=chroot -q -t localhost/remote:1 . >/dev/null
  "$PODMAN" --remote --url "unix://$socket" run --rm --network=none localhost/remote:1 cat /remote
  "$PODMAN" --remote --url "unix://$socket" rmi localhost/remote:1 >/dev/null
  pkill -P "$pid"; wait "$pid" || :
  trap - EXIT
}

scene userns 'base' 'user namespaces: --uidmap, auto, keep-id, nomap, by name, of a container'
scene shifted 'base/driver mixed' 'cp, diff and commit of a container in a user namespace'
scene pods 'base/driver' 'pods'
scene kube 'base/driver' 'generate kube, kube play, kube down'
scene units 'base/driver' 'generate systemd, checked by systemd'
scene tidy 'base/driver' 'system df, prune, migrate, renumber'
scene updates 'base/driver' 'auto-update'
if python3 -c 'import docker' 2>/dev/null; then
  scene service 'base/driver' 'system service: curl, the docker client, podman --remote'
else
  tap_skip 'system service' 'python3-docker is not installed'
fi

# At the end of a storage: nothing of it is left. /run/libpod is a mount of the test's.
reset() {
  "podman_$1" run -d --network=none mixed:1 sleep 1000 >/dev/null
  "podman_$1" system reset -f 2>&1 | grep -vE 'StopSignal|storage.conf|[Rr]emove this file|unlinkat /run/libpod: device or resource busy'
}
for way in $WAYS; do
  is "$way: system reset" "$(reset "$way")" ""
  root=$T/p/${way/mountprogram/mp}/root
  is "$way: and all is gone" "$(find "$root" -name diff -o -name nixstore-gcroot 2>/dev/null)" ""
done
beside_done
