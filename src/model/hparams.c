/* model/hparams.c - metadata to hyper-parameters.
 *
 * Every number is checked against a range here, once, where its key is known, so that the rest of the module may
 * multiply sizes without fear: a dimension is at most 2^20, a count of heads 4096, of layers 1024, and products of
 * two stay far below 2^31 where they are ints (checked below where they might not).
 */
#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const sg_value *find(const sg_keys *k, const char *name, char full[128])
{
    snprintf(full, 128, "%s.%s", k->arch, name);
    return sg_dict_find(k->meta, full);
}

bool sg_keys_have(const sg_keys *k, const char *name)
{
    char full[128];
    return find(k, name, full) != NULL;
}

static bool scalar(const sg_value *v, double *out)
{
    if (v->kind == SG_KIND_U64)
        *out = (double)v->u;
    else if (v->kind == SG_KIND_I64)
        *out = (double)v->i;
    else if (v->kind == SG_KIND_F64)
        *out = v->f;
    else
        return false;
    return true;
}

static double element(const sg_array *a, size_t i)
{
    return a->kind == SG_KIND_U64 ? (double)a->u[i] : a->kind == SG_KIND_I64 ? (double)a->i[i] : a->f[i];
}

/* A number, or an array of equal numbers. */
static sg_status number(const sg_keys *k, const char *full, const sg_value *v, double *out)
{
    if (scalar(v, out))
        return SG_OK;
    if (v->kind != SG_KIND_ARRAY || v->a.kind > SG_KIND_F64)
        return sg_fail(k->err, SG_E_FORMAT, "%s is not a number", full);
    uint64_t nlayer = 0;
    char count[128];
    find(k, "block_count", count);
    SG_TRY(sg_dict_u64(k->meta, count, 0, &nlayer, k->err));
    if (v->a.n == 0 || v->a.n != nlayer)
        return sg_fail(k->err, SG_E_FORMAT, "%s is a list of %zu for %llu layers", full, v->a.n,
                       (unsigned long long)nlayer);
    for (size_t i = 1; i < v->a.n; i++)
        if (element(&v->a, i) != element(&v->a, 0))
            return sg_fail(k->err, SG_E_UNSUPPORTED, "%s differs between layers (%g, %g): not supported for %s", full,
                           element(&v->a, 0), element(&v->a, i), k->arch);
    *out = element(&v->a, 0);
    return SG_OK;
}

sg_status sg_keys_num(const sg_keys *k, const char *name, double lo, double hi, double fallback, double *out)
{
    char full[128];
    const sg_value *v = find(k, name, full);
    double x = fallback;
    if (v) {
        SG_TRY(number(k, full, v, &x));
        if (!(x >= lo && x <= hi))
            return sg_fail(k->err, SG_E_FORMAT, "%s is %g, must be from %g to %g", full, x, lo, hi);
    }
    *out = x;
    return SG_OK;
}

sg_status sg_keys_float(const sg_keys *k, const char *name, double lo, double hi, double fallback, float *out)
{
    double x = 0;
    SG_TRY(sg_keys_num(k, name, lo, hi, fallback, &x));
    *out = (float)x;
    return SG_OK;
}

sg_status sg_keys_int(const sg_keys *k, const char *name, int lo, int hi, int fallback, int *out)
{
    double x = 0;
    char full[128];
    const sg_value *v = find(k, name, full);
    if (v && (v->kind == SG_KIND_F64 || (v->kind == SG_KIND_ARRAY && v->a.kind == SG_KIND_F64)))
        return sg_fail(k->err, SG_E_FORMAT, "%s is a fraction, must be a whole number", full);
    SG_TRY(sg_keys_num(k, name, lo, hi, fallback, &x));
    *out = (int)x;
    return SG_OK;
}

sg_status sg_keys_need_int(const sg_keys *k, const char *name, int lo, int hi, int *out)
{
    if (!sg_keys_have(k, name))
        return sg_fail(k->err, SG_E_FORMAT, "key %s.%s is missing", k->arch, name);
    return sg_keys_int(k, name, lo, hi, 0, out);
}

sg_status sg_keys_bool(const sg_keys *k, const char *name, bool fallback, bool *out)
{
    char full[128];
    find(k, name, full);
    return sg_dict_bool(k->meta, full, fallback, out, k->err);
}

static sg_status read_rope(sg_hparams *h, const sg_keys *k)
{
    sg_rope_params *r = &h->rope;
    char full[128];
    find(k, "rope.scaling.type", full);
    sg_str type;
    SG_TRY(sg_dict_str(k->meta, full, "none", &type, k->err));
    SG_TRY(sg_keys_int(k, "rope.dimension_count", 0, SG_HEAD_DIM_MAX, h->dk, &r->rot));
    if (r->rot % 2 || r->rot > h->dk)
        return sg_fail(k->err, SG_E_FORMAT, "%s.rope.dimension_count is %d, must be even and at most the head's %d",
                       k->arch, r->rot, h->dk);
    SG_TRY(sg_keys_num(k, "rope.freq_base", 1e-3, 1e15, 10000, &r->base));
    SG_TRY(sg_keys_num(k, "rope.scaling.factor", 1e-6, 1e6, 1, &r->factor));
    SG_TRY(sg_keys_int(k, "rope.scaling.original_context_length", 0, INT32_MAX, 0, &r->original_ctx));
    SG_TRY(sg_keys_num(k, "rope.scaling.attn_factor", 0, 1e3, 0, &r->attn_factor));
    SG_TRY(sg_keys_num(k, "rope.scaling.yarn_beta_fast", 1e-6, 1e6, 32, &r->beta_fast));
    SG_TRY(sg_keys_num(k, "rope.scaling.yarn_beta_slow", 1e-6, 1e6, 1, &r->beta_slow));
    SG_TRY(sg_keys_num(k, "rope.scaling.yarn_log_multiplier", 0, 1e3, 0, &r->log_multiplier));
    SG_TRY(sg_keys_bool(k, "rope.scaling.yarn_truncate", true, &r->truncate));
    if (strcmp(type.data, "none") == 0 || strcmp(type.data, "default") == 0 || strcmp(type.data, "") == 0)
        r->scaling = SG_SCALING_NONE;
    else if (strcmp(type.data, "linear") == 0)
        r->scaling = SG_SCALING_LINEAR;
    else if (strcmp(type.data, "yarn") == 0)
        r->scaling = SG_SCALING_YARN;
    else if (strcmp(type.data, "longrope") == 0)
        r->scaling = SG_SCALING_LONGROPE;
    else
        return sg_fail(k->err, SG_E_UNSUPPORTED, "%s is '%s': none, linear, yarn and longrope are known", full,
                       type.data);
    if (r->scaling == SG_SCALING_NONE && !sg_dict_find(k->meta, full) && sg_keys_have(k, "rope.scale_linear")) {
        SG_TRY(sg_keys_num(k, "rope.scale_linear", 1e-6, 1e6, 1, &r->factor)); /* as older files have it */
        r->scaling = SG_SCALING_LINEAR;
    }
    if (r->original_ctx == 0)
        r->original_ctx = h->ctx;
    return SG_OK;
}

static sg_status read_experts(sg_hparams *h, const sg_keys *k)
{
    int gating;
    SG_TRY(sg_keys_int(k, "expert_count", 0, SG_EXPERTS_MAX, 0, &h->nexpert));
    if (h->nexpert == 0)
        return SG_OK;
    SG_TRY(sg_keys_need_int(k, "expert_used_count", 1, h->nexpert < 64 ? h->nexpert : 64, &h->nexpert_used));
    SG_TRY(sg_keys_int(k, "expert_feed_forward_length", 1, 1 << 20, h->nff, &h->nff_expert));
    SG_TRY(sg_keys_int(k, "expert_shared_count", 0, 64, 0, &h->nexpert_shared));
    SG_TRY(sg_keys_int(k, "expert_shared_feed_forward_length", 0, 1 << 20, h->nff_expert * h->nexpert_shared,
                       &h->nff_shared));
    SG_TRY(sg_keys_int(k, "leading_dense_block_count", 0, h->nlayer, 0, &h->ndense));
    SG_TRY(sg_keys_int(k, "expert_group_count", 0, h->nexpert, 1, &h->ngroup));
    SG_TRY(sg_keys_int(k, "expert_group_used_count", 0, h->ngroup > 0 ? h->ngroup : 1, h->ngroup, &h->ngroup_used));
    if (h->ngroup > 1 && (h->nexpert % h->ngroup || h->ngroup_used < 1))
        return sg_fail(k->err, SG_E_FORMAT, "%s.expert_group_count is %d for %d experts", k->arch, h->ngroup,
                       h->nexpert);
    SG_TRY(sg_keys_float(k, "expert_weights_scale", 0, 1e6, 1, &h->expert_scale));
    if (h->expert_scale == 0)
        h->expert_scale = 1;
    SG_TRY(sg_keys_int(k, "expert_gating_func", 0, 3, SG_GATING_SOFTMAX, &gating));
    h->gating = gating ? (sg_gating)gating : SG_GATING_SOFTMAX;
    return sg_keys_bool(k, "expert_weights_norm", false, &h->gate_norm);
}

/* A context is a claim; what matters is how much of it is used.  More than 2^30 positions count as 2^30. */
static sg_status read_context(sg_hparams *h, const sg_keys *k)
{
    double ctx;
    if (!sg_keys_have(k, "context_length"))
        return sg_fail(k->err, SG_E_FORMAT, "key %s.context_length is missing", k->arch);
    SG_TRY(sg_keys_num(k, "context_length", 1, 0x1p32, 0, &ctx));
    h->ctx = ctx > 0x1p30 ? 1 << 30 : (int)ctx;
    return SG_OK;
}

static sg_status read_sizes(sg_hparams *h, const sg_keys *k)
{
    SG_TRY(sg_keys_need_int(k, "block_count", 1, SG_LAYERS_MAX, &h->nlayer));
    SG_TRY(sg_keys_need_int(k, "embedding_length", 1, 1 << 18, &h->dim));
    SG_TRY(read_context(h, k));
    SG_TRY(sg_keys_need_int(k, "attention.head_count", 1, SG_HEADS_MAX, &h->nhead));
    SG_TRY(sg_keys_int(k, "attention.head_count_kv", 1, SG_HEADS_MAX, h->nhead, &h->nkv));
    if (h->nhead % h->nkv)
        return sg_fail(k->err, SG_E_FORMAT, "%s.attention.head_count_kv is %d, must divide head_count %d", k->arch,
                       h->nkv, h->nhead);
    if (!sg_keys_have(k, "attention.key_length") && h->dim % h->nhead)
        return sg_fail(k->err, SG_E_FORMAT, "%s.attention.head_count is %d, must divide embedding_length %d", k->arch,
                       h->nhead, h->dim);
    SG_TRY(sg_keys_int(k, "attention.key_length", 1, SG_HEAD_DIM_MAX, h->dim / h->nhead, &h->dk));
    SG_TRY(sg_keys_int(k, "attention.value_length", 1, SG_HEAD_DIM_MAX, h->dk, &h->dv));
    if (h->dk < 1 || h->dk > SG_HEAD_DIM_MAX || h->dv > SG_HEAD_DIM_MAX)
        return sg_fail(k->err, SG_E_FORMAT, "%s.attention.head_count is %d: heads of %d values, at most %d", k->arch,
                       h->nhead, h->dk, SG_HEAD_DIM_MAX);
    if ((int64_t)h->nhead * h->dk > 1 << 20 || (int64_t)h->nhead * h->dv > 1 << 20)
        return sg_fail(k->err, SG_E_FORMAT, "%s: %d heads of %d values are too many", k->arch, h->nhead, h->dk);
    h->embed_scale = h->residual_scale = h->logit_scale = 1;
    h->attn_scale = 1.0f / sqrtf((float)h->dk);
    return SG_OK;
}

sg_status sg_hparams_decoder(sg_hparams *h, const sg_keys *k)
{
    SG_TRY(read_sizes(h, k));
    SG_TRY(sg_keys_int(k, "feed_forward_length", 0, 1 << 20, 0, &h->nff));
    if (!sg_keys_have(k, "attention.layer_norm_rms_epsilon"))
        return sg_fail(k->err, SG_E_FORMAT, "key %s.attention.layer_norm_rms_epsilon is missing", k->arch);
    SG_TRY(sg_keys_float(k, "attention.layer_norm_rms_epsilon", 0, 1, 0, &h->eps));
    SG_TRY(sg_keys_int(k, "attention.sliding_window", 0, INT32_MAX, 0, &h->window));
    SG_TRY(read_rope(h, k));
    SG_TRY(read_experts(h, k));
    if (h->nff == 0 && (h->nexpert == 0 || h->ndense > 0 || h->nff_expert == 0))
        return sg_fail(k->err, SG_E_FORMAT, "%s.feed_forward_length is missing or 0", k->arch);
    return SG_OK;
}

sg_status sg_hparams_encoder(sg_hparams *h, const sg_keys *k)
{
    int pooling;
    SG_TRY(read_sizes(h, k));
    SG_TRY(sg_keys_need_int(k, "feed_forward_length", 1, 1 << 20, &h->nff));
    SG_TRY(sg_keys_float(k, "attention.layer_norm_epsilon", 0, 1, 1e-12, &h->eps));
    SG_TRY(sg_keys_int(k, "pooling_type", 0, 4, 0, &pooling));
    h->pooling = (sg_pooling)pooling;
    return SG_OK;
}
