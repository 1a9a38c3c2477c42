#!/usr/bin/env python3
"""Perplexity of one model beside llama.cpp and beside our own float32 path, over the same windows.

    bench/peers/perplexity.py build/segue LLAMA_PERPLEXITY MODEL.gguf TEXT [--chunks 16] [--ctx 512] [--threads 2]

Windows as llama-perplexity takes them: the text's tokens cut into pieces of --ctx tokens, each piece begins with BOS
when the model wants one, and only the second half of each piece counts.  Prints a Markdown row: model, tokens that
count, perplexity of `segue eval --exact` (weights as stored, float32 arithmetic), of `segue eval`, of llama.cpp, and
how far the last two are from the first.
"""
import argparse
import json
import math
import os
import re
import subprocess
import tempfile


def windows(segue, model, text, ctx, chunks):
    """Lists of token ids, as llama-perplexity cuts them."""
    run = subprocess.run([segue, "tokenize", model, "--file", text, "--json"], check=True, capture_output=True, text=True)
    ids = json.loads(run.stdout)["ids"]
    plain = subprocess.run([segue, "tokenize", model, "--file", text, "--json", "--bos", "no"], check=True, capture_output=True, text=True)
    bos = ids[0] if len(ids) > len(json.loads(plain.stdout)["ids"]) else None
    pieces = [ids[i:i + ctx] for i in range(0, len(ids) - ctx + 1, ctx)][:chunks]
    return [([bos] + p[1:]) if bos is not None else p for p in pieces]


def ours(segue, model, pieces, threads, *options):
    """Mean negative log-probability over the second halves, and how many tokens counted."""
    lines = "".join(json.dumps({"tokens": p}) + "\n" for p in pieces)
    run = subprocess.run([segue, "eval", model, "--jsonl", "--quiet", "--threads", str(threads), *options], input=lines, check=True, capture_output=True, text=True)
    total, n = 0.0, 0
    for line in run.stdout.splitlines():
        scores = json.loads(line)["logprobs"]
        half = scores[len(scores) // 2 + 1:]
        total, n = total - sum(half), n + len(half)
    return total / n, n


def peer(program, model, text, ctx, chunks, threads):
    """llama-perplexity's figure over its first `chunks` windows."""
    run = subprocess.run([program, "-m", model, "-f", text, "-c", str(ctx), "-b", str(ctx), "-t", str(threads), "--chunks", str(chunks)],
                         capture_output=True, text=True)
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", run.stdout + run.stderr)
    if not found:
        raise SystemExit(f"{program}: no perplexity: {(run.stdout + run.stderr)[-400:]}")
    return math.log(float(found[1]))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("segue", "peer", "model", "text"):
        ap.add_argument(name)
    ap.add_argument("--chunks", type=int, default=16)
    ap.add_argument("--ctx", type=int, default=512)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as f:  # the head of the text: tokenizing all of it takes the peer long
        with open(a.text, "rb") as src:
            f.write(src.read(a.chunks * a.ctx * 8).rsplit(b"\n", 1)[0])
        f.flush()
        pieces = windows(a.segue, a.model, f.name, a.ctx, a.chunks)
        exact, n = ours(a.segue, a.model, pieces, a.threads, "--exact")
        fast, _ = ours(a.segue, a.model, pieces, a.threads)
        other = peer(a.peer, a.model, f.name, a.ctx, len(pieces), a.threads)
    ppl = [math.exp(v) for v in (exact, fast, other)]
    print(f"| {os.path.basename(a.model)} | {n} | {ppl[0]:.4f} | {ppl[1]:.4f} | {ppl[2]:.4f} | "
          f"{100 * (ppl[1] / ppl[0] - 1):+.3f} % | {100 * (ppl[2] / ppl[0] - 1):+.3f} % |", flush=True)


if __name__ == "__main__":
    main()
