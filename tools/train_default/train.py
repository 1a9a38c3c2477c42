"""Trains the default model on token files; made for a CPU that others use too.

    nice -n 19 python train.py --data DIR --run DIR --mix stories:5,chats:3 --decay-from 15:05 --until 15:25

The schedule is warm-up, constant, then linear decay, and is set by the clock,
because on a shared machine the clock is the budget.  Every --save seconds the
whole state goes to RUN/state.pt (also on SIGTERM); starting again with the same --run goes on from
there, and --mix may then differ.  Matrices inside the blocks are trained with
Muon (momentum orthogonalised by a Newton-Schulz iteration), the embedding and
the norms with AdamW.  An exponential average of the weights is kept and is
what export.py takes.  RUN/log.jsonl gets one line per evaluation.

Loss and gradients come from step.c (fast.py), several times as fast as PyTorch on a CPU with
AMX; on any other machine the same is done by PyTorch.
"""
import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import subprocess
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from tokenizers import Tokenizer

from fast import Step
from model import Config, Model


def clock(text):
    """'HH:MM' of today -> seconds since the epoch."""
    h, m = map(int, text.split(":"))
    return datetime.datetime.now().replace(hour=h, minute=m, second=0, microsecond=0).timestamp()


BOS, START, END = 0, 1, 2  # <|bos|> <|im_start|> <|im_end|>


def read_tokens(path, data):
    """(ids, targets) of a token file: targets[i] is what should follow ids[..i-1] at i, or -1 in the user's and the
    system's turns, which the model need not learn to write."""
    ids = np.fromfile(path, dtype="<u2").astype(np.int32)
    tok = Tokenizer.from_file(str(data / "tokenizer.json"))
    assistant = tok.encode("assistant").ids[0]
    starts, ends = np.flatnonzero(ids == START), np.flatnonzero(ids == END)
    starts = starts[ids[np.minimum(starts + 1, len(ids) - 1)] != assistant]
    at = np.searchsorted(ends, starts)
    starts, at = starts[at < len(ends)], at[at < len(ends)]
    mark = np.zeros(len(ids) + 1, dtype=np.int32)
    np.add.at(mark, starts, 1)
    np.add.at(mark, ends[at] + 1, -1)
    return ids, np.where(np.cumsum(mark[:-1]) > 0, -1, ids)


class Source:
    """Rows cut from a token file, each starting where a document starts."""
    def __init__(self, path, data):
        self.ids, self.targets = read_tokens(path, data)
        self.starts = np.flatnonzero(self.ids == BOS)

    def row(self, rng, n):
        limit = np.searchsorted(self.starts, len(self.ids) - n - 1)
        at = self.starts[rng.integers(max(limit, 1))]
        return self.ids[at:at + n], self.targets[at + 1:at + n + 1]


def batch(rows):
    x, y = (torch.from_numpy(np.stack(part).astype(np.int64)) for part in zip(*rows))
    return x, y


def orthogonalise(g, steps=5):
    """Newton-Schulz towards the nearest semi-orthogonal matrix; g [n][rows][cols]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if flip else x).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                shapes.setdefault(p.shape, []).append((p, p.grad.lerp(m, group["momentum"])))
            for shape, pairs in shapes.items():
                update = orthogonalise(torch.stack([u for _, u in pairs]))
                scale = max(1.0, shape[0] / shape[1])**0.5
                for (p, _), u in zip(pairs, update):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(u, alpha=-group["lr"] * scale)


class Plain:
    """What fast.Step does, by PyTorch."""
    def __init__(self, model):
        self.model, self.compiled = model, torch.compile(model)

    def weights(self):
        pass

    def run(self, x, y, scale, drop=0.0):
        self.model.drop = drop
        n = int((y >= 0).sum())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = self.compiled(x, y) * n
        (loss * scale).backward()
        return loss.item()


def evaluate(engine, data, names, rows, length=256):
    """Mean loss in nats per token on the head of each held-out file, of the weights that engine has."""
    out = {}
    for name in names:
        ids, targets = read_tokens(data / f"{name}.held.bin", data)
        n = min(96, (len(ids) - 1) // length) // rows * rows
        x, y = batch([(ids[i:i + length], targets[i + 1:i + length + 1]) for i in range(0, n * length, length)])
        total = sum(engine.run(x[i:i + rows], y[i:i + rows], 0.0) for i in range(0, n, rows))
        out[name] = round(total / max(int((y >= 0).sum()), 1), 4)
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", type=pathlib.Path, required=True)
    ap.add_argument("--run", type=pathlib.Path, required=True)
    ap.add_argument("--mix", default="stories:1", help="source:weight,...")
    ap.add_argument("--until", type=clock, required=True)
    ap.add_argument("--decay-from", type=clock, required=True)
    ap.add_argument("--layer", type=int, default=6)
    ap.add_argument("--length", type=int, default=512)
    ap.add_argument("--rows", type=int, default=4, help="rows per micro-batch")
    ap.add_argument("--accumulate", type=int, default=4)
    ap.add_argument("--lr", type=float, default=0.02, help="Muon; AdamW gets 0.15 of it")
    ap.add_argument("--drop", type=float, default=0.1, help="dropout before the output and down matrices")
    ap.add_argument("--save", type=int, default=150)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    a.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)

    model = Model(Config(layer=a.layer))
    matrices = [p for b in model.blocks for p in b.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is q for q in matrices)]
    optims = [Muon(matrices, a.lr), torch.optim.AdamW(rest, 0.15 * a.lr, betas=(0.9, 0.98), weight_decay=0.0)]
    base = [a.lr, 0.15 * a.lr]
    average = {k: v.clone() for k, v in model.state_dict().items()}
    step, tokens, seconds = 0, 0, 0.0
    state = a.run / "state.pt"
    if state.exists():
        s = torch.load(state, weights_only=False)
        model.load_state_dict(s["model"])
        for o, saved in zip(optims, s["optims"]):
            o.load_state_dict(saved)
        average, step, tokens, seconds = s["average"], s["step"], s["tokens"], s["seconds"]

    names, weights = zip(*((n, float(w)) for n, w in (m.split(":") for m in a.mix.split(","))))
    weights = np.array(weights) / sum(weights)
    sources = [Source(a.data / f"{n}.train.bin", a.data) for n in names]
    rng = np.random.default_rng(a.seed + step)
    try:
        engine = Step(model, a.rows * a.length)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as e:
        print(f"no fast step: {e}")
        engine = Plain(model)

    def save():
        tmp = state.with_suffix(".tmp")
        torch.save(
            dict(config=dataclasses.asdict(model.c),
                 model=model.state_dict(),
                 average=average,
                 step=step,
                 optims=[o.state_dict() for o in optims],
                 tokens=tokens,
                 seconds=seconds,
                 mix=a.mix), tmp)
        tmp.rename(state)

    def held():
        live = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(average)
        engine.weights()
        out = evaluate(engine, a.data, names, a.rows)
        model.load_state_dict(live)
        model.zero_grad(set_to_none=False)
        return out

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    last_save = last = time.time()
    losses = []
    while (now := time.time()) < a.until and not stop:
        fraction = 1.0 if now < a.decay_from else max((a.until - now) / (a.until - a.decay_from), 0.02)
        for o, lr in zip(optims, base):
            for g in o.param_groups:
                g["lr"] = lr * fraction * min(1.0, (step + 1) / 60)
        parts = [
            batch([sources[rng.choice(len(sources), p=weights)].row(rng, a.length) for _ in range(a.rows)])
            for _ in range(a.accumulate)
        ]
        count = sum(int((y >= 0).sum()) for _, y in parts)
        engine.weights()
        losses.append(sum(engine.run(x, y, 1 / count, a.drop) for x, y in parts) / count)
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        for o in optims:
            o.step()
        model.zero_grad(set_to_none=False)
        step += 1
        tokens += a.accumulate * a.rows * a.length
        if step % 4 == 0:
            keep = min(0.96, step / (step + 40))
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - keep)
        seconds += time.time() - now
        if step % 20 == 0:
            print(
                f"{time.strftime('%H:%M:%S')} step {step} loss {np.mean(losses[-20:]):.4f} lr x{fraction:.2f} "
                f"tokens {tokens/1e6:.2f}M {20 * a.accumulate * a.rows * a.length / (time.time() - last):.0f} tok/s",
                flush=True)
            last = time.time()
        if time.time() - last_save > a.save:
            save()
            print("held", held(), flush=True)
            last_save = time.time()
    save()
    line = dict(step=step, tokens=tokens, seconds=round(seconds), held=held(), mix=a.mix)
    print(line)
    with open(a.run / "log.jsonl", "a") as f:
        f.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
