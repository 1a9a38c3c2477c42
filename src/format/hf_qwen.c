/* format/hf_qwen.c - qwen2, qwen3 and their mixtures of experts. */
#include "format/hf.h"

#include "base/heap.h"

/* The window belongs to layers from max_window_layers on, and only if use_sliding_window says so. */
static sg_status window(sg_hf *h, sg_error *err)
{
    bool use = false;
    uint64_t first = 0;
    SG_TRY(sg_hf_bool(h, "use_sliding_window", false, &use, err));
    if (!use || !sg_hf_has(h, "sliding_window"))
        return SG_OK;
    SG_TRY(sg_hf_window(h, NULL, err));
    SG_TRY(sg_hf_u64(h, "max_window_layers", 28, &first, err));
    if (sg_hf_has(h, "layer_types") || first == 0)
        return SG_OK;
    bool *pattern = sg_calloc(h->nlayer, sizeof *pattern);
    if (!pattern)
        return sg_fail_nomem(err, "max_window_layers");
    for (uint64_t i = first; i < h->nlayer; i++)
        pattern[i] = true;
    sg_status st = sg_hf_set_bools(h, "attention.sliding_window_pattern", pattern, h->nlayer, err);
    sg_free(pattern);
    return st;
}

static sg_status dense_meta(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_rope(h, h->head_dim, err));
    return window(h, err);
}

static sg_status moe_meta(sg_hf *h, bool renormalises, sg_error *err)
{
    bool renorm = false;
    SG_TRY(dense_meta(h, err));
    SG_TRY(sg_hf_need_u64(h, "num_experts", &h->nexpert, err));
    SG_TRY(sg_hf_set_u64(h, "expert_count", h->nexpert, err));
    SG_TRY(sg_hf_pass_u64(h, "num_experts_per_tok", "expert_used_count", err));
    SG_TRY(sg_hf_pass_u64(h, "moe_intermediate_size", "expert_feed_forward_length", err));
    SG_TRY(sg_hf_pass_u64(h, "shared_expert_intermediate_size", "expert_shared_feed_forward_length", err));
    SG_TRY(sg_hf_bool(h, "norm_topk_prob", renormalises, &renorm, err));
    return renorm == renormalises ? SG_OK : sg_hf_set_bool(h, "expert_weights_norm", renorm, err);
}

static sg_status qwen2moe(sg_hf *h, sg_error *err) { return moe_meta(h, false, err); }
static sg_status qwen3moe(sg_hf *h, sg_error *err) { return moe_meta(h, true, err); }

static const sg_hf_row shared_rows[] = {
    {"model.layers.%.mlp.shared_expert.gate_proj.weight", "blk.%.ffn_gate_shexp.weight", NULL, 0},
    {"model.layers.%.mlp.shared_expert.up_proj.weight", "blk.%.ffn_up_shexp.weight", NULL, 0},
    {"model.layers.%.mlp.shared_expert.down_proj.weight", "blk.%.ffn_down_shexp.weight", NULL, 0},
    {"model.layers.%.mlp.shared_expert_gate.weight", "blk.%.ffn_gate_inp_shexp.weight", NULL, 0},
    {0},
};

static const sg_hf_row *const dense[] = {sg_hf_rows_outer, sg_hf_rows_norms,    sg_hf_rows_qkv,
                                         sg_hf_rows_mlp,   sg_hf_rows_qk_norms, NULL};
static const sg_hf_row *const sparse[] = {sg_hf_rows_outer,    sg_hf_rows_norms,   sg_hf_rows_qkv, sg_hf_rows_mlp,
                                          sg_hf_rows_qk_norms, sg_hf_rows_experts, shared_rows,    NULL};

static const sg_hf_default defaults[] = {{"rms_norm_eps", 1e-6}, {0}};
/* qwen3's head size is 128 when config.json does not say. */
static const sg_hf_default qwen3_defaults[] = {{"rms_norm_eps", 1e-6}, {"head_dim", 128}, {0}};

const sg_hf_family sg_hf_qwen_families[] = {
    {"qwen2", "qwen2", dense, dense_meta, defaults, NULL, NULL, "silu"},
    {"qwen2_moe", "qwen2moe", sparse, qwen2moe, defaults, NULL, NULL, "silu"},
    {"qwen3", "qwen3", dense, dense_meta, qwen3_defaults, NULL, NULL, "silu"},
    {"qwen3_moe", "qwen3moe", sparse, qwen3moe, defaults, NULL, NULL, "silu"},
    {0},
};
