#!/usr/bin/env python3
"""How far the default path's perplexity is from our own float32 path, type by type.

    bench/peers/quality.py build/segue MODEL.gguf TEXT... [--types q8_0,q4_0,...] [--chunks 8] [--kv f16,q8_0] [--reference OTHER_BUILD]

For each type the model is quantised (--pure; without --types it is taken as it is), and windows of 512 tokens spread over each text are scored
by `segue eval` and `segue eval --exact` with one thread each.  Differences are paired, token by token, so that the text's own spread falls out.  Prints
a Markdown row for each: tokens, shift of the perplexity in percent +- its standard error, the shift to be expected from the size of the
differences (half of their mean square: what errors that know nothing of the text cost a model that is right), their mean size.
"""
import argparse
import json
import math
import os
import subprocess
import tempfile

HEAD = 1_000_000  # bytes of a text that are used


def windows(segue, model, text, ctx, chunks):
    """Lists of token ids, evenly spread over the head of a text."""
    with tempfile.NamedTemporaryFile("wb", suffix=".txt") as f:
        with open(text, "rb") as src:
            f.write(src.read(HEAD).rsplit(b"\n", 1)[0])
        f.flush()
        ids = {}
        for bos in ("yes", "no"):
            options = [] if bos == "yes" else ["--bos", "no"]
            run = subprocess.run([segue, "tokenize", model, "--file", f.name, "--json", *options], check=True, capture_output=True, text=True)
            ids[bos] = json.loads(run.stdout)["ids"]
    first = ids["yes"][:1] if len(ids["yes"]) > len(ids["no"]) else []
    step = max(ctx, len(ids["no"]) // chunks // ctx * ctx)
    return [first + ids["no"][i * step:i * step + ctx - len(first)] for i in range(chunks) if i * step + ctx <= len(ids["no"])]


def scores(segue, model, pieces, *options):
    lines = "".join(json.dumps({"tokens": p}) + "\n" for p in pieces)
    run = subprocess.run([segue, "eval", model, "--jsonl", "--quiet", "--threads", "1", *options], input=lines, check=True, capture_output=True, text=True)
    return [v for line in run.stdout.splitlines() for v in json.loads(line)["logprobs"][33:]]


def row(name, have, want):
    d = [b - a for a, b in zip(have, want)]
    n, mean, square = len(d), sum(d) / len(d), sum(v * v for v in d) / len(d)
    error = math.sqrt(max(square - mean * mean, 0) / n)
    size = sum(abs(v) for v in d) / n
    print(f"| {name} | {n} | {100 * mean:+.3f} +- {100 * error:.3f} | {50 * square:.3f} | {size:.4f} |", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("segue")
    ap.add_argument("model")
    ap.add_argument("text", nargs="+")
    ap.add_argument("--types", default="")
    ap.add_argument("--chunks", type=int, default=8)
    ap.add_argument("--ctx", type=int, default=512)
    ap.add_argument("--kv", default="f16")
    ap.add_argument("--reference")
    a = ap.parse_args()
    print("| weights, keys and values | tokens | shift of perplexity, % | expected of the differences' size, % | mean difference |\n|---|---|---|---|---|")
    pieces = [p for t in a.text for p in windows(a.segue, a.model, t, a.ctx, a.chunks)]
    with tempfile.TemporaryDirectory() as d:
        for kind in a.types.split(",") if a.types else [""]:
            model = a.model
            if kind:
                model = os.path.join(d, kind + ".gguf")
                subprocess.run([a.segue, "quantize", a.model, model, "--type", kind, "--pure", "--quiet"], check=True, capture_output=True)
            want = scores(a.reference or a.segue, model, pieces, "--exact")
            for kv in a.kv.split(","):
                row(f"{kind or os.path.basename(model)}, {kv}", scores(a.segue, model, pieces, "--kv-type", kv), want)
            if kind:
                os.unlink(model)


if __name__ == "__main__":
    main()
