/* text/vocab.c - the pieces of a vocabulary.
 *
 *     id ->  start, len  ->  bytes:  ... t h e ' ' t h e i n ...
 *     hash(bytes) -> slot[]: id + 1
 *
 * All pieces lie behind one another in one allocation, and the map holds ids only: a vocabulary of 262,144
 * pieces takes about 6 MB and is built in a few milliseconds.  A trie would find prefixes too, but costs
 * several times the memory and a cache miss a byte; the models that want prefixes (unigram, WordPiece)
 * bound the length instead and ask for each.
 */
#include "text/vocab.h"

#include "base/heap.h"

void sg_vocab_fini(sg_vocab *v)
{
    sg_free(v->start);
    sg_free(v->len);
    sg_free(v->flags);
    sg_free(v->score);
    sg_free(v->bytes);
    sg_free(v->slot);
    *v = (sg_vocab){0};
}

static bool widen(void **array, size_t from, size_t to, size_t size)
{
    void *p = sg_realloc(*array, to * size);
    if (!p)
        return false;
    memset((char *)p + from * size, 0, (to - from) * size);
    *array = p;
    return true;
}

sg_status sg_vocab_grow(sg_vocab *v, size_t n, sg_error *err)
{
    if (n > SG_VOCAB_MAX)
        return sg_fail(err, SG_E_LIMIT, "vocabulary: %zu tokens, at most %d", n, SG_VOCAB_MAX);
    if (n <= v->n)
        return SG_OK;
    if (!widen((void **)&v->start, v->n, n, sizeof *v->start) || !widen((void **)&v->len, v->n, n, sizeof *v->len) ||
        !widen((void **)&v->flags, v->n, n, sizeof *v->flags) ||
        (v->score && !widen((void **)&v->score, v->n, n, sizeof *v->score)))
        return sg_fail_nomem(err, "the vocabulary");
    v->n = (uint32_t)n;
    return SG_OK;
}

sg_status sg_vocab_init(sg_vocab *v, size_t n, sg_error *err)
{
    sg_vocab x = {0};
    x.bytes = sg_alloc(1); /* pieces of no bytes have an address too */
    sg_status st = x.bytes ? sg_vocab_grow(&x, n, err) : sg_fail_nomem(err, "the vocabulary");
    if (st != SG_OK)
        sg_vocab_fini(&x);
    else
        *v = x;
    return st;
}

sg_status sg_vocab_put(sg_vocab *v, uint32_t id, const char *bytes, size_t len, unsigned flags, sg_error *err)
{
    SG_ASSERT(id < v->n);
    if (v->flags[id] & SG_PIECE_SET)
        return sg_fail(err, SG_E_FORMAT, "vocabulary: '%.*s' has id %u, which is taken by '%.*s'", (int)(len < 60 ? len : 60),
                       bytes, id, (int)(v->len[id] < 60 ? v->len[id] : 60), sg_vocab_piece(v, id));
    if (len > UINT32_MAX / 2 || v->nbyte > UINT32_MAX / 2)
        return sg_fail(err, SG_E_LIMIT, "vocabulary: the pieces are longer than 2 GiB together");
    if (v->cap - v->nbyte < len) {
        size_t cap = v->cap + v->cap / 2 + len + 4096;
        char *p = sg_realloc(v->bytes, cap);
        if (!p)
            return sg_fail_nomem(err, "the vocabulary");
        v->bytes = p;
        v->cap = cap;
    }
    memcpy(v->bytes + v->nbyte, bytes, len);
    v->start[id] = (uint32_t)v->nbyte;
    v->len[id] = (uint32_t)len;
    v->flags[id] = (uint8_t)(flags | SG_PIECE_SET);
    v->nbyte += len;
    return SG_OK;
}

sg_status sg_vocab_index(sg_vocab *v, sg_error *err)
{
    size_t nslot = 16;
    while (nslot < (size_t)v->n * 2)
        nslot *= 2;
    uint32_t *slot = sg_calloc(nslot, sizeof *slot);
    if (!slot)
        return sg_fail_nomem(err, "the vocabulary");
    sg_free(v->slot);
    v->slot = slot;
    v->mask = (uint32_t)(nslot - 1);
    v->longest = 0;
    for (uint32_t id = 0; id < v->n; id++) {
        if (!(v->flags[id] & SG_PIECE_MATCH) || v->len[id] == 0)
            continue;
        if (v->len[id] > v->longest)
            v->longest = v->len[id];
        if (sg_vocab_find(v, sg_vocab_piece(v, id), v->len[id]) >= 0)
            continue;
        uint32_t i = (uint32_t)sg_text_hash(sg_vocab_piece(v, id), v->len[id]) & v->mask;
        while (slot[i])
            i = (i + 1) & v->mask;
        slot[i] = id + 1;
    }
    return SG_OK;
}
