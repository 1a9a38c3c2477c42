/* model/rope.c - rotary frequencies with the scalings that models use to reach further than they were trained.
 *
 *     none      f_i = base^(-2i/rot)
 *     linear    f_i / factor (Chen et al. 2023, arXiv:2306.15595)
 *     llama3    by wavelength: short ones kept, long ones divided, between them blended; files hold the divisors
 *     yarn      blended between kept and divided by how often a dimension turns within the original context
 *               (Peng et al. 2023, arXiv:2309.00071); cos and sin get an attention factor
 *     longrope  searched divisors for each dimension, one set for short and one for long sequences
 *               (Ding et al. 2024, arXiv:2402.13753)
 */
#include "model/internal.h"

#include <math.h>

static double corrected_dim(const sg_rope_params *r, double turns)
{
    return r->rot * log(r->original_ctx / (turns * 2 * M_PI)) / (2 * log(r->base));
}

static void yarn(float *f, const sg_rope_params *r)
{
    double low = corrected_dim(r, r->beta_fast), high = corrected_dim(r, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, r->rot - 1);
    if (high == low)
        high += 0.001;
    for (int i = 0; i < r->rot / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1), plain = pow(r->base, -2.0 * i / r->rot);
        f[i] = (float)(plain * (1 - ramp) + plain / r->factor * ramp);
    }
}

/* What cos and sin are multiplied by: attn_factor of the file times the scaling's usual factor.  With a log_multiplier
 * (deepseek) the scores are scaled instead. */
static double attention_factor(const sg_rope_params *r)
{
    bool usual = r->scaling == SG_SCALING_YARN && r->factor > 1 && r->log_multiplier == 0;
    return (r->attn_factor > 0 ? r->attn_factor : 1) * (usual ? 0.1 * log(r->factor) + 1 : 1);
}

static sg_status plain(sg_loader *ld, float **out, int rot, double base, double factor, const float *divisors)
{
    void *p;
    SG_TRY(sg_load_alloc(ld, &p, (size_t)rot / 2 + 1, sizeof(float)));
    float *f = p;
    for (int i = 0; i < rot / 2; i++) {
        double v = pow(base, -2.0 * i / rot) / factor;
        f[i] = (float)(divisors ? v / (double)divisors[i] : v);
    }
    *out = f;
    return SG_OK;
}

static sg_status longrope(sg_loader *ld, sg_rope_set *set)
{
    const sg_rope_params *r = &ld->m->h.rope;
    const float *s, *l;
    SG_TRY(sg_load_vector(ld, &s, -1, "rope_factors_short", "weight", r->rot / 2, SG_NEED));
    SG_TRY(sg_load_vector(ld, &l, -1, "rope_factors_long", "weight", r->rot / 2, SG_NEED));
    SG_TRY(plain(ld, &set->inv_freq, r->rot, r->base, 1, s));
    return plain(ld, &set->inv_freq_long, r->rot, r->base, 1, l);
}

sg_status sg_load_rope(sg_loader *ld)
{
    const sg_rope_params *r = &ld->m->h.rope;
    sg_rope_set *set = ld->m->rope;
    const float *divisors = NULL;
    if (r->rot < 2)
        return SG_OK;
    if (sg_load_have(ld, -1, "rope_factors_short", "weight") || r->scaling == SG_SCALING_LONGROPE) {
        SG_TRY(longrope(ld, set));
    } else {
        SG_TRY(sg_load_vector(ld, &divisors, -1, "rope_freqs", "weight", r->rot / 2, SG_MAY));
        SG_TRY(plain(ld, &set->inv_freq, r->rot, r->base, r->scaling == SG_SCALING_LINEAR ? r->factor : 1, divisors));
        if (r->scaling == SG_SCALING_YARN)
            yarn(set->inv_freq, r);
    }
    set->factor = (float)attention_factor(r);
    if (ld->m->h.rope_base_local > 0) {
        SG_TRY(plain(ld, &set[1].inv_freq, r->rot, ld->m->h.rope_base_local, 1, NULL));
        set[1].factor = 1;
    }
    return SG_OK;
}
