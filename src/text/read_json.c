/* text/read_json.c - tokenizer.json (the format of the tokenizers library) and tokenizer_config.json.
 *
 *     { "added_tokens": [ {id, content, special, lstrip, rstrip, single_word, normalized}, ... ],
 *       "normalizer", "pre_tokenizer", "post_processor", "decoder": {"type": ..., ...} or null,
 *       "model": {"type": "BPE" | "Unigram" | "WordPiece", "vocab": ..., "merges": ..., ...} }
 *
 * Each component is a tagged object; a tag that we do not know is an error, never ignored.  Ids are taken as they stand,
 * but only up to a few times the number of tokens, so that one far id cannot size a table.
 *
 * Bars: a model over characters whose normaliser or pre-tokeniser turns blanks into ▁ is turned round, as
 * tokenizer.c says: pieces get the blank back, ▁ in the text becomes a blank, and the step that made ▁ is
 * dropped.  `bars` says that this file is of that kind.
 */
#include "text/readers.h"

#include "base/heap.h"
#include "base/json.h"

#include <math.h>
#include <string.h>

#define BAR "\xe2\x96\x81"

typedef struct reader {
    sg_tokenizer *t;
    const json_t *root, *model, *config;
    sg_vocab names; /* the model's vocabulary as it is written */
    bool bars;
} reader;

/* ---- small readings ---- */

static const json_t *member(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

static sg_status read_bool(const json_t *o, const char *what, const char *key, bool fallback, bool *v, sg_error *err)
{
    const json_t *x = member(o, key);
    if (x && !json_is_boolean(x))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: %s: %s is not true or false", what, key);
    *v = x ? json_is_true(x) : fallback;
    return SG_OK;
}

static bool is_string(const json_t *v, const char *s) { return json_is_string(v) && strcmp(json_string_value(v), s) == 0; }

static sg_status type_of(const json_t *o, const char *what, const char **type, sg_error *err)
{
    const json_t *v = member(o, "type");
    if (!json_is_object(o) || !json_is_string(v))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: %s: not an object with a type", what);
    *type = json_string_value(v);
    return SG_OK;
}

static sg_status unknown_type(const char *what, const char *type, sg_error *err)
{
    return sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: %s: type '%s' is not one we know", what, type);
}

/* A number as it is written, for errors. */
static void show(const json_t *v, char *out, size_t cap)
{
    if (json_is_integer(v))
        snprintf(out, cap, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, cap, "%g", json_real_value(v));
    else
        snprintf(out, cap, "%s", json_is_string(v) ? json_string_value(v) : "something else");
}

static sg_status read_token_id(const json_t *v, const char *token, size_t max, uint32_t *id, sg_error *err)
{
    json_int_t x = json_is_integer(v) ? json_integer_value(v) : -1;
    if (x < 0 || (uint64_t)x >= max) {
        char s[64];
        show(v, s, sizeof s);
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: token '%.60s' has id %s, not a number from 0 to %zu", token, s, max - 1);
    }
    *id = (uint32_t)x;
    return SG_OK;
}

/* ---- vocabulary ---- */

static const json_t *added_tokens(const reader *r)
{
    const json_t *a = member(r->root, "added_tokens");
    return json_is_array(a) ? a : NULL;
}

static sg_status put_piece(reader *r, uint32_t id, const char *s, size_t n, sg_error *err)
{
    sg_tokenizer *t = r->t;
    unsigned flags = SG_PIECE_MATCH;
    if (t->byte_level)
        return sg_read_gpt2_piece(t, id, s, n, flags, err);
    if (t->model == SG_TEXT_WORDPIECE) {
        const json_t *p = member(r->model, "continuing_subword_prefix");
        const char *prefix = json_is_string(p) ? json_string_value(p) : "##";
        size_t k = strlen(prefix);
        if (k && n > k && memcmp(s, prefix, k) == 0)
            return sg_vocab_put(&t->vocab, id, s + k, n - k, flags | SG_PIECE_CONTINUES, err);
        return sg_vocab_put(&t->vocab, id, s, n, flags, err);
    }
    int byte = t->byte_fallback ? sg_byte_token(s, n) : -1;
    if (byte >= 0)
        return sg_vocab_put(&t->vocab, id, (const char[]){(char)byte}, 1, SG_PIECE_BYTE, err);
    return r->bars ? sg_read_bar_piece(t, id, s, n, flags, err) : sg_vocab_put(&t->vocab, id, s, n, flags, err);
}

static sg_status put_both(reader *r, uint32_t id, const char *s, size_t n, sg_error *err)
{
    sg_status st = sg_vocab_put(&r->names, id, s, n, SG_PIECE_MATCH, err);
    if (st == SG_OK)
        st = put_piece(r, id, s, n, err);
    return st == SG_OK ? st : sg_fail_at(err, st, "tokenizer.json");
}

static size_t id_limit(const reader *r, size_t n) { return 4 * (n + json_array_size(added_tokens(r))) + 1024; }

static sg_status size_vocab(reader *r, size_t n, sg_error *err)
{
    if (n == 0)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: vocab is empty");
    SG_TRY(sg_vocab_grow(&r->t->vocab, n, err));
    return sg_vocab_grow(&r->names, n, err);
}

/* {"token": id, ...} */
static sg_status read_vocab_object(reader *r, sg_error *err)
{
    json_t *vocab = json_object_get(r->model, "vocab");
    if (!json_is_object(vocab))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: vocab is %s", vocab ? "not an object" : "missing");
    size_t limit = id_limit(r, json_object_size(vocab)), top = 0;
    const char *key;
    json_t *v;
    uint32_t id = 0;
    json_object_foreach(vocab, key, v) {
        SG_TRY(read_token_id(v, key, limit, &id, err));
        if (id >= top)
            top = (size_t)id + 1;
    }
    SG_TRY(size_vocab(r, top, err));
    void *it = json_object_iter(vocab);
    for (; it; it = json_object_iter_next(vocab, it))
        SG_TRY(put_both(r, (uint32_t)json_integer_value(json_object_iter_value(it)), json_object_iter_key(it),
                        json_object_iter_key_len(it), err));
    return sg_vocab_index(&r->names, err);
}

/* [["token", score], ...] */
static sg_status read_vocab_list(reader *r, sg_error *err)
{
    json_t *vocab = json_object_get(r->model, "vocab"), *pair;
    if (!json_is_array(vocab))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: vocab is %s", vocab ? "not a list" : "missing");
    size_t i;
    SG_TRY(size_vocab(r, json_array_size(vocab), err));
    r->t->score = sg_calloc(json_array_size(vocab), sizeof *r->t->score);
    if (!r->t->score)
        return sg_fail_nomem(err, "the vocabulary");
    json_array_foreach(vocab, i, pair) {
        const json_t *s = json_array_get(pair, 0), *x = json_array_get(pair, 1);
        if (!json_is_array(pair) || json_array_size(pair) != 2 || !json_is_string(s) || !json_is_number(x))
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: vocab: entry %zu is not [token, score]", i);
        r->t->score[i] = json_number_value(x);
        SG_TRY(put_both(r, (uint32_t)i, json_string_value(s), json_string_length(s), err));
    }
    return sg_vocab_index(&r->names, err);
}

static sg_status read_merge(reader *r, const json_t *m, size_t i, sg_error *err)
{
    if (json_is_string(m))
        return sg_read_merge_line(r->t, &r->names, json_string_value(m), json_string_length(m), i, "tokenizer.json: merges", err);
    const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
    if (!json_is_array(m) || json_array_size(m) != 2 || !json_is_string(a) || !json_is_string(b))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: merges: merge %zu is not two strings", i);
    return sg_read_merge(r->t, &r->names, json_string_value(a), json_string_length(a), json_string_value(b),
                         json_string_length(b), i, "tokenizer.json: merges", err);
}

static sg_status read_merges(reader *r, sg_error *err)
{
    json_t *merges = json_object_get(r->model, "merges"), *m;
    size_t i;
    if (!json_is_array(merges))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: merges is %s", merges ? "not a list" : "missing");
    SG_TRY(sg_merges_init(&r->t->merges, json_array_size(merges), err));
    json_array_foreach(merges, i, m)
        SG_TRY(read_merge(r, m, i, err));
    return SG_OK;
}

static sg_status read_unknown(reader *r, sg_error *err)
{
    const json_t *u = member(r->model, "unk_token");
    if (!u)
        return SG_OK;
    if (!json_is_string(u))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: unk_token is not a string");
    r->t->unk = sg_vocab_find(&r->names, json_string_value(u), json_string_length(u));
    return SG_OK;
}

static sg_status read_bpe(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    SG_TRY(read_bool(r->model, "model", "byte_fallback", false, &t->byte_fallback, err));
    SG_TRY(read_bool(r->model, "model", "fuse_unk", false, &t->fuse_unknown, err));
    SG_TRY(read_bool(r->model, "model", "ignore_merges", false, &t->ignore_merges, err));
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const json_t *v = member(r->model, affixes[i]);
        if (json_is_string(v) && json_string_length(v) > 0)
            return sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: model: %s", affixes[i]);
    }
    SG_TRY(read_vocab_object(r, err));
    SG_TRY(read_unknown(r, err));
    return read_merges(r, err);
}

static sg_status read_unigram(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    t->fuse_unknown = true;
    SG_TRY(read_bool(r->model, "model", "byte_fallback", false, &t->byte_fallback, err));
    SG_TRY(read_vocab_list(r, err));
    const json_t *u = member(r->model, "unk_id");
    if (!u)
        return SG_OK;
    if (!json_is_integer(u) || json_integer_value(u) < 0 || (uint64_t)json_integer_value(u) >= t->vocab.n)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: unk_id is not one of 0 to %u", t->vocab.n - 1);
    t->unk = (sg_token)json_integer_value(u);
    t->vocab.flags[t->unk] &= (uint8_t)~SG_PIECE_MATCH;
    return SG_OK;
}

static sg_status read_wordpiece(reader *r, sg_error *err)
{
    const json_t *max = member(r->model, "max_input_chars_per_word");
    if (json_is_integer(max) && json_integer_value(max) >= 0 && json_integer_value(max) < 100000)
        r->t->word_max = (size_t)json_integer_value(max);
    SG_TRY(read_vocab_object(r, err));
    return read_unknown(r, err);
}

/* ---- added tokens ---- */

static unsigned added_flags(const json_t *a)
{
    return (json_is_true(json_object_get(a, "special")) ? SG_ADDED_SPECIAL : 0u) |
           (json_is_true(json_object_get(a, "lstrip")) ? SG_ADDED_LSTRIP : 0u) |
           (json_is_true(json_object_get(a, "rstrip")) ? SG_ADDED_RSTRIP : 0u) |
           (json_is_true(json_object_get(a, "single_word")) ? SG_ADDED_WORD : 0u) |
           (json_is_true(json_object_get(a, "normalized")) ? SG_ADDED_NORMALIZED : 0u);
}

static sg_status put_added(reader *r, const char *s, size_t n, uint32_t id, unsigned flags, sg_error *err)
{
    sg_tokenizer *t = r->t;
    sg_vocab *v = &t->vocab;
    if (id >= v->n)
        SG_TRY(sg_vocab_grow(v, (size_t)id + 1, err));
    bool there = v->flags[id] & SG_PIECE_SET;
    if (there && id < r->names.n && r->names.flags[id] & SG_PIECE_SET &&
        (r->names.len[id] != n || memcmp(sg_vocab_piece(&r->names, id), s, n) != 0))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: added token '%.60s' has id %u, which is '%.*s'", s, id,
                       (int)(r->names.len[id] < 60 ? r->names.len[id] : 60), sg_vocab_piece(&r->names, id));
    if (!there) {
        sg_status st = r->bars ? sg_read_bar_piece(t, id, s, n, 0, err) : sg_vocab_put(v, id, s, n, 0, err);
        if (st != SG_OK)
            return st;
    } else if (t->byte_level && !(v->flags[id] & SG_PIECE_ADDED)) { /* an added token shows its text, not GPT-2's alphabet */
        unsigned keep = v->flags[id] & ~(unsigned)SG_PIECE_SET;
        v->flags[id] = 0;
        SG_TRY(sg_vocab_put(v, id, s, n, keep & ~(unsigned)SG_PIECE_MATCH, err));
    }
    v->flags[id] |= SG_PIECE_ADDED;
    if (flags & SG_ADDED_SPECIAL)
        v->flags[id] |= SG_PIECE_SPECIAL;
    if (n == 0 || sg_tokenizer_find(t, s) >= 0)
        return SG_OK;
    return sg_tokenizer_add(t, s, n, id, flags, err);
}

static sg_status read_added(reader *r, sg_error *err)
{
    const json_t *list = member(r->root, "added_tokens"), *a;
    size_t i, limit = id_limit(r, r->t->vocab.n);
    if (list && !json_is_array(list))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: added_tokens is not a list");
    json_array_foreach(list, i, a) {
        const json_t *s = json_object_get(a, "content");
        uint32_t id = 0;
        if (!json_is_string(s))
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: added token %zu: no content", i);
        SG_TRY(read_token_id(json_object_get(a, "id"), json_string_value(s), limit, &id, err));
        SG_TRY(put_added(r, json_string_value(s), json_string_length(s), id, added_flags(a), err));
    }
    return SG_OK;
}

/* ---- normaliser ---- */

static sg_status read_pattern(const json_t *o, const char *what, const json_t **s, bool *regex, sg_error *err)
{
    const json_t *p = member(o, "pattern");
    *s = json_object_get(p, "String");
    *regex = false;
    if (!json_is_string(*s)) {
        *s = json_object_get(p, "Regex");
        *regex = true;
    }
    if (!json_is_string(*s))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: %s: pattern is neither a String nor a Regex", what);
    return SG_OK;
}

static sg_status norm_replace(reader *r, const json_t *o, sg_error *err)
{
    const json_t *s = NULL, *to = member(o, "content");
    bool regex = false;
    SG_TRY(read_pattern(o, "normalizer: Replace", &s, &regex, err));
    if (!json_is_string(to))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: normalizer: Replace: content is not a string");
    if (r->bars && !regex && is_string(s, " ") && is_string(to, BAR))
        return sg_norms_add_replace(&r->t->norms, BAR, 3, false, " ", 1, err);
    return sg_norms_add_replace(&r->t->norms, json_string_value(s), json_string_length(s), regex, json_string_value(to),
                                json_string_length(to), err);
}

static sg_status norm_precompiled(reader *r, const json_t *o, sg_error *err)
{
    const json_t *s = member(o, "precompiled_charsmap");
    if (!json_is_string(s))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: normalizer: precompiled_charsmap is not a string");
    sg_buf b = SG_BUF_INIT;
    bool ok = sg_buf_add_base64(&b, json_string_value(s), json_string_length(s));
    sg_status st = !ok               ? sg_fail(err, SG_E_FORMAT, "tokenizer.json: normalizer: precompiled_charsmap is no base64")
                   : !sg_buf_ok(&b) ? sg_fail_nomem(err, "a normalizer")
                                     : sg_norms_add_charsmap(&r->t->norms, sg_buf_str(&b), b.len, err);
    sg_buf_fini(&b);
    return st;
}

static sg_status norm_bert(reader *r, const json_t *o, sg_error *err)
{
    bool clean = true, chinese = true, lower = true, accents = true;
    SG_TRY(read_bool(o, "normalizer", "clean_text", true, &clean, err));
    SG_TRY(read_bool(o, "normalizer", "handle_chinese_chars", true, &chinese, err));
    SG_TRY(read_bool(o, "normalizer", "lowercase", true, &lower, err));
    SG_TRY(read_bool(o, "normalizer", "strip_accents", lower, &accents, err));
    return sg_read_bert_steps(r->t, clean, chinese, accents, lower, err);
}

enum { DEPTH = 8 };

static sg_status read_norm(reader *r, const json_t *o, int depth, sg_error *err)
{
    static const struct {
        const char *type;
        sg_norm step;
    } plain[] = {
        {"NFC", {.kind = SG_NORM_UNICODE, .form = SG_NFC}},   {"NFD", {.kind = SG_NORM_UNICODE, .form = SG_NFD}},
        {"NFKC", {.kind = SG_NORM_UNICODE, .form = SG_NFKC}}, {"NFKD", {.kind = SG_NORM_UNICODE, .form = SG_NFKD}},
        {"Lowercase", {.kind = SG_NORM_LOWERCASE}},           {"StripAccents", {.kind = SG_NORM_ACCENTS}},
        {"Nmt", {.kind = SG_NORM_NMT}},
    };
    const char *type = "";
    SG_TRY(type_of(o, "normalizer", &type, err));
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strcmp(type, plain[i].type) == 0)
            return sg_norms_add(&r->t->norms, plain[i].step, err);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = member(o, "normalizers"), *s;
        size_t i;
        if (!json_is_array(list) || depth == DEPTH)
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: normalizer: a Sequence without normalizers, or too deep");
        json_array_foreach(list, i, s)
            SG_TRY(read_norm(r, s, depth + 1, err));
        return SG_OK;
    }
    if (strcmp(type, "Replace") == 0)
        return norm_replace(r, o, err);
    if (strcmp(type, "Precompiled") == 0)
        return norm_precompiled(r, o, err);
    if (strcmp(type, "BertNormalizer") == 0)
        return norm_bert(r, o, err);
    if (strcmp(type, "Strip") == 0) {
        sg_norm s = {.kind = SG_NORM_STRIP};
        SG_TRY(read_bool(o, "normalizer", "strip_left", true, &s.left, err));
        SG_TRY(read_bool(o, "normalizer", "strip_right", true, &s.right, err));
        return sg_norms_add(&r->t->norms, s, err);
    }
    if (strcmp(type, "Prepend") == 0) {
        const json_t *p = member(o, "prepend");
        if (!json_is_string(p))
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: normalizer: Prepend: prepend is not a string");
        if (r->bars && is_string(p, BAR))
            return sg_norms_add_prepend(&r->t->norms, " ", 1, err);
        return sg_norms_add_prepend(&r->t->norms, json_string_value(p), json_string_length(p), err);
    }
    return unknown_type("normalizer", type, err);
}

/* ---- pre-tokeniser ---- */

static sg_status read_behavior(const json_t *o, sg_split_behavior fallback, sg_split_behavior *b, sg_error *err)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const json_t *v = member(o, "behavior");
    *b = fallback;
    if (!v)
        return SG_OK;
    for (int i = 0; i < 5; i++)
        if (is_string(v, names[i])) {
            *b = (sg_split_behavior)i;
            return SG_OK;
        }
    return sg_fail(err, SG_E_FORMAT, "tokenizer.json: pre_tokenizer: behavior '%s'", json_is_string(v) ? json_string_value(v) : "?");
}

static sg_status pre_split(reader *r, const json_t *o, sg_error *err)
{
    const json_t *s = NULL;
    bool regex = false, invert = false;
    sg_split_behavior behavior = SG_SPLIT_ISOLATED;
    SG_TRY(read_pattern(o, "pre_tokenizer: Split", &s, &regex, err));
    SG_TRY(read_bool(o, "pre_tokenizer", "invert", false, &invert, err));
    SG_TRY(read_behavior(o, SG_SPLIT_ISOLATED, &behavior, err));
    if (r->bars && !regex && is_string(s, " "))
        return SG_OK; /* all blanks are ▁ by then */
    if (regex)
        return sg_pretoks_add_regex(&r->t->pretoks, json_string_value(s), json_string_length(s), behavior, invert, err);
    return sg_pretoks_add_literal(&r->t->pretoks, json_string_value(s), json_string_length(s), behavior, invert, err);
}

static sg_status pre_byte_level(reader *r, const json_t *o, sg_error *err)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    bool prefix = false, regex = false;
    SG_TRY(read_bool(o, "pre_tokenizer", "add_prefix_space", true, &prefix, err));
    SG_TRY(read_bool(o, "pre_tokenizer", "use_regex", true, &regex, err));
    if (prefix)
        SG_TRY(sg_pretoks_add(&r->t->pretoks, &(sg_pretok){.kind = SG_PRETOK_PREFIX}, err));
    if (regex)
        return sg_pretoks_add_regex(&r->t->pretoks, gpt2, sizeof gpt2 - 1, SG_SPLIT_ISOLATED, false, err);
    return SG_OK;
}

static sg_status pre_metaspace(reader *r, const json_t *o, sg_error *err)
{
    const json_t *rep = member(o, "replacement"), *scheme = member(o, "prepend_scheme");
    bool split = true, add = true;
    SG_TRY(read_bool(o, "pre_tokenizer", "split", true, &split, err));
    SG_TRY(read_bool(o, "pre_tokenizer", "add_prefix_space", true, &add, err));
    if (rep && !is_string(rep, BAR))
        return sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: pre_tokenizer: Metaspace with another replacement");
    sg_pretok s = {.kind = SG_PRETOK_METASPACE, .cut = split, .blanks = r->bars, .prepend = add ? SG_PREPEND_ALWAYS : SG_PREPEND_NEVER};
    if (is_string(scheme, "never"))
        s.prepend = SG_PREPEND_NEVER;
    else if (is_string(scheme, "first"))
        s.prepend = SG_PREPEND_FIRST;
    else if (is_string(scheme, "always"))
        s.prepend = SG_PREPEND_ALWAYS;
    return sg_pretoks_add(&r->t->pretoks, &s, err);
}

static sg_status pre_class(reader *r, sg_pretok_class class, sg_split_behavior behavior, sg_error *err)
{
    return sg_pretoks_add(&r->t->pretoks, &(sg_pretok){.kind = SG_PRETOK_CLASS, .class = class, .behavior = behavior}, err);
}

static sg_status read_pre(reader *r, const json_t *o, int depth, sg_error *err)
{
    const char *type = "";
    SG_TRY(type_of(o, "pre_tokenizer", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = member(o, "pretokenizers"), *s;
        size_t i;
        if (!json_is_array(list) || depth == DEPTH)
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: pre_tokenizer: a Sequence without pretokenizers, or too deep");
        json_array_foreach(list, i, s)
            SG_TRY(read_pre(r, s, depth + 1, err));
        return SG_OK;
    }
    if (strcmp(type, "Split") == 0)
        return pre_split(r, o, err);
    if (strcmp(type, "ByteLevel") == 0)
        return pre_byte_level(r, o, err);
    if (strcmp(type, "Metaspace") == 0)
        return pre_metaspace(r, o, err);
    if (strcmp(type, "BertPreTokenizer") == 0)
        return sg_read_bert_words(r->t, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return pre_class(r, SG_CLASS_SPACE, SG_SPLIT_REMOVED, err);
    if (strcmp(type, "Whitespace") == 0)
        return sg_pretoks_add_regex(&r->t->pretoks, "\\w+|[^\\w\\s]+", 13, SG_SPLIT_REMOVED, true, err);
    if (strcmp(type, "Digits") == 0) {
        bool each = false;
        SG_TRY(read_bool(o, "pre_tokenizer", "individual_digits", false, &each, err));
        return sg_pretoks_add_regex(&r->t->pretoks, each ? "\\p{N}" : "\\p{N}+", each ? 5 : 6, SG_SPLIT_ISOLATED, false, err);
    }
    if (strcmp(type, "Punctuation") == 0) {
        sg_split_behavior b = SG_SPLIT_ISOLATED;
        SG_TRY(read_behavior(o, SG_SPLIT_ISOLATED, &b, err));
        return pre_class(r, SG_CLASS_BERT_PUNCT, b, err);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0 && json_is_string(member(o, "delimiter"))) {
        const json_t *d = member(o, "delimiter");
        return sg_pretoks_add_literal(&r->t->pretoks, json_string_value(d), json_string_length(d), SG_SPLIT_REMOVED, false, err);
    }
    if (strcmp(type, "FixedLength") == 0 && json_is_integer(member(o, "length")) && json_integer_value(member(o, "length")) > 0)
        return sg_pretoks_add(&r->t->pretoks,
                              &(sg_pretok){.kind = SG_PRETOK_FIXED, .nliteral = (size_t)json_integer_value(member(o, "length"))}, err);
    return unknown_type("pre_tokenizer", type, err);
}

/* ---- post-processor ---- */

static sg_status around(reader *r, bool *behind, const json_t *pair, sg_error *err)
{
    const json_t *id = json_array_get(pair, 1), *s = json_array_get(pair, 0);
    uint32_t x = 0;
    if (!json_is_string(s))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: post_processor: not a [token, id]");
    SG_TRY(read_token_id(id, json_string_value(s), r->t->vocab.n, &x, err));
    return sg_tokens_add(*behind ? &r->t->after : &r->t->before, (sg_token)x, err);
}

static sg_status post_template(reader *r, const json_t *o, sg_error *err)
{
    const json_t *list = member(o, "single"), *defs = member(o, "special_tokens"), *part, *idv;
    size_t i, k;
    bool behind = false;
    json_array_foreach(list, i, part) {
        const json_t *sp = json_object_get(part, "SpecialToken");
        if (!sp) {
            behind = true;
            continue;
        }
        const json_t *name = json_object_get(sp, "id");
        const json_t *ids = json_is_string(name) ? json_object_get(json_object_get(defs, json_string_value(name)), "ids") : NULL;
        if (!json_is_array(ids))
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: post_processor: special token '%.60s' is not defined",
                           json_is_string(name) ? json_string_value(name) : "?");
        json_array_foreach(ids, k, idv) {
            uint32_t id = 0;
            SG_TRY(read_token_id(idv, json_string_value(name), r->t->vocab.n, &id, err));
            SG_TRY(sg_tokens_add(behind ? &r->t->after : &r->t->before, (sg_token)id, err));
        }
    }
    return SG_OK;
}

static sg_status read_post(reader *r, const json_t *o, int depth, sg_error *err)
{
    const char *type = "";
    SG_TRY(type_of(o, "post_processor", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = member(o, "processors"), *s;
        size_t i;
        if (!json_is_array(list) || depth == DEPTH)
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: post_processor: a Sequence without processors, or too deep");
        json_array_foreach(list, i, s)
            SG_TRY(read_post(r, s, depth + 1, err));
        return SG_OK;
    }
    if (strcmp(type, "ByteLevel") == 0) /* moves offsets, not ids */
        return SG_OK;
    if (strcmp(type, "TemplateProcessing") == 0)
        return post_template(r, o, err);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        bool front = false, behind = true;
        SG_TRY(around(r, &front, member(o, "cls"), err));
        return around(r, &behind, member(o, "sep"), err);
    }
    return unknown_type("post_processor", type, err);
}

/* ---- decoder ---- */

static sg_status read_decoder(reader *r, const json_t *o, int depth, sg_error *err)
{
    sg_tokenizer *t = r->t;
    const char *type = "";
    SG_TRY(type_of(o, "decoder", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        const json_t *list = member(o, "decoders"), *s;
        size_t i;
        if (!json_is_array(list) || depth == DEPTH)
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: decoder: a Sequence without decoders, or too deep");
        json_array_foreach(list, i, s)
            SG_TRY(read_decoder(r, s, depth + 1, err));
        return SG_OK;
    }
    if (t->decoder == SG_DECODE_WORDS)
        t->decoder = SG_DECODE_BYTES;
    if (strcmp(type, "ByteLevel") == 0 || strcmp(type, "ByteFallback") == 0 || strcmp(type, "Fuse") == 0)
        return SG_OK;
    if (strcmp(type, "Replace") == 0) {
        const json_t *s = NULL, *to = member(o, "content");
        bool regex = false;
        SG_TRY(read_pattern(o, "decoder: Replace", &s, &regex, err));
        if (!regex && is_string(s, BAR) && is_string(to, " ")) {
            t->show_bars = !r->bars;
            return SG_OK;
        }
        return sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: decoder: Replace of anything but a bar by a blank");
    }
    if (strcmp(type, "Strip") == 0) {
        if (is_string(member(o, "content"), " ") && json_integer_value(member(o, "start")) == 1)
            t->decoder = SG_DECODE_BLANK;
        return SG_OK;
    }
    if (strcmp(type, "Metaspace") == 0) {
        t->show_bars = !r->bars;
        t->decoder = is_string(member(o, "prepend_scheme"), "never") ? SG_DECODE_BYTES : SG_DECODE_BLANK;
        return SG_OK;
    }
    if (strcmp(type, "WordPiece") == 0) {
        t->decoder = SG_DECODE_WORDPIECE;
        return read_bool(o, "decoder", "cleanup", true, &t->clean_up, err);
    }
    return unknown_type("decoder", type, err);
}

/* ---- the file ---- */

/* Whether some component of a kind (by its type, through Sequences) satisfies a test. */
static bool any(const json_t *o, const char *list, bool (*test)(const json_t *o), int depth)
{
    if (!json_is_object(o) || depth == DEPTH)
        return false;
    const json_t *l = json_object_get(o, list), *s;
    size_t i;
    if (is_string(json_object_get(o, "type"), "Sequence")) {
        json_array_foreach(l, i, s)
            if (any(s, list, test, depth + 1))
                return true;
        return false;
    }
    return test(o);
}

static bool is_byte_level(const json_t *o) { return is_string(json_object_get(o, "type"), "ByteLevel"); }

static bool makes_bars(const json_t *o)
{
    const json_t *type = json_object_get(o, "type");
    return is_string(type, "Metaspace") ||
           (is_string(type, "Replace") && is_string(json_object_get(json_object_get(o, "pattern"), "String"), " ") &&
            is_string(json_object_get(o, "content"), BAR));
}

static bool hinders_bars(const json_t *o)
{
    const json_t *type = json_object_get(o, "type");
    return !(is_string(type, "Metaspace") || is_string(type, "WhitespaceSplit") ||
             (is_string(type, "Split") && is_string(json_object_get(json_object_get(o, "pattern"), "String"), " ")));
}

static sg_status read_model(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    r->model = member(r->root, "model");
    if (!r->model)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: there is no model");
    const json_t *kind = member(r->model, "type");
    const json_t *pre = member(r->root, "pre_tokenizer"), *norm = member(r->root, "normalizer");
    const char *type = json_is_string(kind)                              ? json_string_value(kind)
                       : json_is_array(json_object_get(r->model, "vocab")) ? "Unigram"
                       : json_object_get(r->model, "merges")               ? "BPE"
                                                                           : "WordPiece";
    t->byte_level = strcmp(type, "BPE") == 0 &&
                    (any(pre, "pretokenizers", is_byte_level, 0) || any(norm, "normalizers", is_byte_level, 0) ||
                     any(member(r->root, "decoder"), "decoders", is_byte_level, 0));
    r->bars = !t->byte_level && (any(pre, "pretokenizers", makes_bars, 0) || any(norm, "normalizers", makes_bars, 0)) &&
              !any(pre, "pretokenizers", hinders_bars, 0);
    SG_TRY(sg_vocab_init(&t->vocab, 0, err));
    SG_TRY(sg_vocab_init(&r->names, 0, err));
    if (strcmp(type, "BPE") == 0) {
        t->model = SG_TEXT_BPE;
        return read_bpe(r, err);
    }
    if (strcmp(type, "Unigram") == 0) {
        t->model = SG_TEXT_UNIGRAM;
        return read_unigram(r, err);
    }
    if (strcmp(type, "WordPiece") == 0) {
        t->model = SG_TEXT_WORDPIECE;
        return read_wordpiece(r, err);
    }
    return unknown_type("model", type, err);
}

static sg_status read_components(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    const json_t *norm = member(r->root, "normalizer"), *pre = member(r->root, "pre_tokenizer");
    const json_t *post = member(r->root, "post_processor"), *dec = member(r->root, "decoder");
    if (norm)
        SG_TRY(read_norm(r, norm, 0, err));
    if (pre)
        SG_TRY(read_pre(r, pre, 0, err));
    if (post)
        SG_TRY(read_post(r, post, 0, err));
    t->decoder = t->byte_level ? SG_DECODE_BYTES : SG_DECODE_WORDS;
    return dec ? read_decoder(r, dec, 0, err) : SG_OK;
}

/* ---- names of tokens ---- */

static const char *config_name(const reader *r, const char *key)
{
    const json_t *v = member(r->config, key);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    return json_is_string(v) ? json_string_value(v) : NULL;
}

static sg_token named(const reader *r, const char *key, const char *const *guesses)
{
    const char *name = config_name(r, key);
    if (r->config)
        return name ? sg_tokenizer_find(r->t, name) : SG_TOKEN_NONE;
    for (; *guesses; guesses++) {
        sg_token id = sg_tokenizer_find(r->t, *guesses);
        if (id >= 0)
            return id;
    }
    return SG_TOKEN_NONE;
}

static sg_status read_names(reader *r, sg_error *err)
{
    static const char *const bos[] = {"<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]",
                                      ("<\xef\xbd\x9c" "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"), NULL};
    static const char *const eos[] = {"</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "[SEP]",
                                      ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"), NULL};
    static const char *const unk[] = {"<unk>", "[UNK]", NULL}, *const pad[] = {"<pad>", "[PAD]", NULL};
    static const char *const sep[] = {"[SEP]", NULL}, *const mask[] = {"[MASK]", "<mask>", NULL};
    sg_tokenizer *t = r->t;
    t->bos = named(r, "bos_token", bos);
    if (t->bos < 0)
        t->bos = named(r, "cls_token", (const char *const[]){"[CLS]", NULL});
    t->eos = named(r, "eos_token", eos);
    t->pad = named(r, "pad_token", pad);
    t->sep = named(r, "sep_token", sep);
    t->mask = named(r, "mask_token", mask);
    if (t->eos < 0 && t->model == SG_TEXT_WORDPIECE)
        t->eos = t->sep;
    if (t->unk < 0 && !t->byte_level)
        t->unk = named(r, "unk_token", unk);
    if (t->bos >= 0 && t->before.n == 0 && json_is_true(member(r->config, "add_bos_token")))
        SG_TRY(sg_tokens_add(&t->before, t->bos, err));
    if (t->eos >= 0 && t->after.n == 0 && json_is_true(member(r->config, "add_eos_token")))
        SG_TRY(sg_tokens_add(&t->after, t->eos, err));
    return SG_OK;
}

/* Tokens that only tokenizer_config.json knows. */
static sg_status read_config_added(reader *r, sg_error *err)
{
    json_t *list = json_object_get(r->config, "added_tokens_decoder"), *a;
    const char *key;
    size_t limit = id_limit(r, r->t->vocab.n);
    if (!json_is_object(list))
        return SG_OK;
    json_object_foreach(list, key, a) {
        const json_t *s = json_object_get(a, "content");
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        if (!json_is_string(s) || end == key || *end || id >= limit)
            return sg_fail(err, SG_E_FORMAT, "tokenizer_config.json: added_tokens_decoder: '%.40s'", key);
        if (sg_tokenizer_find(r->t, json_string_value(s)) < 0)
            SG_TRY(put_added(r, json_string_value(s), json_string_length(s), (uint32_t)id, added_flags(a), err));
    }
    return SG_OK;
}

static sg_status read_all(reader *r, sg_error *err)
{
    if (!json_is_object(r->root))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: not an object");
    SG_TRY(read_model(r, err));
    SG_TRY(read_added(r, err));
    SG_TRY(read_config_added(r, err));
    SG_TRY(read_components(r, err));
    SG_TRY(read_names(r, err));
    return sg_tokenizer_finish(r->t, err);
}

/* Parse strictly.  The JSON library ends the process on some failing allocations, so it is asked first whether there is
 * room for what it will want. */
static sg_status parse(json_t **v, const char *text, size_t n, const char *what, sg_error *err)
{
    json_error_t e;
    void *room = n < SIZE_MAX / 16 ? sg_alloc(n * 12 + 65536) : NULL;
    if (!room)
        return sg_fail_nomem(err, what);
    sg_free(room);
    sg_json_init();
    *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (*v)
        return SG_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return sg_fail_nomem(err, what);
    return sg_fail(err, SG_E_FORMAT, "%s: line %d column %d: %s", what, e.line, e.column, e.text);
}

sg_status sg_tokenizer_new_from_values(sg_tokenizer **out, const json_t *root, const json_t *config, sg_error *err)
{
    reader r = {.root = root, .config = config};
    SG_TRY(sg_tokenizer_new(&r.t, err));
    sg_status st = read_all(&r, err);
    sg_vocab_fini(&r.names);
    if (st == SG_OK)
        *out = r.t;
    else
        sg_tokenizer_free(r.t);
    return st;
}

sg_status sg_tokenizer_new_from_json(sg_tokenizer **out, const char *text, size_t n, const char *config, size_t nconfig,
                                     sg_error *err)
{
    json_t *root = NULL, *conf = NULL;
    sg_status st = parse(&root, text, n, "tokenizer.json", err);
    if (st == SG_OK && config)
        st = parse(&conf, config, nconfig, "tokenizer_config.json", err);
    if (st == SG_OK)
        st = sg_tokenizer_new_from_values(out, root, conf, err);
    json_decref(root);
    json_decref(conf);
    return st;
}
