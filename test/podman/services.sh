# shellcheck shell=bash
# Containers as services of a live systemd, the first process of namespaces of its own, in control
# groups of the test's own. Source it after env.sh. Who sources it has
#   ctl ARGS...             systemctl of the manager that has the services, whose units are in $UNITS
#   podman ARGS...          the Podman under test, which is $program
#   inside_podman ARGS...   the same, called where the services run
#   nothing_left WHAT
# The environment of the services is what service_environment was told.

cgroups=() # one in each hierarchy
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

# systemd_units DIRECTORY: the targets that a manager wants to have.
systemd_units() {
  local unit
  mkdir "$1"
  for unit in sysinit basic default shutdown network-online umount rescue emergency exit; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$unit" >"$1/$unit.target"
  done
}

# systemd_start: its units are in $T/units.
systemd_start() {
  local where g f outer
  while read -r _ _ _ _ where _; do
    case $(stat -f -c %T "$where") in cgroup*) ;; *) continue ;; esac
    cgroups+=("$where/$NIXSTORE_TEST_ID")
  done < <(grep -E ' - cgroup2? ' /proc/self/mountinfo)
  tap_on_exit systemd_down
  for g in "${cgroups[@]}"; do
    mkdir "$g" || tap_skip_all "no control group $g"
    # Of cpuset: without them no process may enter.
    for f in cpuset.cpus cpuset.mems; do [ ! -w "$g/$f" ] || cat "${g%/*}/$f" >"$g/$f"; done
  done
  systemd_units "$T/units"
  (
    for g in "${cgroups[@]}"; do echo "$BASHPID" >"$g/cgroup.procs"; done
    exec unshare --pid --fork --kill-child --cgroup --mount --uts --ipc --net --propagation slave \
      "$SRCDIR/test/podman/systemd-inside" "$T/units" "$T/systemd.log" 2>/dev/null
  ) 3>&- & outer=$!
  for _ in {1..100}; do
    init=$(pgrep -P $outer) && nsenter -t "$init" -a systemctl is-active default.target >/dev/null 2>&1 && break
    sleep 0.1
  done
  inside systemctl is-active default.target >/dev/null 2>&1 ||
    tap_skip_all "systemd does not run here: $(tail -n 1 "$T/systemd.log" 2>&1)"
  tap_diag "$(inside systemctl --version | head -n 1)"
}
inside() { nsenter -t "$init" -a -w"$T" "$@"; }

state() { ctl show -P "$1" web.service; }
# until_true COMMAND...: within half a minute.
until_true() {
  local i
  for ((i = 0; i < 150; i++)); do "$@" && return; sleep 0.2; done 2>/dev/null
  return 1
}
# runs_anew PID: it is active, and not as this process. One question, as the two change.
runs_anew() {
  local ActiveState='' MainPID=0
  eval "$(ctl show -p ActiveState -p MainPID web.service)"
  [ "$ActiveState" = active ] && [ "$MainPID" != 0 ] && [ "$MainPID" != "$1" ]
}
shadow() { inside_podman exec web stat -c '%a %u:%g' /etc/shadow; }

# podman_unit: what Podman generates for a container.
podman_unit() {
  podman create --name web --network=none base:1 "${command[@]}" >/dev/null
  podman generate systemd --new --name --restart-policy=always --restart-sec=0 --time 1 web >"$UNITS/web.service"
  podman rm web >/dev/null
}
# quadlet_unit OPTION...: what Quadlet makes of a file, which must call the Podman under test, and not split a
# control group, which is for version 2 alone. Podman 4 does not overwrite the file with the ID.
quadlet_unit() {
  mkdir -p "$T/quadlet"
  printf '[Container]\nImage=localhost/base:1\nContainerName=web\nNetwork=none\nPodmanArgs=--cgroups=no-conmon --stop-timeout=1\nExec=%s\n[Service]\nExecStartPre=-/bin/rm -f %%t/%%N.cid\nRestart=always\nRestartSec=0\n' \
    "sh -c '${command[2]}'" >"$T/quadlet/web.container"
  QUADLET_UNIT_DIRS=$T/quadlet "$QUADLET" "$@" -no-kmsg-log "$UNITS"
  sed -i "s,/usr/bin/podman,$program," "$UNITS/web.service"
}
command=(sh -c 'trap "exit 0" TERM; echo x >/etc/x; sleep 1000 & wait')

# service_environment NAME=VALUE...
# A service whose conmon was killed is not stopped by ExecStop=: SIGTERM goes to all in its group, and a
# keeper of nixstore-fuse stays as long as its mount, until SIGKILL.
service_environment() {
  mkdir -p "$UNITS/web.service.d"
  { printf '[Service]\nTimeoutStopSec=5\n'; printf 'Environment="%s"\n' "$@"; } >"$UNITS/web.service.d/test.conf"
}

# Podman 4.3 has no Quadlet; that of Debian 13 runs here, too.
for QUADLET in ${QUADLET-} /usr/libexec/podman/quadlet "$("$TESTLIB/trixie" path)/usr/libexec/podman/quadlet"; do
  [ ! -x "$QUADLET" ] || break
done
# quadlet_service WHAT OPTION...: the same of a file for Quadlet, which has these options.
quadlet_service() {
  local what=$1; shift
  [ -x "$QUADLET" ] || { tap_skip "$what" "this Podman has none, and there is no tree of Debian 13"; return; }
  quadlet_unit "$@"
  service "$what"
}

# service WHAT: the unit that is there is started, killed, started again, stopped.
service() {
  local what=$1 main victim
  ctl daemon-reload
  check "$what: start" ctl start web.service
  is "$what: it is the image" "$(shadow 2>&1)" '640 0:42'
  for victim in Pid ConmonPid; do
    main=$(state MainPID)
    inside kill -9 "$(inside_podman inspect -f "{{.State.$victim}}" web)"
    check "$what: $victim killed: systemd starts it again" until_true runs_anew "$main"
    is "$what: it is the image" "$(shadow 2>&1)" '640 0:42'
  done
  is "$what: so it was restarted" "$(state NRestarts)" 2
  main=$(state MainPID)
  check "$what: restart" ctl restart web.service
  check "$what: it is another process" runs_anew "$main"
  check "$what: stop" ctl stop web.service
  is "$what: it is stopped" "$(state ActiveState)" inactive
  is "$what: no container is left" "$(inside_podman ps -aq --external)" ""
  is "$what: no mount is left inside" "$(inside awk '{ print $5 }' /proc/self/mountinfo | grep -c "$T/p/.*/merged")" 0
  nothing_left "$what: nothing is left"
}
