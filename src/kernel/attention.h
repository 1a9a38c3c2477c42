/* kernel/attention.h - the inner loops of attention: stored keys and values in, running softmax out.
 *
 * Positions come in groups of 16 and chunks of 64, both counted from position 0.  Keys are stored with
 * the positions of a group side by side, so that one vector holds the same dimension of 16 keys: scores
 * need no shuffles and no horizontal sums, for one query or many.
 *
 *     K group   F32, F16, BF16: [dk][16]
 *               Q8_0: for each 32 dimensions: 16 half-float scales, then [32][16] int8     (as many bytes as 16 rows)
 *     V         rows [dv] in GGUF's form of the type
 *
 * A query's result is a function of that query, its visible range and the stored keys and values: the
 * operations on its lanes and their order do not depend on how many queries travel together.
 */
#ifndef SG_KERNEL_ATTENTION_H
#define SG_KERNEL_ATTENTION_H

#include "base/isa.h"
#include "base/dtype.h"

enum {
    SG_KV_GROUP = 16, /* positions in a K group */
    SG_KV_CHUNK = 64, /* positions between two updates of the running softmax */
};

/* Queries against one chunk.  Arrays are the caller's; [nquery] unless said otherwise. */
typedef struct sg_attention_chunk {
    int nquery, dk, dv;
    int n;                 /* positions of the chunk that are stored, 1 to 64; the rest of the last group is ignored */
    int base;              /* position of the chunk's first key */
    const float *const *q; /* rows [dk] */
    const float *kt;       /* [4][dk][16] float32 */
    const float *v;        /* [n][dv] float32 */
    const int *first, *end; /* the query sees positions [first, end) of the chunk, 0 <= first, end <= n; may be empty */
    const float *slope;    /* ALiBi slope or NULL */
    float scale, softcap;  /* softcap 0: none */
    float *most, *sum;     /* running maximum (-FLT_MAX at start) and sum (0) */
    float *acc;            /* [nquery][dv] running weighted sum of values, 0 at start */
    float *s;              /* scratch [nquery][64] */
} sg_attention_chunk;

typedef struct sg_attention_kernel {
    /* kt[dk][16] = the stored group as float32. */
    void (*load_k)(sg_dtype type, float *kt, const void *group, int dk);
    /* v[n][dv] = n stored rows, row_bytes apart, as float32.  dv is a multiple of 16 or type is not vectorised. */
    void (*load_v)(sg_dtype type, float *v, const void *rows, size_t row_bytes, int n, int dv);
    /* Put x[dk] at position `lane` of a group; write x[n] as a stored row. */
    void (*store_k)(sg_dtype type, void *group, int lane, const float *x, int dk);
    void (*store_row)(sg_dtype type, void *row, const float *x, int n);
    /* Scores, running softmax and weighted sum of values over one chunk.  Any dk and dv. */
    void (*chunk)(const sg_attention_chunk *c);
} sg_attention_kernel;

/* The table's kernels; AMX uses those of AVX-512. */
const sg_attention_kernel *sg_attention_kernel_find(sg_isa isa);

extern const sg_attention_kernel sg_attention_kernel_c, sg_attention_kernel_avx2, sg_attention_kernel_avx512;

#endif
