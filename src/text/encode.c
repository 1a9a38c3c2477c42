/* text/encode.c - text to ids.
 *
 *     bytes        made well-formed (copied only when they are not)
 *     added tokens cut out of the raw text, and again out of the normalised text
 *     words        the pre-tokeniser's pieces, in batches
 *     ids          each word through the cache, or else through the model
 *
 * The hot loop is `words`: for each piece of the scanner's batch a 16-byte load, a hash, one cache line, a 12-byte copy of ids.  A
 * word that is not cached goes through the model (merging, Viterbi, longest match) and is put in the cache; the cache
 * belongs to an encoder, of which each thread takes one for the time of a call, so there is no locking on the way.
 *
 * The same word always gives the same ids, whatever the cache holds: the cache stores what the model said.
 */
#include "text/tokenizer.h"

#include "base/heap.h"
#include "base/utf8.h"

#include <string.h>

enum {
    BATCH = 512,             /* pieces at a time; they and their ids stay in the first-level cache */
    KEEP_SYMBOLS = 1 << 16,  /* scratch that an idle encoder may keep */
    KEEP_BYTES = 1 << 20,
    IDLE_MAX = 64,
};

/* The best way to the end of a piece: Viterbi's table of the unigram model. */
typedef struct step {
    double score;
    int32_t id;
    uint32_t start; /* UINT32_MAX: not reached */
} step;

struct sg_encoder {
    sg_encoder *next;
    sg_words words;
    sg_bpe_scratch bpe;
    sg_norm_scratch norm;
    sg_pretok_scratch pretok;
    sg_buf clean;
    step *best;
    size_t best_cap;
    sg_span span[BATCH];
};

/* ---- encoders ---- */

void sg_encoder_free(sg_encoder *e)
{
    if (!e)
        return;
    sg_words_fini(&e->words);
    sg_bpe_scratch_fini(&e->bpe);
    sg_norm_scratch_fini(&e->norm);
    sg_pretok_scratch_fini(&e->pretok);
    sg_buf_fini(&e->clean);
    sg_free(e->best);
    sg_free(e);
}

sg_status sg_encoder_take(const sg_tokenizer *t, sg_encoder **out, sg_error *err)
{
    sg_tokenizer *shared = (sg_tokenizer *)t; /* the list of idle encoders is the one thing that changes */
    pthread_mutex_lock(&shared->lock);
    sg_encoder *e = shared->idle;
    if (e)
        shared->idle = e->next;
    pthread_mutex_unlock(&shared->lock);
    if (!e) {
        e = sg_calloc(1, sizeof *e);
        sg_status st = e ? sg_words_init(&e->words, err) : sg_fail_nomem(err, "an encoder");
        if (st != SG_OK) {
            sg_encoder_free(e);
            return st;
        }
    }
    *out = e;
    return SG_OK;
}

void sg_encoder_forget(sg_encoder *e) { sg_words_clear(&e->words); }

static void shrink(sg_buf *b)
{
    if (b->cap > KEEP_BYTES)
        sg_buf_fini(b);
}

void sg_encoder_give(const sg_tokenizer *t, sg_encoder *e)
{
    if (e->bpe.symbol_cap > KEEP_SYMBOLS)
        sg_bpe_scratch_fini(&e->bpe);
    if (e->best_cap > KEEP_SYMBOLS) {
        sg_free(e->best);
        e->best = NULL;
        e->best_cap = 0;
    }
    for (int i = 0; i < 2; i++) {
        shrink(&e->norm.text[i]);
        shrink(&e->pretok.text[i]);
        if (e->pretok.spans[i].cap > KEEP_SYMBOLS) {
            sg_free(e->pretok.spans[i].data);
            e->pretok.spans[i] = (sg_spans){0};
        }
    }
    shrink(&e->clean);
    sg_tokenizer *shared = (sg_tokenizer *)t;
    pthread_mutex_lock(&shared->lock);
    e->next = shared->idle;
    shared->idle = e;
    pthread_mutex_unlock(&shared->lock);
}

/* ---- ids ---- */

static sg_status reserve(sg_tokens *l, size_t n, sg_error *err)
{
    if (l->cap - l->n >= n)
        return SG_OK;
    size_t cap = l->cap + l->cap / 2 + n + 16;
    sg_token *p = cap < SIZE_MAX / sizeof *p ? sg_realloc(l->data, cap * sizeof *p) : NULL;
    if (!p)
        return sg_fail_nomem(err, "token ids");
    l->data = p;
    l->cap = cap;
    return SG_OK;
}

sg_status sg_tokens_add(sg_tokens *list, sg_token id, sg_error *err)
{
    SG_TRY(reserve(list, 1, err));
    list->data[list->n++] = id;
    return SG_OK;
}

void sg_tokens_fini(sg_tokens *list)
{
    sg_free(list->data);
    *list = (sg_tokens){0};
}

/* What the vocabulary lacks: byte tokens when all are there, else the unknown token (once for a run). */
static void unknown(const sg_tokenizer *t, const char *s, size_t n, bool *after_unknown, sg_tokens *ids)
{
    bool bytes = t->byte_fallback;
    for (size_t i = 0; bytes && i < n; i++)
        bytes = t->byte_id[(unsigned char)s[i]] >= 0;
    if (bytes) {
        for (size_t i = 0; i < n; i++)
            ids->data[ids->n++] = t->byte_id[(unsigned char)s[i]];
        *after_unknown = false;
    } else if (t->unk >= 0) {
        if (!(*after_unknown && t->fuse_unknown))
            ids->data[ids->n++] = t->unk;
        *after_unknown = true;
    }
}

/* ---- merging models ---- */

/* The symbols that a word starts from: its bytes, or its characters. */
static size_t symbols(const sg_tokenizer *t, sg_symbol *sym, const char *s, size_t n)
{
    size_t k = 0;
    if (t->byte_level) {
        for (size_t i = 0; i < n; i++) {
            int32_t id = t->byte_id[(unsigned char)s[i]];
            if (id >= 0 || t->unk >= 0) /* a byte that is no token and has no stand-in is left out */
                sym[k++] = (sg_symbol){.id = id, .start = (uint32_t)i, .len = 1};
        }
        return k;
    }
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t used = sg_utf8_decode(s + i, n - i, &cp);
        used += used == 0;
        sym[k++] = (sg_symbol){.id = sg_vocab_find(&t->vocab, s + i, used), .start = (uint32_t)i, .len = (uint32_t)used};
        i += used;
    }
    return k;
}

static sg_status merge_word(const sg_tokenizer *t, sg_encoder *e, const char *s, size_t n, sg_tokens *ids, sg_error *err)
{
    if (t->ignore_merges) {
        int32_t id = sg_vocab_find(&t->vocab, s, n);
        if (id >= 0)
            return sg_tokens_add(ids, id, err);
    }
    SG_TRY(sg_bpe_room(&e->bpe, n, err));
    SG_TRY(reserve(ids, n, err));
    size_t k = symbols(t, e->bpe.symbol, s, n);
    SG_TRY(sg_bpe_merge(&e->bpe, k, s, t->model == SG_TEXT_BPE ? &t->merges : NULL, &t->vocab, err));
    bool after_unknown = false;
    for (uint32_t i = k ? 0 : UINT32_MAX; i != UINT32_MAX; i = e->bpe.symbol[i].next) {
        const sg_symbol *a = &e->bpe.symbol[i];
        if (a->id >= 0) {
            ids->data[ids->n++] = a->id;
            after_unknown = false;
        } else {
            unknown(t, s + a->start, a->len, &after_unknown, ids);
        }
    }
    return SG_OK;
}

/* ---- unigram ---- */

static sg_status unigram_word(const sg_tokenizer *t, sg_encoder *e, const char *s, size_t n, sg_tokens *ids, sg_error *err)
{
    if (e->best_cap < n + 1) {
        step *p = sg_realloc(e->best, (n + 1) * sizeof *p);
        if (!p)
            return sg_fail_nomem(err, "a word");
        e->best = p;
        e->best_cap = n + 1;
    }
    step *best = e->best;
    for (size_t i = 0; i <= n; i++)
        best[i] = (step){.start = UINT32_MAX};
    for (size_t i = 0; i < n;) {
        uint32_t cp, node = 0;
        size_t used = sg_utf8_decode(s + i, n - i, &cp);
        used += used == 0;
        bool single = false;
        for (size_t k = i; k < n && (node = sg_trie_step(&t->trie, node, (unsigned char)s[k]));) {
            k++;
            int32_t id = t->trie.value[node];
            if (id < 0)
                continue;
            double score = best[i].score + t->score[id];
            if (best[k].start == UINT32_MAX || score > best[k].score)
                best[k] = (step){score, id, (uint32_t)i};
            single |= k == i + used;
        }
        step *u = &best[i + used];
        if (!single && (u->start == UINT32_MAX || best[i].score + t->unknown_score > u->score))
            *u = (step){best[i].score + t->unknown_score, -1, (uint32_t)i};
        i += used;
    }
    /* Walk back, turning the chain round: best[start of a piece].start becomes its end. */
    uint32_t end = (uint32_t)n, next_end = UINT32_MAX;
    while (end > 0) {
        uint32_t start = best[end].start;
        best[end].start = next_end;
        next_end = end;
        end = start;
    }
    best[0].start = next_end;
    SG_TRY(reserve(ids, n, err));
    bool after_unknown = false;
    for (uint32_t i = 0; i < n; i = best[i].start) {
        uint32_t stop = best[i].start;
        if (best[stop].id >= 0) {
            ids->data[ids->n++] = best[stop].id;
            after_unknown = false;
        } else {
            unknown(t, s + i, stop - i, &after_unknown, ids);
        }
    }
    return SG_OK;
}

/* ---- WordPiece ---- */

static sg_status wordpiece_word(const sg_tokenizer *t, const char *s, size_t n, sg_tokens *ids, sg_error *err)
{
    size_t nchar = 0, from = ids->n;
    for (size_t i = 0; i < n; i++)
        nchar += ((unsigned char)s[i] & 0xc0) != 0x80;
    bool known = nchar <= t->word_max;
    SG_TRY(reserve(ids, known ? n + 1 : 1, err));
    for (size_t i = 0; known && i < n;) {
        uint32_t node = t->root[i > 0];
        size_t stop = i;
        int32_t id = -1;
        for (size_t k = i; k < n && (node = sg_trie_step(&t->trie, node, (unsigned char)s[k]));) {
            k++;
            if (t->trie.value[node] >= 0) {
                id = t->trie.value[node];
                stop = k;
            }
        }
        known = id >= 0;
        if (known)
            ids->data[ids->n++] = id;
        i = stop;
    }
    if (!known) {
        ids->n = from;
        if (t->unk >= 0)
            ids->data[ids->n++] = t->unk;
    }
    return SG_OK;
}

/* ---- words ---- */

/* A word that the first table of the cache does not have. */
static sg_status miss(const sg_tokenizer *t, sg_encoder *e, const char *s, size_t n, const uint64_t *key, uint64_t hash,
                      sg_tokens *ids, sg_error *err)
{
    if (!key)
        hash = sg_text_hash(s, n);
    size_t nid, from = ids->n;
    const int32_t *known = n <= SG_WORDS_LENGTH_MAX ? sg_words_find_long(&e->words, s, n, hash, &nid) : NULL;
    if (known) {
        SG_TRY(reserve(ids, nid, err));
        memcpy(ids->data + ids->n, known, nid * sizeof *known);
        ids->n += nid;
        return SG_OK;
    }
    switch (t->model) {
    case SG_TEXT_BPE:
    case SG_TEXT_SPM:
        SG_TRY(merge_word(t, e, s, n, ids, err));
        break;
    case SG_TEXT_UNIGRAM:
        SG_TRY(unigram_word(t, e, s, n, ids, err));
        break;
    case SG_TEXT_WORDPIECE:
        SG_TRY(wordpiece_word(t, s, n, ids, err));
        break;
    }
    nid = ids->n - from;
    if (!key || nid > 3 || !sg_words_put(&e->words, key, n, hash, ids->data + from, nid))
        sg_words_put_long(&e->words, s, n, hash, ids->data + from, nid);
    return SG_OK;
}

/* Encode n pieces of text[0..len). */
static sg_status words(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t len, const sg_span *span, size_t n,
                       sg_tokens *ids, sg_error *err)
{
    if (!n)
        return SG_OK;
    SG_TRY(reserve(ids, 3 * n, err));
    sg_token *w = ids->data + ids->n;
    for (size_t i = 0; i < n; i++) {
        size_t start = span[i].start, k = span[i].end - start;
        uint64_t key[2], hash = 0;
        if (k <= 16) {
            sg_word_key(key, text + start, k, len - start);
            hash = sg_word_hash(key, k);
            const sg_word *hit = sg_words_find(&e->words, key, k, hash);
            if (hit) {
                memcpy(w, hit->id, sizeof hit->id);
                w += hit->n;
                continue;
            }
        }
        ids->n = (size_t)(w - ids->data);
        SG_TRY(miss(t, e, text + start, k, k <= 16 ? key : NULL, hash, ids, err));
        SG_TRY(reserve(ids, 3 * (n - i), err));
        w = ids->data + ids->n;
    }
    ids->n = (size_t)(w - ids->data);
    return SG_OK;
}

/* Cut a piece before blanks where no token reaches over; see sg_tokenizer_finish. */
static sg_status words_at_blanks(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t len, sg_span piece,
                                 sg_tokens *ids, sg_error *err)
{
    size_t n = 0;
    uint32_t at = piece.start, i = at;
    while (i < piece.end) {
        const char *p = memchr(text + i + 1, ' ', piece.end - i - 1);
        i = p ? (uint32_t)(p - text) : piece.end;
        if (p && t->joins[(unsigned char)text[i - 1]])
            continue;
        e->span[n++] = (sg_span){at, i};
        at = i;
        if (n == BATCH) {
            SG_TRY(words(t, e, text, len, e->span, n, ids, err));
            n = 0;
        }
    }
    return words(t, e, text, len, e->span, n, ids, err);
}

static sg_status cut(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t n, bool first, sg_tokens *ids, sg_error *err)
{
    if (n == 0)
        return SG_OK;
    if (t->pretoks.n == 1 && t->pretoks.step[0].kind == SG_PRETOK_SCAN && !t->split_blanks) {
        sg_scan_fn *scan = t->pretoks.step[0].scan;
        uint32_t pos = 0;
        for (size_t k; (k = scan(text, &pos, (uint32_t)n, e->span, BATCH)) > 0;)
            SG_TRY(words(t, e, text, n, e->span, k, ids, err));
        return SG_OK;
    }
    const sg_span *span;
    size_t nspan, len = n;
    const char *s;
    SG_TRY(sg_pretoks_run(&t->pretoks, &e->pretok, text, n, first, &s, &span, &nspan, err));
    for (size_t i = nspan; i-- > 0;)
        if (span[i].end > len)
            len = span[i].end;
    if (!t->split_blanks)
        return words(t, e, s, len, span, nspan, ids, err);
    for (size_t i = 0; i < nspan; i++)
        SG_TRY(words_at_blanks(t, e, s, len, span[i], ids, err));
    return SG_OK;
}

/* Text between two raw added tokens. */
static sg_status plain(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t n, bool first, bool special,
                       sg_tokens *ids, sg_error *err)
{
    if (n == 0)
        return SG_OK;
    const char *s;
    size_t len, at = 0, start, stop;
    SG_TRY(sg_norms_run(&t->norms, &e->norm, &e->pretok.regex, text, n, &s, &len, err));
    uint32_t id;
    while (sg_added_next(&t->normalized, s, at, len, special, &start, &stop, &id)) {
        SG_TRY(cut(t, e, s + at, start - at, first && at == 0, ids, err));
        SG_TRY(sg_tokens_add(ids, (sg_token)id, err));
        at = stop;
    }
    return cut(t, e, s + at, len - at, first && at == 0, ids, err);
}

/* Each maximal ill-formed piece becomes U+FFFD. */
static sg_status make_valid(sg_buf *b, const char *text, size_t n, sg_error *err)
{
    sg_buf_clear(b);
    for (size_t i = 0; i < n;) {
        size_t ok = sg_utf8_valid_prefix(text + i, n - i);
        sg_buf_add(b, text + i, ok);
        i += ok;
        if (i < n) {
            sg_buf_adds(b, "\xef\xbf\xbd");
            i += sg_utf8_ill_formed(text + i, n - i);
        }
    }
    return sg_buf_ok(b) ? SG_OK : sg_fail_nomem(err, "a text");
}

static sg_status add_all(sg_tokens *ids, const sg_tokens *more, sg_error *err)
{
    for (size_t i = 0; i < more->n; i++)
        SG_TRY(sg_tokens_add(ids, more->data[i], err));
    return SG_OK;
}

static sg_status encode(const sg_tokenizer *t, sg_encoder *e, const char *text, size_t n, unsigned flags, sg_tokens *ids,
                        sg_error *err)
{
    if (!sg_utf8_valid(text, n)) {
        SG_TRY(make_valid(&e->clean, text, n, err));
        text = sg_buf_str(&e->clean);
        n = e->clean.len;
    }
    bool special = flags & SG_ENCODE_SPECIAL;
    if (flags & SG_ENCODE_AROUND)
        SG_TRY(add_all(ids, &t->before, err));
    size_t at = 0, start, stop;
    uint32_t id;
    while (sg_added_next(&t->raw, text, at, n, special, &start, &stop, &id)) {
        SG_TRY(plain(t, e, text + at, start - at, at == 0, special, ids, err));
        SG_TRY(sg_tokens_add(ids, (sg_token)id, err));
        at = stop;
    }
    SG_TRY(plain(t, e, text + at, n - at, at == 0, special, ids, err));
    return flags & SG_ENCODE_AROUND ? add_all(ids, &t->after, err) : SG_OK;
}

sg_status sg_tokenizer_encode(const sg_tokenizer *t, const char *text, size_t len, unsigned flags, sg_tokens *ids,
                              sg_error *err)
{
    if (len >= INT32_MAX / 3)
        return sg_fail(err, SG_E_LIMIT, "text: %zu bytes, at most %d at once", len, INT32_MAX / 3);
    sg_encoder *e;
    SG_TRY(sg_encoder_take(t, &e, err));
    size_t from = ids->n;
    sg_status st = encode(t, e, text, len, flags, ids, err);
    if (st != SG_OK)
        ids->n = from;
    sg_encoder_give(t, e);
    return st;
}
