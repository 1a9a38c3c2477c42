/* engine/quantize_types.c - the mixes: which tensors get more bits.
 *
 * Some matrices hurt more than others when they lose bits: the output, attention values (few and used by
 * all query heads), the way down from the feed-forward, and the first and last layers.  The mixes are the
 * ones that users know from llama.cpp by the same names, tensor for tensor, so sizes and expectations
 * carry over.  They are a table: the first row that fits a tensor says its type, and no row means the
 * mix's own.
 *
 *     output.weight, or the embedding when it is the output, is settled before the table:
 *         Q6_K, or Q8_0 where its rows do not fit the mix's blocks or the mix is Q8_0 already
 *
 * Layers are counted as eighths: "more bits" are the first eighth, the last eighth and every third layer
 * between.
 */
#include "engine/quantize.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum mix_number {
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K,
    IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, MXFP4_MOE, NMIX,
};

/* File type numbers are those of general.file_type; plain MXFP4 has none of its own. */
static const sg_mix mixes[NMIX] = {
    [F32] = {"f32", SG_F32, 0},           [F16] = {"f16", SG_F16, 1},           [BF16] = {"bf16", SG_BF16, 32},
    [Q4_0] = {"q4_0", SG_Q4_0, 2},        [Q4_1] = {"q4_1", SG_Q4_1, 3},        [Q5_0] = {"q5_0", SG_Q5_0, 8},
    [Q5_1] = {"q5_1", SG_Q5_1, 9},        [Q8_0] = {"q8_0", SG_Q8_0, 7},        [Q2_K] = {"q2_k", SG_Q2_K, 10},
    [Q2_K_S] = {"q2_k_s", SG_Q2_K, 21},   [Q3_K_S] = {"q3_k_s", SG_Q3_K, 11},   [Q3_K_M] = {"q3_k_m", SG_Q3_K, 12},
    [Q3_K_L] = {"q3_k_l", SG_Q3_K, 13},   [Q4_K_S] = {"q4_k_s", SG_Q4_K, 14},   [Q4_K_M] = {"q4_k_m", SG_Q4_K, 15},
    [Q5_K_S] = {"q5_k_s", SG_Q5_K, 16},   [Q5_K_M] = {"q5_k_m", SG_Q5_K, 17},   [Q6_K] = {"q6_k", SG_Q6_K, 18},
    [IQ4_NL] = {"iq4_nl", SG_IQ4_NL, 25}, [IQ4_XS] = {"iq4_xs", SG_IQ4_XS, 30}, [TQ1_0] = {"tq1_0", SG_TQ1_0, 36},
    [TQ2_0] = {"tq2_0", SG_TQ2_0, 37},    [MXFP4] = {"mxfp4", SG_MXFP4, 38},    [MXFP4_MOE] = {"mxfp4_moe", SG_MXFP4, 38},
};

const sg_mix *sg_mix_find(const char *name)
{
    static const struct {
        const char *name;
        enum mix_number mix;
    } aliases[] = {{"q3_k", Q3_K_M}, {"q4_k", Q4_K_M}, {"q5_k", Q5_K_M}};
    for (size_t i = 0; i < NMIX; i++)
        if (strcasecmp(mixes[i].name, name) == 0)
            return &mixes[i];
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcasecmp(aliases[i].name, name) == 0)
            return &mixes[aliases[i].mix];
    return NULL;
}

const char *sg_mix_names(void)
{
    return "f32 f16 bf16 q8_0 q6_k q5_k_m q5_k_s q5_1 q5_0 q4_k_m q4_k_s iq4_nl iq4_xs q4_1 q4_0 mxfp4 mxfp4_moe "
           "q3_k_l q3_k_m q3_k_s q2_k q2_k_s tq2_0 tq1_0";
}

/* ---- what a tensor is ----------------------------------------------------------------------------- */

typedef enum tensor_role { OUTPUT, EMBEDDING, VALUE, KEY, ATTENTION_OUT, DOWN, OTHER } tensor_role;

static bool has(const char *name, const char *part) { return strstr(name, part) != NULL; }

bool sg_mix_is_value(const char *name)
{
    return has(name, "attn_v.weight") || has(name, "attn_qkv.weight") || has(name, "attn_kv_b.weight");
}

static tensor_role role_of(const char *name)
{
    if (strcmp(name, "output.weight") == 0)
        return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0 || strcmp(name, "per_layer_token_embd.weight") == 0)
        return EMBEDDING;
    if (sg_mix_is_value(name))
        return VALUE;
    if (has(name, "attn_k.weight"))
        return KEY;
    if (has(name, "attn_output.weight"))
        return ATTENTION_OUT;
    if (has(name, "ffn_down"))
        return DOWN;
    return OTHER;
}

bool sg_mix_applies(const char *name, int ndim)
{
    /* Small, or used otherwise than by multiplying with activations. */
    static const char *const parts[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d",
        "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight",
        "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
        "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight",
        "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight",
        ".position_embd", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
    };
    size_t len = strlen(name);
    if (ndim < 2 || len < 6 || strcmp(name + len - 6, "weight") != 0)
        return false;
    if (strcmp(name, "position_embd.weight") == 0 || strcmp(name, "token_types.weight") == 0)
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (has(name, parts[i]))
            return false;
    return true;
}

sg_status sg_mix_model_read(sg_mix_model *model, const sg_dict *meta, sg_error *err)
{
    sg_str arch;
    SG_TRY(sg_dict_need_str(meta, "general.architecture", &arch, err));
    static const char *const fields[] = {"block_count", "expert_count", "attention.head_count", "attention.head_count_kv"};
    uint64_t v[4] = {0};
    for (int i = 0; i < 4; i++) {
        char key[320];
        if (snprintf(key, sizeof key, "%s.%s", arch.data, fields[i]) >= (int)sizeof key)
            return sg_fail(err, SG_E_FORMAT, "general.architecture has %zu bytes", arch.len);
        const sg_value *value = sg_dict_find(meta, key);
        if (value && value->kind == SG_KIND_ARRAY) /* one for each layer: the first stands for all */
            v[i] = value->a.n && (value->a.kind == SG_KIND_U64 || value->a.kind == SG_KIND_I64) ? value->a.u[0] : 0;
        else
            SG_TRY(sg_dict_u64(meta, key, i == 3 ? v[2] : 0, &v[i], err));
    }
    model->nlayer = v[0];
    model->nexpert = v[1];
    model->gqa = v[3] ? v[2] / v[3] : 0;
    model->falcon = strcmp(arch.data, "falcon") == 0;
    return SG_OK;
}

/* ---- the rules ------------------------------------------------------------------------------------ */

enum { /* conditions, all of which must hold */
    FIRST_TWO = 1, FIRST_FOUR = 2, EIGHTH = 4, SIXTEENTH = 8, MORE_BITS = 16, /* which layers */
    GQA4 = 32, /* four or more query heads share a key head: values are small and matter more */
    GUIDED = 64, BLIND = 128, /* with and without importance data */
    FALCON = 256, NOT_FALCON = 512, EIGHT_EXPERTS = 1024, NOT_EIGHT = 2048,
};

typedef struct rule {
    uint32_t mixes; /* bits of mix_number */
    tensor_role role;
    unsigned when;
    sg_dtype type;
} rule;

#define M(mix) (1u << (mix))
#define ALL_MIXES (~0u)

/* In this order; the first that fits counts. */
static const rule rules[] = {
    {M(TQ1_0) | M(TQ2_0), EMBEDDING, 0, SG_Q4_K},

    {ALL_MIXES, VALUE, EIGHT_EXPERTS, SG_Q8_0}, /* cheap beside the experts */
    {ALL_MIXES, KEY, EIGHT_EXPERTS, SG_Q8_0},
    {M(Q2_K), VALUE, GQA4, SG_Q4_K},
    {M(Q2_K), VALUE, 0, SG_Q3_K},
    {M(Q2_K_S), VALUE, GQA4, SG_Q4_K},
    {M(Q3_K_M), VALUE, FIRST_TWO, SG_Q5_K},
    {M(Q3_K_M), VALUE, 0, SG_Q4_K},
    {M(Q3_K_L), VALUE, 0, SG_Q5_K},
    {M(IQ4_NL) | M(IQ4_XS), VALUE, GQA4, SG_Q5_K},
    {M(Q4_K_M) | M(Q5_K_M), VALUE, MORE_BITS, SG_Q6_K},
    {M(Q4_K_S), VALUE, FIRST_FOUR, SG_Q5_K},

    {M(Q2_K), DOWN, 0, SG_Q3_K},
    {M(Q2_K_S), DOWN, EIGHTH, SG_Q4_K},
    {M(Q3_K_M), DOWN, SIXTEENTH, SG_Q5_K},
    {M(Q3_K_M), DOWN, NOT_FALCON, SG_Q4_K},
    {M(Q3_K_M), DOWN, MORE_BITS, SG_Q4_K},
    {M(Q3_K_L), DOWN, FALCON, SG_Q4_K},
    {M(Q3_K_L), DOWN, 0, SG_Q5_K},
    {M(Q4_K_M), DOWN, FALCON | SIXTEENTH, SG_Q6_K},
    {M(Q4_K_M), DOWN, FALCON | MORE_BITS, SG_Q5_K},
    {M(Q4_K_M), DOWN, NOT_FALCON | MORE_BITS, SG_Q6_K},
    {M(IQ4_NL) | M(IQ4_XS), DOWN, EIGHTH | BLIND, SG_Q5_K},
    {M(Q5_K_M), DOWN, MORE_BITS, SG_Q6_K},
    {M(Q4_K_S), DOWN, NOT_FALCON | EIGHTH, SG_Q5_K},
    {M(Q4_0), DOWN, GUIDED | EIGHTH, SG_Q4_1},
    {M(Q5_0), DOWN, GUIDED | EIGHTH, SG_Q5_1},

    {M(Q2_K) | M(Q3_K_S) | M(Q3_K_M) | M(IQ4_NL) | M(Q4_K_S) | M(Q4_K_M) | M(IQ4_XS), ATTENTION_OUT, EIGHT_EXPERTS | NOT_FALCON, SG_Q5_K},
    {M(Q2_K), ATTENTION_OUT, NOT_EIGHT | NOT_FALCON, SG_Q3_K},
    {M(Q3_K_M), ATTENTION_OUT, NOT_EIGHT | NOT_FALCON, SG_Q4_K},
    {M(Q3_K_L), ATTENTION_OUT, NOT_EIGHT | NOT_FALCON, SG_Q5_K},
    {M(Q3_K_L), ATTENTION_OUT, FALCON, SG_Q4_K},
};

static bool holds(unsigned when, const sg_mix_model *m, uint64_t i, uint64_t n)
{
    bool more = i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    return !((when & FIRST_TWO && i >= 2) || (when & FIRST_FOUR && i >= 4) || (when & EIGHTH && i >= n / 8) ||
             (when & SIXTEENTH && i >= n / 16) || (when & MORE_BITS && !more) || (when & GQA4 && m->gqa < 4) ||
             (when & GUIDED && !m->imatrix) || (when & BLIND && m->imatrix) || (when & FALCON && !m->falcon) ||
             (when & NOT_FALCON && m->falcon) || (when & EIGHT_EXPERTS && m->nexpert != 8) ||
             (when & NOT_EIGHT && m->nexpert == 8));
}

static sg_dtype by_rule(const sg_mix *mix, const sg_mix_model *m, tensor_role role, uint64_t i, uint64_t n)
{
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
        if (rules[r].role == role && rules[r].mixes & M(mix - mixes) && holds(rules[r].when, m, i, n))
            return rules[r].type;
    return mix->type;
}

/* The layer's number in "blk.N.": 0 without one. */
static uint64_t layer_of(const char *name)
{
    unsigned layer = 0;
    return sscanf(name, "blk.%9u.", &layer) == 1 ? layer : 0;
}

static sg_dtype by_mix(const sg_mix *mix, const sg_mix_model *m, const char *name, uint64_t ncol, bool stacked, uint64_t rank,
                       uint64_t nvalue)
{
    tensor_role role = role_of(name);
    bool moe = mix == &mixes[MXFP4_MOE];
    if (role == OUTPUT || (m->tied && role == EMBEDDING)) {
        if (moe || m->falcon || mix->type == SG_Q8_0 || ncol % sg_dtype_of(mix->type)->block != 0)
            return SG_Q8_0;
        return SG_Q6_K;
    }
    if (moe)
        return stacked ? SG_MXFP4 : SG_Q8_0;
    if (role != VALUE)
        return by_rule(mix, m, role, layer_of(name), m->nlayer);
    sg_dtype type = by_rule(mix, m, VALUE, rank, nvalue);
    if (m->nlayer == 80 && m->gqa > 1 && (type == SG_Q3_K || type == SG_Q4_K)) /* the 70B shape: values are an eighth of queries */
        type = SG_Q5_K;
    return type;
}

/* What to take when rows do not divide into blocks of 256. */
static sg_dtype smaller_blocks(sg_dtype type)
{
    switch (type) {
    case SG_IQ4_XS: return SG_IQ4_NL;
    case SG_Q2_K:
    case SG_Q3_K:
    case SG_TQ1_0:
    case SG_TQ2_0: return SG_Q4_0;
    case SG_Q4_K: return SG_Q5_0;
    case SG_Q5_K: return SG_Q5_1;
    case SG_Q6_K: return SG_Q8_0;
    default: return type;
    }
}

sg_dtype sg_mix_choose(const sg_mix *mix, const sg_mix_model *model, const char *name, uint64_t ncol, bool stacked,
                       uint64_t rank, uint64_t nvalue, bool pure, bool *fallback)
{
    *fallback = false;
    if (sg_dtype_of(mix->type)->block == 1)
        return mix->type;
    sg_dtype type = pure ? mix->type : by_mix(mix, model, name, ncol, stacked, rank, nvalue);
    if (ncol % sg_dtype_of(type)->block == 0)
        return type;
    *fallback = true;
    type = smaller_blocks(type);
    return ncol % sg_dtype_of(type)->block == 0 ? type : SG_F16;
}
