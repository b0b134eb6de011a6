#!/bin/bash
# parallel: yes
# timeout: 300
# Containers as services of a live systemd, the first process of namespaces of its own: units
# that podman generates are started, restarted after their container and its monitor were killed,
# and stopped, and nothing is left.
. "${NIXSTORE_SRCDIR:-$(dirname "$0")/../..}/test/lib/tap.sh"
. "$TESTLIB/env.sh"
. "$SRCDIR/test/podman/small.sh"
tap_need nix-store systemctl
tap_need_file "$NIXSTORE" "$NIXSTORE_MOUNT" /lib/systemd/systemd
nix_private
podman_setup
podman_ways
source=$(small_image 2>"$T/small.err") || tap_bail "the image cannot be made: $(tail -n 1 "$T/small.err")"
path=$("$NIXSTORE" convert "$source" --name "systemd-${T##*.}") || tap_bail "convert failed"
# Podman 4.3 has no Quadlet; that of Debian 13 runs here, too.
for QUADLET in ${QUADLET-} /usr/libexec/podman/quadlet "$("$TESTLIB/trixie" path)/usr/libexec/podman/quadlet"; do
  [ ! -x "$QUADLET" ] || break
done
p() { "podman_$way" "$@"; }

# ---- systemd, in a control group of the test's own in each hierarchy
cgroups=()
while read -r _ _ _ _ where _; do
  case $(stat -f -c %T "$where") in cgroup*) ;; *) continue ;; esac
  cgroups+=("$where/$NIXSTORE_TEST_ID")
done < <(grep -E ' - cgroup2? ' /proc/self/mountinfo)
systemd_down() {
  local g i left
  for ((i = 0; i < 50; i++)); do
    left=
    for g in "${cgroups[@]}"; do
      [ -d "$g" ] || continue
      find "$g" -name cgroup.procs -exec cat {} + | sort -u | xargs -r kill -9
      find "$g" -depth -type d -exec rmdir {} \;
      [ ! -d "$g" ] || left=1
    done
    [ -n "$left" ] || break
    sleep 0.1
  done
}
tap_on_exit systemd_down
for g in "${cgroups[@]}"; do
  mkdir "$g" || tap_skip_all "no control group $g"
  # Of cpuset: without them no process may enter.
  for f in cpuset.cpus cpuset.mems; do [ ! -w "$g/$f" ] || cat "${g%/*}/$f" >"$g/$f"; done
done
mkdir "$T/units"
for unit in sysinit basic default shutdown network-online umount rescue emergency; do
  printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$unit" >"$T/units/$unit.target"
done
(
  for g in "${cgroups[@]}"; do echo "$BASHPID" >"$g/cgroup.procs"; done
  exec unshare --pid --fork --kill-child --cgroup --mount --uts --ipc --net --propagation slave \
    "$SRCDIR/test/podman/systemd-inside" "$T/units" "$T/systemd.log" 2>/dev/null
) 3>&- & outer=$!
for _ in {1..100}; do
  init=$(pgrep -P $outer) && nsenter -t "$init" -a systemctl is-active default.target >/dev/null 2>&1 && break
  sleep 0.1
done
inside() { nsenter -t "$init" -a -w"$T" "$@"; }
inside systemctl is-active default.target >/dev/null 2>&1 ||
  tap_skip_all "systemd does not run here: $(tail -n 1 "$T/systemd.log" 2>&1)"
tap_diag "$(inside systemctl --version | head -n 1)"

# ---- a container as a service
state() { inside systemctl show -P "$1" web.service; }
# until_true COMMAND...: within half a minute.
until_true() {
  local i
  for ((i = 0; i < 150; i++)); do "$@" && return; sleep 0.2; done 2>/dev/null
  return 1
}
runs_anew() { [ "$(state ActiveState)" = active ] && [ "$(state MainPID)" != "$1" ]; }
shadow() { inside "$podman" exec web stat -c '%a %u:%g' /etc/shadow; }

# configure WAY: as a host has it that makes this the default; ExecStop of what Podman generates has
# none of the options that it was called with. $podman is the program.
configure() {
  local driver=overlay name=mp
  podman=$PODMAN
  [ "$1" = mountprogram ] || { driver=nixstore name=nixstore podman=$PODMAN_NIXSTORE; }
  export CONTAINERS_STORAGE_CONF=$T/storage-$1.conf STORAGE_OPTS=$driver.mount_program=$NIXSTORE_MOUNT
  printf '[storage]\ndriver = "%s"\nrunroot = "%s"\ngraphroot = "%s"\n' \
    "$driver" "$RUNROOTS/$name" "$T/p/$name/root" >"$CONTAINERS_STORAGE_CONF"
}

# podman_unit: what Podman generates for a container.
podman_unit() {
  "$podman" create --name web --network=none base:1 "${command[@]}" >/dev/null
  (cd "$T/units" && "$podman" generate systemd --new --files --name --restart-policy=always --restart-sec=0 --time 1 web >/dev/null)
  "$podman" rm web >/dev/null
  mv "$T/units/container-web.service" "$T/units/web.service"
}
# quadlet_unit: what Quadlet makes of a file, which must call the Podman under test, and not split a
# control group, which is for version 2 alone. Podman 4 does not overwrite the file with the ID.
quadlet_unit() {
  mkdir -p "$T/quadlet"
  printf '[Container]\nImage=localhost/base:1\nContainerName=web\nNetwork=none\nPodmanArgs=--cgroups=no-conmon --stop-timeout=1\nExec=%s\n[Service]\nExecStartPre=-/bin/rm -f %%t/%%N.cid\nRestart=always\nRestartSec=0\n' \
    "sh -c '${command[2]}'" >"$T/quadlet/web.container"
  QUADLET_UNIT_DIRS=$T/quadlet "$QUADLET" -no-kmsg-log "$T/units"
  sed -i "s,/usr/bin/podman,$podman," "$T/units/web.service"
}
command=(sh -c 'trap "exit 0" TERM; echo x >/etc/x; sleep 1000 & wait')

# service WHAT: the unit that is there is started, killed, started again, stopped.
service() {
  local what=$1 main victim
  inside systemctl daemon-reload
  check "$what: start" inside systemctl start web.service
  is "$what: it is the image" "$(shadow 2>&1)" '640 0:42'
  for victim in Pid ConmonPid; do
    main=$(state MainPID)
    inside kill -9 "$(inside "$podman" inspect -f "{{.State.$victim}}" web)"
    check "$what: $victim killed: systemd starts it again" until_true runs_anew "$main"
    is "$what: it is the image" "$(shadow 2>&1)" '640 0:42'
  done
  is "$what: so it was restarted" "$(state NRestarts)" 2
  main=$(state MainPID)
  check "$what: restart" inside systemctl restart web.service
  check "$what: it is another process" runs_anew "$main"
  check "$what: stop" inside systemctl stop web.service
  is "$what: it is stopped" "$(state ActiveState)" inactive
  is "$what: no container is left" "$(inside "$podman" ps -aq --external)" ""
  is "$what: no mount is left inside" "$(inside awk '{ print $5 }' /proc/self/mountinfo | grep -c "$T/p/.*/merged")" 0
  assert_nothing_left "$what: nothing is left"
}

for way in $WAYS; do
  nixstore_for "$way" import "$path" --name localhost/base:1 >/dev/null || tap_bail "$way: import failed"
  p run --rm --network=none base:1 true
  leak_mark
  configure "$way"
  mkdir -p "$T/units/web.service.d"
  {
    echo '[Service]'
    for v in CONTAINERS_CONF CONTAINERS_STORAGE_CONF STORAGE_OPTS HOME NIXSTORE_CACHE NIX_CONF_DIR NIX_REMOTE TMPDIR \
      NIXSTORE_TEST_ID PODMAN_IGNORE_CGROUPSV1_WARNING; do
      echo "Environment=$v=${!v}"
    done
  } >"$T/units/web.service.d/test.conf"
  podman_unit && service "$way, podman generate systemd"
  if [ -x "$QUADLET" ]; then
    quadlet_unit && service "$way, Quadlet"
  else
    tap_skip "$way, Quadlet" "this Podman has none, and there is no tree of Debian 13"
  fi
  "$podman" rmi base:1 >/dev/null
  unset STORAGE_OPTS
  nix-store --gc >/dev/null 2>&1
  check "$way: rmi: the path is collected" test ! -e "$path"
  "$NIXSTORE" convert "$source" --name "systemd-${T##*.}" >/dev/null
done
tap_done
