/* tests/fake_lm.h - a language model of a few lines, for tests of the step loop and the server.
 *
 * Token ids are bytes, 256 begins, 257 ends a text.  A running hash of the sequence is kept in the KV pool
 * as real keys are, so a wrong block, position or order changes every logit behind it.  Logits are
 * drawn from that hash; `script` makes the model say a given text instead and then end.
 */
#ifndef SG_TESTS_FAKE_LM_H
#define SG_TESTS_FAKE_LM_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "engine/internal.h"

#include <string.h>
#include <unistd.h>

enum { FAKE_VOCAB = 258, FAKE_BEGIN = 256, FAKE_END = 257 };

typedef struct fake_lm {
    sg_kv_pool *pool;
    const char *script;    /* what every answer says, or NULL */
    int cycle;             /* most tokens go round in so many letters; 0: none do */
    int forget;            /* every so many positions it does not know what came before; 0: none */
    int step_us;           /* how long a step takes */
    int row_us;            /* and each row of it */
    _Atomic bool fail;     /* the next step fails */
    _Atomic int rows_max;  /* most rows that a step had */
    _Atomic int mixed_max; /* the same for steps of several sequences */
    _Atomic uint64_t nrow;
} fake_lm;

/* Where the hash of position `pos` of a sequence stands: in the one key head of the one layer. */
static inline uint32_t *fake_cell(fake_lm *f, const sg_kv_seq *seq, int pos)
{
    const sg_kv_layer *l = sg_kv_pool_layer(f->pool, 0);
    return (uint32_t *)(void *)(l->k + (size_t)seq->table[pos / l->block] * l->k_block_bytes + (size_t)(pos % l->block) * l->k_row_bytes);
}

static inline sg_status fake_step(void *self, const sg_batch *b, sg_error *err)
{
    fake_lm *f = self;
    if (atomic_exchange(&f->fail, false))
        return sg_fail(err, SG_E_IO, "the fake model was told to fail");
    if (b->nrow > f->rows_max)
        f->rows_max = b->nrow;
    if (b->nseq > 1 && b->nrow > f->mixed_max)
        f->mixed_max = b->nrow;
    f->nrow += (uint64_t)b->nrow;
    if (f->step_us + f->row_us)
        usleep((useconds_t)(f->step_us + f->row_us * b->nrow));
    for (int r = 0, o = 0; r < b->nrow; r++) {
        const sg_kv_seq *seq = b->seqs[b->seq[r]];
        uint64_t h = 0;
        uint32_t *cell = fake_cell(f, seq, b->pos[r]), *before = b->pos[r] ? fake_cell(f, seq, b->pos[r] - 1) : NULL;
        if (before)
            h = (uint64_t)before[0] << 32 | before[1];
        h = sg_rng_at(f->forget && b->pos[r] % f->forget == 0 ? 1 : h, (uint64_t)b->id[r], (uint64_t)b->pos[r]);
        cell[0] = (uint32_t)(h >> 32);
        cell[1] = (uint32_t)h;
        cell[2] = before && before[3] ? before[2] + 1 : 0; /* tokens answered so far */
        cell[3] = o < b->nout && b->out[o] == r;
        if (!cell[3])
            continue;
        float *x = b->logits + (size_t)o++ * FAKE_VOCAB;
        for (int i = 0; i < FAKE_VOCAB; i++) /* letters and spaces, and now and then an end */
            x[i] = (i >= 'a' && i <= 'z') || i == ' ' ? (float)(sg_rng_unit_at(h, (uint64_t)i, 1) * 8) : -20;
        if (f->cycle && h & 3)
            x['a' + (b->pos[r] + 1) % f->cycle] += 12;
        x[FAKE_END] = sg_rng_unit_at(h, 0, 2) < 0.01 ? 20 : -20;
        if (f->script)
            x[cell[2] < strlen(f->script) ? (unsigned char)f->script[cell[2]] : FAKE_END] = 100;
    }
    return SG_OK;
}

static inline bool fake_is_end(void *self, int32_t id)
{
    (void)self;
    return id == FAKE_END;
}

static inline sg_status fake_encode(void *self, const char *text, size_t n, bool special, bool begin, int32_t **ids, size_t *nid,
                                    sg_error *err)
{
    (void)self;
    (void)special;
    int32_t *out = sg_alloc((n + 1) * sizeof *out);
    if (!out)
        return sg_fail_nomem(err, "token ids");
    size_t k = 0;
    if (begin)
        out[k++] = FAKE_BEGIN;
    for (size_t i = 0; i < n; i++)
        out[k++] = (unsigned char)text[i];
    *ids = out;
    *nid = k;
    return SG_OK;
}

static inline size_t fake_token_bytes(void *self, int32_t id, char *out, size_t cap)
{
    (void)self;
    if (id > 255)
        return 0;
    if (cap)
        out[0] = (char)id;
    return 1;
}

/* The decoder keeps the bytes of an unfinished character. */
static inline sg_status fake_decoder_new(void *self, void **decoder, const int32_t *prompt, size_t nprompt, sg_error *err)
{
    (void)self;
    (void)prompt;
    (void)nprompt;
    void *d = sg_calloc(1, 8);
    if (!d)
        return sg_fail_nomem(err, "a decoder");
    *decoder = d;
    return SG_OK;
}

static inline size_t fake_decode(void *decoder, int32_t id, char *out)
{
    char *d = decoder; /* d[7]: bytes held */
    if (id > 255)
        return 0;
    d[(int)d[7]++] = (char)id;
    size_t n = (size_t)d[7];
    if (sg_utf8_partial_suffix(d, n) == n)
        return 0;
    d[7] = 0;
    if (sg_utf8_valid(d, n)) {
        memcpy(out, d, n);
        return n;
    }
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

static inline size_t fake_decode_end(void *decoder, char *out)
{
    char *d = decoder;
    if (!d[7])
        return 0;
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* "ROLE: CONTENT\n" without looking at the JSON: the messages as they stand and a marker. */
static inline sg_status fake_render(void *self, const sg_chat *chat, char **text, size_t *n, sg_error *err)
{
    (void)self;
    size_t len = strlen(chat->messages);
    char *out = sg_alloc(len + 16);
    if (!out)
        return sg_fail_nomem(err, "a prompt");
    memcpy(out, chat->messages, len);
    memcpy(out + len, "\nassistant:", 12);
    *text = out;
    *n = len + 11;
    return SG_OK;
}

static inline void fake_close(void *self)
{
    fake_lm *f = self;
    sg_kv_pool_close(f->pool);
    sg_free(f);
}

/* ctx tokens a sequence, nblock blocks of 16. */
static inline sg_status fake_lm_open(sg_lm *lm, fake_lm **fake, int ctx, int nblock, sg_error *err)
{
    static const sg_kv_spec spec = {.nkv = 1, .dk = 4, .dv = 4, .alias = true};
    fake_lm *f = sg_calloc(1, sizeof *f);
    if (!f)
        return sg_fail_nomem(err, "a fake model");
    sg_status st = sg_kv_pool_open(&f->pool, &spec, 1, SG_F32, 16, nblock, err);
    if (st != SG_OK) {
        sg_free(f);
        return st;
    }
    *lm = (sg_lm){.self = f, .architecture = "fake", .title = "fake", .nvocab = FAKE_VOCAB, .ctx = ctx, .ctx_trained = ctx,
                  .pool = f->pool, .max_rows = 128, .max_logits = 32, .piece_bytes_max = 8,
                  .chat_template = true, .step = fake_step, .is_end = fake_is_end, .encode = fake_encode,
                  .token_bytes = fake_token_bytes, .decoder_new = fake_decoder_new, .decoder_free = sg_free, .decode = fake_decode,
                  .decode_end = fake_decode_end, .render = fake_render, .close = fake_close};
    if (fake)
        *fake = f;
    return SG_OK;
}

#endif
