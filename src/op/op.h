/* op/op.h - the operations that models are written in.
 *
 * A model's forward pass is plain C over these calls (DESIGN decision 10).  Each call is one parallel
 * region over the pool of its context; shapes are given by the caller and were proved at load.  Rows
 * are tokens: x is [nrow][n], row-major, float32, `stride` floats apart.  Every op computes a row
 * without regard to the other rows (attention: to the row's own sequence only), so results do not
 * depend on batching, chunking or thread count.
 *
 * One thread uses a context at a time.  No op allocates after the context has seen its largest step
 * (scratch grows and stays).
 */
#ifndef SG_OP_OP_H
#define SG_OP_OP_H

#include "base/cpu.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/pool.h"
#include "kernel/linear.h"

/* ---- context --------------------------------------------------------------- */

typedef struct sg_ops sg_ops;

typedef struct sg_ops_options {
    int nthread; /* 0: sg_cpu_count() */
    bool exact;  /* the reference path: weights as stored, everything in float32 */
    sg_isa isa;  /* from sg_isa_choose */
    sg_pool *pool; /* workers to share with others that never run at the same time; it outlives the operations.  NULL: own ones */
} sg_ops_options;

sg_status sg_ops_open(sg_ops **ops, const sg_ops_options *options, sg_error *err);
void sg_ops_close(sg_ops *ops);

sg_pool *sg_ops_pool(sg_ops *ops);
bool sg_ops_exact(const sg_ops *ops);
sg_isa sg_ops_isa(const sg_ops *ops);

/* Make the scratch large enough for steps of `nrow` rows of up to `width` values (in or out), so that later
 * ops do not allocate.  SG_E_NOMEM. */
sg_status sg_ops_reserve(sg_ops *ops, int nrow, int width, sg_error *err);

/* The same for sg_op_experts with that shape. */
sg_status sg_ops_reserve_experts(sg_ops *ops, int nrow, int k, int dim, int nff, int nexpert, sg_error *err);

/* Values in one key or value head at most; models with more are refused at load. */
enum { SG_HEAD_DIM_MAX = 1024 };

/* ---- linear layers ----------------------------------------------------------- */

enum { SG_APART_MAX = 4 }; /* columns of a layer that are multiplied in float32 */

typedef struct sg_linear {
    int n, k; /* out and in features */
    sg_dtype type;
    const void *stored; /* [n] rows as in the file; NULL once packed and dropped */
    void *packed;       /* owned; NULL on the exact path */
    size_t packed_bytes;
    const sg_linear_kernel *kernel;
    const float *bias; /* [n] or NULL; borrowed */
    bool precise;      /* see sg_linear_refine */
    const char *name;  /* in profiles (op/profile.h), or NULL; borrowed */
    int napart;                /* see sg_ops_survey */
    int32_t apart[SG_APART_MAX];
    float *columns;            /* [napart][n], owned */
} sg_linear;

/* Prepare a weight: pack it (all workers) unless the context is exact, which keeps `stored` (borrowed;
 * must outlive the sg_linear).  Zeroed *w on entry; on failure it stays zeroed. */
sg_status sg_linear_init(sg_linear *w, sg_ops *ops, sg_dtype type, int n, int k, const void *stored, const float *bias, sg_error *err);

/* The same; `used` (may be NULL) hears of stored bytes that are packed and not needed any more, a few MiB at a time. */
typedef void sg_linear_used_fn(void *arg, const void *stored, size_t bytes);
sg_status sg_linear_init_using(sg_linear *w, sg_ops *ops, sg_dtype type, int n, int k, const void *stored, const float *bias,
                               sg_linear_used_fn *used, void *arg, sg_error *err);
void sg_linear_fini(sg_linear *w);
/* Bytes that sg_linear_init will pack such a layer into; 0 on the exact path, for what it would refuse, and for what is too much. */
size_t sg_linear_packed_bytes(const sg_ops *ops, sg_dtype type, int n, int k);
/* Bytes of the columns that a survey may give such a layer, at most. */
size_t sg_linear_apart_bytes(const sg_ops *ops, sg_dtype type, int n, int k);

/* Let this layer see its activations in two terms instead of one (8 bits: x = d q + e r, about 15; bfloat16: x = a + b, 16), for twice the
 * arithmetic and the same bytes of weights.  Meant for layers that are small beside the model or bound by memory, and
 * whose error goes far: the keys and values that every later token reads, and the logits.  With it on those three the
 * log-probabilities of three real models are off from float32 by 0.048, 0.026, 0.035 on average instead of 0.090,
 * 0.029, 0.056 (SmolLM2 135M Q4_1, Qwen2.5 0.5B Q4_K_M, Gemma 3 270M Q4_K_M; 63 tokens).  Does nothing where
 * activations are float32. */
void sg_linear_refine(sg_linear *w);

/* Between begin and end, sg_op_linear also looks for columns of x that are far larger than their 31 neighbours in nearly all rows
 * (trained models have some in most layers: one of 576 can have half of what a layer's 8-bit activations are off by, because it makes the
 * scale of its block).  From then on such a column is left out of the 8 bits, and x[c] * W[:][c] is added to the results in float32:
 * `columns` has W[:][c].  Which ones these are is a function of the weights and the rows that are shown; layers that are called together
 * have the same ones and must be called together from then on.  The jobs' layers are changed although they are const, and memory is
 * allocated: `end` says SG_E_NOMEM when there was not enough.
 *
 * Layers with weights of 6 bits and fewer that add (sg_linear_job) are refined as by sg_linear_refine if they write rows anew: the first
 * one that makes most rows twice or half as large, and all that do so to the first row and no other. */
void sg_ops_survey_begin(sg_ops *ops);
sg_status sg_ops_survey_end(sg_ops *ops, sg_error *err);

/* Logits: out[nrow][w->n] from x[nrow][w->k] (strides in floats).  Where w is refined, the second term of the activations is added only to
 * tiles of 16 logits of which one lies within `window` of the largest of its row (or within a half, a quarter, ... of it, where those
 * would be more than one tile in 256): the others are tokens that are not drawn.  A row's bits depend on that row alone.  (A refined
 * layer in sg_op_linear is refined everywhere.) */
void sg_op_head(sg_ops *ops, const sg_linear *w, float *out, size_t out_stride, const float *x, size_t x_stride, int nrow, float window);

typedef struct sg_linear_job {
    const sg_linear *w;
    float *out;
    size_t out_stride; /* floats from row to row */
    bool add;          /* out += instead of out = (residual) */
} sg_linear_job;

/* All jobs read the same x [nrow][k] (x_stride floats apart), which is quantised once: q, k, v together,
 * gate and up together.  The jobs' outputs must not overlap x or each other. */
void sg_op_linear(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob);

/* The same but for what is multiplied apart, which sg_op_glu_of adds. */
void sg_op_linear_bare(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob);

/* One row of an embedding table decoded to float32: out[r] = table[id[r]] * scale. */
void sg_op_embed(sg_ops *ops, float *out, sg_dtype type, const void *table, int n, const int32_t *id, int nrow, float scale);

/* ---- norms and elementwise ------------------------------------------------------ */

/* out = x * w / sqrt(mean(x^2) + eps), per row of n; `group` norms per row (q and k norm per head: n =
 * head_dim, group = heads, w [n] shared).  out may be x.  w NULL means ones. */
void sg_op_rms_norm(sg_ops *ops, float *out, const float *x, size_t stride, int nrow, int group, int n, const float *w,
                    float eps);

/* LayerNorm with weight and bias (either may be NULL). */
void sg_op_layer_norm(sg_ops *ops, float *out, const float *x, size_t stride, int nrow, int n, const float *w, const float *b, float eps);

typedef enum sg_glu { SG_GLU_SILU, SG_GLU_GELU_TANH, SG_GLU_GELU, SG_GLU_OAI /* gpt-oss: clamped, alpha 1.702, limit 7 */ } sg_glu;

/* out[r][i] = act(gate[r][i]) * up[r][i], n columns; out may be gate. */
void sg_op_glu(sg_ops *ops, float *out, size_t out_stride, const float *gate, size_t gate_stride, const float *up,
               size_t up_stride, int nrow, int n, sg_glu kind);

/* The same in place over the results of two layers that read x, by sg_op_linear_bare. */
void sg_op_glu_of(sg_ops *ops, const sg_linear *wgate, const sg_linear *wup, float *gate, float *up, size_t stride, const float *x,
                  size_t x_stride, int nrow, sg_glu kind);

typedef enum sg_unary { SG_UNARY_GELU, SG_UNARY_GELU_TANH, SG_UNARY_SILU, SG_UNARY_TANH, SG_UNARY_RELU } sg_unary;
void sg_op_unary(sg_ops *ops, float *x, size_t stride, int nrow, int n, sg_unary kind);

/* y += x * scale over [nrow][n], both contiguous. */
void sg_op_add(sg_ops *ops, float *y, const float *x, int nrow, int n, float scale);
/* x *= scale; x = cap * tanh(x / cap). */
void sg_op_scale(sg_ops *ops, float *x, int nrow, int n, float scale);
void sg_op_softcap(sg_ops *ops, float *x, int nrow, int n, float cap);

/* fn(arg, r) for every row r in [0, nrow), about `work` simple operations each, over the workers: what a model does with
 * single rows and has no op for (routing to experts). */
void sg_op_each_row(sg_ops *ops, int nrow, int work, void (*fn)(void *arg, int r), void *arg);

/* ---- rotary positions ------------------------------------------------------------- */

/* cos and sin of one step: [nrow][rot/2] each, already times the attention factor. */
typedef struct sg_rope_table {
    float *cos, *sin; /* borrowed */
    int rot;          /* dimensions that rotate, even */
    bool pairs;       /* true: 2i with 2i+1 (GGML's NORM); false: i with i + rot/2 (NEOX) */
} sg_rope_table;

/* Fill t->cos and t->sin, [nrow][t->rot/2] of the caller's memory: angle = pos[r] * inv_freq[i], in double, times `factor`. */
void sg_op_rope_table(sg_ops *ops, sg_rope_table *t, const int32_t *pos, int nrow, const float *inv_freq, float factor);

/* Rotate dimensions [offset, offset + rot) of each of `nhead` heads of `head_dim` in place. */
void sg_op_rope(sg_ops *ops, float *x, size_t stride, int nrow, int nhead, int head_dim, int offset, const sg_rope_table *t);

/* ---- attention over paged KV -------------------------------------------------------- */

/* One layer of the cache.  Block b holds `block` consecutive positions of one sequence:
 * K at k + b*k_block_bytes as [nkv][block/16][dk][16] (kernel/attention.h; as rows [nkv][block][dk] when the block is no
 * multiple of 16 or V aliases K; the bytes are as many), V at v + b*v_block_bytes as [nkv][block][dv], in `type`
 * (F32, F16, BF16, Q8_0; for Q8_0 dk and dv are multiples of 32).  V may alias K (MLA: nkv = 1, V is the
 * first dv of each key), then v_row_bytes is the key's. */
typedef struct sg_kv_layer {
    sg_dtype type;
    int block, nkv, dk, dv;
    unsigned char *k, *v;
    size_t k_block_bytes, v_block_bytes;
    size_t k_row_bytes, v_row_bytes;
} sg_kv_layer;

/* The rows of a step: row r belongs to sequence seq[r] at position pos[r]; table[s][i] is the block that
 * holds positions [i*block, (i+1)*block) of sequence s. */
typedef struct sg_rows {
    int nrow, nseq;
    const int32_t *seq, *pos;
    const int32_t *const *table;
    const int32_t *seq_len; /* [nseq] positions stored once this step is written; used when not causal */
} sg_rows;

/* Store k [nrow][nkv*dk] and v [nrow][nkv*dv] (NULL when V aliases K) at each row's position. */
void sg_op_kv_write(sg_ops *ops, const sg_kv_layer *kv, const sg_rows *rows, const float *k, size_t k_stride, const float *v,
                    size_t v_stride);

typedef struct sg_attention {
    int nhead;
    float scale;
    float softcap;       /* 0: none; else scores = cap * tanh(scores / cap) before the mask */
    int window;          /* 0: none; query i sees j with i - window < j <= i */
    bool causal;         /* false: every stored position of the sequence (encoders); window then is |i-j| <= window/2 */
    const float *sinks;  /* [nhead] or NULL: a logit in the softmax's sum without a value */
    const float *alibi;  /* [nhead] slopes or NULL: score + slope * key position */
} sg_attention;

/* out [nrow][nhead*dv] = attention of q [nrow][nhead*dk] over the stored keys of each row's sequence.
 * Head h reads KV head h / (nhead/nkv).  Ranges are split by position only. */
void sg_op_attention(sg_ops *ops, float *out, size_t out_stride, const float *q, size_t q_stride, const sg_attention *a,
                     const sg_kv_layer *kv, const sg_rows *rows);

/* ---- experts --------------------------------------------------------------------------- */

typedef struct sg_experts {
    int nexpert, nff, dim;
    const sg_linear *gate, *up, *down; /* [nexpert] each; biases inside */
    sg_glu glu;
} sg_experts;

/* out [nrow][dim] (+= when add) = sum over the `k` chosen experts of weight * down(glu(gate x, up x)).
 * id and weight are [nrow][k].  Rows are grouped by expert; the sum per row runs in the order of id[r][0..k). */
void sg_op_experts(sg_ops *ops, float *out, const float *x, int nrow, const sg_experts *e, const int32_t *id,
                   const float *weight, int k, bool add);

#endif
