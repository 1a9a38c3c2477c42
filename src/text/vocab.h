/* text/vocab.h - the pieces of a vocabulary: id to bytes, bytes to id.
 *
 * Written while a tokenizer is opened, then read by any thread.
 */
#ifndef SG_TEXT_VOCAB_H
#define SG_TEXT_VOCAB_H

#include "base/dict.h"

#include <string.h>

/* What is known of a token. */
enum {
    SG_PIECE_SET = 1,      /* the id is a token and not a hole */
    SG_PIECE_MATCH = 2,    /* in the map: the model itself may produce it */
    SG_PIECE_SPECIAL = 4,  /* left out when special tokens are skipped, found in text only when asked for */
    SG_PIECE_ADDED = 8,    /* found as a whole before the model sees the text */
    SG_PIECE_BYTE = 16,    /* stands for one byte, its only byte */
    SG_PIECE_UNKNOWN = 32, /* stands for what the vocabulary lacks */
    SG_PIECE_END = 64,     /* ends a reply */
    SG_PIECE_CONTINUES = 128, /* WordPiece: goes on within a word; the "##" is not part of the bytes */
};

/* Largest vocabulary.  It lets a pair of ids and a rank share 64 bits (bpe.c). */
enum { SG_VOCAB_MAX = 1 << 21 };

typedef struct sg_vocab {
    uint32_t n;
    uint32_t *start;  /* [n] offset of the piece in bytes */
    uint32_t *len;    /* [n] */
    uint8_t *flags;   /* [n] */
    float *score;     /* [n], or NULL */
    char *bytes;      /* all pieces */
    size_t nbyte, cap;
    uint32_t *slot;   /* [nslot] id + 1, 0 = empty; open addressing, linear probing */
    uint32_t mask;    /* nslot - 1 */
    uint32_t longest; /* bytes of the longest piece in the map */
} sg_vocab;

/* n ids, all holes.  fini accepts a zeroed or half-built one. */
sg_status sg_vocab_init(sg_vocab *v, size_t n, sg_error *err);
void sg_vocab_fini(sg_vocab *v);

/* Make room for more ids, holes all. */
sg_status sg_vocab_grow(sg_vocab *v, size_t n, sg_error *err);

/* Say what id < n is; the bytes are copied.  An id that is set already is SG_E_FORMAT. */
sg_status sg_vocab_put(sg_vocab *v, uint32_t id, const char *bytes, size_t len, unsigned flags, sg_error *err);

/* Build the map over the tokens with SG_PIECE_MATCH that are not empty.  Of equal pieces the lowest id is
 * found. */
sg_status sg_vocab_index(sg_vocab *v, sg_error *err);

/* 64 bits of hash; equal bytes, equal hash.  Reads only s[0..n). */
static inline uint64_t sg_text_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t sg_text_hash(const char *s, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u, a, b;
    for (; n > 16; s += 16, n -= 16) {
        memcpy(&a, s, 8);
        memcpy(&b, s + 8, 8);
        h = sg_text_mix(a ^ 0xa0761d6478bd642fu, b ^ h);
    }
    a = b = 0;
    if (n >= 8) {
        memcpy(&a, s, 8);
        memcpy(&b, s + n - 8, 8);
    } else if (n >= 4) {
        uint32_t x, y;
        memcpy(&x, s, 4);
        memcpy(&y, s + n - 4, 4);
        a = x;
        b = y;
    } else if (n) {
        a = (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[n >> 1] << 8 | (unsigned char)s[n - 1];
    }
    return sg_text_mix(a ^ 0xe7037ed1a0b428dbu, b ^ h ^ 0x8ebc6af09c88c6e3u);
}

static inline const char *sg_vocab_piece(const sg_vocab *v, uint32_t id) { return v->bytes + v->start[id]; }

/* The id of a piece in the map, or -1. */
static inline int32_t sg_vocab_find(const sg_vocab *v, const char *s, size_t n)
{
    if (n > v->longest || n == 0)
        return -1;
    for (uint32_t i = (uint32_t)sg_text_hash(s, n) & v->mask; v->slot[i]; i = (i + 1) & v->mask) {
        uint32_t id = v->slot[i] - 1;
        if (v->len[id] == n && memcmp(v->bytes + v->start[id], s, n) == 0)
            return (int32_t)id;
    }
    return -1;
}

#endif
