#!/usr/bin/env python3
"""Writes a GGUF of a given shape with random weights: for timing, where the real model cannot be had.

    random_model.py SHAPE TYPE OUT.gguf --vocabulary FROM.gguf [--layers N]

SHAPE   qwen2.5-0.5b | llama-3.2-1b | qwen3-30b-a3b (give --layers 8 for 5.6 B parameters, 0.8 B active)
TYPE    q8_0 | q4_0 | q4_k_m | bf16 | f16

The vocabulary is copied from another GGUF and cut to the shape's size.  Blocks are random bytes with scales of 0.01, which is all
that speed depends on; router weights are random too, so experts are chosen evenly.  Needs numpy and gguf from PyPI.
"""
import argparse
import numpy as np
import gguf
from gguf import GGMLQuantizationType as Q

SHAPES = {  # dim, ff, layers, heads, kv heads, head size, vocabulary, rope base, experts, used, expert ff
    "qwen2.5-0.5b": ("qwen2", 896, 4864, 24, 14, 2, 64, 151936, 1e6, 0, 0, 0),
    "llama-3.2-1b": ("llama", 2048, 8192, 16, 32, 8, 64, 128256, 5e5, 0, 0, 0),
    "qwen3-30b-a3b": ("qwen3moe", 2048, 6144, 48, 32, 4, 128, 151936, 1e6, 128, 8, 768),
}
BLOCK = {Q.Q8_0: (32, 34, [0]), Q.Q5_0: (32, 22, [0]), Q.Q4_0: (32, 18, [0]), Q.Q4_K: (256, 144, [0, 2]), Q.Q6_K: (256, 210, [208])}
rng = np.random.default_rng(1)


def quantised(kind, rows, cols):
    """Random blocks of `kind`, as bytes [rows, row bytes]; the half-precision scales are 0.01."""
    per, size, scales = BLOCK[kind]
    if cols % per:  # as llama.cpp does: a row that super-blocks do not divide is stored in blocks of 32
        return quantised(Q.Q5_0 if kind == Q.Q4_K else Q.Q8_0, rows, cols)
    blocks = rng.integers(0, 256, (rows, cols // per, size), dtype=np.uint8)
    for at in scales:
        blocks[:, :, at:at + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    return blocks.reshape(rows, -1), kind


def add(writer, name, kind, *shape):
    if kind == Q.F32:
        writer.add_tensor(name, (rng.standard_normal(shape) * 0.02).astype(np.float32))
    elif kind == Q.F16:
        writer.add_tensor(name, (rng.standard_normal(shape, np.float32) * 0.02).astype(np.float16))
    elif kind == Q.BF16:
        bits = ((rng.standard_normal(shape, np.float32) * 0.02).view(np.uint32) >> 16).astype(np.uint16)
        writer.add_tensor(name, bits.view(np.uint8).reshape(*shape[:-1], shape[-1] * 2), raw_dtype=Q.BF16)
    else:
        rows = int(np.prod(shape[:-1]))
        data, kind = quantised(kind, rows, shape[-1])
        writer.add_tensor(name, data.reshape(*shape[:-1], -1), raw_dtype=kind)


def copy_vocabulary(writer, source, size):
    fields = gguf.GGUFReader(source).fields
    text = lambda key: [bytes(fields[key].parts[i]).decode() for i in fields[key].data]
    tokens = text("tokenizer.ggml.tokens")[:size]
    have = set(tokens)
    tokens += [f"<unused{i}>" for i in range(size - len(tokens))]
    merges = [m for m in text("tokenizer.ggml.merges") if m.replace(" ", "") in have and set(m.split(" ")) <= have]
    kinds = [int(fields["tokenizer.ggml.token_type"].parts[i][0]) for i in fields["tokenizer.ggml.token_type"].data][:size]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds + [5] * (size - len(kinds)))
    writer.add_token_merges(merges)
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    writer.add_add_bos_token(False)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("type", choices=["q8_0", "q4_0", "q4_k_m", "bf16", "f16"])
    p.add_argument("out")
    p.add_argument("--vocabulary", required=True)
    p.add_argument("--layers", type=int)
    a = p.parse_args()
    arch, dim, ff, layers, heads, kv, head, vocab, base, experts, used, eff = SHAPES[a.shape]
    layers = a.layers or layers
    w = gguf.GGUFWriter(a.out, arch)
    w.add_name(f"{a.shape}, {layers} layers, random weights")
    w.add_context_length(32768)
    w.add_embedding_length(dim)
    w.add_feed_forward_length(ff)
    w.add_block_count(layers)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_freq_base(base)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_vocab_size(vocab)
    if arch == "llama":
        w.add_rope_dimension_count(head)
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(used)
        w.add_expert_feed_forward_length(eff)
    copy_vocabulary(w, a.vocabulary, vocab)
    kind = {"q8_0": Q.Q8_0, "q4_0": Q.Q4_0, "q4_k_m": Q.Q4_K, "bf16": Q.BF16, "f16": Q.F16}[a.type]
    better = Q.Q6_K if a.type == "q4_k_m" else kind  # of value and down projections, half of the layers
    table = {"q4_0": Q.Q8_0 if dim % 256 else Q.Q6_K, "q4_k_m": Q.Q6_K}.get(a.type, kind)
    add(w, "token_embd.weight", table, vocab, dim)
    w.add_tensor("output_norm.weight", np.ones(dim, np.float32))
    if arch == "qwen3moe":
        add(w, "output.weight", table, vocab, dim)
    for i in range(layers):
        b = f"blk.{i}."
        high = better if i % 2 == 0 else kind
        w.add_tensor(b + "attn_norm.weight", np.ones(dim, np.float32))
        w.add_tensor(b + "ffn_norm.weight", np.ones(dim, np.float32))
        for name, rows, k in (("attn_q", heads * head, kind), ("attn_k", kv * head, kind), ("attn_v", kv * head, high)):
            add(w, b + name + ".weight", k, rows, dim)
            if arch == "qwen2":
                add(w, b + name + ".bias", Q.F32, rows)
        add(w, b + "attn_output.weight", kind, dim, heads * head)
        if arch == "qwen3moe":
            w.add_tensor(b + "attn_q_norm.weight", np.ones(head, np.float32))
            w.add_tensor(b + "attn_k_norm.weight", np.ones(head, np.float32))
            add(w, b + "ffn_gate_inp.weight", Q.F32, experts, dim)
            for name, rows, cols, k in (("gate", eff, dim, kind), ("up", eff, dim, kind), ("down", dim, eff, high)):
                add(w, b + f"ffn_{name}_exps.weight", k, experts, rows, cols)
        else:
            for name, rows, cols, k in (("gate", ff, dim, kind), ("up", ff, dim, kind), ("down", dim, ff, high)):
                add(w, b + f"ffn_{name}.weight", k, rows, cols)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


main()
