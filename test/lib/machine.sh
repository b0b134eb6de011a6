# shellcheck shell=bash
# What is peculiar about this machine; for the tests and for contrib/quickstart.

# Does Podman run here as it comes, or must it be told otherwise?  A
# machine without CAP_SYS_RESOURCE can't raise limits, and crun refuses a
# hybrid cgroup tree: then a containers.conf of our own says so.
podman_conf_needed() {
  local eff
  eff=$(awk '/^CapEff:/ { print $2 }' /proc/self/status)
  # CAP_SYS_RESOURCE is bit 24.
  (( (0x$eff >> 24 & 1) == 0 )) && return 0
  [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]
}

# podman_write_conf FILE [LINE...]: a containers.conf that works on this machine,
# with further lines for its [engine].
podman_write_conf() {
  {
    echo '[containers]'
    if podman_conf_needed; then
      echo 'default_ulimits = ["nofile=20000:20000","nproc=1024:1024"]'
    fi
    echo '[engine]'
    if podman_conf_needed; then
      echo 'cgroup_manager = "cgroupfs"'
      echo 'runtime = "runc"'
    fi
    # Further lines for [engine].
    [ $# -lt 2 ] || printf '%s\n' "${@:2}"
  } >"$1"
}
