/* text/read_gguf.c - tokenizers from model metadata with GGUF's keys (tokenizer.ggml.*).
 *
 *     tokenizer.ggml.model       gpt2 (byte-level BPE) | llama (SentencePiece BPE) | t5 (unigram) | bert (WordPiece)
 *     tokenizer.ggml.pre         how gpt2 cuts words, by name
 *     tokenizer.ggml.tokens      [n] text; gpt2 in GPT-2's alphabet, bert with ▁ where a word starts
 *     tokenizer.ggml.token_type  [n] 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
 *     tokenizer.ggml.scores      [n] llama, t5
 *     tokenizer.ggml.merges      gpt2: "left right" by rank
 *     *_token_id, add_bos_token, add_eos_token, add_space_prefix, remove_extra_whitespaces, precompiled_charsmap
 *
 * The arrays are checked against each other before any is used; no key but the number of tokens sizes
 * anything.
 */
#include "text/readers.h"

#include "base/heap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY "tokenizer.ggml."

typedef struct reader {
    sg_tokenizer *t;
    const sg_dict *meta;
    const sg_array *tokens;
    const sg_array *types; /* NULL: all normal */
    bool add_bos, add_eos;
} reader;

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };
enum { WIRE_UINT32 = 4, WIRE_INT32 = 5, WIRE_FLOAT32 = 6 };

static int64_t type_of(const reader *r, size_t i)
{
    if (!r->types)
        return NORMAL;
    return r->types->kind == SG_KIND_U64 ? (int64_t)r->types->u[i] : r->types->i[i];
}

static sg_status read_types(reader *r, sg_error *err)
{
    const sg_value *v = sg_dict_find(r->meta, KEY "token_type");
    if (!v)
        return SG_OK;
    if (v->kind != SG_KIND_ARRAY || (v->a.kind != SG_KIND_I64 && v->a.kind != SG_KIND_U64) ||
        (v->wire && v->wire_element != WIRE_UINT32 && v->wire_element != WIRE_INT32))
        return sg_fail(err, SG_E_FORMAT, KEY "token_type: not an array of 32-bit integers");
    if (v->a.n != r->tokens->n)
        return sg_fail(err, SG_E_FORMAT, KEY "token_type: %zu entries for %zu tokens", v->a.n, r->tokens->n);
    r->types = &v->a;
    for (size_t i = 0; i < v->a.n; i++)
        if (type_of(r, i) < 0 || type_of(r, i) > BYTE)
            return sg_fail(err, SG_E_FORMAT, KEY "token_type: token %zu has type %lld, known are 1 to 6", i,
                           (long long)type_of(r, i));
    return SG_OK;
}

static sg_status read_scores(reader *r, sg_error *err)
{
    const sg_value *v = sg_dict_find(r->meta, KEY "scores");
    if (!v)
        return sg_fail(err, SG_E_FORMAT, KEY "scores: missing; the vocabulary has no order of merging without it");
    if (v->kind != SG_KIND_ARRAY || v->a.kind != SG_KIND_F64 || (v->wire && v->wire_element != WIRE_FLOAT32))
        return sg_fail(err, SG_E_FORMAT, KEY "scores: not an array of 32-bit floats");
    if (v->a.n != r->tokens->n)
        return sg_fail(err, SG_E_FORMAT, KEY "scores: %zu entries for %zu tokens", v->a.n, r->tokens->n);
    for (size_t i = 0; i < v->a.n; i++)
        if (isnan(v->a.f[i]))
            return sg_fail(err, SG_E_FORMAT, KEY "scores: the score of token %zu is not a number", i);
    if (r->t->model == SG_TEXT_UNIGRAM) {
        r->t->score = sg_alloc(v->a.n * sizeof *r->t->score);
        if (!r->t->score)
            return sg_fail_nomem(err, "the vocabulary");
        memcpy(r->t->score, v->a.f, v->a.n * sizeof *r->t->score);
        return SG_OK;
    }
    r->t->vocab.score = sg_alloc(v->a.n * sizeof *r->t->vocab.score);
    if (!r->t->vocab.score)
        return sg_fail_nomem(err, "the vocabulary");
    for (size_t i = 0; i < v->a.n; i++)
        r->t->vocab.score[i] = (float)v->a.f[i];
    return SG_OK;
}

/* The id under a key: SG_TOKEN_NONE when absent, or when it is 2^32 - 1, which some converters write for "none". */
static sg_status read_id(const reader *r, const char *key, sg_token *id, sg_error *err)
{
    uint64_t v = 0;
    SG_TRY(sg_dict_u64(r->meta, key, UINT32_MAX, &v, err));
    if (v == UINT32_MAX)
        return SG_OK;
    if (v >= r->tokens->n)
        return sg_fail(err, SG_E_FORMAT, "%s: %llu, there are tokens 0 to %zu", key, (unsigned long long)v, r->tokens->n - 1);
    *id = (sg_token)v;
    return SG_OK;
}

static sg_status read_ids(const reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    sg_token eom = SG_TOKEN_NONE;
    SG_TRY(read_id(r, KEY "cls_token_id", &t->bos, err));
    SG_TRY(read_id(r, KEY "bos_token_id", &t->bos, err));
    SG_TRY(read_id(r, KEY "eos_token_id", &t->eos, err));
    SG_TRY(read_id(r, KEY "eot_token_id", &t->eot, err));
    SG_TRY(read_id(r, KEY "eom_token_id", &eom, err));
    SG_TRY(read_id(r, KEY "unknown_token_id", &t->unk, err));
    SG_TRY(read_id(r, KEY "padding_token_id", &t->pad, err));
    SG_TRY(read_id(r, KEY "seperator_token_id", &t->sep, err)); /* GGUF's spelling */
    SG_TRY(read_id(r, KEY "separator_token_id", &t->sep, err));
    SG_TRY(read_id(r, KEY "mask_token_id", &t->mask, err));
    if (t->model == SG_TEXT_SPM && !sg_dict_find(r->meta, KEY "unknown_token_id"))
        for (size_t i = 0; i < r->tokens->n && t->unk < 0; i++)
            if (type_of(r, i) == UNKNOWN)
                t->unk = (sg_token)i;
    if (eom >= 0)
        t->vocab.flags[eom] |= SG_PIECE_END;
    return SG_OK;
}

static unsigned flags_of(int64_t type)
{
    switch (type) {
    case UNKNOWN:
        return SG_PIECE_SPECIAL | SG_PIECE_UNKNOWN | SG_PIECE_ADDED;
    case CONTROL:
        return SG_PIECE_SPECIAL | SG_PIECE_ADDED;
    case USER_DEFINED:
        return SG_PIECE_ADDED;
    case BYTE:
        return SG_PIECE_BYTE;
    default:
        return SG_PIECE_MATCH;
    }
}

static sg_status put_wordpiece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, sg_error *err)
{
    if (n >= 3 && memcmp(s, "\xe2\x96\x81", 3) == 0)
        return sg_vocab_put(&t->vocab, id, s + 3, n - 3, flags, err);
    bool bracketed = n > 2 && s[0] == '[' && s[n - 1] == ']'; /* [unused7]: a word of its own */
    return sg_vocab_put(&t->vocab, id, s, n, flags | (flags & SG_PIECE_MATCH && !bracketed ? SG_PIECE_CONTINUES : 0), err);
}

static sg_status put_sentencepiece(sg_tokenizer *t, uint32_t id, const char *s, size_t n, unsigned flags, sg_error *err)
{
    if (flags & SG_PIECE_BYTE) {
        int b = sg_byte_token(s, n);
        if (b < 0)
            return sg_fail(err, SG_E_FORMAT, KEY "tokens: token %u '%.*s' is to be a byte, written <0x41>", id, (int)(n < 60 ? n : 60), s);
        return sg_vocab_put(&t->vocab, id, (const char[]){(char)b}, 1, flags, err);
    }
    return sg_read_bar_piece(t, id, s, n, flags & SG_PIECE_SPECIAL ? flags : flags | SG_PIECE_MATCH, err);
}

static sg_status put_token(const reader *r, uint32_t id, unsigned strip, sg_error *err)
{
    sg_tokenizer *t = r->t;
    const char *s = r->tokens->s[id].data;
    size_t n = r->tokens->s[id].len;
    unsigned flags = flags_of(type_of(r, id));
    if (flags == SG_PIECE_ADDED && sg_is_end_name(s)) /* some converters call them user-defined; they are control tokens */
        flags |= SG_PIECE_SPECIAL;
    if (t->model == SG_TEXT_BPE)
        SG_TRY(flags & SG_PIECE_MATCH ? sg_read_gpt2_piece(t, id, s, n, flags, err)
                                      : sg_vocab_put(&t->vocab, id, s, n, flags, err));
    else if (t->model == SG_TEXT_WORDPIECE)
        SG_TRY(put_wordpiece(t, id, s, n, flags, err));
    else
        SG_TRY(put_sentencepiece(t, id, s, n, flags, err));
    if (!(flags & SG_PIECE_ADDED) || n > SG_ADDED_LENGTH_MAX)
        return SG_OK;
    return sg_tokenizer_add(t, s, n, id, (flags & SG_PIECE_SPECIAL ? SG_ADDED_SPECIAL : 0) | strip, err);
}

/* Phi-3's converter loses that its special tokens swallow the white space behind them. */
static unsigned strips(const reader *r, uint32_t id)
{
    sg_str name = {"", 0};
    if (sg_dict_str(r->meta, "general.name", "", &name, NULL) != SG_OK ||
        !(strcasestr(name.data, "phi-3") || strcasestr(name.data, "phi3")))
        return 0;
    const char *s = r->tokens->s[id].data;
    return strcmp(s, "<unk>") == 0 || strcmp(s, "<s>") == 0 || strcmp(s, "<|endoftext|>") == 0 ? 0 : SG_ADDED_RSTRIP;
}

static sg_status read_tokens(const reader *r, sg_error *err)
{
    for (size_t i = 0; i < r->tokens->n; i++)
        SG_TRY(put_token(r, (uint32_t)i, strips(r, (uint32_t)i), err));
    return SG_OK;
}

static sg_status read_merges(const reader *r, sg_error *err)
{
    const sg_array *m = NULL;
    SG_TRY(sg_dict_array(r->meta, KEY "merges", SG_KIND_STR, &m, err));
    if (!m)
        return sg_fail(err, SG_E_FORMAT, KEY "merges: missing; the vocabulary cannot be used without it");
    sg_vocab names = {0};
    SG_TRY(sg_vocab_init(&names, r->tokens->n, err));
    sg_status st = sg_merges_init(&r->t->merges, m->n, err);
    for (size_t i = 0; st == SG_OK && i < r->tokens->n; i++)
        st = sg_vocab_put(&names, (uint32_t)i, r->tokens->s[i].data, r->tokens->s[i].len, SG_PIECE_MATCH, err);
    if (st == SG_OK)
        st = sg_vocab_index(&names, err);
    for (size_t i = 0; st == SG_OK && i < m->n; i++)
        st = sg_read_merge_line(r->t, &names, m->s[i].data, m->s[i].len, i, KEY "merges", err);
    sg_vocab_fini(&names);
    return st;
}

static sg_status read_bpe(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    sg_str pre = {"", 0};
    t->byte_level = true;
    SG_TRY(sg_dict_str(r->meta, KEY "pre", "", &pre, err));
    SG_TRY(sg_read_pre(t, pre.data, &r->add_bos, err));
    SG_TRY(read_tokens(r, err));
    return read_merges(r, err);
}

static sg_status read_spm(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    bool prefix = true;
    r->add_bos = true;
    t->byte_fallback = t->fuse_unknown = true;
    t->bos = r->tokens->n > 2 ? 1 : SG_TOKEN_NONE;
    t->eos = r->tokens->n > 2 ? 2 : SG_TOKEN_NONE;
    SG_TRY(sg_dict_bool(r->meta, KEY "add_space_prefix", true, &prefix, err));
    t->decoder = prefix ? SG_DECODE_BLANK : SG_DECODE_BYTES;
    SG_TRY(read_scores(r, err));
    SG_TRY(read_tokens(r, err));
    return sg_read_sentencepiece_steps(t, prefix, err);
}

static sg_status read_charsmap(reader *r, sg_error *err)
{
    const sg_value *v = sg_dict_find(r->meta, KEY "precompiled_charsmap");
    if (!v || (v->kind == SG_KIND_ARRAY && v->a.n == 0))
        return sg_norms_add(&r->t->norms, (sg_norm){.kind = SG_NORM_UNICODE, .form = SG_NFKC}, err);
    if (v->kind != SG_KIND_ARRAY || (v->a.kind != SG_KIND_U64 && v->a.kind != SG_KIND_I64))
        return sg_fail(err, SG_E_FORMAT, KEY "precompiled_charsmap: not an array of bytes");
    unsigned char *b = sg_alloc(v->a.n);
    if (!b)
        return sg_fail_nomem(err, "a normalizer");
    for (size_t i = 0; i < v->a.n; i++)
        b[i] = (unsigned char)(v->a.kind == SG_KIND_U64 ? v->a.u[i] : (uint64_t)v->a.i[i]);
    sg_status st = sg_norms_add_charsmap(&r->t->norms, b, v->a.n, err);
    sg_free(b);
    return st;
}

static sg_status read_unigram(reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    bool prefix = true, squeeze = false;
    r->add_eos = true;
    t->fuse_unknown = t->byte_fallback = true;
    SG_TRY(sg_dict_bool(r->meta, KEY "add_space_prefix", true, &prefix, err));
    SG_TRY(sg_dict_bool(r->meta, KEY "remove_extra_whitespaces", false, &squeeze, err));
    t->decoder = prefix ? SG_DECODE_BLANK : SG_DECODE_BYTES;
    t->strip_blanks = squeeze;
    SG_TRY(read_scores(r, err));
    SG_TRY(read_tokens(r, err));
    SG_TRY(read_charsmap(r, err));
    if (squeeze)
        SG_TRY(sg_norms_add(&t->norms, (sg_norm){.kind = SG_NORM_SQUEEZE}, err));
    return sg_read_sentencepiece_steps(t, prefix, err);
}

static sg_status read_bert(reader *r, sg_error *err)
{
    r->add_bos = true;
    r->t->decoder = SG_DECODE_WORDPIECE;
    SG_TRY(read_tokens(r, err));
    SG_TRY(sg_read_bert_steps(r->t, true, true, true, true, err));
    return sg_read_bert_words(r->t, err);
}

static sg_status read_around(const reader *r, sg_error *err)
{
    sg_tokenizer *t = r->t;
    bool bos = false, eos = false;
    SG_TRY(sg_dict_bool(r->meta, KEY "add_bos_token", r->add_bos, &bos, err));
    SG_TRY(sg_dict_bool(r->meta, KEY "add_eos_token", r->add_eos, &eos, err));
    if (bos && t->bos >= 0)
        SG_TRY(sg_tokens_add(&t->before, t->bos, err));
    if (t->model == SG_TEXT_WORDPIECE && t->sep >= 0)
        return sg_tokens_add(&t->after, t->sep, err);
    if (eos && t->eos >= 0)
        return sg_tokens_add(&t->after, t->eos, err);
    return SG_OK;
}

static sg_status read_model(reader *r, sg_error *err)
{
    static const struct {
        const char *name;
        sg_text_model model;
        sg_status (*read)(reader *r, sg_error *err);
    } models[] = {{"gpt2", SG_TEXT_BPE, read_bpe},
                  {"llama", SG_TEXT_SPM, read_spm},
                  {"t5", SG_TEXT_UNIGRAM, read_unigram},
                  {"bert", SG_TEXT_WORDPIECE, read_bert}};
    sg_str name = {"", 0};
    SG_TRY(sg_dict_need_str(r->meta, KEY "model", &name, err));
    SG_TRY(sg_dict_array(r->meta, KEY "tokens", SG_KIND_STR, &r->tokens, err));
    if (!r->tokens || r->tokens->n == 0)
        return sg_fail(err, SG_E_FORMAT, KEY "tokens: %s", r->tokens ? "no tokens" : "missing");
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i].name, name.data) != 0)
            continue;
        r->t->model = models[i].model;
        SG_TRY(sg_vocab_init(&r->t->vocab, r->tokens->n, err));
        SG_TRY(read_types(r, err));
        SG_TRY(models[i].read(r, err));
        SG_TRY(read_ids(r, err));
        return read_around(r, err);
    }
    return sg_fail(err, SG_E_UNSUPPORTED, KEY "model: '%s' is no tokenizer that we know", name.data);
}

sg_status sg_tokenizer_new_from_dict(sg_tokenizer **out, const sg_dict *meta, sg_error *err)
{
    reader r = {.meta = meta};
    SG_TRY(sg_tokenizer_new(&r.t, err));
    sg_status st = read_model(&r, err);
    if (st == SG_OK)
        st = sg_tokenizer_finish(r.t, err);
    if (st == SG_OK)
        *out = r.t;
    else
        sg_tokenizer_free(r.t);
    return st;
}
