/* model/deepseek.c - DeepSeek 2 and 3: multi-head latent attention and shared experts (DeepSeek-AI 2024,
 * arXiv:2405.04434, arXiv:2412.19437).
 *
 * Keys and values of all heads are made of one small vector c per position, and only c and one rotated key r are
 * stored.  The matrices that would make keys and values of c are applied to the query and to the result instead
 * ("absorbed"):
 *
 *     c, r   = split(W_kv_a x);  c = norm(c);  r = rope(r)             stored: [c | r], R + P values
 *     q_h    = [nope | rope part], rope part rotated                   H heads of N + P
 *     score  = (K_b_h^T q_nope_h) . c + q_rope_h . r                   one KV head that all heads read
 *     out_h  = V_b_h (sum of weights * c)                              the value is the first R values of the key
 *
 * The first layers have a plain feed-forward block, the others experts with a shared one beside them.
 */
#include "model/families.h"

#include <math.h>
#include <string.h>

sg_status sg_deepseek_params(sg_hparams *h, const sg_keys *k)
{
    int key_mla;
    SG_TRY(sg_hparams_decoder(h, k));
    SG_TRY(sg_keys_need_int(k, "attention.kv_lora_rank", 1, SG_HEAD_DIM_MAX, &h->kv_rank));
    SG_TRY(sg_keys_int(k, "attention.q_lora_rank", 0, 1 << 18, 0, &h->q_rank));
    SG_TRY(sg_keys_need_int(k, "attention.key_length_mla", 1, SG_HEAD_DIM_MAX, &key_mla));
    SG_TRY(sg_keys_need_int(k, "attention.value_length_mla", 1, SG_HEAD_DIM_MAX, &h->dv_mla));
    h->nope = key_mla - h->rope.rot;
    if (h->nope < 1 || h->nkv != 1 || h->dk != h->kv_rank + h->rope.rot || h->dv != h->kv_rank)
        return sg_fail(k->err, SG_E_FORMAT,
                       "%s: key_length %d, value_length %d, key_length_mla %d and rope %d do not fit kv_lora_rank %d",
                       k->arch, h->dk, h->dv, key_mla, h->rope.rot, h->kv_rank);
    double m = h->rope.log_multiplier > 0 && h->rope.factor > 1 ? h->rope.log_multiplier * log(h->rope.factor) + 1 : 1;
    h->attn_scale = (float)(m * m / sqrt((double)key_mla));
    return SG_OK;
}

static sg_status load_latent(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    int nq = h->nhead * (h->nope + h->rope.rot);
    if (h->q_rank) {
        SG_TRY(sg_load_linear(ld, &w->q_a, l, "attn_q_a", h->q_rank, h->dim, SG_MAY_BIAS));
        SG_TRY(sg_load_vector(ld, &w->q_a_norm, l, "attn_q_a_norm", "weight", h->q_rank, SG_NEED));
        SG_TRY(sg_load_linear(ld, &w->q_b, l, "attn_q_b", nq, h->q_rank, SG_NEED));
    } else {
        SG_TRY(sg_load_linear(ld, &w->q, l, "attn_q", nq, h->dim, SG_NEED));
    }
    SG_TRY(sg_load_linear(ld, &w->kv_a, l, "attn_kv_a_mqa", h->dk, h->dim, SG_MAY_BIAS));
    SG_TRY(sg_load_vector(ld, &w->kv_a_norm, l, "attn_kv_a_norm", "weight", h->kv_rank, SG_NEED));
    SG_TRY(sg_load_stack(ld, &w->k_b, l, "attn_k_b", h->nhead, h->kv_rank, h->nope, SG_NEED));
    SG_TRY(sg_load_stack(ld, &w->v_b, l, "attn_v_b", h->nhead, h->dv_mla, h->kv_rank, SG_NEED));
    return sg_load_linear(ld, &w->o, l, "attn_output", h->dim, h->nhead * h->dv_mla, SG_MAY_BIAS);
}

sg_status sg_deepseek_layer(sg_loader *ld, sg_layer *w, int l)
{
    const sg_hparams *h = &ld->m->h;
    SG_TRY(sg_load_vector(ld, &w->attn_norm, l, "attn_norm", "weight", h->dim, SG_NEED));
    SG_TRY(load_latent(ld, w, l));
    SG_TRY(sg_load_vector(ld, &w->ffn_norm, l, "ffn_norm", "weight", h->dim, SG_NEED));
    if (!h->nexpert || l < h->ndense)
        return sg_load_glu(ld, w, l, SG_NEED);
    SG_TRY(sg_load_experts(ld, w, l, SG_GLU_SILU, SG_NEED));
    return h->nff_shared ? sg_load_shared_expert(ld, w, l) : SG_OK;
}

/* x [n][D] -> q [n][H][N + P], rotated. */
static void make_q(sg_model *m, sg_pass *p, const sg_layer *w, const float *in, float *compressed, float *q)
{
    const sg_hparams *h = &m->h;
    int head = h->nope + h->rope.rot;
    size_t nq = (size_t)(h->nhead * head), R = (size_t)h->q_rank;
    if (h->q_rank) {
        sg_linear_job a = {&w->q_a, compressed, R, false}, b = {&w->q_b, q, nq, false};
        sg_op_linear(m->ops, in, (size_t)h->dim, p->n, &a, 1);
        sg_op_rms_norm(m->ops, compressed, compressed, R, p->n, 1, h->q_rank, w->q_a_norm, 1e-6f);
        sg_op_linear(m->ops, compressed, R, p->n, &b, 1);
    } else {
        sg_linear_job job = {&w->q, q, nq, false};
        sg_op_linear(m->ops, in, (size_t)h->dim, p->n, &job, 1);
    }
    sg_op_rope(m->ops, q, nq, p->n, h->nhead, head, h->nope, &p->rope[0]);
}

/* x [n][D] -> [c | r] [n][R + P], normed and rotated. */
static void make_kv(sg_model *m, sg_pass *p, const sg_layer *w, const float *in, float *kv)
{
    const sg_hparams *h = &m->h;
    size_t stride = (size_t)h->dk;
    sg_linear_job job = {&w->kv_a, kv, stride, false};
    sg_op_linear(m->ops, in, (size_t)h->dim, p->n, &job, 1);
    sg_op_rms_norm(m->ops, kv, kv, stride, p->n, 1, h->kv_rank, w->kv_a_norm, 1e-6f);
    sg_op_rope(m->ops, kv, stride, p->n, 1, h->dk, h->kv_rank, &p->rope[0]);
}

typedef struct absorb {
    const sg_hparams *h;
    const float *q;
    float *out;
} absorb;

/* The rotated part of each head of row r goes behind the absorbed one. */
static void copy_rotated(void *arg, int r)
{
    const absorb *a = arg;
    const sg_hparams *h = a->h;
    size_t rot = (size_t)h->rope.rot, from = (size_t)h->nope + rot, to = (size_t)h->dk, H = (size_t)h->nhead;
    for (size_t i = 0; i < H; i++)
        memcpy(a->out + ((size_t)r * H + i) * to + h->kv_rank, a->q + ((size_t)r * H + i) * from + h->nope,
               rot * sizeof(float));
}

/* q [n][H][N + P] -> [K_b^T q_nope | q_rope] [n][H][R + P] */
static void absorb_q(sg_model *m, sg_pass *p, const sg_layer *w, const float *q, float *out)
{
    const sg_hparams *h = &m->h;
    size_t head = (size_t)(h->nope + h->rope.rot), dk = (size_t)h->dk, H = (size_t)h->nhead;
    for (size_t i = 0; i < H; i++) {
        sg_linear_job job = {&w->k_b[i], out + i * dk, H * dk, false};
        sg_op_linear(m->ops, q + i * head, H * head, p->n, &job, 1);
    }
    sg_op_each_row(m->ops, p->n, h->nhead * h->rope.rot, copy_rotated, &(absorb){h, q, out});
}

static void latent_attention(sg_model *m, sg_pass *p, int l, const float *in, float *out)
{
    const sg_hparams *h = &m->h;
    const sg_layer *w = &m->layers[l];
    const sg_kv_layer *layer = sg_kv_pool_layer(p->pool, l);
    size_t n = (size_t)p->n, R = (size_t)h->kv_rank, V = (size_t)h->dv_mla, H = (size_t)h->nhead;
    float *compressed = p->latent, *q = compressed + n * (size_t)h->q_rank,
          *kv = q + n * H * (size_t)(h->nope + h->rope.rot), *v = kv + n * (size_t)h->dk;

    make_q(m, p, w, in, compressed, q);
    make_kv(m, p, w, in, kv);
    sg_op_kv_write(m->ops, layer, &p->rows, kv, (size_t)h->dk, NULL, 0);
    absorb_q(m, p, w, q, p->q);
    sg_attention how = {.nhead = h->nhead, .scale = h->attn_scale, .causal = true};
    sg_op_attention(m->ops, p->att, H * R, p->q, H * (size_t)h->dk, &how, layer, &p->rows); /* [n][H][R] */
    sg_block_keep_wanted(m, p, l, p->att, H * R);
    for (size_t i = 0; i < H; i++) {
        sg_linear_job job = {&w->v_b[i], v + i * V, H * V, false};
        sg_op_linear(m->ops, p->att + i * R, H * R, p->n, &job, 1);
    }
    sg_linear_job job = {&w->o, out, (size_t)h->dim, true};
    sg_op_linear(m->ops, v, H * V, p->n, &job, 1);
}

void sg_deepseek_forward(sg_model *m, sg_pass *p)
{
    sg_block_embed(m, p); /* x [n][D] */
    for (int l = 0; l < m->h.nlayer; l++) {
        const sg_layer *w = &m->layers[l];
        sg_block_norm(m, p->y, p->x, p->n, w->attn_norm);
        latent_attention(m, p, l, p->y, p->x);
        sg_block_norm(m, p->y, p->x, p->n, w->ffn_norm);
        sg_block_ffn(m, p, l, p->y, p->x, true);
    }
}
