"""Held-out loss, exact answers and samples of an exported model.

    python evaluate.py --data DIR [--run DIR] FILE.gguf

Loss is the mean over the tokens of each held-out file that the model is to write
(not the user's turns), in nats per token and bits per byte of text, for the GGUF
(dequantised, float32 arithmetic) and, with --run, for the average weights before
quantisation.  Answers: greedy replies to generated questions with one right
answer, from a seed not used in training, compared character by character.
"""
import argparse
import math
import pathlib
import random

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

import chatgen
from export import gguf_name
from model import Config, Model
from prepare import chat
from train import read_tokens

MAKERS = [
    chatgen.capital, chatgen.colour, chatgen.opposite, chatgen.calendar, chatgen.arithmetic, chatgen.arithmetic2,
    chatgen.number, chatgen.knowledge, chatgen.animal, chatgen.language, chatgen.unknown
]
PROMPTS = [
    "Hello!", "Who are you?", "What is the capital of France?", "What is 7 + 8?", "What colour is the sky?",
    "Tell me a story about a fox.", "Write a sentence about a boat.", "Can a penguin fly?", "What comes after Friday?",
    "I am sad.", "Explain quantum physics.", "Name three animals.", "What is the opposite of hot?",
    "Tell me a short story about a girl named Mia and her kite.", "Answer in JSON: Mia is 7 years old.", "Goodbye"
]


def load_gguf(path):
    r = gguf.GGUFReader(path)
    get = lambda k: r.fields["qwen3." + k].contents()  # noqa: E731
    c = Config(vocab=get("vocab_size"),
               width=get("embedding_length"),
               layer=get("block_count"),
               head=get("attention.head_count"),
               head_kv=get("attention.head_count_kv"),
               head_dim=get("attention.key_length"),
               ffn=get("feed_forward_length"),
               context=get("context_length"),
               rope_base=get("rope.freq_base"),
               eps=get("attention.layer_norm_rms_epsilon"))
    m = Model(c)
    t = {x.name: torch.from_numpy(np.array(gguf.quants.dequantize(x.data, x.tensor_type))) for x in r.tensors}
    m.load_state_dict({k: t[gguf_name(k)].reshape(v.shape) for k, v in m.state_dict().items()})
    return m.eval()


@torch.no_grad()
def loss(model, tok, path, length=512):
    ids, targets = (torch.from_numpy(x.astype(np.int64)) for x in read_tokens(path, path.parent))
    total, count = 0.0, 0
    for i in range(0, len(ids) - 1, length):
        y = targets[None, i + 1:i + length + 1]
        n = int((y >= 0).sum())
        if n:
            total += model(ids[None, i:i + y.shape[1]], y).item() * n
            count += n
    size = len(tok.decode(targets[targets >= 0].tolist(), skip_special_tokens=True).encode())
    return total / count, total / math.log(2) / size


@torch.no_grad()
def generate(model, tok, text, n=300, temperature=0.0, seed=0):
    ids = tok.encode(text, add_special_tokens=False).ids
    start, g = len(ids), torch.Generator().manual_seed(seed)
    end = tok.token_to_id("<|im_end|>")
    while len(ids) < start + n:
        logits = model(torch.tensor([ids]))[0, -1]
        if temperature > 0:
            p = torch.softmax(logits / temperature, -1)
            p[p < 0.05 * p.max()] = 0
            ids.append(int(torch.multinomial(p, 1, generator=g)))
        else:
            ids.append(int(logits.argmax()))
        if ids[-1] == end:
            return tok.decode(ids[start:-1])
    return tok.decode(ids[start:]) + " [cut]"


def ask(model, tok, question, **more):
    return generate(model, tok, chat([("user", question)]) + "\n<|im_start|>assistant\n", **more)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("gguf")
    ap.add_argument("--data", type=pathlib.Path, required=True)
    ap.add_argument("--run", type=pathlib.Path)
    ap.add_argument("--questions", type=int, default=40, help="per kind")
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    tok = Tokenizer.from_file(str(a.data / "tokenizer.json"))
    model = load_gguf(a.gguf)
    models = [("gguf", model)]
    if a.run:
        s = torch.load(a.run / "state.pt", weights_only=False)
        before = Model(Config(**s["config"])).eval()
        before.load_state_dict(s["average"])
        models.insert(0, ("float", before))
    for name, m in models:
        for source in ("stories", "chats", "facts", "tales"):
            path = a.data / f"{source}.held.bin"
            if path.exists():
                nats, bits = loss(m, tok, path)
                print(f"{name} {source}: {nats:.4f} nats/token, {bits:.4f} bits/byte", flush=True)
    right = total = 0
    for maker in MAKERS:
        rng, ok = random.Random(2424), 0
        for _ in range(a.questions):
            q, want = maker(rng)
            ok += ask(model, tok, q, n=60) == want
        print(f"{maker.__name__}: {ok} of {a.questions}", flush=True)
        right, total = right + ok, total + a.questions
    print(f"exact answers: {right} of {total}")
    for q in PROMPTS:
        print(f"\n> {q}\n{ask(model, tok, q)}", flush=True)
    for seed in range(2):
        print("\n= Once upon a time" + generate(model, tok, "<|bos|>Once upon a time", temperature=0.7, seed=seed))


if __name__ == "__main__":
    main()
