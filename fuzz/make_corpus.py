#!/usr/bin/env python3
"""fuzz/make_corpus.py: writes the seeds of the format targets into fuzz/corpus.  Plain Python, same bytes every time."""
import json, os, struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def put(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as f:
        f.write(data)


# ---- GGUF ----

def gstr(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


PACK = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def gval(t, v):
    if t == 8:
        return gstr(v)
    if t == 9:
        return struct.pack("<IQ", v[0], len(v[1])) + b"".join(gval(v[0], x) for x in v[1])
    return struct.pack("<" + PACK[t], v)


def gguf(keys, tensors, align=32, version=3):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    head += b"".join(gstr(k) + struct.pack("<I", t) + gval(t, v) for k, t, v in keys)
    data = b""
    for name, ne, t, size in tensors:
        data += bytes(-len(data) % align)
        head += gstr(name) + struct.pack("<I", len(ne)) + struct.pack(f"<{len(ne)}Q", *ne) + struct.pack("<IQ", t, len(data))
        data += bytes(i * 7 & 255 for i in range(size))
    return head + bytes(-len(head) % align) + data


def gguf_seeds():
    arch = ("general.architecture", 8, "llama")
    scalars = [(f"x.{t}", t, True if t == 7 else 1) for t in PACK]
    arrays = [(f"y.{t}", 9, (t, [True] if t == 7 else [1, 2])) for t in PACK] + [("y.s", 9, (8, ["a", "", "bc"])), ("y.0", 9, (4, []))][:1]
    put("gguf", "scalars", gguf([arch] + scalars, []))
    put("gguf", "arrays", gguf([arch] + arrays, []))
    put("gguf", "tensors", gguf([arch], [("a", [8], 0, 32), ("b", [8, 2], 1, 32), ("c", [32, 1, 2], 8, 68), ("d", [32, 1, 1, 1], 39, 17)]))
    put("gguf", "alignment", gguf([arch, ("general.alignment", 4, 64)], [("a", [3], 0, 12), ("b", [3], 0, 12)], 64))
    put("gguf", "version2", gguf([arch], [("a", [1], 0, 4)], version=2))
    put("gguf", "split", gguf([arch, ("split.no", 2, 0), ("split.count", 2, 2), ("split.tensors.count", 5, 1)], [("a", [1], 0, 4)]))
    put("gguf", "vocabulary", gguf([arch, ("tokenizer.ggml.tokens", 9, (8, ["a", "b"])), ("tokenizer.ggml.scores", 9, (6, [0.0, -1.0])),
                                    ("tokenizer.ggml.token_type", 9, (5, [1, 1])), ("tokenizer.ggml.merges", 9, (8, ["a b"]))], []))
    put("gguf", "empty", b"")


# ---- safetensors ----

def header(tensors, sizes={"F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I64": 8}):
    at, out = 0, {}
    for name, dtype, shape in tensors:
        n = sizes[dtype]
        for d in shape:
            n *= d
        out[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return json.dumps(out, separators=(",", ":")).encode(), at


def safetensors(tensors, extra=b""):
    h, n = header(tensors)
    h = h[:-1] + extra + b"}"
    return struct.pack("<Q", len(h)) + h + bytes(n)


def safetensors_seeds():
    put("safetensors", "types", safetensors([("a", "F32", [2, 3]), ("b", "BF16", [4]), ("c", "U8", [3]), ("d", "I64", [])]))
    put("safetensors", "metadata", safetensors([("a", "F16", [2])], b',"__metadata__":{"format":"pt"}'))
    put("safetensors", "zero", safetensors([("a", "F32", [0, 4])]))
    put("safetensors", "none", struct.pack("<Q", 2) + b"{}")


# ---- llama2.c ----

def llama2c_seeds():
    def model(dim, hidden, layers, heads, kv, vocab, ctx, tied=True, tables=True):
        n = vocab * dim + layers * (2 * dim + 2 * dim * dim + 2 * dim * (dim // heads * kv) + 3 * dim * hidden) + dim
        n += (ctx * (dim // heads) if tables else 0) + (0 if tied else vocab * dim)
        return struct.pack("<7i", dim, hidden, layers, heads, kv, vocab if tied else -vocab, ctx) + bytes(4 * n)
    put("llama2c", "tied", model(4, 6, 1, 2, 1, 5, 3))
    put("llama2c", "untied", model(4, 6, 2, 2, 2, 5, 3, tied=False))
    put("llama2c", "no-tables", model(4, 6, 1, 2, 1, 5, 3, tables=False))


# ---- Hugging Face ----

BASE = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=16, vocab_size=4, rms_norm_eps=1e-5, rope_theta=1e4)
OUTER = [("model.embed_tokens.weight", [4, 8]), ("model.norm.weight", [8])]
L = "model.layers.0."
NORMS = [(L + "input_layernorm.weight", [8]), (L + "post_attention_layernorm.weight", [8])]
QKV = [(L + f"self_attn.{x}_proj.weight", s) for x, s in (("q", [8, 8]), ("k", [4, 8]), ("v", [4, 8]), ("o", [8, 8]))]
MLP = [(L + f"mlp.{x}_proj.weight", [8, 8]) for x in ("gate", "up", "down")]


def hf(name, config, tensors):
    h, _ = header([(t[0], t[2] if len(t) > 2 else "BF16", t[1]) for t in tensors])
    put("hf_config", name, json.dumps(config, separators=(",", ":")).encode() + b"\0" + h)


def hf_seeds():
    hf("llama", {**BASE, "model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
       "high_freq_factor": 4.0, "original_max_position_embeddings": 8}}, OUTER + NORMS + QKV + MLP)
    experts = [(L + f"block_sparse_moe.experts.{e}.w{i}.weight", [8, 8]) for e in range(2) for i in (1, 2, 3)]
    hf("mixtral", {**BASE, "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 4},
       OUTER + NORMS + QKV + experts + [(L + "block_sparse_moe.gate.weight", [2, 8])])
    hf("qwen2", {**BASE, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1,
       "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "truncate": False}}, OUTER + NORMS + QKV + MLP)
    hf("gemma3", {**BASE, "model_type": "gemma3_text", "head_dim": 4, "sliding_window": 4, "layer_types": ["full_attention"],
       "query_pre_attn_scalar": 9}, OUTER + NORMS + QKV + MLP)
    hf("phi3", {**BASE, "model_type": "phi3", "partial_rotary_factor": 0.5, "original_max_position_embeddings": 8,
       "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}},
       OUTER + NORMS + [(L + "self_attn.qkv_proj.weight", [16, 8]), (L + "self_attn.o_proj.weight", [8, 8]),
                        (L + "mlp.gate_up_proj.weight", [16, 8]), (L + "mlp.down_proj.weight", [8, 8])])
    hf("granitemoe", {**BASE, "model_type": "granitemoe", "num_local_experts": 2, "num_experts_per_tok": 1}, OUTER + NORMS + QKV +
       [(L + "block_sparse_moe.input_linear.weight", [2, 16, 8]), (L + "block_sparse_moe.output_linear.weight", [2, 8, 8]),
        (L + "block_sparse_moe.router.layer.weight", [2, 8])])
    hf("deepseek2", {**BASE, "model_type": "deepseek_v2", "kv_lora_rank": 4, "qk_rope_head_dim": 2, "qk_nope_head_dim": 2, "v_head_dim": 4,
       "n_routed_experts": 2, "num_experts_per_tok": 1, "first_k_dense_replace": 1}, OUTER + NORMS + MLP +
       [(L + "self_attn.kv_b_proj.weight", [12, 4]), (L + "self_attn.kv_a_proj_with_mqa.weight", [6, 8])])
    hf("gpt-oss", {**BASE, "model_type": "gpt_oss", "num_local_experts": 2, "head_dim": 4}, OUTER + NORMS + QKV +
       [(L + "mlp.experts.gate_up_proj", [2, 8, 16]), (L + "mlp.experts.down_proj_blocks", [2, 8, 1, 16], "U8"),
        (L + "mlp.experts.down_proj_scales", [2, 8, 1], "U8"), (L + "mlp.experts.gate_up_proj_bias", [2, 16])])
    hf("bert", dict(model_type="bert", architectures=["BertForSequenceClassification"], hidden_size=8, intermediate_size=8,
       num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=4, id2label={"0": "x"}),
       [("bert.embeddings.word_embeddings.weight", [4, 8]), ("bert.pooler.dense.weight", [8, 8]), ("classifier.weight", [1, 8]),
        ("bert.encoder.layer.0.output.dense.weight", [8, 8], "F32")])


gguf_seeds()
safetensors_seeds()
llama2c_seeds()
hf_seeds()
