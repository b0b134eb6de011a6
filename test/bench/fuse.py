#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of test/bench/fuse: each way to see the files against a bind mount of them, as ratios."""
import os
import sys

from paired import paired

ENV = os.environ
RUNS = int(ENV.get("BENCH_RUNS", "20"))
ONLY = ENV.get("BENCH_ONLY", "").split()

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
PYTHON = "import importlib\nfor m in %r:\n  try: importlib.import_module(m)\n  except ImportError: pass" % MODULES

WALK = ["find", "@", "-xdev", "-printf", "%U %G %m %s %T@\\n"]
# tar to /dev/null does not read; to a pipe it does.
READ = ["sh", "-c", 'tar --one-file-system -C "@" -cf - . | cat >/dev/null']
EXEC = ["sh", "-c", 'i=0; while [ $i -lt 200 ]; do chroot "@" /bin/true; i=$((i+1)); done']
START = ["chroot", "@", "/usr/bin/python3", "-B", "-S", "-c", PYTHON]

# What, and how much of the bind mount's time mode fuse may take.
ROWS = [("hot metadata walk", WALK, False, 1.1), ("hot read of everything", READ, False, 1.1),
        ("hot exec, 200 times", EXEC, False, 1.1), ("hot Python start, 150 imports", START, False, 1.1),
        ("cold metadata walk", WALK, True, 1.6), ("cold read of everything", READ, True, 1.3)]
WAYS = [("fuse", "BENCH_FUSE"), ("fuse + upper", "BENCH_FUSE_UPPER"), ("erofs + upper", "BENCH_EROFS"),
        ("fuse-overlayfs", "BENCH_FUSE_OVERLAYFS")]


def measure(argv, directory, cold):
    at = [[a.replace("@", d) for a in argv] for d in (directory, ENV["BENCH_BIND"])]
    return paired(at[0], at[1], RUNS, cold=cold)


def main():
    missed = 0
    print(f"{'':32}{'bar':>6}" + "".join(f"{name:>16}" for name, _ in WAYS) + f"{'bind (s)':>10}")
    for name, argv, cold, bar in ROWS:
        if ONLY and not any(word in name for word in ONLY):
            continue
        print(f"{name:32}{bar:6.2f}", end="", flush=True)
        for way, variable in WAYS:
            if variable not in ENV:
                print(f"{'-':>16}", end="", flush=True)
                continue
            result = measure(argv, ENV[variable], cold)
            over = way.startswith("fuse") and way != "fuse-overlayfs" and result["ratio"] > bar
            missed += over
            print(f"{result['ratio']:15.3f}{'!' if over else ' '}", end="", flush=True)
        print(f"{result['peer']:10.3f}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
