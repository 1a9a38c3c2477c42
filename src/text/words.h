/* text/words.h - a cache from words to their ids.
 *
 * Bounded (26 MB at most), one thread at a time.  Words of up to 16 bytes with up to three ids lie in the table itself: a
 * hit is one hash and one cache line.  Others, and short ones whose bucket is full, are found by a hash in a second table
 * and kept in an arena; when that is full, everything is forgotten.
 */
#ifndef SG_TEXT_WORDS_H
#define SG_TEXT_WORDS_H

#include "text/vocab.h"

typedef struct sg_word {
    uint64_t key[2];  /* the bytes, zero behind them */
    uint16_t len, n;  /* bytes and ids; len 0 = empty */
    int32_t id[3];
} sg_word;

typedef struct sg_long_word {
    uint64_t hash;
    uint32_t at;      /* in the arena, in units of 4 bytes: n ids, then the bytes */
    uint16_t len, n;  /* len 0 = empty */
} sg_long_word;

enum {
    SG_WORDS_BUCKET = 1 << 15,     /* of two words, 64 bytes each */
    SG_WORDS_LONG_MAX = 1 << 19,   /* slots of the second table, at most half of them used; it starts small */
    SG_WORDS_ARENA = 1 << 22,      /* units of 4 bytes */
    SG_WORDS_LENGTH_MAX = 256,     /* longer words are not kept */
};

typedef struct sg_words {
    sg_word *word;       /* [SG_WORDS_BUCKET][2] */
    sg_long_word *longs; /* [nslot], NULL until needed */
    uint32_t *arena;
    uint32_t used, cap, nlong, nslot;
} sg_words;

sg_status sg_words_init(sg_words *w, sg_error *err);
void sg_words_fini(sg_words *w);
void sg_words_clear(sg_words *w);

/* Load a word of 1 to 16 bytes as a key; `room` is how many bytes may be read at s. */
static inline void sg_word_key(uint64_t key[2], const char *s, size_t n, size_t room)
{
    static const uint64_t keep[9] = {0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff,
                                     UINT64_MAX};
    if (room >= 16) {
        memcpy(key, s, 16);
        key[0] &= keep[n < 8 ? n : 8];
        key[1] &= keep[n > 8 ? n - 8 : 0];
    } else {
        key[0] = key[1] = 0;
        memcpy(key, s, n);
    }
}

static inline uint64_t sg_word_hash(const uint64_t key[2], size_t n)
{
    return sg_text_mix(key[0] ^ 0xe7037ed1a0b428dbu, key[1] ^ 0x8ebc6af09c88c6e3u ^ n * 0x9e3779b97f4a7c15u);
}

static inline sg_word *sg_words_find(const sg_words *w, const uint64_t key[2], size_t n, uint64_t hash)
{
    sg_word *b = w->word + 2 * (hash & (SG_WORDS_BUCKET - 1));
    if (b[0].key[0] == key[0] && b[0].key[1] == key[1] && b[0].len == n)
        return &b[0];
    if (b[1].key[0] == key[0] && b[1].key[1] == key[1] && b[1].len == n)
        return &b[1];
    return NULL;
}

/* Remember a word (1 to 16 bytes, at most three ids); false when its bucket is full. */
static inline bool sg_words_put(sg_words *w, const uint64_t key[2], size_t n, uint64_t hash, const int32_t *ids, size_t nid)
{
    sg_word *b = w->word + 2 * (hash & (SG_WORDS_BUCKET - 1));
    if (b->len)
        b++;
    if (b->len)
        return false;
    b->key[0] = key[0];
    b->key[1] = key[1];
    b->len = (uint16_t)n;
    b->n = (uint16_t)nid;
    for (size_t i = 0; i < nid; i++)
        b->id[i] = ids[i];
    return true;
}

/* The same for other words: the ids (in the arena until the next put) or NULL. */
const int32_t *sg_words_find_long(const sg_words *w, const char *s, size_t n, uint64_t hash, size_t *nid);
void sg_words_put_long(sg_words *w, const char *s, size_t n, uint64_t hash, const int32_t *ids, size_t nid);

#endif
