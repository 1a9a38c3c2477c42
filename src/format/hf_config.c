/* format/hf_config.c - config.json to GGUF metadata: the keys that families share.
 *
 * Key names, wire types and values are those of llama.cpp's converter, so that a converted file is what
 * it would have written; where GGUF has no key, docs/metadata.md names ours.
 */
#include "format/hf.h"

#include "base/heap.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GGUF_U32 = 4, GGUF_F32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

/* ---- reading ---------------------------------------------------------------- */

bool sg_hf_has(const sg_hf *h, const char *key)
{
    json_t *v = json_object_get(h->config, key);
    return v && !json_is_null(v);
}

static const sg_hf_default *default_of(const sg_hf *h, const char *key)
{
    for (const sg_hf_default *d = h->family->defaults; d && d->key; d++)
        if (strcmp(d->key, key) == 0)
            return d;
    return NULL;
}

static sg_status to_u64(json_t *v, const char *key, uint64_t *out, sg_error *err)
{
    double f = json_number_value(v);
    if (!json_is_number(v) || !(f >= 0 && f <= UINT32_MAX) || f != floor(f))
        return sg_fail(err, SG_E_FORMAT, "config.json: %s is not an integer from 0 to 2^32-1", key);
    *out = (uint64_t)f;
    return SG_OK;
}

static sg_status to_f64(json_t *v, const char *key, double *out, sg_error *err)
{
    if (!json_is_number(v) || !isfinite((float)json_number_value(v)))
        return sg_fail(err, SG_E_FORMAT, "config.json: %s is not a float32 number", key);
    *out = json_number_value(v);
    return SG_OK;
}

sg_status sg_hf_u64(sg_hf *h, const char *key, uint64_t fallback, uint64_t *v, sg_error *err)
{
    const sg_hf_default *d = default_of(h, key);
    if (sg_hf_has(h, key))
        return to_u64(json_object_get(h->config, key), key, v, err);
    *v = d ? (uint64_t)d->value : fallback;
    return SG_OK;
}

sg_status sg_hf_f64(sg_hf *h, const char *key, double fallback, double *v, sg_error *err)
{
    const sg_hf_default *d = default_of(h, key);
    if (sg_hf_has(h, key))
        return to_f64(json_object_get(h->config, key), key, v, err);
    *v = d ? d->value : fallback;
    return SG_OK;
}

sg_status sg_hf_bool(sg_hf *h, const char *key, bool fallback, bool *v, sg_error *err)
{
    const sg_hf_default *d = default_of(h, key);
    json_t *x = json_object_get(h->config, key);
    if (sg_hf_has(h, key) && !json_is_boolean(x))
        return sg_fail(err, SG_E_FORMAT, "config.json: %s is not true or false", key);
    *v = sg_hf_has(h, key) ? json_is_true(x) : d ? d->value != 0 : fallback;
    return SG_OK;
}

sg_status sg_hf_need_u64(sg_hf *h, const char *key, uint64_t *v, sg_error *err)
{
    if (!sg_hf_has(h, key) && !default_of(h, key))
        return sg_fail(err, SG_E_FORMAT, "config.json: %s is missing", key);
    return sg_hf_u64(h, key, 0, v, err);
}

/* ---- writing ---------------------------------------------------------------- */

static sg_status set(sg_hf *h, const char *key, const sg_value *v, sg_error *err)
{
    char full[256];
    snprintf(full, sizeof full, "%s.%s", h->family->architecture, key);
    return sg_dict_set(h->w->meta, full, v, err);
}

sg_status sg_hf_set_u64(sg_hf *h, const char *key, uint64_t v, sg_error *err)
{
    return set(h, key, &(sg_value){.kind = SG_KIND_U64, .wire = GGUF_U32, .u = v}, err);
}

sg_status sg_hf_set_f64(sg_hf *h, const char *key, double v, sg_error *err)
{
    return set(h, key, &(sg_value){.kind = SG_KIND_F64, .wire = GGUF_F32, .f = (double)(float)v}, err);
}

sg_status sg_hf_set_bool(sg_hf *h, const char *key, bool v, sg_error *err)
{
    return set(h, key, &(sg_value){.kind = SG_KIND_BOOL, .wire = GGUF_BOOL, .b = v}, err);
}

sg_status sg_hf_set_str(sg_hf *h, const char *key, const char *v, sg_error *err)
{
    return set(h, key, &(sg_value){.kind = SG_KIND_STR, .wire = GGUF_STRING, .s = {v, strlen(v)}}, err);
}

sg_status sg_hf_set_bools(sg_hf *h, const char *key, const bool *v, size_t n, sg_error *err)
{
    return set(h, key,
               &(sg_value){.kind = SG_KIND_ARRAY, .wire = GGUF_ARRAY, .wire_element = GGUF_BOOL,
                           .a = {.kind = SG_KIND_BOOL, .n = n, .b = v}},
               err);
}

sg_status sg_hf_pass_u64(sg_hf *h, const char *config_key, const char *key, sg_error *err)
{
    uint64_t v = 0;
    if (!sg_hf_has(h, config_key) && !default_of(h, config_key))
        return SG_OK;
    SG_TRY(sg_hf_u64(h, config_key, 0, &v, err));
    return sg_hf_set_u64(h, key, v, err);
}

sg_status sg_hf_pass_f64(sg_hf *h, const char *config_key, const char *key, sg_error *err)
{
    double v = 0;
    if (!sg_hf_has(h, config_key) && !default_of(h, config_key))
        return SG_OK;
    SG_TRY(sg_hf_f64(h, config_key, 0, &v, err));
    return sg_hf_set_f64(h, key, v, err);
}

/* ---- sizes ------------------------------------------------------------------- */

sg_status sg_hf_base(sg_hf *h, sg_error *err)
{
    uint64_t context = 0, hidden = 0, ff = 0;
    SG_TRY(sg_hf_need_u64(h, "num_hidden_layers", &h->nlayer, err));
    SG_TRY(sg_hf_need_u64(h, "max_position_embeddings", &context, err));
    SG_TRY(sg_hf_need_u64(h, "hidden_size", &hidden, err));
    SG_TRY(sg_hf_need_u64(h, "intermediate_size", &ff, err));
    SG_TRY(sg_hf_need_u64(h, "num_attention_heads", &h->nhead, err));
    SG_TRY(sg_hf_u64(h, "num_key_value_heads", h->nhead, &h->nhead_kv, err));
    if (!h->nlayer || !hidden || !h->nhead || !h->nhead_kv)
        return sg_fail(err, SG_E_FORMAT, "config.json: num_hidden_layers, hidden_size or a number of heads is 0");
    if (h->nlayer > h->dir.n) /* every layer has tensors: a claim beyond that would only cost time */
        return sg_fail(err, SG_E_FORMAT, "config.json: num_hidden_layers is %" PRIu64 ", but there are %zu tensors",
                       h->nlayer, h->dir.n);
    SG_TRY(sg_hf_u64(h, "head_dim", hidden / h->nhead, &h->head_dim, err));
    SG_TRY(sg_hf_set_u64(h, "block_count", h->nlayer, err));
    SG_TRY(sg_hf_set_u64(h, "context_length", context, err));
    SG_TRY(sg_hf_set_u64(h, "embedding_length", hidden, err));
    SG_TRY(sg_hf_set_u64(h, "feed_forward_length", ff, err));
    SG_TRY(sg_hf_set_u64(h, "attention.head_count", h->nhead, err));
    SG_TRY(sg_hf_set_u64(h, "attention.head_count_kv", h->nhead_kv, err));
    SG_TRY(sg_hf_pass_f64(h, "rms_norm_eps", "attention.layer_norm_rms_epsilon", err));
    SG_TRY(sg_hf_pass_u64(h, "head_dim", "attention.key_length", err));
    return sg_hf_pass_u64(h, "head_dim", "attention.value_length", err);
}

/* ---- rope ---------------------------------------------------------------------- */

typedef struct rope {
    json_t *o;
    const char *type;
    double base, factor;
    uint64_t original; /* context length that the model was trained with, 0 when not stated */
} rope;

static sg_status rope_number(const rope *r, const char *key, double fallback, double *v, sg_error *err)
{
    json_t *x = json_object_get(r->o, key);
    *v = fallback;
    return !x || json_is_null(x) ? SG_OK : to_f64(x, key, v, err);
}

/* rope_freqs.weight: what each inverse frequency is divided by ("llama3" scaling). */
static sg_status llama3_factors(sg_hf *h, const rope *r, uint64_t rot, sg_error *err)
{
    double low = 0, high = 0;
    SG_TRY(rope_number(r, "low_freq_factor", 1, &low, err));
    SG_TRY(rope_number(r, "high_freq_factor", 4, &high, err));
    if (!(high > low) || !r->original)
        return sg_fail(err, SG_E_FORMAT,
                       "config.json: rope scaling llama3 needs high_freq_factor > low_freq_factor and "
                       "original_max_position_embeddings");
    float *v = sg_alloc(rot / 2 * sizeof *v);
    if (!v)
        return sg_fail_nomem(err, "rope factors");
    for (uint64_t i = 0; i < rot / 2; i++) {
        double ratio = (double)r->original * pow(r->base, -(double)(2 * i) / (double)rot) / (2 * M_PI);
        double smooth = (ratio - low) / (high - low);
        v[i] = (float)(ratio > high ? 1 : ratio < low ? r->factor : 1 / ((1 - smooth) / r->factor + smooth));
    }
    sg_status st = sg_hf_emit_floats(h, "rope_freqs.weight", v, rot / 2, err);
    sg_free(v);
    return st;
}

static sg_status longrope_list(sg_hf *h, const rope *r, const char *key, const char *name, uint64_t rot, sg_error *err)
{
    json_t *list = json_object_get(r->o, key);
    if (json_array_size(list) != rot / 2 || rot < 2)
        return sg_fail(err, SG_E_FORMAT,
                       "config.json: rope scaling %s has %zu numbers, rotary dimensions need %" PRIu64, key,
                       json_array_size(list), rot / 2);
    float *v = sg_alloc(rot / 2 * sizeof *v);
    if (!v)
        return sg_fail_nomem(err, "rope factors");
    sg_status st = SG_OK;
    for (size_t i = 0; i < rot / 2 && st == SG_OK; i++) {
        double x = 0;
        st = to_f64(json_array_get(list, i), key, &x, err);
        v[i] = (float)x;
    }
    if (st == SG_OK)
        st = sg_hf_emit_floats(h, name, v, rot / 2, err);
    sg_free(v);
    return st;
}

static sg_status longrope(sg_hf *h, rope *r, uint64_t rot, sg_error *err)
{
    uint64_t context = 0;
    double scale = 0, usual = 1;
    SG_TRY(sg_hf_need_u64(h, "max_position_embeddings", &context, err));
    SG_TRY(sg_hf_u64(h, "original_max_position_embeddings", r->original ? r->original : context, &r->original, err));
    if (r->original < 2)
        return sg_fail(err, SG_E_FORMAT, "config.json: original_max_position_embeddings is %" PRIu64, r->original);
    double factor = (double)context / (double)r->original;
    if (factor > 1)
        usual = sqrt(1 + log(factor) / log((double)r->original));
    SG_TRY(rope_number(r, "attention_factor", usual, &scale, err));
    SG_TRY(longrope_list(h, r, "long_factor", "rope_factors_long.weight", rot, err));
    SG_TRY(longrope_list(h, r, "short_factor", "rope_factors_short.weight", rot, err));
    SG_TRY(sg_hf_set_u64(h, "rope.scaling.original_context_length", r->original, err));
    return sg_hf_set_f64(h, "rope.scaling.attn_factor", scale, err);
}

static double yarn_scale(double factor, double mscale) { return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1; }

static sg_status yarn(sg_hf *h, const rope *r, sg_error *err)
{
    double beta_fast = 0, beta_slow = 0, mscale = 0, mscale_all = 0, attention = 0;
    SG_TRY(rope_number(r, "beta_fast", 0, &beta_fast, err));
    SG_TRY(rope_number(r, "beta_slow", 0, &beta_slow, err));
    SG_TRY(rope_number(r, "mscale", 0, &mscale, err));
    SG_TRY(rope_number(r, "mscale_all_dim", 0, &mscale_all, err));
    SG_TRY(rope_number(r, "attention_factor", 0, &attention, err));
    SG_TRY(sg_hf_set_u64(h, "rope.scaling.original_context_length", r->original, err));
    if (beta_fast != 0)
        SG_TRY(sg_hf_set_f64(h, "rope.scaling.yarn_beta_fast", beta_fast, err));
    if (beta_slow != 0)
        SG_TRY(sg_hf_set_f64(h, "rope.scaling.yarn_beta_slow", beta_slow, err));
    if (mscale_all != 0)
        SG_TRY(sg_hf_set_f64(h, "rope.scaling.yarn_log_multiplier", 0.1 * mscale_all, err));
    if (json_is_false(json_object_get(r->o, "truncate")))
        SG_TRY(sg_hf_set_bool(h, "rope.scaling.yarn_truncate", false, err));
    /* cos and sin are scaled by attn_factor (1 when absent) times a usual factor, which is 1 when there is
     * a yarn_log_multiplier and yarn's own otherwise. */
    double usual = mscale_all != 0 ? 1 : yarn_scale(r->factor, 1);
    if (attention == 0 && mscale != 0 && mscale_all != 0)
        attention = yarn_scale(r->factor, mscale) / yarn_scale(r->factor, mscale_all);
    else if (attention == 0)
        attention = yarn_scale(r->factor, 1);
    return attention == usual ? SG_OK : sg_hf_set_f64(h, "rope.scaling.attn_factor", attention / usual, err);
}

static sg_status scaling(sg_hf *h, rope *r, uint64_t rot, sg_error *err)
{
    if (!strcmp(r->type, "default"))
        return SG_OK;
    if (!strcmp(r->type, "longrope") || !strcmp(r->type, "su"))
        return longrope(h, r, rot, err);
    if (!(r->factor > 0))
        return sg_fail(err, SG_E_FORMAT, "config.json: rope scaling factor is %g", r->factor);
    if (!strcmp(r->type, "llama3"))
        return llama3_factors(h, r, rot, err);
    if (strcmp(r->type, "linear") != 0 && strcmp(r->type, "yarn") != 0)
        return sg_fail(err, SG_E_UNSUPPORTED, "config.json: rope scaling '%s' is unknown", r->type);
    SG_TRY(sg_hf_set_str(h, "rope.scaling.type", r->type, err));
    SG_TRY(sg_hf_set_f64(h, "rope.scaling.factor", r->factor, err));
    return strcmp(r->type, "yarn") == 0 ? yarn(h, r, err) : SG_OK;
}

sg_status sg_hf_rope_object(sg_hf *h, json_t *o, uint64_t rot, sg_error *err)
{
    rope r = {.o = o};
    double original = 0, own = 0;
    uint64_t context = 0;
    if (o && !json_is_object(o) && !json_is_null(o))
        return sg_fail(err, SG_E_FORMAT, "config.json: the rope parameters are not an object");
    json_t *type = json_object_get(o, "rope_type");
    r.type = json_string_value(type ? type : json_object_get(o, "type"));
    r.type = r.type ? r.type : "default";
    SG_TRY(sg_hf_f64(h, "rope_theta", 10000, &own, err));
    SG_TRY(rope_number(&r, "rope_theta", own, &r.base, err));
    SG_TRY(rope_number(&r, "factor", 1, &r.factor, err));
    SG_TRY(sg_hf_u64(h, "max_position_embeddings", 0, &context, err));
    SG_TRY(rope_number(&r, "original_max_position_embeddings", 0, &original, err));
    if (!(original >= 0 && original <= UINT32_MAX) || !(r.base > 0))
        return sg_fail(err, SG_E_FORMAT, "config.json: rope_theta is %g, original_max_position_embeddings %g", r.base,
                       original);
    r.original = (uint64_t)original;
    if (!r.original && strcmp(r.type, "yarn") == 0)
        r.original = context;
    SG_TRY(sg_hf_set_f64(h, "rope.freq_base", r.base, err));
    return scaling(h, &r, rot, err);
}

sg_status sg_hf_rope(sg_hf *h, uint64_t rot, sg_error *err)
{
    if (rot > 65536 || rot % 2)
        return sg_fail(err, SG_E_FORMAT, "config.json: %" PRIu64 " rotary dimensions in a head", rot);
    json_t *o = sg_hf_has(h, "rope_parameters") ? json_object_get(h->config, "rope_parameters")
                                                : json_object_get(h->config, "rope_scaling");
    return sg_hf_rope_object(h, o, rot, err);
}

/* ---- windows ---------------------------------------------------------------------- */

static bool all_layers(uint64_t layer)
{
    (void)layer;
    return true;
}

static sg_status layer_kind(json_t *types, uint64_t i, bool *window, sg_error *err)
{
    const char *s = json_string_value(json_array_get(types, i));
    if (!s || (strcmp(s, "sliding_attention") != 0 && strcmp(s, "full_attention") != 0))
        return sg_fail(err, SG_E_UNSUPPORTED, "config.json: layer_types[%" PRIu64 "] is '%s'", i, s ? s : "missing");
    *window = s[0] == 's';
    return SG_OK;
}

sg_status sg_hf_window(sg_hf *h, bool (*implied)(uint64_t layer), sg_error *err)
{
    uint64_t window = 0;
    SG_TRY(sg_hf_u64(h, "sliding_window", 0, &window, err));
    if (!window)
        return SG_OK;
    SG_TRY(sg_hf_set_u64(h, "attention.sliding_window", window, err));
    json_t *types = json_object_get(h->config, "layer_types");
    if (!types || json_is_null(types))
        return SG_OK;
    bool *pattern = sg_calloc(h->nlayer, sizeof *pattern), differs = false;
    if (!pattern)
        return sg_fail_nomem(err, "layer_types");
    sg_status st = SG_OK;
    implied = implied ? implied : all_layers;
    for (uint64_t i = 0; i < h->nlayer && st == SG_OK; i++) {
        st = layer_kind(types, i, &pattern[i], err);
        differs = differs || pattern[i] != implied(i);
    }
    if (st == SG_OK && differs)
        st = sg_hf_set_bools(h, "attention.sliding_window_pattern", pattern, h->nlayer, err);
    sg_free(pattern);
    return st;
}
