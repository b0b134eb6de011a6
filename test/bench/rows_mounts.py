# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each way to see an image's files against a bind mount of them. What overlayfs itself costs shows
the way "plain overlay": one of rootfs, with an upper as a container has it.
"""
from paired import paired
from table import ENV, RUNS, SLOW_RUNS, command, row

MODULES = """argparse ast asyncio base64 bdb binascii bisect bz2 calendar cgi cmd code codecs codeop
collections colorsys compileall concurrent.futures configparser contextlib copy copyreg csv ctypes
curses dataclasses datetime decimal difflib dis doctest email email.mime.text enum filecmp fileinput
fnmatch fractions ftplib functools getopt getpass gettext glob graphlib gzip hashlib heapq hmac html
html.parser http.client http.server imaplib inspect ipaddress json keyword linecache locale logging
logging.config lzma mailbox mimetypes multiprocessing netrc ntpath numbers opcode operator optparse
pathlib pdb pickle pkgutil platform plistlib poplib pprint profile pstats pyclbr pydoc queue random
reprlib runpy sched secrets selectors shelve shlex shutil smtplib socket socketserver sqlite3 ssl
statistics string stringprep subprocess tarfile tempfile textwrap threading timeit tokenize trace
traceback turtle typing unittest urllib.request uuid warnings wave weakref webbrowser xml.dom.minidom
xml.etree.ElementTree xmlrpc.client zipfile zipimport""".split()
IMPORTS = ("import importlib\nfor m in %r:\n  try: importlib.import_module(m)\n"
           "  except ImportError: pass" % MODULES)

WALK = ["find", "@", "-xdev", "-printf", "%U %G %m %s %T@\\n"]
# tar to /dev/null does not read; to a pipe it does.
READ = ["sh", "-c", 'tar --one-file-system -C "@" -cf - . | cat >/dev/null']
EXEC = ["sh", "-c", 'i=0; while [ $i -lt 200 ]; do chroot "@" /bin/true; i=$((i+1)); done']
PYTHON = ["chroot", "@", "/usr/bin/python3", "-B", "-S", "-c", IMPORTS]

BARE = "fuse + overlay, image without xattrs"
# Of each way: where test/bench/run says that it is mounted, and what runs a command there.
WAYS = {"erofs": ("BENCH_EROFS", None), "overlaydir": ("BENCH_OVERLAYDIR", "BENCH_IN_NAMESPACE"),
        "fuse": ("BENCH_FUSE", None), "fuse + overlay": ("BENCH_FUSE_UPPER", None),
        BARE: ("BENCH_FUSE_BARE", None),
        "plain overlay": ("BENCH_PLAIN", None), "fuse-overlayfs": ("BENCH_FUSE_OVERLAYFS", None)}


def bars(of_fuse):
    """How much of the bind mount's time each way may take; None: shown beside it."""
    return {"erofs": 1.05, "overlaydir": 1.05, "fuse": of_fuse, "fuse + overlay": of_fuse,
            BARE: of_fuse, "plain overlay": None, "fuse-overlayfs": None}


# What, how, whether with cold caches.
MEASURES = [
    ("metadata walk, hot", WALK, False, bars(1.1)),
    ("metadata walk, cold", WALK, True, bars(1.6)),
    ("read of everything, hot", READ, False, bars(1.1)),
    ("read of everything, cold", READ, True, bars(1.3)),
    ("200 execs, hot", EXEC, False, bars(1.1)),
    ("200 execs, cold", EXEC, True, {"erofs": 1.05, "plain overlay": None}),
    # The image without xattrs has the store's times, too.
    ("Python start with 150 imports, hot", PYTHON, False,
     {way: bar for way, bar in bars(1.1).items() if way != BARE}),
]


def place(variable, argv):
    """Where the image is mounted; for Python, where its modules have their times (prepare-mounts.sh)."""
    return ENV.get(variable + "_PYTHON", ENV[variable]) if argv is PYTHON else ENV[variable]


def measure(argv, way, cold, at_peer="BENCH_BIND"):
    variable, runner = WAYS[way]
    if variable not in ENV:
        raise RuntimeError("this host cannot mount it")
    prefix = command(runner) if runner else []
    ours, peer = (prefix + [a.replace("@", place(at, argv)) for a in argv]
                  for at in (variable, at_peer))
    return paired(ours, peer, SLOW_RUNS if cold and argv is READ else RUNS, cold=cold,
                  warmup=0 if cold else 1)


for _what, _argv, _cold, _bars in MEASURES:
    for _way, _bar in _bars.items():
        row(f"{_what}, {_way} : bind mount of rootfs", _bar, "mounts")(
            lambda argv=_argv, way=_way, cold=_cold: measure(argv, way, cold))
    # What the index costs, without what any overlay costs.
    row(f"{_what}, erofs : plain overlay", 1.05, "mounts")(
        lambda argv=_argv, cold=_cold: measure(argv, "erofs", cold, "BENCH_PLAIN"))
