#!/usr/bin/env python3
"""bench_tokenize.py SEGUE TOKENIZER_JSON TEXT...: segue beside other tokenizers, one thread, interleaved, on the same text.

Each engine encodes the text cut at line ends into documents of at least 2,048 bytes, one call each (what `segue bench
tokenize` does); MB/s of UTF-8 by CPU time, the first pass of a process ("cold") and the best of the others ("warm"), the best of
--rounds rounds.  Engines: segue, gigatoken, tiktoken (from the same vocabulary), tokenizers; those that are not installed are
left out.  Prints a Markdown table with the ratios; exit 1 when the numbers of tokens differ.
"""
import argparse, json, os, subprocess, sys, time


def documents(data):
    at, docs = 0, []
    while at < len(data):
        end = len(data)
        if len(data) - at > 2048:
            p = data.find(b"\n", at + 2047)
            end = p + 1 if p >= 0 else len(data)
        docs.append(data[at:end].decode())
        at = end
    return docs


def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in plain}
    table.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in plain)})
    return table


def encoder(engine, vocab):
    if engine == "gigatoken":
        import gigatoken
        return gigatoken.Tokenizer(vocab).encode
    if engine == "tokenizers":
        from tokenizers import Tokenizer
        t = Tokenizer.from_file(vocab)
        return lambda s: t.encode(s, add_special_tokens=False).ids
    import tiktoken
    d, table = json.load(open(vocab)), byte_alphabet()
    added = {a["id"] for a in d["added_tokens"]}
    ranks = {bytes(table[c] for c in s): i for s, i in d["model"]["vocab"].items() if i not in added}
    pattern = d["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    return tiktoken.Encoding("same", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}).encode_ordinary


def worker(engine, vocab, text, reps):
    data = open(text, "rb").read()
    docs, encode, speed = documents(data), encoder(engine, vocab), []
    encode("hello world")
    for _ in range(reps):
        start = time.process_time()
        out = [encode(d) for d in docs]
        speed.append(len(data) / 1e6 / (time.process_time() - start))
    print(json.dumps({"cold": speed[0], "warm": max(speed[1:]), "tokens": sum(len(x) for x in out)}))


def run(engine, a, text):
    if engine == "segue":
        p = subprocess.run([a.segue, "bench", "tokenize", a.vocab, "--file", text, "--json", "--reps", str(a.reps)],
                           capture_output=True, text=True)
        r = json.loads(p.stdout)
        return {"cold": r["cold_mbps"], "warm": r["warm_mbps"]["max"], "tokens": r["tokens"]}
    env = dict(os.environ, RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    p = subprocess.run([sys.executable, __file__, "--worker", engine, a.segue, a.vocab, text, "--reps", str(a.reps)],
                       capture_output=True, text=True, env=env)
    return json.loads(p.stdout) if p.returncode == 0 else None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("segue"), ap.add_argument("vocab"), ap.add_argument("texts", nargs="+")
    ap.add_argument("--rounds", type=int, default=3), ap.add_argument("--reps", type=int, default=4)
    ap.add_argument("--engines", default="segue,gigatoken,tiktoken,tokenizers"), ap.add_argument("--worker")
    a = ap.parse_args()
    if a.worker:
        return worker(a.worker, a.vocab, a.texts[0], a.reps)
    bad = 0
    print("| text | engine | cold MB/s | warm MB/s | segue warm / it | tokens |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for text in a.texts:
        best = {}
        for _ in range(a.rounds):
            for e in a.engines.split(","):
                r = run(e, a, text)
                if r:
                    b = best.setdefault(e, r)
                    b["cold"], b["warm"] = max(b["cold"], r["cold"]), max(b["warm"], r["warm"])
        for e, b in best.items():
            print(f"| {os.path.basename(text)} | {e} | {b['cold']:.1f} | {b['warm']:.1f} | "
                  f"{best['segue']['warm'] / b['warm']:.2f} | {b['tokens']} |")
            bad |= b["tokens"] != best["segue"]["tokens"]
    return bad


if __name__ == "__main__":
    sys.exit(main())
