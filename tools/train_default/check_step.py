"""Compares step.c with model.py: loss and gradients of a random batch, and the time of a step."""
import argparse
import time

import torch

from fast import Step
from model import Config, Model


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--layer", type=int, default=6)
    ap.add_argument("--length", type=int, default=256)
    ap.add_argument("--rows", type=int, default=8)
    a = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = Model(Config(layer=a.layer))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    ids = torch.randint(0, model.c.vocab, (a.rows, a.length))
    targets = torch.where(torch.rand(ids.shape) < 0.2, -1, torch.randint(0, model.c.vocab, ids.shape))
    want = model(ids, targets)
    want.backward()
    grads = {k: p.grad.clone() for k, p in model.named_parameters()}
    model.zero_grad()
    step = Step(model, a.rows * a.length)
    step.weights()
    n = int((targets >= 0).sum())
    got = step.run(ids, targets, 1 / n) / n
    print(f"loss {want.item():.6f} by model.py, {got:.6f} by step.c")
    for k, p in model.named_parameters():
        error = (p.grad - grads[k]).norm() / grads[k].norm()
        if "blocks" not in k or k.startswith(("blocks.0", f"blocks.{a.layer - 1}")):
            print(f"{k}: relative error of the gradient {error:.4f}")
    for _ in range(2):
        start = time.perf_counter()
        for _ in range(4):
            step.run(ids, targets, 1 / n)
        seconds = (time.perf_counter() - start) / 4
        print(f"{a.rows * a.length / seconds:.0f} tokens/s")


if __name__ == "__main__":
    main()
