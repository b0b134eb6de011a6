# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of `make bench`: rows register themselves here, and are measured and printed one after
the other.

A row's function returns what paired() does, or {"value": NUMBER}. Its bar is what the ratio or the
value may be at most; None: shown for comparison only.
"""
import json
import os
import shlex
import subprocess

ENV = os.environ
RUNS = int(ENV.get("BENCH_RUNS", "20"))
SLOW_RUNS = int(ENV.get("BENCH_SLOW_RUNS", "5"))
ONLY = ENV.get("BENCH_ONLY", "").split()
ROWS = []


def row(name, bar, needs, unit=""):
    """Registers the function that follows as the row NAME. NEEDS: what test/bench/run has to prepare
    for it (prepare_NEEDS there)."""
    def register(function):
        ROWS.append((name, bar, needs, unit, function))
        return function
    return register


def command(name):
    """An argv list that test/bench/run left, quoted for a shell, in the variable NAME."""
    return shlex.split(ENV[name])


def quietly(argv):
    def call():
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
    return call


def chosen():
    return [r for r in ROWS if not ONLY or any(word in r[0] for word in ONLY)]


def needs():
    """What the chosen rows need, each once."""
    return list(dict.fromkeys(r[2] for r in chosen()))


def line(measured, bar, verdict, ours, peer, name):
    print(f"{measured:>10} {bar:>10} {verdict:6} {ours:>10} {peer:>10}  {name}", flush=True)


def show(name, bar, unit, result):
    if "problem" in result:
        line("-", "", "FAILED", "", "", f"{name}: {result['problem']}")
        return
    measured = result.get("ratio", result.get("value"))
    result["verdict"] = "" if bar is None else "ok" if measured <= bar else "MISSED"
    limit = "" if bar is None else f"<= {bar:g} {unit}".strip()
    if "ratio" in result:
        line(f"{measured:.3f}", limit, result["verdict"], f"{result['ours']:.4f} s",
             f"{result['peer']:.4f} s", name)
    else:
        line(f"{measured:.4g} {unit}".strip(), limit, result["verdict"], "", "", name)


def main():
    results = []
    line("measured", "bar", "", "ours", "peer",
         f"what : peer (medians of {RUNS} pairs, of {SLOW_RUNS} where a run takes seconds)")
    for name, bar, _, unit, function in chosen():
        try:
            result = function()
        except (RuntimeError, KeyError, OSError, subprocess.SubprocessError) as problem:
            result = {"problem": str(problem)}
        show(name, bar, unit, result)
        results.append(dict(result, name=name, bar=bar, unit=unit))
    if ENV.get("BENCH_JSON"):
        with open(ENV["BENCH_JSON"], "w", encoding="utf-8") as out:
            json.dump(results, out, indent=2)
    return any(r.get("verdict", "MISSED") == "MISSED" for r in results)
