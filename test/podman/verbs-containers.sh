#!/bin/bash
# parallel: yes
# timeout: 1200
# Containers beside stock overlay: run with every kind of file system option,
# volumes, secrets, an init, and the verbs of a container's life.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/beside.sh"
beside_setup
leak_mark

life() {
  p create --name c "$IMAGE" sh -c 'trap "exit 7" TERM; echo up; while :; do sleep 0.1; done' >/dev/null
  p init c >/dev/null
  p start c
  p exec c sh -c 'echo kept >/kept'
  p pause c >/dev/null && p ps -a --format '{{.Names}} {{.State}}'
  p unpause c >/dev/null
  p restart -t 5 c >/dev/null
  p exec c cat /kept
  p rename c renamed
  p stop -t 5 renamed >/dev/null; p wait renamed
  p start renamed >/dev/null; p kill -s KILL renamed >/dev/null; p wait renamed
  p logs renamed | sort -u
  p diff renamed | sort
  p container inspect -f '{{.State.Status}} {{.RestartCount}} {{.Driver}}' renamed | sed 's/nixstore/overlay/'
  p container prune -f >/dev/null
  p ps -aq
}

execs() {
  p run -d --name e "$IMAGE" sleep 100 >/dev/null
  p exec -u daemon -w /etc -e X=y e sh -c 'id -un; pwd; echo $X'
  echo piped | p exec -i e cat
  fails p exec e sh -c 'echo no >&2; exit 3' || return
  p top e comm | tail -n 1
  p exec -d e sh -c 'echo detached >/tmp/d'
  sleep 0.5
  p exec e cat /tmp/d
  p rm -f -t 0 e >/dev/null
}

copies() {
  mkdir -p in/sub; echo file >in/file; echo deep >in/sub/deep; ln -s file in/link; chmod 640 in/file; chown 33:7 in/file
  p create --name cp "$IMAGE" sleep 100 >/dev/null
  p cp in cp:/opt && p cp in/. cp:/srv && p cp in/file cp:/etc/motd2
  p cp cp:/etc/shadow shadow && stat -c '%a %u:%g' shadow
  p cp cp:/etc/alternatives - | tar -t | sort | head -n 5
  tar -C in -c . | p cp - cp:/mnt
  p start cp >/dev/null
  p exec cp find /opt /srv /mnt /etc/motd2 -printf '%p %y %m %U:%G %l\n' | sort
  p cp cp:/etc/alternatives out && ls out | head -n 3
  p cp in/file cp:/new/ 2>/dev/null && echo "cp to nowhere" || :
  p cp in/file cp:/dev/shm/f && p exec cp cat /dev/shm/f
  p create --name cp2 "$IMAGE" true >/dev/null
  p cp cp:/opt cp2:/var/opt2 && p cp cp2:/var/opt2/in/file - | tar -xO
  p rm -f -t 0 cp cp2 >/dev/null
}

read_only() {
  p run --rm --read-only "$IMAGE" sh -c 'touch /x 2>/dev/null || echo refused; touch /tmp/x /run/x && echo tmp; stat -c %a:%g /etc/shadow'
  p run --rm --read-only --read-only-tmpfs=false "$IMAGE" sh -c 'touch /tmp/x 2>/dev/null || echo refused'
  p run --rm --read-only --tmpfs /scratch:size=1m,mode=711 "$IMAGE" sh -c 'touch /scratch/x; stat -c %a /scratch'
  p run --rm --read-only -v vro:/var/lib/x "$IMAGE" sh -c 'touch /var/lib/x/y && echo volume'
  p run -d --name ro --read-only "$IMAGE" sleep 100 >/dev/null
  p exec ro sh -c 'touch /etc/x 2>/dev/null || echo refused'
  p stop -t 0 ro >/dev/null 2>&1
  p diff ro # while it runs is not for stock Podman 5 with a mount program (README)
  p rm ro >/dev/null
  p volume rm vro >/dev/null
}

volumes() {
  # A new volume gets what the image has there, owners too.
  p run --rm -v v1:/etc "$IMAGE" true
  p run --rm -v v1:/seen "$IMAGE" sh -c 'cd /seen && find . ! -name hosts ! -name hostname ! -name resolv.conf ! -name mtab -printf "%p %y %m %U:%G %l\n" | sort | md5sum'
  p run --rm -v v2:/etc:nocopy "$IMAGE" sh -c 'ls -A /etc | grep -c -e passwd -e shadow || :'
  p run -d --name holder -v v1:/data -v "$PWD:/host:ro" "$IMAGE" sleep 100 >/dev/null
  p run --rm --volumes-from holder "$IMAGE" sh -c 'stat -c %a:%g /data/shadow; touch /host/x 2>/dev/null || echo refused'
  p run --rm --volumes-from holder:ro "$IMAGE" sh -c 'touch /data/x 2>/dev/null || echo refused'
  p run --rm --mount type=volume,source=v1,destination=/d,ro "$IMAGE" sh -c 'touch /d/x 2>/dev/null || echo refused'
  p run --rm --mount type=tmpfs,destination=/etc/apt,tmpcopyup "$IMAGE" sh -c 'ls /etc/apt | sort'
  p run --rm --tmpfs /var/lib/dpkg:notmpcopyup "$IMAGE" sh -c 'ls -A /var/lib/dpkg | wc -l'
  p volume ls -q | sort
  p volume export v1 | tar -t | grep -c shadow
  p rm -f -t 0 holder >/dev/null
  p volume prune -f | sort
}

image_mounts() {
  p run --rm --mount "type=image,source=$IMAGE,destination=/m" "$IMAGE" sh -c 'stat -c %a:%g /m/etc/shadow; touch /m/x 2>/dev/null || echo refused'
  p run --rm --mount "type=image,source=$IMAGE,destination=/m,rw=true" "$IMAGE" sh -c 'echo x >/m/etc/motd && cat /m/etc/motd'
  p run --rm --mount "type=image,source=$IMAGE,destination=/m" "$IMAGE" sh -c 'head -n 1 /m/etc/passwd'
  mkdir over; echo low >over/f
  p run --rm -v "$PWD/over:/o:O" "$IMAGE" sh -c 'echo up >/o/f; cat /o/f'
  cat over/f
}

rootfs() {
  m=$(p image mount "$IMAGE")
  [ -e "$m/etc/debian_version" ]
  p run --rm --read-only --rootfs "$m" stat -c %a:%g /etc/shadow
  p run --rm --rootfs "$m:O" sh -c 'echo new >/etc/new && cat /etc/new'
  p run --rm --rootfs "$m:O" sh -c 'cat /etc/new 2>/dev/null || echo gone'
  p image umount "$IMAGE" >/dev/null
}

secrets() {
  echo hush | p secret create s1 - >/dev/null
  p run --rm --secret s1 "$IMAGE" sh -c 'cat /run/secrets/s1; stat -c %a /run/secrets/s1'
  p run --rm --secret s1,type=env,target=S "$IMAGE" sh -c 'echo $S'
  p run --rm --secret s1,mode=0400,uid=1,target=/etc/s "$IMAGE" stat -c '%a %u' /etc/s
  p run --name sc --secret s1 "$IMAGE" true
  p commit -q sc localhost/sc:1 >/dev/null
  p run --rm sc:1 sh -c 'cat /run/secrets/s1 2>/dev/null || echo none'
  p rm sc >/dev/null; p rmi sc:1 >/dev/null; p secret rm s1 >/dev/null
}

inits() {
  p run --rm --init "$IMAGE" sh -c 'tr "\0" " " </proc/1/cmdline | cut -c1-15'
  p run -d --name in --init "$IMAGE" sleep 100 >/dev/null
  p stop -t 5 in >/dev/null
  p wait in
  p rm in >/dev/null
}

security() {
  p run --rm --cap-drop all "$IMAGE" sh -c 'grep CapEff /proc/self/status; chown 1 /etc/motd.x 2>/dev/null || echo refused'
  p run --rm --cap-drop all --cap-add chown,fowner "$IMAGE" sh -c 'cd /tmp; touch x; chown 1 x; stat -c %u x'
  printf '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' >seccomp.json
  p run --rm --security-opt "seccomp=$PWD/seccomp.json" "$IMAGE" sh -c 'mkdir /x 2>/dev/null || echo refused'
  p run --rm --security-opt seccomp=unconfined --security-opt label=disable "$IMAGE" sh -c 'grep Seccomp: /proc/self/status'
  p run --rm --security-opt label=level:s0:c1,c2 --security-opt label=type:x_t "$IMAGE" echo labels
  p run --rm --security-opt no-new-privileges --user 1000 "$IMAGE" grep NoNewPrivs /proc/self/status
  p run --rm --security-opt mask=/etc/passwd --security-opt unmask=ALL "$IMAGE" sh -c 'wc -c </etc/passwd'
  p run --rm --privileged "$IMAGE" sh -c 'mount -t tmpfs x /mnt && echo mounted'
  p run --rm --user daemon --group-add 42 "$IMAGE" sh -c 'id; head -c 0 /etc/shadow && echo readable'
}

various() {
  p run --rm --hostname h --add-host a:1.2.3.4 --env A=b --workdir /etc "$IMAGE" sh -c 'hostname; grep -c 1.2.3.4 /etc/hosts; echo $A; pwd'
  p run --rm --entrypoint '["/bin/echo","-n"]' "$IMAGE" entry; echo
  p run --rm --device /dev/zero:/dev/nought --shm-size 1m "$IMAGE" sh -c 'head -c 3 /dev/nought | wc -c; df -k /dev/shm | tail -n 1 | tr -s " " | cut -d " " -f 2'
  p run --rm --ulimit nofile=100:200 --ulimit nproc=1024:1024 "$IMAGE" sh -c 'ulimit -n'
  p run --rm --health-cmd true --health-interval disable --name hc -d "$IMAGE" sleep 100 >/dev/null
  p healthcheck run hc; p inspect -f '{{.State.Healthcheck.Status}}' hc
  p rm -f -t 0 hc >/dev/null
  p run --rm --cidfile cid --label l=1 "$IMAGE" true; wc -c <cid
  echo in | p run --rm -i "$IMAGE" cat
  p run --name z --volume /anonymous "$IMAGE" sh -c 'echo 12345 >/five; echo x >/anonymous/x'
  p ps -a --size --format '{{.Size}}' | cut -d ' ' -f 1
  m=$(p mount z); cat "$m/five"; p mount --format '{{.Id}}' | wc -l; p umount z >/dev/null
  p export -o z.tar z; tar -tf z.tar five
  p start -a z; p container clone z z2 >/dev/null; p start -a z2; p diff z2 | grep five
  p rm -v z z2 >/dev/null
  fails p run --rm "$IMAGE" /no/such/program; fails p run --rm "$IMAGE" /etc
  p run --rm --tz UTC --umask 077 "$IMAGE" sh -c 'touch /u; stat -c %a /u'
}

scene life 'base plain' 'create, init, start, exec, pause, restart, rename, stop, kill, wait, logs, diff, prune'
scene execs 'base/driver' 'exec: user, directory, environment, input, status, detached; top'
scene copies 'base' 'cp both ways: files, directories, tar streams, between containers, stopped and running'
scene read_only 'base' '--read-only, --read-only-tmpfs, --tmpfs'
scene volumes 'mixed/driver' 'volumes: copied up from the image, nocopy, --volumes-from, tmpfs, export'
scene image_mounts 'base mixed' '--mount type=image, :O'
scene rootfs 'base' '--rootfs, with :O'
scene secrets 'base/driver' 'secrets, and none in what is committed'
scene inits 'base/driver' '--init'
scene security 'base/driver' '--cap-drop, seccomp, label options, masks, privileged, groups'
scene various 'base/driver' 'names, devices, health, cidfile, anonymous volumes, sizes, mount, export, clone'
beside_done
