#!/usr/bin/env python3
"""A GGUF file with random Q4_0 weights in the shape of Qwen3-30B-A3B, with fewer layers: for timing, it says nothing.

    bench/peers/random_moe.py OUT.gguf [--layers 8] [--vocab 151936] [--dim 2048] [--experts 128] [--used 8] [--ff 768]

No tokenizer: `segue bench` and llama-bench draw their own token ids.  Norms are ones, routers are random, so that all
experts are chosen about as often.
"""
import argparse
import os
import random
import struct

F32, Q4_0 = 0, 2


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def pair(key, value):
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    return text(key) + struct.pack("<II", 4, value)


def size(kind, shape):
    n = 1
    for d in shape:
        n *= d
    return n * 4 if kind == F32 else n // 32 * 18


def write(f, kind, shape, noise, blocks):
    left = size(kind, shape)
    if kind == F32 and len(shape) == 1:
        f.write(struct.pack("<f", 1.0) * shape[0])
        return
    source = noise if kind == F32 else blocks
    while left:
        f.write(source[:left])
        left -= min(left, len(source))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out")
    for name, value in (("layers", 8), ("vocab", 151936), ("dim", 2048), ("experts", 128), ("used", 8), ("ff", 768)):
        ap.add_argument(f"--{name}", type=int, default=value)
    a = ap.parse_args()
    heads, kv, head = 32, 4, 128
    meta = {"general.architecture": "qwen3moe", "general.name": "random", "tokenizer.ggml.model": "none", "general.quantization_version": 2,
            "qwen3moe.block_count": a.layers, "qwen3moe.context_length": 40960, "qwen3moe.embedding_length": a.dim,
            "qwen3moe.feed_forward_length": 6144, "qwen3moe.attention.head_count": heads, "qwen3moe.attention.head_count_kv": kv,
            "qwen3moe.attention.key_length": head, "qwen3moe.attention.value_length": head, "qwen3moe.rope.freq_base": 1e6,
            "qwen3moe.attention.layer_norm_rms_epsilon": 1e-6, "qwen3moe.expert_count": a.experts, "qwen3moe.expert_used_count": a.used,
            "qwen3moe.expert_feed_forward_length": a.ff, "qwen3moe.vocab_size": a.vocab}
    tensors = [("token_embd", Q4_0, (a.dim, a.vocab)), ("output_norm", F32, (a.dim,)), ("output", Q4_0, (a.dim, a.vocab))]
    for i in range(a.layers):
        b = f"blk.{i}."
        tensors += [(b + "attn_norm", F32, (a.dim,)), (b + "attn_q", Q4_0, (a.dim, heads * head)), (b + "attn_k", Q4_0, (a.dim, kv * head)),
                    (b + "attn_v", Q4_0, (a.dim, kv * head)), (b + "attn_output", Q4_0, (heads * head, a.dim)), (b + "attn_q_norm", F32, (head,)),
                    (b + "attn_k_norm", F32, (head,)), (b + "ffn_norm", F32, (a.dim,)), (b + "ffn_gate_inp", F32, (a.dim, a.experts)),
                    (b + "ffn_gate_exps", Q4_0, (a.dim, a.ff, a.experts)), (b + "ffn_up_exps", Q4_0, (a.dim, a.ff, a.experts)),
                    (b + "ffn_down_exps", Q4_0, (a.ff, a.dim, a.experts))]
    random.seed(1)
    noise = b"".join(struct.pack("<f", random.gauss(0, 0.05)) for _ in range(1 << 16))
    scale = struct.pack("<e", 0.004)
    blocks = b"".join(scale + random.randbytes(16) for _ in range((1 << 16) + 11))
    with open(a.out, "wb") as f:
        head_bytes = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(meta)) + b"".join(pair(k, v) for k, v in meta.items())
        at = 0
        for name, kind, shape in tensors:
            head_bytes += text(name + ".weight") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, at)
            at += (size(kind, shape) + 31) // 32 * 32
        f.write(head_bytes + b"\0" * (-len(head_bytes) % 32))
        for _, kind, shape in tensors:
            write(f, kind, shape, noise, blocks)
            f.write(b"\0" * (-size(kind, shape) % 32))
    print(f"{a.out}: {os.path.getsize(a.out) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
