/* model/hparams.h - the numbers that describe a model, read from its metadata and proved to be in range.
 *
 * Keys are GGUF's, with the architecture in front ("llama.block_count"); docs/metadata.md lists those that Hugging Face
 * models need beside them.  Private to model/.
 */
#ifndef SG_MODEL_HPARAMS_H
#define SG_MODEL_HPARAMS_H

#include "base/dict.h"
#include "model/model.h"

enum { SG_LAYERS_MAX = 1024, SG_HEADS_MAX = 4096, SG_EXPERTS_MAX = 4096 };

typedef enum sg_rope_scaling {
    SG_SCALING_NONE,
    SG_SCALING_LINEAR,
    SG_SCALING_YARN,
    SG_SCALING_LONGROPE,
    SG_SCALING_LLAMA3
} sg_rope_scaling;

/* How a set of rotary frequencies is made. */
typedef struct sg_rope_params {
    int rot; /* dimensions of a head that rotate */
    double base;
    sg_rope_scaling scaling;
    double factor;               /* 1 when not scaled */
    int original_ctx;            /* positions before scaling; 0 unknown */
    double attn_factor;          /* of cos and sin; 0: the scaling's own */
    double beta_fast, beta_slow; /* yarn */
    bool truncate;               /* yarn: round the range outward */
    double log_multiplier;       /* yarn of deepseek: 0.1 * mscale_all_dim; 0 none */
    double low_freq, high_freq;  /* llama3 */
} sg_rope_params;

typedef enum sg_gating { SG_GATING_SOFTMAX = 1, SG_GATING_SIGMOID = 2, SG_GATING_SOFTMAX_CHOSEN = 3 } sg_gating;

typedef struct sg_hparams {
    char arch[32];
    const char *prefix; /* = arch */
    int nlayer, dim, nff, ctx, nvocab;
    int nhead, nkv, dk, dv; /* heads; KV heads; values of a key and of a value */
    float eps;
    sg_rope_params rope;
    double rope_base_local; /* layers with a window, when they have a base of their own; else 0 */

    int window;                                     /* 0: none */
    float attn_scale;                               /* of the scores */
    float attn_softcap, final_softcap;              /* 0: none */
    float embed_scale, residual_scale, logit_scale; /* 1 when the family has none; logits are multiplied */

    /* Experts; nexpert 0: none */
    int nexpert, nexpert_used, nff_expert, nff_shared, nexpert_shared, ndense;
    int ngroup, ngroup_used;
    sg_gating gating;
    bool gate_norm;     /* weights of the chosen are divided by their sum */
    float expert_scale; /* then multiplied by this */

    /* Latent attention; kv_rank 0: none */
    int q_rank, kv_rank, nope, dv_mla;

    /* Encoders */
    int ntype, nlabel;
    sg_pooling pooling;
} sg_hparams;

/* A reader of one model's keys; errors name the key. */
typedef struct sg_keys {
    const sg_dict *meta;
    const char *arch;
    sg_error *err;
} sg_keys;

/* "arch.name" as an integer in [lo, hi], or as a number; `fallback` when absent.  The need_ forms fail then.  An array
 * (one value a layer) is accepted when all its values are equal. */
sg_status sg_keys_int(const sg_keys *k, const char *name, int lo, int hi, int fallback, int *v);
sg_status sg_keys_need_int(const sg_keys *k, const char *name, int lo, int hi, int *v);
sg_status sg_keys_num(const sg_keys *k, const char *name, double lo, double hi, double fallback, double *v);
sg_status sg_keys_float(const sg_keys *k, const char *name, double lo, double hi, double fallback, float *v);
sg_status sg_keys_bool(const sg_keys *k, const char *name, bool fallback, bool *v);
bool sg_keys_have(const sg_keys *k, const char *name);

/* What all decoders share: sizes, heads, epsilon, rope, experts.  Families then read what is theirs. */
sg_status sg_hparams_decoder(sg_hparams *h, const sg_keys *k);
/* What encoders share. */
sg_status sg_hparams_encoder(sg_hparams *h, const sg_keys *k);

#endif
