/* model/blocks.c - the blocks that families put together: attention, feed-forward, experts.
 *
 * Each is straight-line code over op.h.  What differs between families is data in the layer (a norm that is NULL, a
 * window, a set of frequencies) where the paper's formula stays the same, and a block of its own where it does not
 * (deepseek's latent attention lives in deepseek.c).
 */
#include "model/internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

void sg_block_embed(sg_model *m, sg_pass *p)
{
    sg_op_embed(m->ops, p->x, m->embed_type, m->embed, m->h.dim, p->batch->id, p->n, m->h.embed_scale);
}

void sg_block_norm(sg_model *m, float *y, const float *x, int n, const float *w)
{
    sg_op_rms_norm(m->ops, y, x, (size_t)m->h.dim, n, 1, m->h.dim, w, m->h.eps);
}

/* ---- attention ------------------------------------------------------------------------- */

/* q, k, v as they come out of the projections: apart, or side by side in rows of a fused matrix. */
typedef struct qkv {
    float *q, *k, *v;
    size_t q_stride, k_stride, v_stride;
} qkv;

static qkv project(sg_model *m, sg_pass *p, const sg_layer *w, const float *in)
{
    const sg_hparams *h = &m->h;
    size_t nq = (size_t)(h->nhead * h->dk), nk = (size_t)(h->nkv * h->dk), nv = (size_t)(h->nkv * h->dv);
    if (w->qkv.n) {
        size_t n = nq + nk + nv;
        sg_linear_job job = {&w->qkv, p->q, n, false};
        sg_op_linear(m->ops, in, (size_t)h->dim, p->n, &job, 1);
        return (qkv){p->q, p->q + nq, p->q + nq + nk, n, n, n};
    }
    sg_linear_job jobs[3] = {{&w->q, p->q, nq, false}, {&w->k, p->k, nk, false}, {&w->v, p->v, nv, false}};
    sg_op_linear(m->ops, in, (size_t)h->dim, p->n, jobs, 3);
    return (qkv){p->q, p->k, p->v, nq, nk, nv};
}

static void norm_heads(sg_model *m, sg_pass *p, const sg_layer *w, const qkv *a)
{
    const sg_hparams *h = &m->h;
    if (w->qk_norm_full) {
        sg_op_rms_norm(m->ops, a->q, a->q, a->q_stride, p->n, 1, h->nhead * h->dk, w->q_norm, h->eps);
        sg_op_rms_norm(m->ops, a->k, a->k, a->k_stride, p->n, 1, h->nkv * h->dk, w->k_norm, h->eps);
    } else {
        sg_op_rms_norm(m->ops, a->q, a->q, a->q_stride, p->n, h->nhead, h->dk, w->q_norm, h->eps);
        sg_op_rms_norm(m->ops, a->k, a->k, a->k_stride, p->n, h->nkv, h->dk, w->k_norm, h->eps);
    }
}

void sg_block_keep_wanted(sg_model *m, sg_pass *p, int l, float *att, size_t width)
{
    const sg_batch *b = p->batch;
    size_t D = (size_t)m->h.dim;
    if (l + 1 < m->h.nlayer || m->family->kind != SG_MODEL_DECODER)
        return;
    for (int i = 0; i < b->nout && b->nout < p->n; i++) { /* out is rising, so i <= out[i] */
        memmove(p->x + (size_t)i * D, p->x + (size_t)b->out[i] * D, D * sizeof(float));
        memmove(att + (size_t)i * width, att + (size_t)b->out[i] * width, width * sizeof(float));
    }
    p->n = b->nout;
    p->kept = true;
}

void sg_block_attention(sg_model *m, sg_pass *p, int l, const float *in, float *out, bool add)
{
    const sg_hparams *h = &m->h;
    const sg_layer *w = &m->layers[l];
    const sg_kv_layer *kv = sg_kv_pool_layer(p->pool, l);

    qkv a = project(m, p, w, in); /* [n][H][K], [n][G][K], [n][G][V] */
    if (w->q_norm)
        norm_heads(m, p, w, &a);
    if (w->rope >= 0) {
        sg_op_rope(m->ops, a.q, a.q_stride, p->n, h->nhead, h->dk, 0, &p->rope[w->rope]);
        sg_op_rope(m->ops, a.k, a.k_stride, p->n, h->nkv, h->dk, 0, &p->rope[w->rope]);
    }
    sg_op_kv_write(m->ops, kv, &p->rows, a.k, a.k_stride, a.v, a.v_stride);
    sg_attention how = {.nhead = h->nhead,
                        .scale = h->attn_scale,
                        .softcap = h->attn_softcap,
                        .window = w->window,
                        .causal = m->family->kind == SG_MODEL_DECODER,
                        .sinks = w->sinks};
    size_t natt = (size_t)(h->nhead * h->dv);
    if (l + 1 < h->nlayer || p->batch->nout || !how.causal)
        sg_op_attention(m->ops, p->att, natt, a.q, a.q_stride, &how, kv, &p->rows);
    sg_block_keep_wanted(m, p, l, p->att, natt);
    sg_linear_job job = {&w->o, out, (size_t)h->dim, add};
    sg_op_linear(m->ops, p->att, natt, p->n, &job, 1);
}

/* ---- feed-forward ----------------------------------------------------------------------- */

static void glu_block(sg_model *m, sg_pass *p, const sg_linear *gate, const sg_linear *up, const sg_linear *down,
                      const float *in, float *out, sg_glu act, bool add)
{
    size_t dim = (size_t)m->h.dim, ff = (size_t)down->k;
    if (gate->n) {
        sg_linear_job jobs[2] = {{gate, p->gate, ff, false}, {up, p->up, ff, false}};
        sg_op_linear_bare(m->ops, in, dim, p->n, jobs, 2);
        sg_op_glu_of(m->ops, gate, up, p->gate, p->up, ff, in, dim, p->n, act);
    } else { /* one matrix: rows of gate, then of up; p->up follows p->gate in memory */
        sg_linear_job job = {up, p->gate, 2 * ff, false};
        sg_op_linear(m->ops, in, dim, p->n, &job, 1);
        sg_op_glu(m->ops, p->gate, 2 * ff, p->gate, 2 * ff, p->gate + ff, 2 * ff, p->n, (int)ff, act);
        ff *= 2;
    }
    sg_linear_job job = {down, out, dim, add};
    sg_op_linear(m->ops, p->gate, ff, p->n, &job, 1);
}

void sg_block_glu(sg_model *m, sg_pass *p, int l, const float *in, float *out, sg_glu act, bool add)
{
    const sg_layer *w = &m->layers[l];
    glu_block(m, p, &w->gate, &w->up, &w->down, in, out, act, add);
}

/* ---- experts ------------------------------------------------------------------------------ */

/* Scores of a row in place: softmax or sigmoid over all experts. */
static void score_row(float *s, int n, sg_gating gating)
{
    if (gating == SG_GATING_SOFTMAX_CHOSEN)
        return;
    if (gating == SG_GATING_SIGMOID) {
        for (int i = 0; i < n; i++)
            s[i] = 1.0f / (1.0f + expf(-s[i]));
        return;
    }
    float most = s[0], sum = 0;
    for (int i = 1; i < n; i++)
        most = s[i] > most ? s[i] : most;
    for (int i = 0; i < n; i++)
        sum += s[i] = expf(s[i] - most);
    for (int i = 0; i < n; i++)
        s[i] /= sum;
}

/* deepseek: only experts of the best groups may be chosen.  A group is as good as its best score (2) or as its two best
 * scores together (3, which scores by sigmoid). */
static void allow_groups(const sg_hparams *h, const float *choice, bool *allowed)
{
    int size = h->nexpert / h->ngroup;
    for (int i = 0; i < h->nexpert; i++)
        allowed[i] = false;
    for (int used = 0; used < h->ngroup_used; used++) {
        int best = -1;
        float best_value = 0;
        for (int g = 0; g < h->ngroup; g++) {
            const float *c = choice + g * size;
            if (allowed[g * size])
                continue;
            float a = -INFINITY, b = -INFINITY;
            for (int i = 0; i < size; i++)
                if (c[i] > a) {
                    b = a;
                    a = c[i];
                } else if (c[i] > b) {
                    b = c[i];
                }
            float value = size > 1 && h->gating == SG_GATING_SIGMOID ? a + b : a;
            if (best < 0 || value > best_value) {
                best = g;
                best_value = value;
            }
        }
        for (int i = 0; i < size; i++)
            allowed[best * size + i] = true;
    }
}

/* The k best of a row by `choice` (ties to the lower number), best first. */
static void choose(int32_t *id, int k, const float *choice, const bool *allowed, int n)
{
    bool taken[SG_EXPERTS_MAX] = {0};
    for (int j = 0; j < k; j++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (!taken[i] && allowed[i] && (best < 0 || choice[i] > choice[best]))
                best = i;
        for (int i = 0; i < n && best < 0; i++) /* fewer are allowed than asked for */
            if (!taken[i])
                best = i;
        taken[best] = true;
        id[j] = best;
    }
}

/* What a row of a block of experts works on. */
typedef struct route {
    const sg_hparams *h;
    const sg_layer *w;
    float *score;   /* [n][E] */
    int32_t *id;    /* [n][used] */
    float *weight;  /* [n][used] */
    float *out;     /* [n][D] */
    const float *y; /* [n][D] the shared expert's result */
} route;

/* Row r's scores to the numbers and weights of its experts. */
static void route_row(void *arg, int r)
{
    const route *a = arg;
    const sg_hparams *h = a->h;
    int n = h->nexpert, k = h->nexpert_used;
    float *score = a->score + (size_t)r * (size_t)n, *weight = a->weight + (size_t)r * (size_t)k;
    int32_t *id = a->id + (size_t)r * (size_t)k;
    float choice[SG_EXPERTS_MAX], sum = 0;
    bool allowed[SG_EXPERTS_MAX];
    score_row(score, n, h->gating);
    for (int i = 0; i < n; i++) {
        choice[i] = score[i] + (a->w->router_choice_bias ? a->w->router_choice_bias[i] : 0);
        allowed[i] = true;
    }
    if (h->ngroup > 1)
        allow_groups(h, choice, allowed);
    choose(id, k, choice, allowed, n);
    for (int j = 0; j < k; j++)
        weight[j] = score[id[j]];
    if (h->gating == SG_GATING_SOFTMAX_CHOSEN)
        score_row(weight, k, SG_GATING_SOFTMAX);
    for (int j = 0; j < k; j++)
        sum += weight[j];
    for (int j = 0; j < k; j++)
        weight[j] = weight[j] / (h->gate_norm ? sum : 1.0f) * h->expert_scale;
}

/* out[r] += y[r] * sigmoid(score[r]): qwen2moe's shared expert. */
static void add_gated_row(void *arg, int r)
{
    const route *a = arg;
    size_t dim = (size_t)a->h->dim, at = (size_t)r * dim;
    float g = 1.0f / (1.0f + expf(-a->score[r]));
    for (size_t d = 0; d < dim; d++)
        a->out[at + d] += g * a->y[at + d];
}

void sg_block_experts(sg_model *m, sg_pass *p, int l, const float *in, float *out, bool add)
{
    const sg_hparams *h = &m->h;
    const sg_layer *w = &m->layers[l];
    route a = {h, w, p->score, p->expert_id, p->expert_weight, out, p->z};

    sg_linear_job router = {&w->router, p->score, (size_t)h->nexpert, false};
    sg_op_linear(m->ops, in, (size_t)h->dim, p->n, &router, 1);
    sg_op_each_row(m->ops, p->n, h->nexpert * (16 + h->nexpert_used), route_row, &a);
    sg_op_experts(m->ops, out, in, p->n, &w->experts, p->expert_id, p->expert_weight, h->nexpert_used, add);
    if (w->shared_router.n) {
        sg_linear_job gate = {&w->shared_router, p->score, 1, false};
        sg_op_linear(m->ops, in, (size_t)h->dim, p->n, &gate, 1);
        glu_block(m, p, &w->shared_gate, &w->shared_up, &w->shared_down, in, p->z, w->experts.glu, false);
        sg_op_each_row(m->ops, p->n, h->dim, add_gated_row, &a);
    } else if (w->shared_up.n) {
        glu_block(m, p, &w->shared_gate, &w->shared_up, &w->shared_down, in, out, w->experts.glu, true);
    }
}

void sg_block_ffn(sg_model *m, sg_pass *p, int l, const float *in, float *out, bool add)
{
    if (m->layers[l].router.n)
        sg_block_experts(m, p, l, in, out, add);
    else
        sg_block_glu(m, p, l, in, out, SG_GLU_SILU, add);
}
