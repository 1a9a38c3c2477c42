/* format/hf.h - Hugging Face directories: what a family's table says.  Private to format/.
 *
 * A family is one row of a table: which model_type it is, what GGUF calls the architecture, which stored
 * tensor becomes which GGUF tensor, and a function that writes the metadata beyond the common keys.
 * docs/add-a-family.md shows how to add one.
 */
#ifndef SG_FORMAT_HF_H
#define SG_FORMAT_HF_H

#include "base/json.h"
#include "format/recipe.h"
#include "format/safetensors.h"
#include "format/source.h"

typedef struct sg_hf sg_hf;
typedef struct sg_hf_family sg_hf_family;
typedef struct sg_hf_row sg_hf_row;

/* Make the GGUF tensor `name` from the stored tensor s.  NULL in a row means sg_hf_copy. */
typedef sg_status sg_hf_make_fn(sg_hf *h, const sg_hf_row *row, const char *name, const sg_stored *s, sg_error *err);

/* One line of a naming table.  "%" stands for the layer, "#" for the expert; a row with "#" stacks all
 * experts of a layer.  A tensor that is not stored is skipped: what a model must have is the model's
 * business. */
struct sg_hf_row {
    const char *stored;
    const char *name;
    sg_hf_make_fn *make;
    int arg; /* for make */
};

/* A number that config.json may leave out. */
typedef struct sg_hf_default {
    const char *key;
    double value;
} sg_hf_default;

struct sg_hf_family {
    const char *model_type;   /* as in config.json */
    const char *architecture; /* general.architecture */
    const sg_hf_row *const *tables; /* ended by NULL */
    sg_status (*meta)(sg_hf *h, sg_error *err); /* all metadata under "<architecture>." */
    const sg_hf_default *defaults;  /* ended by a NULL key; may be NULL */
    const char *prefixes;           /* prefixes of all stored names, tried in turn: "|bert." */
    const char *const *ignore;      /* parts of stored names that have no place, ended by NULL; may be NULL */
    const char *activation;         /* the only hidden_act that is right, or NULL */
};

struct sg_hf {
    sg_weights *w;
    const sg_hf_family *family;
    json_t *config;      /* object */
    sg_safetensors dir;  /* sorted */
    const char *prefix;  /* before all stored names */
    size_t prefix_len;
    uint64_t nlayer, nhead, nhead_kv, nexpert, head_dim; /* set by sg_hf_base; 0 when the family has none */
};

/* ---- reading config.json --------------------------------------------------- */

/* An absent or null key gives the family's default, else `fallback`.  Another type is SG_E_FORMAT; an
 * integer must be below 2^32, a float finite. */
sg_status sg_hf_u64(sg_hf *h, const char *key, uint64_t fallback, uint64_t *v, sg_error *err);
sg_status sg_hf_f64(sg_hf *h, const char *key, double fallback, double *v, sg_error *err);
sg_status sg_hf_bool(sg_hf *h, const char *key, bool fallback, bool *v, sg_error *err);
sg_status sg_hf_need_u64(sg_hf *h, const char *key, uint64_t *v, sg_error *err);
bool sg_hf_has(const sg_hf *h, const char *key); /* present and not null */

/* ---- writing metadata ------------------------------------------------------ */

/* "<architecture>.<key>", with the wire type that llama.cpp's converter writes; floats are rounded to
 * float32 as in a file. */
sg_status sg_hf_set_u64(sg_hf *h, const char *key, uint64_t v, sg_error *err);
sg_status sg_hf_set_f64(sg_hf *h, const char *key, double v, sg_error *err);
sg_status sg_hf_set_bool(sg_hf *h, const char *key, bool v, sg_error *err);
sg_status sg_hf_set_str(sg_hf *h, const char *key, const char *v, sg_error *err);
sg_status sg_hf_set_bools(sg_hf *h, const char *key, const bool *v, size_t n, sg_error *err);

/* From config key to metadata key, when the config has it (or the family a default). */
sg_status sg_hf_pass_u64(sg_hf *h, const char *config_key, const char *key, sg_error *err);
sg_status sg_hf_pass_f64(sg_hf *h, const char *config_key, const char *key, sg_error *err);

/* What all decoders have: sizes, heads, norm epsilon; sets nlayer, nhead, nhead_kv, head_dim of h. */
sg_status sg_hf_base(sg_hf *h, sg_error *err);

/* rope.freq_base and all of rope_scaling or rope_parameters; `rot` is the number of rotated dimensions. */
sg_status sg_hf_rope(sg_hf *h, uint64_t rot, sg_error *err);
/* The same from one object (the nested form names two kinds of layers). */
sg_status sg_hf_rope_object(sg_hf *h, json_t *rope, uint64_t rot, sg_error *err);

/* attention.sliding_window, and attention.sliding_window_pattern (true: this layer has the window) where
 * `implied` (may be NULL: all layers) says otherwise than the config's layer_types. */
sg_status sg_hf_window(sg_hf *h, bool (*implied)(uint64_t layer), sg_error *err);

/* ---- making tensors --------------------------------------------------------- */

sg_hf_make_fn sg_hf_copy;    /* as stored; one dimension and what routes or positions: F32 */
sg_hf_make_fn sg_hf_rope_q;  /* rows of each head from halves to pairs */
sg_hf_make_fn sg_hf_rope_k;
sg_hf_make_fn sg_hf_head;    /* as stored, unless the config says that embedding and head are tied */
sg_hf_make_fn sg_hf_add_one; /* + 1 */
sg_hf_make_fn sg_hf_half;    /* [.., 2n, ..]: half `arg` of the second dimension from the end */

/* A stored tensor as a part that visits it in its order, with its dimensions right-aligned. */
sg_status sg_hf_part(sg_part *p, const sg_stored *s, sg_error *err);

/* The stored tensor of that name without prefix, marked used; NULL when there is none. */
sg_stored *sg_hf_find(sg_hf *h, const char *name);

/* Add the tensor made of parts; ne as in GGUF.  Proves the parts. */
sg_status sg_hf_emit(sg_hf *h, const char *name, int ndim, const uint64_t *ne, const sg_part *parts, size_t npart,
                     sg_recipe_op op, sg_error *err);

/* A one-dimensional F32 tensor of computed numbers (rope factors). */
sg_status sg_hf_emit_floats(sg_hf *h, const char *name, const float *v, size_t n, sg_error *err);

/* The tables. */
extern const sg_hf_family sg_hf_llama_families[], sg_hf_qwen_families[], sg_hf_gemma_families[], sg_hf_phi_families[],
    sg_hf_olmo_families[], sg_hf_granite_families[], sg_hf_deepseek_families[], sg_hf_gpt_oss_families[],
    sg_hf_bert_families[];

/* Rows that several families share. */
extern const sg_hf_row sg_hf_rows_outer[];   /* embedding, final norm, head */
extern const sg_hf_row sg_hf_rows_norms[];   /* norms before attention and MLP */
extern const sg_hf_row sg_hf_rows_qkv[];     /* q k v o, as they are */
extern const sg_hf_row sg_hf_rows_qkv_pairs[]; /* q k v o, q and k reordered */
extern const sg_hf_row sg_hf_rows_qk_norms[];
extern const sg_hf_row sg_hf_rows_mlp[];     /* gate up down */
extern const sg_hf_row sg_hf_rows_experts[]; /* mlp.gate and mlp.experts.#.* */

#endif
