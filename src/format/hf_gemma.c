/* format/hf_gemma.c - gemma, gemma 2 and the text model of gemma 3.
 *
 * The norms multiply by 1 + w; GGUF stores the sum.  The head is always the embedding.
 */
#include "format/hf.h"

#include "base/heap.h"

static bool every_second(uint64_t layer) { return layer % 2 == 0; }
static bool five_of_six(uint64_t layer) { return layer % 6 != 5; }

/* The rope base of gemma and gemma 2 is 10000 and has no key in GGUF; another one is written. */
static sg_status rope_if_other(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_rope(h, h->head_dim, err));
    char key[64];
    snprintf(key, sizeof key, "%s.rope.freq_base", h->family->architecture);
    if (sg_dict_find(h->w->meta, key)->f == 10000)
        sg_dict_remove(h->w->meta, key);
    return SG_OK;
}

/* Scores are scaled by 1/sqrt(query_pre_attn_scalar); GGUF implies the head size. */
static sg_status attention_scale(sg_hf *h, sg_error *err)
{
    double scalar = 0;
    SG_TRY(sg_hf_f64(h, "query_pre_attn_scalar", (double)h->head_dim, &scalar, err));
    if (!(scalar > 0))
        return sg_fail(err, SG_E_FORMAT, "config.json: query_pre_attn_scalar is %g", scalar);
    return scalar == (double)h->head_dim ? SG_OK : sg_hf_set_f64(h, "attention.query_pre_attn_scalar", scalar, err);
}

static sg_status gemma(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    return rope_if_other(h, err);
}

static sg_status gemma2(sg_hf *h, sg_error *err)
{
    SG_TRY(gemma(h, err));
    SG_TRY(sg_hf_pass_f64(h, "attn_logit_softcapping", "attn_logit_softcapping", err));
    SG_TRY(sg_hf_pass_f64(h, "final_logit_softcapping", "final_logit_softcapping", err));
    SG_TRY(sg_hf_window(h, every_second, err));
    return attention_scale(h, err);
}

/* sliding_window_pattern N: every N-th layer sees everything.  GGUF implies 6. */
static sg_status gemma3_pattern(sg_hf *h, sg_error *err)
{
    uint64_t every = 0;
    SG_TRY(sg_hf_u64(h, "sliding_window_pattern", 6, &every, err));
    if (sg_hf_has(h, "layer_types") || every == 6 || every == 0)
        return SG_OK;
    bool *pattern = sg_calloc(h->nlayer, sizeof *pattern);
    if (!pattern)
        return sg_fail_nomem(err, "sliding_window_pattern");
    for (uint64_t i = 0; i < h->nlayer; i++)
        pattern[i] = (i + 1) % every != 0;
    sg_status st = sg_hf_set_bools(h, "attention.sliding_window_pattern", pattern, h->nlayer, err);
    sg_free(pattern);
    return st;
}

static sg_status gemma3_rope(sg_hf *h, sg_error *err)
{
    double local = 0;
    json_t *both = json_object_get(h->config, "rope_parameters"), *full = json_object_get(both, "full_attention");
    SG_TRY(sg_hf_f64(h, "rope_local_base_freq", 10000, &local, err));
    json_t *theta = json_object_get(json_object_get(both, "sliding_attention"), "rope_theta");
    if (json_is_number(theta))
        local = json_number_value(theta);
    SG_TRY(full ? sg_hf_rope_object(h, full, h->head_dim, err) : sg_hf_rope(h, h->head_dim, err));
    return sg_hf_set_f64(h, "rope.freq_base_swa", local, err);
}

static sg_status gemma3(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_window(h, five_of_six, err));
    SG_TRY(gemma3_pattern(h, err));
    SG_TRY(gemma3_rope(h, err));
    SG_TRY(sg_hf_pass_f64(h, "attn_logit_softcapping", "attn_logit_softcapping", err));
    SG_TRY(sg_hf_pass_f64(h, "final_logit_softcapping", "final_logit_softcapping", err));
    return attention_scale(h, err);
}

static const sg_hf_row outer[] = {
    {"model.embed_tokens.weight", "token_embd.weight", NULL, 0},
    {"model.norm.weight", "output_norm.weight", sg_hf_add_one, 0},
    {"model.layers.%.input_layernorm.weight", "blk.%.attn_norm.weight", sg_hf_add_one, 0},
    {0},
};

static const sg_hf_row two_norms[] = {
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.ffn_norm.weight", sg_hf_add_one, 0},
    {0},
};

static const sg_hf_row four_norms[] = {
    {"model.layers.%.post_attention_layernorm.weight", "blk.%.post_attention_norm.weight", sg_hf_add_one, 0},
    {"model.layers.%.pre_feedforward_layernorm.weight", "blk.%.ffn_norm.weight", sg_hf_add_one, 0},
    {"model.layers.%.post_feedforward_layernorm.weight", "blk.%.post_ffw_norm.weight", sg_hf_add_one, 0},
    {"model.layers.%.self_attn.q_norm.weight", "blk.%.attn_q_norm.weight", sg_hf_add_one, 0},
    {"model.layers.%.self_attn.k_norm.weight", "blk.%.attn_k_norm.weight", sg_hf_add_one, 0},
    {0},
};

static const sg_hf_row *const two[] = {outer, two_norms, sg_hf_rows_qkv, sg_hf_rows_mlp, NULL};
static const sg_hf_row *const four[] = {outer, four_norms, sg_hf_rows_qkv, sg_hf_rows_mlp, NULL};

static const char *const tied[] = {"lm_head.weight", NULL};

static const sg_hf_default defaults[] = {{"rms_norm_eps", 1e-6}, {"head_dim", 256}, {0}};
static const sg_hf_default gemma2_defaults[] = {
    {"rms_norm_eps", 1e-6},   {"head_dim", 256}, {"attn_logit_softcapping", 50}, {"final_logit_softcapping", 30},
    {"sliding_window", 4096}, {"query_pre_attn_scalar", 256}, {0}};
static const sg_hf_default gemma3_defaults[] = {{"rms_norm_eps", 1e-6},
                                                {"head_dim", 256},
                                                {"num_attention_heads", 8},
                                                {"num_key_value_heads", 4},
                                                {"rope_theta", 1e6},
                                                {"query_pre_attn_scalar", 256},
                                                {"sliding_window", 4096},
                                                {"max_position_embeddings", 131072},
                                                {0}};

const sg_hf_family sg_hf_gemma_families[] = {
    {"gemma", "gemma", two, gemma, defaults, NULL, tied, NULL},
    {"gemma2", "gemma2", four, gemma2, gemma2_defaults, NULL, tied, NULL},
    {"gemma3_text", "gemma3", four, gemma3, gemma3_defaults, NULL, tied, NULL},
    {0},
};
