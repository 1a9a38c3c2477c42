/* kv/pool.c - the block pool and the sequences on it.
 *
 * Free blocks form a stack, so that the block given last, whose memory is warm, is taken first.  Each layer has two
 * mappings (K and V) instead of one mapping for each block: a kernel finds a block by one multiplication, and the
 * keys of a layer lie beside each other.  Memory comes zeroed and is touched only as blocks are used, or shortly before
 * (sg_kv_pool_warm), so a pool that is larger than what a short chat needs costs address space and not memory.
 *
 * Considered and not done: a table per layer group, so that layers with a sliding window could give blocks back
 * early.  It multiplies the tables that sharing has to keep in step; windows cost memory here, not time.
 */
#include "kv/pool.h"

#include "base/heap.h"

#include <string.h>

struct sg_kv_pool {
    int nlayer, block, nblock, nfree, nidle;
    int fresh;               /* blocks from here on were never taken */
    int warm, warm_end;      /* blocks below `warm` are touched in all layers; those up to warm_end... */
    int warm_part;           /* ...in so many, K and V counted apart */
    sg_pool *workers; /* borrowed; NULL: the caller alone */
    sg_dtype type;
    size_t bytes;
    sg_kv_layer *layers;
    int32_t *stack; /* [nfree] free blocks */
    uint32_t *refs; /* [nblock] */
    bool *cached;   /* [nblock] one of the references is the cache's */
};

static bool layer_sizes(const sg_kv_spec *s, sg_dtype type, int block, sg_kv_layer *out)
{
    bool type_ok = type == SG_F32 || type == SG_F16 || type == SG_BF16 || type == SG_Q8_0;
    if (!type_ok || block < 1 || block > SG_KV_BLOCK_MAX || s->nkv < 1 || s->nkv > 4096 || s->dk < 1 || s->dv < 1 ||
        s->dk > SG_HEAD_DIM_MAX || s->dv > SG_HEAD_DIM_MAX || (s->alias && s->dv > s->dk))
        return false;
    size_t k = sg_dtype_row_bytes(type, (uint64_t)s->dk), v = sg_dtype_row_bytes(type, (uint64_t)s->dv);
    if (!k || !v)
        return false;
    size_t rows = (size_t)s->nkv * (size_t)block;
    *out = (sg_kv_layer){.type = type, .block = block, .nkv = s->nkv, .dk = s->dk, .dv = s->dv, .k_row_bytes = k};
    out->v_row_bytes = s->alias ? k : v;
    out->k_block_bytes = rows * k;
    out->v_block_bytes = rows * out->v_row_bytes;
    return true;
}

size_t sg_kv_block_bytes(const sg_kv_spec *layers, int nlayer, sg_dtype type, int block)
{
    size_t sum = 0;
    for (int l = 0; l < nlayer; l++) {
        sg_kv_layer kv;
        if (!layer_sizes(&layers[l], type, block, &kv) || __builtin_add_overflow(sum, kv.k_block_bytes, &sum) ||
            __builtin_add_overflow(sum, layers[l].alias ? 0 : kv.v_block_bytes, &sum))
            return 0;
    }
    return sum;
}

static bool open_layer(sg_kv_pool *p, int l, const sg_kv_spec *spec)
{
    sg_kv_layer *kv = &p->layers[l];
    layer_sizes(spec, p->type, p->block, kv);
    kv->k = sg_alloc_aligned(64, (size_t)p->nblock * kv->k_block_bytes);
    kv->v = spec->alias ? kv->k : sg_alloc_aligned(64, (size_t)p->nblock * kv->v_block_bytes);
    return kv->k && kv->v;
}

sg_status sg_kv_pool_open(sg_kv_pool **out, const sg_kv_spec *layers, int nlayer, sg_dtype type, int block, int nblock,
                          sg_error *err)
{
    size_t block_bytes = sg_kv_block_bytes(layers, nlayer, type, block), total;
    if (!block_bytes || nblock < 1 || nblock > SG_KV_BLOCKS_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "a KV pool of %d blocks of %d positions in %s does not fit this model",
                       nblock, block, sg_dtype_of(type) ? sg_dtype_name(type) : "an unknown type");
    if (__builtin_mul_overflow(block_bytes, (size_t)nblock, &total) || total > SIZE_MAX / 2)
        return sg_fail_nomem(err, "the KV pool");
    sg_kv_pool *p = sg_calloc(1, sizeof *p);
    if (!p)
        return sg_fail_nomem(err, "the KV pool");
    *p =
        (sg_kv_pool){.nlayer = nlayer, .block = block, .nblock = nblock, .nfree = nblock, .type = type, .bytes = total};
    p->layers = sg_calloc((size_t)nlayer, sizeof *p->layers);
    p->stack = sg_calloc((size_t)nblock, sizeof *p->stack);
    p->refs = sg_calloc((size_t)nblock, sizeof *p->refs);
    p->cached = sg_calloc((size_t)nblock, sizeof *p->cached);
    bool ok = p->layers && p->stack && p->refs && p->cached;
    for (int l = 0; l < nlayer && ok; l++)
        ok = open_layer(p, l, &layers[l]);
    if (!ok) {
        sg_kv_pool_close(p);
        return sg_fail(err, SG_E_NOMEM, "out of memory for a KV pool of %zu MiB", total >> 20);
    }
    for (int i = 0; i < nblock; i++)
        p->stack[i] = nblock - 1 - i; /* block 0 on top */
    *out = p;
    return SG_OK;
}

void sg_kv_pool_close(sg_kv_pool *p)
{
    if (!p)
        return;
    for (int l = 0; p->layers && l < p->nlayer; l++) {
        sg_kv_layer *kv = &p->layers[l];
        if (kv->v && kv->v != kv->k)
            sg_free_aligned(kv->v, (size_t)p->nblock * kv->v_block_bytes);
        if (kv->k)
            sg_free_aligned(kv->k, (size_t)p->nblock * kv->k_block_bytes);
    }
    sg_free(p->layers);
    sg_free(p->stack);
    sg_free(p->refs);
    sg_free(p->cached);
    sg_free(p);
}

int sg_kv_pool_block(const sg_kv_pool *p) { return p->block; }
int sg_kv_pool_nblock(const sg_kv_pool *p) { return p->nblock; }
int sg_kv_pool_nfree(const sg_kv_pool *p) { return p->nfree; }
int sg_kv_pool_nused(const sg_kv_pool *p) { return p->fresh - (p->nblock - p->nfree); }
int sg_kv_pool_users(const sg_kv_pool *p, int32_t block) { return (int)p->refs[block] - p->cached[block]; }
int sg_kv_pool_nidle(const sg_kv_pool *p) { return p->nidle; }
int sg_kv_pool_nlayer(const sg_kv_pool *p) { return p->nlayer; }
size_t sg_kv_pool_bytes(const sg_kv_pool *p) { return p->bytes; }
sg_dtype sg_kv_pool_type(const sg_kv_pool *p) { return p->type; }
const sg_kv_layer *sg_kv_pool_layer(const sg_kv_pool *p, int l) { return &p->layers[l]; }
int sg_kv_pool_refs(const sg_kv_pool *p, int32_t block) { return (int)p->refs[block]; }

int32_t sg_kv_pool_take(sg_kv_pool *p)
{
    if (p->nfree == 0)
        return -1;
    int32_t b = p->stack[--p->nfree];
    p->refs[b] = 1;
    p->fresh = b >= p->fresh ? b + 1 : p->fresh;
    return b;
}

/* Touch the bytes of blocks [from, to) of one layer.  Nobody has taken them, so they hold the zero that is written. */
static void touch(unsigned char *base, size_t block_bytes, int from, int to)
{
    enum { PAGE = 4096 };
    for (size_t at = (size_t)from * block_bytes, end = (size_t)to * block_bytes; at < end; at += PAGE)
        *(volatile unsigned char *)(base + at) = 0;
}

/* Part warm_part + i of the border. */
static void touch_part(void *arg, int i, int worker)
{
    sg_kv_pool *p = arg;
    int part = p->warm_part + i, from = p->warm > p->fresh ? p->warm : p->fresh;
    const sg_kv_layer *kv = &p->layers[part / 2];
    (void)worker;
    if (part % 2 == 0)
        touch(kv->k, kv->k_block_bytes, from, p->warm_end);
    else if (kv->v != kv->k)
        touch(kv->v, kv->v_block_bytes, from, p->warm_end);
}

void sg_kv_pool_workers(sg_kv_pool *p, sg_pool *workers) { p->workers = workers; }

bool sg_kv_pool_warm(sg_kv_pool *p, int ahead)
{
    enum { PIECE = 2 << 20 };
    if (p->warm_end <= p->fresh) { /* nothing is begun, or all of it was taken meanwhile */
        int64_t from = p->warm > p->fresh ? p->warm : p->fresh, n = (int64_t)(PIECE / p->layers[0].k_block_bytes);
        if (from >= (int64_t)p->fresh + ahead || from >= p->nblock)
            return false;
        n = n < 1 ? 1 : n < p->nblock - from ? n : p->nblock - from;
        p->warm = (int)from;
        p->warm_end = (int)(from + n);
        p->warm_part = 0;
    }
    int n = p->workers ? sg_pool_nworker(p->workers) : 1, left = 2 * p->nlayer - p->warm_part;
    n = n < left ? n : left;
    if (n > 1)
        sg_pool_run(p->workers, touch_part, p, n);
    else
        touch_part(p, 0, 0);
    if ((p->warm_part += n) == 2 * p->nlayer) {
        p->warm = p->warm_end;
        p->warm_end = 0;
    }
    return true;
}

bool sg_kv_pool_late(const sg_kv_pool *p, int ahead)
{
    int64_t parts = 2 * p->nlayer, at = p->warm > p->fresh ? p->warm : p->fresh;
    int64_t left = p->warm_end > p->fresh ? parts - p->warm_part : 0;
    if (left == 0 && at < (int64_t)p->fresh + ahead && at < p->nblock)
        left = parts; /* the next border is not begun */
    return left * ahead > parts * (at - p->fresh);
}

void sg_kv_pool_ref(sg_kv_pool *p, int32_t block)
{
    SG_ASSERT(p->refs[block] > 0);
    p->nidle -= p->cached[block] && p->refs[block] == 1;
    p->refs[block]++;
}

void sg_kv_pool_give(sg_kv_pool *p, int32_t block)
{
    SG_ASSERT(p->refs[block] > 0);
    if (--p->refs[block] == 0)
        p->stack[p->nfree++] = block;
    p->nidle += p->cached[block] && p->refs[block] == 1;
}

void sg_kv_pool_cache(sg_kv_pool *p, int32_t block)
{
    SG_ASSERT(!p->cached[block]);
    sg_kv_pool_ref(p, block);
    p->cached[block] = true;
}

void sg_kv_pool_uncache(sg_kv_pool *p, int32_t block)
{
    SG_ASSERT(p->cached[block]);
    p->nidle -= p->refs[block] == 1;
    p->cached[block] = false;
    sg_kv_pool_give(p, block);
}

/* ---- sequences ------------------------------------------------------------------------ */

sg_status sg_kv_seq_new(sg_kv_seq **out, sg_kv_pool *pool, int max_len, sg_error *err)
{
    if (max_len < 1)
        return sg_fail(err, SG_E_ARGUMENT, "a sequence of at most %d positions", max_len);
    sg_kv_seq *s = sg_calloc(1, sizeof *s);
    if (!s)
        return sg_fail_nomem(err, "a sequence");
    s->pool = pool;
    s->max_len = max_len;
    s->max_blocks = sg_kv_blocks_for(max_len, pool->block);
    s->table = sg_calloc((size_t)s->max_blocks, sizeof *s->table);
    if (!s->table) {
        sg_free(s);
        return sg_fail_nomem(err, "a sequence");
    }
    *out = s;
    return SG_OK;
}

void sg_kv_seq_free(sg_kv_seq *s)
{
    if (!s)
        return;
    sg_kv_seq_truncate(s, 0);
    sg_free(s->table);
    sg_free(s);
}

/* The block that the next position goes to is partly filled and shared. */
static bool tail_is_shared(const sg_kv_seq *s)
{
    return s->len % s->pool->block && s->pool->refs[s->table[s->nblock - 1]] > 1;
}

int sg_kv_seq_blocks_needed(const sg_kv_seq *s, int n)
{
    if (n <= 0 || n > INT32_MAX - s->len)
        return 0;
    return sg_kv_blocks_for(s->len + n, s->pool->block) - s->nblock + tail_is_shared(s);
}

static void copy_block(sg_kv_pool *p, int32_t to, int32_t from)
{
    for (int l = 0; l < p->nlayer; l++) {
        const sg_kv_layer *kv = &p->layers[l];
        memcpy(kv->k + (size_t)to * kv->k_block_bytes, kv->k + (size_t)from * kv->k_block_bytes, kv->k_block_bytes);
        if (kv->v != kv->k)
            memcpy(kv->v + (size_t)to * kv->v_block_bytes, kv->v + (size_t)from * kv->v_block_bytes, kv->v_block_bytes);
    }
}

sg_status sg_kv_seq_extend(sg_kv_seq *s, int n, sg_error *err)
{
    if (n <= 0)
        return SG_OK;
    sg_kv_pool *p = s->pool;
    if (n > s->max_len - s->len)
        return sg_fail(err, SG_E_LIMIT, "a sequence of %d and %d more positions, at most %d", s->len, n, s->max_len);
    int need = sg_kv_seq_blocks_needed(s, n);
    if (need > p->nfree)
        return sg_fail(err, SG_E_BUSY, "the KV pool has %d free blocks, %d are needed", p->nfree, need);
    if (tail_is_shared(s)) {
        int32_t own = sg_kv_pool_take(p), *tail = &s->table[s->nblock - 1];
        copy_block(p, own, *tail);
        sg_kv_pool_give(p, *tail);
        *tail = own;
    }
    s->len += n;
    while (s->nblock < sg_kv_blocks_for(s->len, p->block))
        s->table[s->nblock++] = sg_kv_pool_take(p);
    return SG_OK;
}

void sg_kv_seq_truncate(sg_kv_seq *s, int len)
{
    if (len >= s->len)
        return;
    s->len = len > 0 ? len : 0;
    while (s->nblock > sg_kv_blocks_for(s->len, s->pool->block))
        sg_kv_pool_give(s->pool, s->table[--s->nblock]);
}

sg_status sg_kv_seq_share(sg_kv_seq *s, const int32_t *blocks, int len, sg_error *err)
{
    int n = len > 0 ? sg_kv_blocks_for(len, s->pool->block) : 0;
    if (s->len)
        return sg_fail(err, SG_E_ARGUMENT, "only an empty sequence begins with shared blocks");
    if (len > s->max_len)
        return sg_fail(err, SG_E_LIMIT, "a shared beginning of %d positions, at most %d", len, s->max_len);
    for (int i = 0; i < n; i++) {
        sg_kv_pool_ref(s->pool, blocks[i]);
        s->table[i] = blocks[i];
    }
    s->nblock = n;
    s->len = len > 0 ? len : 0;
    return SG_OK;
}
