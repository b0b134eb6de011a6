#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rows.py [--needs]: measures the rows of `make bench`, each ours against a named peer in one run, and
prints the table; with BENCH_JSON=FILE also as JSON. Called by test/bench/run, which prepares what
the rows need (--needs prints it) and passes it on in the environment.
"""
import sys

import table
# In the order of the table.
import rows_podman  # noqa: F401
import rows_mounts  # noqa: F401
import rows_fuse  # noqa: F401
import rows_rootless  # noqa: F401
import rows_convert  # noqa: F401

if __name__ == "__main__":
    if sys.argv[1:] == ["--needs"]:
        print(*table.needs())
        sys.exit(0)
    sys.exit(table.main())
