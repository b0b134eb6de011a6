#!/bin/bash
# parallel: yes
# timeout: 1200
# Builds beside stock overlay: stages, squashing, the cache, mounts of RUN, all that
# a Containerfile may say, and commit with its options.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/beside.sh"
beside_setup
leak_mark

# The steps that came from the cache.
cached() { p build "$@" 2>&1 | grep -c 'Using cache' || :; }

layers() { p inspect -f '{{len .RootFS.Layers}}' "$1"; }

stages() {
  mkdir ctx; echo file >ctx/file
  cat >Containerfile <<END
FROM $IMAGE AS make
RUN mkdir /out && cp -a /etc/shadow /usr/bin/passwd /out/ && ln -s shadow /out/link && echo made >/out/made
FROM scratch AS empty
COPY --from=make /out /out
FROM $IMAGE
COPY --from=make --chown=1:2 /out/made /made
COPY --from=empty /out /all
COPY --from=$IMAGE /etc/group /group
COPY --chmod=600 ctx/file /file
RUN --mount=type=bind,from=make,source=/out,target=/m cat /m/made >/seen
END
  p build -q -t localhost/st:1 . >/dev/null
  p run --rm localhost/st:1 sh -c 'stat -c "%n %a %u:%g" /made /all/* /group /file; cat /seen; cmp /group /etc/group'
  p rmi localhost/st:1 >/dev/null; p image prune -f >/dev/null
}

squashes() {
  printf 'FROM %s\nRUN echo 1 >/1; rm /etc/fstab\nRUN echo 2 >/2; rm /1\n' "$IMAGE" >Containerfile
  base=$(layers "$IMAGE")
  p build -q --squash -t localhost/sq:1 . >/dev/null
  echo $(($(layers localhost/sq:1) - base))
  p run --rm localhost/sq:1 sh -c 'cat /2; ls /1 /etc/fstab 2>/dev/null | wc -l; stat -c %a:%g /etc/shadow; stat -c %A /usr/bin/passwd'
  p build -q --squash-all -t localhost/sq:2 . >/dev/null
  layers localhost/sq:2
  p run --rm localhost/sq:2 sh -c 'cat /2; ls /1 /etc/fstab 2>/dev/null | wc -l; stat -c %a:%g /etc/shadow; stat -c %A /usr/bin/passwd'
  # All of it is in there: it needs no store.
  p save -q -o sq.tar localhost/sq:2; [ "$(stat -c %s sq.tar)" -gt 1000000 ] && echo whole
  p rmi localhost/sq:1 localhost/sq:2 >/dev/null; p image prune -f >/dev/null
}

caching() {
  printf 'FROM %s\nRUN echo 1 >/1\nCOPY file /file\nRUN echo 2 >/2\n' "$IMAGE" >Containerfile
  echo a >file
  cached -t localhost/ca:1 .
  cached -t localhost/ca:1 .
  echo b >file
  cached -t localhost/ca:1 .
  cached --no-cache -t localhost/ca:1 .
  cached --layers=false -t localhost/ca:1 .
  p run --rm localhost/ca:1 sh -c 'cat /1 /file /2'
  p rmi -f localhost/ca:1 >/dev/null; p image prune -f >/dev/null
}

says() {
  mkdir ctx; echo x >ctx/keep; echo x >ctx/drop; echo 'drop' >ctx/.containerignore
  tar -cf ctx/in.tar --transform 's,^,tarred/,' -C ctx keep
  cat >ctx/Containerfile <<END
ARG TAG=none
FROM $IMAGE
ARG TAG=default
ENV E=env-\$TAG
LABEL what=label
USER daemon
WORKDIR /work/deep
RUN id -un >/tmp/who
USER root
ADD in.tar /added
COPY . /ctx
VOLUME /vol
RUN echo lost >/vol/lost
ONBUILD RUN echo onbuild >/onbuild
HEALTHCHECK --interval=30s CMD true
STOPSIGNAL SIGINT
EXPOSE 80
SHELL ["/bin/bash", "-c"]
RUN [[ 1 = 1 ]] && echo bash >/shell
RUN --mount=type=cache,target=/cache echo c >/cache/c && ls /cache
RUN --mount=type=secret,id=s cat /run/secrets/s >/dev/null && [ ! -e /run/secrets/t ]
RUN --mount=type=tmpfs,target=/t touch /t/x
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo \$E; pwd"]
END
  echo hush >s
  p build -q --format docker --build-arg TAG=given --secret id=s,src=s -t localhost/sa:1 ctx >/dev/null
  p run --rm localhost/sa:1
  p run --rm localhost/sa:1 'cat /tmp/who /shell; ls /ctx /added /vol /cache /t; ls -ld /work/deep | cut -c1-10'
  p inspect -f '{{.Config.User}} {{.Config.StopSignal}} {{.Config.Labels}} {{.Config.ExposedPorts}} {{.Config.Volumes}}' localhost/sa:1
  echo "FROM localhost/sa:1" >Containerfile
  p build -q -t localhost/sa:2 . >/dev/null
  p run --rm localhost/sa:2 'cat /onbuild'
  p rmi -f localhost/sa:2 localhost/sa:1 >/dev/null; p image prune -f >/dev/null
}

changes() {
  # Deletions, opaque directories, kinds that change, over several layers. To Podman, directories
  # that changed in the same second are the same (sameFsTime() in containers/storage).
  cat >Containerfile <<END
FROM $IMAGE
RUN rm -r /usr/share/doc && mkdir /usr/share/doc && echo 1 >/usr/share/doc/1
RUN rm -r /etc/apt && echo file >/etc/apt && mv /etc/skel /etc/skel2 && chmod 4711 /bin/ls
RUN sleep 1.1 && rm /etc/apt && ln -s /tmp /etc/apt && chown 5:6 /etc/shadow
END
  p build -q -t localhost/ch:1 . >/dev/null
  p run --rm localhost/ch:1 sh -c 'ls /usr/share/doc; readlink /etc/apt; ls -d /etc/skel*; stat -c "%a %u:%g %h" /bin/ls /etc/shadow; find / -xdev -name ".wh*"'
  p diff localhost/ch:1 | sort
  p rmi localhost/ch:1 >/dev/null; p image prune -f >/dev/null
}

commits() {
  p run --name co "$IMAGE" sh -c 'echo c >/c; rm -r /etc/apt; mkdir /etc/apt'
  p commit -q --change 'CMD ["cat", "/c"]' --change ENV=A=b --change LABEL=l=2 --author me --message why --format docker co localhost/co:1 >/dev/null
  p run --rm localhost/co:1
  p inspect -f '{{.Author}} {{.Comment}} {{.Config.Labels}}' localhost/co:1
  p commit -q --squash co localhost/co:2 >/dev/null
  layers localhost/co:2
  p run --rm localhost/co:2 sh -c 'cat /c; ls -A /etc/apt; stat -c %a:%g /etc/shadow'
  p commit -q --include-volumes --pause=false co localhost/co:3 >/dev/null
  p run --rm localhost/co:3 cat /c
  p rm co >/dev/null; p rmi localhost/co:1 localhost/co:2 localhost/co:3 >/dev/null
}

fails_whole() {
  printf 'FROM %s\nRUN echo 1 >/1\nRUN exit 5\n' "$IMAGE" >Containerfile
  fails p build -q -t localhost/no:1 .
  p image exists localhost/no:1 || echo "no image"
  p ps -a --external -q | wc -l
  p image prune -f >/dev/null
}

scene stages 'base mixed' 'stages, COPY --from stages and images, RUN --mount=type=bind,from'
scene squashes 'base/driver' '--squash, --squash-all'
scene caching 'mixed/driver' 'cache hits and misses, --no-cache, --layers=false'
scene says 'base/driver' 'arguments, users, volumes, ADD, ONBUILD, HEALTHCHECK, SHELL, caches, secrets'
scene changes 'base' 'layers that delete and replace'
scene commits 'base' 'commit with its options, --squash'
scene fails_whole 'base/driver' 'a build that fails leaves nothing'
beside_done
