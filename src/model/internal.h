/* model/internal.h - what the files of model/ share: the loaded model, the loader, a pass, the blocks.
 *
 * A family is one file with three functions and one row in registry.c (docs/add-an-architecture.md):
 *
 *     params    metadata -> sg_hparams
 *     layer     the tensors of one layer -> sg_layer
 *     forward   the pass itself, straight-line over op.h and the blocks below
 *
 * Names of fields are the names of the tensors in GGUF.  Shapes stand beside them with these letters:
 * D dim, H query heads, G KV heads, K and V values of a key and of a value, F feed-forward, E experts.
 */
#ifndef SG_MODEL_INTERNAL_H
#define SG_MODEL_INTERNAL_H

#include "model/hparams.h"

typedef struct sg_layer {
    /* Norms, float32; NULL where the family has none.  *_b: biases of LayerNorm. */
    const float *attn_norm, *attn_norm_b;           /* [D] before attention */
    const float *attn_post_norm, *attn_post_norm_b; /* [D] on its output, or after the sum */
    const float *ffn_norm, *ffn_norm_b;             /* [D] before the feed-forward block */
    const float *ffn_post_norm, *ffn_post_norm_b;   /* [D] on its output, or after the sum */
    const float *q_norm, *k_norm;                   /* [K] per head, or [H*K] and [G*K] */
    bool qk_norm_full;                              /* the latter */

    /* Attention: q [H*K][D], k [G*K][D], v [G*V][D], o [D][H*V]; qkv: the first three in one */
    sg_linear q, k, v, qkv, o;
    const float *sinks; /* [H] */
    int window;         /* 0: sees everything before it */
    int rope;           /* set of frequencies: 0, 1; -1 none */

    /* Latent attention (deepseek): see deepseek.c */
    sg_linear q_a, q_b, kv_a;
    const float *q_a_norm, *kv_a_norm;
    const sg_linear *k_b, *v_b; /* [H] */

    /* Feed-forward: gate, up [F][D], down [D][F]; up alone holds both as [2F][D] when gate is absent (phi3) */
    sg_linear gate, up, down;

    /* Experts: router [E][D]; each expert as above with its own F; shared ones as one block */
    sg_linear router;
    const float *router_choice_bias; /* [E] deepseek3: added for the choice only */
    sg_experts experts;
    sg_linear shared_gate, shared_up, shared_down, shared_router /* [1][D] */;
} sg_layer;

typedef struct sg_pass sg_pass;
typedef struct sg_loader sg_loader;

typedef struct sg_family {
    const char *arch; /* general.architecture */
    sg_model_kind kind;
    bool rope_pairs; /* GGUF's rows are ordered for rotating 2i with 2i+1 */
    sg_status (*params)(sg_hparams *h, const sg_keys *k);
    sg_status (*globals)(sg_loader *ld); /* tensors outside of layers, besides the usual; NULL: none */
    sg_status (*layer)(sg_loader *ld, sg_layer *w, int l); /* tensors of layer l; sets window and rope too */
    void (*forward)(sg_model *m, sg_pass *p); /* token table -> p->x, the residual stream after the last layer */
} sg_family;

/* One set of rotary frequencies. */
typedef struct sg_rope_set {
    float *inv_freq;      /* [rot/2] */
    float *inv_freq_long; /* longrope, for sequences longer than the original context; else NULL */
    float factor;         /* of cos and sin */
} sg_rope_set;

struct sg_model {
    const sg_family *family;
    sg_hparams h;
    sg_model_info info;
    const sg_weights *weights;
    size_t apart_bytes; /* columns in float32 that sg_model_survey may find at most; set by a check only */
    sg_ops *ops; /* NULL while only checking */

    sg_dtype embed_type;
    const void *embed;                                                    /* [nvocab][D] as stored */
    const float *embed_norm, *embed_norm_b, *output_norm, *output_norm_b; /* [D] */
    sg_linear head;                                                       /* [nvocab][D] */
    sg_layer *layers;
    sg_kv_spec *kv;
    sg_rope_set rope[2];
    bool rope_pairs;

    /* Encoders */
    sg_dtype position_type;
    const void *position, *token_type; /* [ctx][D], [ntype][D] as stored */
    sg_dtype token_type_type;
    int nposition;
    sg_linear cls, cls_out; /* reranker: [D][D] and [1][D] */

    void **owned;        /* allocations that live as long as the model */
    size_t *owned_bytes; /* 0: sg_free; else aligned */
    size_t nowned, cap_owned;

    /* Scratch of a step (model.c): memory for cap_row rows of which cap_out want results. */
    void *arena;
    size_t arena_bytes;
    int cap_row, cap_out;
};

/* ---- loading ------------------------------------------------------------------------ */

struct sg_loader {
    sg_model *m;
    const sg_weights *w;
    bool check;          /* prove that everything is there, load nothing */
    unsigned char *used; /* [tensors of the file] 1 when something asked for it */
    sg_error *err;
};

typedef enum sg_need {
    SG_NEED,          /* missing is an error; no bias */
    SG_NEED_BIAS = 1, /* a bias must be there too */
    SG_MAY_BIAS = 2,  /* a bias is used when there */
    SG_MAY = 4,       /* the tensor itself may be missing */
    SG_AS_F32 = 8,    /* computed in float32 whatever the stored type (routers): f32, f16, bf16 only */
} sg_need;

/* Tensor "NAME.weight" (l < 0) or "blk.L.NAME.weight" as a linear layer [n][k], with "NAME.bias" by `need`. */
sg_status sg_load_linear(sg_loader *ld, sg_linear *out, int l, const char *name, int n, int k, int need);
/* Expert e-th slices of a stacked tensor [nexpert][n][k] as nexpert linear layers. */
sg_status sg_load_stack(sg_loader *ld, const sg_linear **out, int l, const char *name, int nexpert, int n, int k,
                        int need);
/* Vector of n values as float32; `suffix` is "weight" or "bias"; *out NULL when SG_MAY and missing. */
sg_status sg_load_vector(sg_loader *ld, const float **out, int l, const char *name, const char *suffix, int n,
                         int need);
/* A table of rows kept as stored: *nrow rows of n values.  When *nrow is not 0 on entry it must be that. */
sg_status sg_load_table(sg_loader *ld, const void **out, sg_dtype *type, int *nrow, int l, const char *name, int n,
                        int need);
/* Zeroed memory that lives as long as the model. */
sg_status sg_load_alloc(sg_loader *ld, void **out, size_t count, size_t bytes);
bool sg_load_have(const sg_loader *ld, int l, const char *name, const char *suffix);

/* The window of layer l: what "attention.sliding_window_pattern" says (a list, or n: every n-th layer sees all), or
 * `implied` where there is no such key. */
sg_status sg_load_window(sg_loader *ld, sg_layer *w, int l, bool implied);

/* Whether layer l rotates q and k (set 0) or not (-1): what the list "rope.layers" says, or `implied`. */
sg_status sg_load_rotates(sg_loader *ld, sg_layer *w, int l, bool implied);

/* Pieces that many families share. */
sg_status sg_load_attention(sg_loader *ld, sg_layer *w, int l,
                            int need);                              /* q k v (or qkv) and output, with biases by need */
sg_status sg_load_glu(sg_loader *ld, sg_layer *w, int l, int need); /* gate up down */
sg_status sg_load_experts(sg_loader *ld, sg_layer *w, int l, sg_glu glu, int need);
sg_status sg_load_shared_expert(sg_loader *ld, sg_layer *w, int l);

/* ---- a pass ---------------------------------------------------------------------------- */

struct sg_pass {
    const sg_batch *batch;
    sg_kv_pool *pool;
    sg_rows rows;
    int n;                /* rows; after the last layer's attention only those that want results (sg_block_keep_wanted) */
    bool kept;            /* that has happened: row i is of result i */
    float *x;             /* [n][D] residual stream */
    float *y, *z;         /* [n][D] */
    float *q;             /* [n][H*K], wider for latent attention */
    float *k, *v;         /* [n][G*K], [n][G*V] */
    float *att;           /* [n][H*V] */
    float *gate, *up;     /* [n][F] of the widest feed-forward block (shared experts included) */
    float *score;         /* [n][E] router */
    int32_t *expert_id;   /* [n][used] */
    float *expert_weight; /* [n][used] */
    float *latent;        /* [n][...] latent attention's middle values */
    sg_rope_table rope[2];
    int32_t *zero;         /* [n] zeros: token types when none are given */
    int32_t *seq_len;      /* [nseq] */
    const int32_t **table; /* [nseq] */
    float *last, *last2;   /* [nout][D] */
};

/* ---- blocks (blocks.c) -------------------------------------------------------------------- */

/* x = embedding of the tokens * h.embed_scale. */
void sg_block_embed(sg_model *m, sg_pass *p);

/* out [n][D] (+)= o(attention(rope(norm(q in)), rope(norm(k in)), v in)): projections, per-head or full norms of q and
 * k, rotation by the layer's set, the cache, windows, sinks and caps as the layer and h say. */
void sg_block_attention(sg_model *m, sg_pass *p, int l, const float *in, float *out, bool add);

/* To be called once a layer, between attention and its output projection: after the last layer of a decoder nobody reads a row
 * that wants no result, so the rows of att [n][width] and of x that do are moved together and p->n becomes their number.  The bits of
 * a row stay what they were. */
void sg_block_keep_wanted(sg_model *m, sg_pass *p, int l, float *att, size_t width);

/* out [n][D] (+)= down(act(gate in) * up in) */
void sg_block_glu(sg_model *m, sg_pass *p, int l, const float *in, float *out, sg_glu act, bool add);

/* out [n][D] (+)= experts, by h.gating, and the shared expert where the layer has one. */
void sg_block_experts(sg_model *m, sg_pass *p, int l, const float *in, float *out, bool add);

/* GLU block or experts, whichever the layer has. */
void sg_block_ffn(sg_model *m, sg_pass *p, int l, const float *in, float *out, bool add);

/* RMS norm of the rows of x to y, D wide. */
void sg_block_norm(sg_model *m, float *y, const float *x, int n, const float *w);

/* ---- rope (rope.c) --------------------------------------------------------------------------- */

/* Frequencies of set 0 (h.rope) and, when h.rope_base_local is set, of set 1 (unscaled). */
sg_status sg_load_rope(sg_loader *ld);

/* The family of a name; NULL when there is none. */
const sg_family *sg_family_find(const char *arch);

/* Let the linear layers of a loaded decoder see one step of arbitrary tokens (model/survey.c; op/op.h: sg_ops_survey_begin). */
sg_status sg_model_survey(sg_model *m, sg_error *err);

#endif
