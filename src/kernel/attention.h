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
 * A unit of work is some queries against a range of positions.  It prepares its queries once, and for each chunk brings
 * keys and values into the kernel's own form and lets all queries meet them:
 *
 *     prepare(queries);  for each chunk: load_k each group, load_v each run of rows, chunk();  finish()
 *
 * Two kinds of kernels: vectors (kernel/attention_body.h; float32) and AMX tiles (kernel/attention_amx.c; everything in
 * two bfloat16 terms).  A query's result is a function of that query, its visible range and the stored keys and
 * values: the operations on its values and their order do not depend on how many queries travel together.
 */
#ifndef SG_KERNEL_ATTENTION_H
#define SG_KERNEL_ATTENTION_H

#include "base/isa.h"
#include "base/dtype.h"

#include <stddef.h>

enum {
    SG_KV_GROUP = 16, /* positions in a K group */
    SG_KV_CHUNK = 64, /* positions between two updates of the running softmax */
};

/* Queries [from, to) of a unit against one chunk.  Arrays are the caller's and have an entry for every query of the
 * unit; from and to are multiples of 16 or the unit's own beginning and end. */
typedef struct sg_attention_chunk {
    sg_dtype type;          /* of the cache */
    int from, to, dk, dv;
    int n;                  /* positions of the chunk that are stored, 1 to 64; the rest of the last group is ignored */
    int base;               /* position of the chunk's first key */
    const float *const *q;  /* rows [dk] */
    const void *queries;    /* what prepare made of them */
    void *k, *v;            /* what load_k and load_v made */
    const int *first, *end; /* the query sees positions [first, end) of the chunk, 0 <= first, end <= n; may be empty */
    const float *slope;     /* ALiBi slopes or NULL */
    float scale, softcap;   /* softcap 0: none */
    float *most;            /* running maximum, -FLT_MAX at start */
    float *sum;             /* [nquery][16] running sums, 0 at start; their sum over the lanes counts */
    float *acc;             /* [nquery][dv] running weighted sum of values, 0 at start */
    float *s;               /* scratch, scores_bytes */
    int turn;               /* few: how many calls came before this one, of any heads, since all acc were 0 */
    float *acc_before;      /* few: acc of the call before */
} sg_attention_chunk;

/* Where the groups of 16 positions of a chunk are stored, and those of the chunk to ask for meanwhile (as load_k's `next`). */
typedef struct sg_attention_place {
    const void *k[4], *v[4], *next_k[4], *next_v[4]; /* of groups that begin below n */
    size_t v_row_bytes;
} sg_attention_place;

typedef struct sg_attention_kernel {
    int queries; /* of a unit, at most; a multiple of 16 */

    /* Bytes of the forms, multiples of 64. */
    size_t (*query_bytes)(int nquery, int dk);
    size_t (*k_bytes)(int dk);
    size_t (*v_bytes)(int dv);
    size_t (*score_bytes)(int nquery, int dk, int dv);

    void (*prepare)(void *queries, const float *const *q, int nquery, int dk, float scale);
    void (*finish)(void);

    /* Group `group` (0 to 3) of the chunk in the kernel's form.  `next` is where the same group or rows of the next chunk
     * are stored: they are asked for while these are worked on; the stored ones themselves when there are none.
     * load_turned takes rows as V's instead, positions [at, at + n) of the chunk, for keys that are not stored in
     * groups; NULL: the kernel cannot. */
    void (*load_k)(sg_dtype type, void *k, int group, const void *stored, const void *next, int dk);
    void (*load_turned)(sg_dtype type, void *k, int at, const void *rows, size_t row_bytes, int n, int dk);
    /* Positions [at, at + n) of the chunk, stored as rows row_bytes apart; for tiles at is even. */
    void (*load_v)(sg_dtype type, void *v, int at, const void *rows, const void *next, size_t row_bytes, int n, int dv);

    /* NULL in tile kernels.  Put x[dk] at position `lane` of a group; write x[n] as a stored row. */
    void (*store_k)(sg_dtype type, void *group, int lane, const float *x, int dk);
    void (*store_row)(sg_dtype type, void *row, const float *x, int n);

    /* Scores, running softmax and weighted sum of values over one chunk. */
    void (*chunk)(const sg_attention_chunk *c);
    /* The same for up to 16 queries, from 0 on, with the loading of keys and values in it, a piece at a time: what they become
     * stays in the first level cache until it is used.  k needs k_bytes, v v_bytes and at least 16 KiB; these and s are left as
     * they are between calls, since what a chunk adds to acc may be added in the next call only; few_rest, as if it were one more
     * call, adds the last one's.  Calls of several heads may take turns: the same number of queries, seeing the same.
     * Both NULL: the kernel has no such way. */
    void (*few)(const sg_attention_chunk *c, const sg_attention_place *p);
    void (*few_rest)(const sg_attention_chunk *c);
} sg_attention_kernel;

/* The table's vector kernel, which takes everything; AMX has that of AVX-512, and its tile kernel has no store. */
const sg_attention_kernel *sg_attention_vector_find(sg_isa isa);

/* The table's best kernel for a cache of that type and shape; `grouped`: keys lie in groups, V does not alias K. */
const sg_attention_kernel *sg_attention_kernel_find(sg_isa isa, sg_dtype type, int dk, int dv, bool grouped);

extern const sg_attention_kernel sg_attention_kernel_c, sg_attention_kernel_avx2, sg_attention_kernel_avx512, sg_attention_kernel_amx;

#endif
