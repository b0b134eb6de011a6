"""Images of real software: a Debian base, and an application on top of it.

Made with debootstrap and apt from the mirror that this machine's own apt
uses; a step of the application is a layer.
"""

import os
import subprocess
import sys
import tempfile

import treediff

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(os.path.dirname(HERE), "lib")


class Failed(Exception):
    pass


def sh(script, *args):
    """Bash, with the functions of test/lib/debian.sh."""
    r = subprocess.run(["bash", "-c", '. "$0"; ' + script, os.path.join(LIB, "debian.sh"), *args],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if r.returncode:
        raise Failed(f"{script}: " + " / ".join((r.stderr or r.stdout).split("\n")[-4:]))
    return r.stdout.strip()


# A chroot with /proc and /dev/shm of its own, where packages start nothing.
ENTER = r"""
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs run "$root/run"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
  DEBIAN_FRONTEND=noninteractive chroot "$root" sh -ec "$1
apt-get clean; rm -f /var/cache/apt/*.bin"
"""

APT = ("apt-get -qq -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io "
       "-o APT::Install-Recommends=false ")

# Each is a layer of debian-app: what it is for, and the commands.
STEPS = [
    ("ping: a file capability", "apt-get -qq update; " + APT + "install iputils-ping"),
    ("python3: many files", APT + "install python3 python3-django python3-sympy "
     "python3-docutils python3-pygments python3-babel"),
    ("postgresql: files of its own user", APT + "install postgresql"),
    ("nginx, sudo, cron: several owners, setuid and setgid",
     APT + "install nginx-light sudo cron at"),
    ("deletions", """
rm -rf /var/lib/apt/lists/* /usr/share/doc/libc* /usr/share/locale/d*
find /usr/share/man -name '*.8.gz' -delete
rm -r /usr/lib/python3/dist-packages/django/contrib/gis
rm /usr/bin/pg_config 2>/dev/null || rm /usr/bin/pg_backupcluster"""),
    ("directories made again: opaque", """
rm -rf /usr/share/locale /var/www /etc/cron.daily
mkdir -p /usr/share/locale/xx /var/www/html /etc/cron.daily
echo new > /usr/share/locale/xx/new
echo '<p>again</p>' > /var/www/html/index.html; chown -R www-data:www-data /var/www"""),
    ("replaced kinds and files", """
rm -rf /usr/share/info /usr/share/common-licenses/GPL /usr/share/doc/bash/copyright
ln -s ../share/doc /usr/share/info
mkdir /usr/share/common-licenses/GPL; echo 1 > /usr/share/common-licenses/GPL/text
mkdir -p /usr/share/doc/bash/copyright; echo 2 > /usr/share/doc/bash/copyright/file
rm -rf /etc/nginx/sites-available; echo a file > /etc/nginx/sites-available
rm /usr/bin/awk 2>/dev/null || :; cp /usr/bin/mawk /usr/bin/awk
sed -i s/bookworm/XXXXXXXX/ /etc/os-release
""" + "apt-get -qq update; " + APT + "--reinstall install coreutils bash iputils-ping; rm -rf /var/lib/apt/lists/*"),
    ("owners and modes alone", """
chown -R 1000:100000 /usr/share/perl5; chmod -R g+s /usr/share/zoneinfo 2>/dev/null || :
chown 70000:70000 /usr/lib/python3/dist-packages/django; chmod 0711 /root"""),
    ("an application", """
useradd -m -u 1000 app; mkdir -p /srv/app/shared /srv/app/spool
cp /usr/bin/sleep /srv/app/suid; chown app:postgres /srv/app/suid; chmod 6755 /srv/app/suid
chown root:www-data /srv/app/shared; chmod 2775 /srv/app/shared; chmod 1777 /srv/app/spool
mkfifo -m 620 /srv/app/pipe; mknod -m 666 /srv/app/null c 1 3
ln /srv/app/suid /srv/app/suid2; echo data > /srv/app/a; ln /srv/app/a /srv/app/b
ln /usr/bin/perl /srv/app/perl
dd if=/dev/zero of=/srv/app/holes bs=1 count=1 seek=10M 2>/dev/null
for i in $(seq 300); do echo $i > /srv/app/shared/f$i; done; chown -R app /srv/app/shared
setcap cap_net_bind_service+ep /srv/app/suid2 2>/dev/null || :"""),
]


def inputs():
    """What the images depend on besides this file: the release."""
    return sh("debian_codename") + sh('cat "$1"', os.path.join(HERE, "treediff.py"))


def run_in(root, command):
    r = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--propagation", "private",
                        "bash", "-c", ENTER, "enter", root, command],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if r.returncode:
        raise Failed(f"{command.strip()[:60]}…: " + " / ".join((r.stderr or r.stdout).split("\n")[-6:]))


def say(text):
    print("make-image: " + text, file=sys.stderr, flush=True)


def base(dest):
    say("debootstrap of a Debian base")
    with tempfile.TemporaryDirectory(dir=dest, prefix="tree.") as tree:
        os.chmod(tree, 0o755)
        sh('debian_bootstrap "$(debian_codename)" "$1"', tree)
        sh('rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*_*', tree)
        layer = os.path.join(dest, "1")
        treediff.write_layer(layer, tree, {}, treediff.scan(tree))
    return {"layers": [layer], "config": {"Cmd": ["/bin/bash"]}, "history": ["debootstrap"]}


def app(dest):
    base_layer = subprocess.run([os.path.join(HERE, "make-image"), "--layers", "debian-base"],
                                check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    layers = [os.path.join(dest, "1")]
    os.link(base_layer, layers[0])
    with tempfile.TemporaryDirectory(dir=dest, prefix="tree.") as tree:
        os.chmod(tree, 0o755)
        subprocess.run(["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf",
                        base_layer, "-C", tree], check=True)
        with open(os.path.join(tree, "usr/sbin/policy-rc.d"), "w") as f:
            f.write("#!/bin/sh\nexit 101\n")
        os.chmod(f.name, 0o755)
        old = treediff.scan(tree)
        for i, (what, command) in enumerate(STEPS, 2):
            say(f"layer {i}: {what}")
            run_in(tree, command)
            new = treediff.scan(tree)
            layers.append(os.path.join(dest, str(i)))
            count = treediff.write_layer(layers[-1], tree, old, new)
            say(f"  {count} entries, {os.path.getsize(layers[-1]) >> 20} MiB")
            old = new
        say(f"{len(old)} files in all")
    return {"layers": layers, "history": ["debootstrap"] + [s[0] for s in STEPS],
            "config": {"Cmd": ["/bin/bash"], "User": "", "WorkingDir": "/srv/app",
                       "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "APP=1"],
                       "Labels": {"nixstore.test": "debian-app"},
                       "ExposedPorts": {"80/tcp": {}}}}


IMAGES = {"debian-base": base, "debian-app": app}
