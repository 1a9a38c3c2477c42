#!/usr/bin/env bash
# bench/peers/neighbour.sh - speed beside a busy neighbour: one spinning process on each of half of the CPUs.
#
#   bench/peers/neighbour.sh SEGUE LLAMA_BIN MODEL.gguf... [> bench/results/NAME.md]
#
# LLAMA_BIN is the folder with llama-bench, or - for none.  ROUNDS (3), PP (256), TG (32) and THREADS (all CPUs) come from
# the environment.  The neighbours run at normal priority, each bound to one CPU; the programs are bound to nothing.  A round
# runs segue with one thread, with all, and llama.cpp with all, one after another; the ratios are of medians.
set -eu
[ $# -ge 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
segue=$1 llama=$2
shift 2
exec env LD_LIBRARY_PATH="$llama${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" python3 - "$segue" "$llama" "$@" <<'PY'
import datetime, json, os, statistics, subprocess, sys

segue, llama, models = sys.argv[1], sys.argv[2], sys.argv[3:]
rounds, pp, tg = (int(os.environ.get(k, d)) for k, d in (("ROUNDS", 3), ("PP", 256), ("TG", 32)))
cpus = sorted(os.sched_getaffinity(0))
threads = int(os.environ.get("THREADS", len(cpus)))


def ask(command):
    run = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(run.stdout)
    except ValueError:
        return None


def ours(model, n):
    rows = ask([segue, "bench", model, "--pp", str(pp), "--tg", str(tg), "--batch", "1", "--reps", "3", "--threads", str(n), "--json"])
    return {r["test"][:2]: r["tps"]["median"] for r in rows["results"]} if rows else {}


def peer(model, n):
    if llama == "-":
        return {}
    rows = ask([f"{llama}/llama-bench", "-m", model, "-p", str(pp), "-n", str(tg), "-t", str(n), "-r", "2", "-o", "json"])
    return {"pp" if r["n_prompt"] else "tg": r["avg_ts"] for r in rows} if rows else {}


busy = cpus[len(cpus) // 2:] if len(cpus) > 1 else cpus
print(f"bench/peers/neighbour.sh, {datetime.date.today()}, {len(cpus)} CPUs, spinning processes on {len(busy)} of them, pp{pp} tg{tg}, "
      f"{rounds} rounds\n")
print(f"| model | test | segue, 1 thread | segue, {threads} threads | llama.cpp, {threads} threads | {threads} threads / 1 (goal 0.95) | "
      "/ llama.cpp (goal 3) | reached |\n|---|---|---|---|---|---|---|---|")
neighbours = [subprocess.Popen([sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{c}])\nwhile True: pass"]) for c in busy]
try:
    for model in models:
        runs = [(ours(model, 1), ours(model, threads), peer(model, threads)) for _ in range(rounds)]
        for test in ("pp", "tg"):
            one, all_, other = (statistics.median(v) if (v := [r[i][test] for r in runs if test in r[i]]) else None for i in range(3))
            scale, ahead = (all_ / one if one and all_ else None), (all_ / other if all_ and other else None)
            ok = scale is not None and scale >= 0.95 and (ahead is None or ahead >= 3)
            show = lambda x, f: format(x, f) if x is not None else "-"
            print(f"| {os.path.basename(model)} | {test}{pp if test == 'pp' else tg} | {show(one, '.1f')} | {show(all_, '.1f')} | "
                  f"{show(other, '.1f')} | {show(scale, '.2f')} | {show(ahead, '.2f')} | {'yes' if ok else 'no'} |", flush=True)
finally:
    for n in neighbours:
        n.kill()
PY
