/* text/words.c - a cache from words to their ids.
 *
 *     short words   bucket = two entries of 32 bytes, one cache line: | key 16 | len, n | 3 ids |
 *     other words   table of hashes -> arena: | ids ... | bytes ... |
 *
 * Words follow Zipf's law: the table of 65,536 short words answers nearly all of a text.  A word stays where it was
 * put: frequent words come early and get the good places, later ones with a full bucket go to the arena, as do words of
 * more than three ids.  No clock or counter is kept, because writing to a line on a hit costs more than the misses it
 * would save.  Nothing is ever freed one by one: when the arena or its table is full, both tables are emptied.
 */
#include "text/words.h"

#include "base/heap.h"

sg_status sg_words_init(sg_words *w, sg_error *err)
{
    sg_word *p = sg_alloc_aligned(64, (size_t)SG_WORDS_BUCKET * 2 * sizeof *p);
    if (!p)
        return sg_fail_nomem(err, "the word cache");
    *w = (sg_words){.word = p};
    return SG_OK;
}

void sg_words_fini(sg_words *w)
{
    if (w->word)
        sg_free_aligned(w->word, (size_t)SG_WORDS_BUCKET * 2 * sizeof *w->word);
    sg_free(w->longs);
    sg_free(w->arena);
    *w = (sg_words){0};
}

void sg_words_clear(sg_words *w)
{
    memset(w->word, 0, (size_t)SG_WORDS_BUCKET * 2 * sizeof *w->word);
    if (w->longs)
        memset(w->longs, 0, w->nslot * sizeof *w->longs);
    w->used = w->nlong = 0;
}

const int32_t *sg_words_find_long(const sg_words *w, const char *s, size_t n, uint64_t hash, size_t *nid)
{
    if (!w->longs)
        return NULL;
    for (size_t i = hash & (w->nslot - 1); w->longs[i].len; i = (i + 1) & (w->nslot - 1)) {
        const sg_long_word *l = &w->longs[i];
        const uint32_t *at = w->arena + l->at;
        if (l->hash == hash && l->len == n && memcmp(at + l->n, s, n) == 0) {
            *nid = l->n;
            return (const int32_t *)at;
        }
    }
    return NULL;
}

static void place(sg_words *w, sg_long_word x)
{
    size_t i = x.hash & (w->nslot - 1);
    while (w->longs[i].len)
        i = (i + 1) & (w->nslot - 1);
    w->longs[i] = x;
}

static bool grow_table(sg_words *w)
{
    uint32_t n = w->nslot, more = n ? n * 4 : 1 << 11;
    sg_long_word *old = w->longs, *p = sg_calloc(more, sizeof *p);
    if (!p)
        return false;
    w->longs = p;
    w->nslot = more;
    for (uint32_t i = 0; i < n; i++)
        if (old[i].len)
            place(w, old[i]);
    sg_free(old);
    return true;
}

/* Room for one more word of `need` units; table and arena grow up to their bounds, then all is forgotten. */
static bool make_room(sg_words *w, uint32_t need)
{
    if ((w->nlong >= w->nslot / 2 && w->nslot == SG_WORDS_LONG_MAX) || w->used + need > SG_WORDS_ARENA)
        sg_words_clear(w);
    if (w->nlong >= w->nslot / 2 && !grow_table(w))
        return false;
    if (w->used + need > w->cap) {
        uint32_t cap = w->cap * 2 + 16384;
        uint32_t *p = sg_realloc(w->arena, (size_t)cap * sizeof *p);
        if (!p)
            return false;
        w->arena = p;
        w->cap = cap;
    }
    return true;
}

void sg_words_put_long(sg_words *w, const char *s, size_t n, uint64_t hash, const int32_t *ids, size_t nid)
{
    uint32_t need = (uint32_t)(nid + (n + 3) / 4);
    if (n == 0 || n > SG_WORDS_LENGTH_MAX || nid > UINT16_MAX || !make_room(w, need))
        return; /* a cache may forget */
    place(w, (sg_long_word){.hash = hash, .at = w->used, .len = (uint16_t)n, .n = (uint16_t)nid});
    memcpy(w->arena + w->used, ids, nid * 4);
    memcpy(w->arena + w->used + nid, s, n);
    w->used += need;
    w->nlong++;
}
