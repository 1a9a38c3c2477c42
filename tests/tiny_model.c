/* tests/tiny_model.c - random models in GGUF.  Matrices have the type that the family's row says, so that the families
 * together cover several kernels; vectors are float32. */
#include "tiny_model.h"

#include "base/heap.h"
#include "format/gguf.h"
#include "kernel/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TENSORS = 256 };

typedef struct tiny {
    const char *arch;
    sg_dtype type;
    sg_rng *rng;
    sg_dict *meta;
    char names[MAX_TENSORS][64];
    sg_gguf_tensor tensors[MAX_TENSORS];
    size_t n;
} tiny;

static void key_u(tiny *t, const char *name, uint64_t v)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", t->arch, name);
    sg_dict_set_u64(t->meta, full, v, NULL);
}

static void key_f(tiny *t, const char *name, double v)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", t->arch, name);
    sg_dict_set_f64(t->meta, full, v, NULL);
}

static void add(tiny *t, int l, const char *name, sg_dtype type, int ndim, uint64_t a, uint64_t b, uint64_t c)
{
    if (l < 0)
        snprintf(t->names[t->n], 64, "%s", name);
    else
        snprintf(t->names[t->n], 64, "blk.%d.%s", l, name);
    t->tensors[t->n] = (sg_gguf_tensor){.name = t->names[t->n], .type = type, .ndim = ndim, .ne = {a, b, c, 1}};
    t->n++;
}

static void vector(tiny *t, int l, const char *name, uint64_t n) { add(t, l, name, SG_F32, 1, n, 1, 1); }
static void matrix(tiny *t, int l, const char *name, uint64_t in, uint64_t out)
{
    add(t, l, name, t->type, 2, in, out, 1);
}
static void stack(tiny *t, int l, const char *name, uint64_t in, uint64_t out, uint64_t n)
{
    add(t, l, name, t->type, 3, in, out, n);
}

static sg_status rows(void *arg, size_t i, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    tiny *t = arg;
    const sg_gguf_tensor *g = &t->tensors[i];
    size_t n = (size_t)(nrow * g->ne[0]);
    float *x = sg_alloc(n * sizeof *x), scale = g->ndim > 1 ? 2.0f / sqrtf((float)g->ne[0]) : 0.5f,
          base = strstr(g->name, "norm.weight") ? 1.0f : 0.0f;
    (void)row;
    if (!x)
        return sg_fail_nomem(err, "a test");
    for (size_t j = 0; j < n; j++)
        x[j] = base + scale * (float)(2 * sg_rng_unit(t->rng) - 1);
    sg_quant_encode(g->type, dst, x, (size_t)nrow, (size_t)g->ne[0], NULL);
    sg_free(x);
    return SG_OK;
}

static void attention(tiny *t, int l, uint64_t nhead, uint64_t nkv, uint64_t dk)
{
    matrix(t, l, "attn_q.weight", TINY_DIM, nhead * dk);
    matrix(t, l, "attn_k.weight", TINY_DIM, nkv * dk);
    matrix(t, l, "attn_v.weight", TINY_DIM, nkv * dk);
    matrix(t, l, "attn_output.weight", nhead * dk, TINY_DIM);
}

static void biases(tiny *t, int l, uint64_t nhead, uint64_t nkv, uint64_t dk)
{
    vector(t, l, "attn_q.bias", nhead * dk);
    vector(t, l, "attn_k.bias", nkv * dk);
    vector(t, l, "attn_v.bias", nkv * dk);
    vector(t, l, "attn_output.bias", TINY_DIM);
}

static void glu(tiny *t, int l, uint64_t ff)
{
    matrix(t, l, "ffn_gate.weight", TINY_DIM, ff);
    matrix(t, l, "ffn_up.weight", TINY_DIM, ff);
    matrix(t, l, "ffn_down.weight", ff, TINY_DIM);
}

static void experts(tiny *t, int l, uint64_t n, uint64_t ff)
{
    add(t, l, "ffn_gate_inp.weight", SG_F32, 2, TINY_DIM, n, 1);
    stack(t, l, "ffn_gate_exps.weight", TINY_DIM, ff, n);
    stack(t, l, "ffn_up_exps.weight", TINY_DIM, ff, n);
    stack(t, l, "ffn_down_exps.weight", ff, TINY_DIM, n);
}

static void heads(tiny *t, uint64_t nhead, uint64_t nkv, uint64_t dk)
{
    key_u(t, "attention.head_count", nhead);
    key_u(t, "attention.head_count_kv", nkv);
    key_u(t, "attention.key_length", dk);
    key_u(t, "attention.value_length", dk);
}

static void llama(tiny *t, bool window)
{
    heads(t, 4, 2, 16);
    if (window)
        key_u(t, "attention.sliding_window", 24);
    for (int l = 0; l < 3; l++) {
        vector(t, l, "attn_norm.weight", TINY_DIM);
        attention(t, l, 4, 2, 16);
        vector(t, l, "ffn_norm.weight", TINY_DIM);
        glu(t, l, 96);
    }
}

static void gemma3(tiny *t)
{
    heads(t, 3, 1, 32);
    key_u(t, "attention.sliding_window", 24);
    for (int l = 0; l < 3; l++) {
        vector(t, l, "attn_norm.weight", TINY_DIM);
        attention(t, l, 3, 1, 32);
        vector(t, l, "attn_q_norm.weight", 32);
        vector(t, l, "attn_k_norm.weight", 32);
        vector(t, l, "post_attention_norm.weight", TINY_DIM);
        vector(t, l, "ffn_norm.weight", TINY_DIM);
        glu(t, l, 96);
        vector(t, l, "post_ffw_norm.weight", TINY_DIM);
    }
}

static void qwen3moe(tiny *t)
{
    heads(t, 4, 2, 16);
    key_u(t, "expert_count", 6);
    key_u(t, "expert_used_count", 2);
    key_u(t, "expert_feed_forward_length", 32);
    for (int l = 0; l < 3; l++) {
        vector(t, l, "attn_norm.weight", TINY_DIM);
        attention(t, l, 4, 2, 16);
        vector(t, l, "attn_q_norm.weight", 16);
        vector(t, l, "attn_k_norm.weight", 16);
        vector(t, l, "ffn_norm.weight", TINY_DIM);
        experts(t, l, 6, 32);
    }
}

static void gptoss(tiny *t)
{
    heads(t, 4, 2, 16);
    key_u(t, "attention.sliding_window", 24);
    key_u(t, "expert_count", 4);
    key_u(t, "expert_used_count", 2);
    key_u(t, "expert_feed_forward_length", 32);
    for (int l = 0; l < 3; l++) {
        vector(t, l, "attn_norm.weight", TINY_DIM);
        attention(t, l, 4, 2, 16);
        biases(t, l, 4, 2, 16);
        vector(t, l, "attn_sinks.weight", 4);
        vector(t, l, "post_attention_norm.weight", TINY_DIM);
        experts(t, l, 4, 32);
        vector(t, l, "ffn_gate_inp.bias", 4);
        add(t, l, "ffn_gate_exps.bias", SG_F32, 2, 32, 4, 1);
        add(t, l, "ffn_up_exps.bias", SG_F32, 2, 32, 4, 1);
        add(t, l, "ffn_down_exps.bias", SG_F32, 2, TINY_DIM, 4, 1);
    }
}

static void deepseek2(tiny *t)
{
    key_u(t, "attention.head_count", 4);
    key_u(t, "attention.head_count_kv", 1);
    key_u(t, "attention.kv_lora_rank", 32);
    key_u(t, "attention.q_lora_rank", 32);
    key_u(t, "rope.dimension_count", 16);
    key_u(t, "attention.key_length", 48);
    key_u(t, "attention.value_length", 32);
    key_u(t, "attention.key_length_mla", 48);
    key_u(t, "attention.value_length_mla", 32);
    key_u(t, "leading_dense_block_count", 1);
    key_u(t, "expert_count", 4);
    key_u(t, "expert_used_count", 2);
    key_u(t, "expert_shared_count", 1);
    key_u(t, "expert_feed_forward_length", 32);
    for (int l = 0; l < 3; l++) {
        vector(t, l, "attn_norm.weight", TINY_DIM);
        matrix(t, l, "attn_q_a.weight", TINY_DIM, 32);
        vector(t, l, "attn_q_a_norm.weight", 32);
        matrix(t, l, "attn_q_b.weight", 32, 4 * 48);
        matrix(t, l, "attn_kv_a_mqa.weight", TINY_DIM, 48);
        vector(t, l, "attn_kv_a_norm.weight", 32);
        stack(t, l, "attn_k_b.weight", 32, 32, 4);
        stack(t, l, "attn_v_b.weight", 32, 32, 4);
        matrix(t, l, "attn_output.weight", 128, TINY_DIM);
        vector(t, l, "ffn_norm.weight", TINY_DIM);
        if (l == 0) {
            glu(t, l, 96);
            continue;
        }
        experts(t, l, 4, 32);
        matrix(t, l, "ffn_gate_shexp.weight", TINY_DIM, 32);
        matrix(t, l, "ffn_up_shexp.weight", TINY_DIM, 32);
        matrix(t, l, "ffn_down_shexp.weight", 32, TINY_DIM);
    }
}

static void bert(tiny *t)
{
    heads(t, 4, 4, 16);
    add(t, -1, "position_embd.weight", SG_F32, 2, TINY_DIM, TINY_CTX, 1);
    add(t, -1, "token_types.weight", SG_F32, 2, TINY_DIM, 2, 1);
    vector(t, -1, "token_embd_norm.weight", TINY_DIM);
    vector(t, -1, "token_embd_norm.bias", TINY_DIM);
    for (int l = 0; l < 3; l++) {
        attention(t, l, 4, 4, 16);
        biases(t, l, 4, 4, 16);
        vector(t, l, "attn_output_norm.weight", TINY_DIM);
        vector(t, l, "attn_output_norm.bias", TINY_DIM);
        matrix(t, l, "ffn_up.weight", TINY_DIM, 96);
        vector(t, l, "ffn_up.bias", 96);
        matrix(t, l, "ffn_down.weight", 96, TINY_DIM);
        vector(t, l, "ffn_down.bias", TINY_DIM);
        vector(t, l, "layer_output_norm.weight", TINY_DIM);
        vector(t, l, "layer_output_norm.bias", TINY_DIM);
    }
}

static void build(tiny *t, const char *family)
{
    bool window = strcmp(family, "llama-window") == 0;
    t->arch = window ? "llama" : family;
    sg_dict_set_str(t->meta, "general.architecture", t->arch, strlen(t->arch), NULL);
    key_u(t, "block_count", 3);
    key_u(t, "context_length", TINY_CTX);
    key_u(t, "embedding_length", TINY_DIM);
    key_u(t, "feed_forward_length", 96);
    key_f(t, "attention.layer_norm_rms_epsilon", 1e-5);
    matrix(t, -1, "token_embd.weight", TINY_DIM, TINY_VOCAB);
    if (strcmp(family, "bert") != 0)
        vector(t, -1, "output_norm.weight", TINY_DIM);
    if (strcmp(t->arch, "llama") == 0)
        llama(t, window);
    else if (strcmp(family, "gemma3") == 0)
        gemma3(t);
    else if (strcmp(family, "qwen3moe") == 0)
        qwen3moe(t);
    else if (strcmp(family, "gpt-oss") == 0)
        gptoss(t);
    else if (strcmp(family, "deepseek2") == 0)
        deepseek2(t);
    else
        bert(t);
}

static sg_dtype type_of(const char *family)
{
    static const struct {
        const char *family;
        sg_dtype type;
    } types[] = {{"llama", SG_Q4_0},    {"llama-window", SG_BF16}, {"gemma3", SG_Q8_0},
                 {"qwen3moe", SG_Q5_1}, {"gpt-oss", SG_MXFP4},     {"deepseek2", SG_F16}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].family, family) == 0)
            return types[i].type;
    return SG_F32;
}

sg_status tiny_model_write(const char *path, const char *family, sg_rng *rng, sg_error *err)
{
    tiny *t = sg_calloc(1, sizeof *t);
    if (!t)
        return sg_fail_nomem(err, "a test");
    t->rng = rng;
    t->type = type_of(family);
    t->meta = sg_dict_new();
    build(t, family);
    sg_status st = sg_gguf_write(path, t->meta, t->tensors, t->n, rows, t, err);
    sg_dict_free(t->meta);
    sg_free(t);
    return st;
}
