/* format/hf_llama.c - llama, mistral, mixtral and smollm3 checkpoints.
 *
 * All but smollm3 are GGUF's architecture "llama".  GGUF rotates pairs where these rotate halves, so the
 * rows of q and k are reordered.
 */
#include "format/hf.h"

#include "base/heap.h"

static sg_status common(sg_hf *h, sg_error *err)
{
    SG_TRY(sg_hf_base(h, err));
    SG_TRY(sg_hf_rope(h, h->head_dim, err));
    SG_TRY(sg_hf_pass_u64(h, "vocab_size", "vocab_size", err));
    return sg_hf_set_u64(h, "rope.dimension_count", h->head_dim, err);
}

static sg_status mistral(sg_hf *h, sg_error *err)
{
    SG_TRY(common(h, err));
    return sg_hf_window(h, NULL, err);
}

static sg_status mixtral(sg_hf *h, sg_error *err)
{
    SG_TRY(mistral(h, err));
    SG_TRY(sg_hf_need_u64(h, "num_local_experts", &h->nexpert, err));
    SG_TRY(sg_hf_set_u64(h, "expert_count", h->nexpert, err));
    return sg_hf_pass_u64(h, "num_experts_per_tok", "expert_used_count", err);
}

/* Which layers rotate; GGUF implies all but every fourth and has no key for anything else. */
static sg_status smollm3_rope_layers(sg_hf *h, sg_error *err)
{
    uint64_t interval = 0;
    SG_TRY(sg_hf_u64(h, "no_rope_layer_interval", 4, &interval, err));
    json_t *list = json_object_get(h->config, "no_rope_layers");
    bool *rotates = sg_calloc(h->nlayer, sizeof *rotates), differs = false;
    if (!rotates)
        return sg_fail_nomem(err, "no_rope_layers");
    for (uint64_t i = 0; i < h->nlayer; i++) {
        json_t *x = json_array_get(list, i);
        rotates[i] = x ? json_integer_value(x) != 0 || json_is_true(x) : interval == 0 || (i + 1) % interval != 0;
        differs = differs || rotates[i] != (i % 4 != 3);
    }
    sg_status st = differs ? sg_hf_set_bools(h, "rope.layers", rotates, h->nlayer, err) : SG_OK;
    sg_free(rotates);
    return st;
}

static sg_status smollm3(sg_hf *h, sg_error *err)
{
    bool window = false;
    SG_TRY(common(h, err));
    SG_TRY(smollm3_rope_layers(h, err));
    SG_TRY(sg_hf_bool(h, "use_sliding_window", false, &window, err));
    return window ? sg_hf_window(h, NULL, err) : SG_OK;
}

static const sg_hf_row mixtral_rows[] = {
    {"model.layers.%.block_sparse_moe.gate.weight", "blk.%.ffn_gate_inp.weight", NULL, 0},
    {"model.layers.%.block_sparse_moe.experts.#.w1.weight", "blk.%.ffn_gate_exps.weight", NULL, 0},
    {"model.layers.%.block_sparse_moe.experts.#.w2.weight", "blk.%.ffn_down_exps.weight", NULL, 0},
    {"model.layers.%.block_sparse_moe.experts.#.w3.weight", "blk.%.ffn_up_exps.weight", NULL, 0},
    {0},
};

static const sg_hf_row *const dense[] = {sg_hf_rows_outer, sg_hf_rows_norms, sg_hf_rows_qkv_pairs, sg_hf_rows_mlp,
                                         NULL};
static const sg_hf_row *const sparse[] = {sg_hf_rows_outer, sg_hf_rows_norms, sg_hf_rows_qkv_pairs, mixtral_rows, NULL};

static const sg_hf_default llama_defaults[] = {{"rms_norm_eps", 1e-6}, {0}};
static const sg_hf_default mixtral_defaults[] = {
    {"rms_norm_eps", 1e-5}, {"rope_theta", 1e6}, {"num_local_experts", 8}, {"num_experts_per_tok", 2}, {0}};

const sg_hf_family sg_hf_llama_families[] = {
    {"llama", "llama", dense, common, llama_defaults, NULL, NULL, "silu"},
    {"mistral", "llama", dense, mistral, llama_defaults, NULL, NULL, "silu"},
    {"mixtral", "llama", sparse, mixtral, mixtral_defaults, NULL, NULL, "silu"},
    {"smollm3", "smollm3", dense, smollm3, llama_defaults, NULL, NULL, "silu"},
    {0},
};
