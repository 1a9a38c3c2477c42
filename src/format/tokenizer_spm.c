/* format/tokenizer_spm.c - SentencePiece vocabularies as GGUF's tokenizer.ggml.* keys.
 *
 * Two files carry one: SentencePiece's own tokenizer.model (a protobuf message, see base/sentencepiece.h for its
 * fields), and a tokenizer.json with a Unigram model.  GGUF calls SentencePiece's BPE "llama" and its
 * unigram "t5"; pieces, scores and kinds go over as they are, with the numbers of the message.  The rules
 * around them are four: a blank in front, blanks squeezed, the character map, and byte pieces.  A tokenizer.json
 * whose steps say more than that is refused.
 */
#include "format/tokenizer_meta.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/heap.h"
#include "base/sentencepiece.h"
#include "format/gguf.h"
#include "format/tokenizer_wordlist.h"

#include <string.h>

/* What surrounds the vocabulary; ids are -1 where there is none. */
typedef struct rules {
    bool unigram, prefix, squeeze, nfkc; /* nfkc: what readers do when there is no character map */
    int64_t unk, bos, eos, pad;
    const unsigned char *charsmap;
    size_t ncharsmap;
} rules;

static sg_status set_charsmap(sg_dict *d, const rules *r, sg_error *err)
{
    if (!r->ncharsmap)
        return SG_OK;
    uint64_t *bytes = sg_alloc(r->ncharsmap * sizeof *bytes);
    if (!bytes)
        return sg_fail_nomem(err, "the character map");
    for (size_t i = 0; i < r->ncharsmap; i++)
        bytes[i] = r->charsmap[i];
    sg_value v = {.kind = SG_KIND_ARRAY, .wire = SG_GGUF_ARRAY, .wire_element = SG_GGUF_U8,
                  .a = {.kind = SG_KIND_U64, .n = r->ncharsmap, .u = bytes}};
    sg_status st = sg_dict_set(d, "tokenizer.ggml.precompiled_charsmap", &v, err);
    sg_free(bytes);
    return st;
}

static sg_status set_rules(sg_dict *d, const rules *r, size_t n, sg_error *err)
{
    const struct {
        const char *key;
        int64_t id;
    } ids[] = {{"tokenizer.ggml.unknown_token_id", r->unk}, {"tokenizer.ggml.bos_token_id", r->bos},
               {"tokenizer.ggml.eos_token_id", r->eos}, {"tokenizer.ggml.padding_token_id", r->pad}};
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.model", r->unigram ? "t5" : "llama", err));
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.pre", "default", err));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].id >= 0 && (uint64_t)ids[i].id < n)
            SG_TRY(sg_dict_set_u64(d, ids[i].key, (uint64_t)ids[i].id, err));
    SG_TRY(sg_dict_set_bool(d, "tokenizer.ggml.add_space_prefix", r->prefix, err));
    if (r->unigram)
        SG_TRY(sg_dict_set_bool(d, "tokenizer.ggml.remove_extra_whitespaces", r->squeeze, err));
    return r->unigram ? set_charsmap(d, r, err) : SG_OK;
}

/* ---- tokenizer.model ------------------------------------------------------------- */

static sg_status read_model(sg_protobuf m, sg_wordlist *v, rules *r, sg_error *err)
{
    sg_spm s;
    sg_spm_piece p = {0};
    bool more = false;
    SG_TRY(sg_spm_read(&s, m, err));
    if (s.npiece > v->n)
        return sg_fail(err, SG_E_FORMAT, "SentencePiece model: more pieces than the embedding's %zu rows", v->n);
    *r = (rules){.unigram = s.model_type == SG_SPM_UNIGRAM, .prefix = s.prefix, .squeeze = s.squeeze, .unk = s.unk, .bos = s.bos,
                 .eos = s.eos, .pad = s.pad, .charsmap = s.charsmap.p, .ncharsmap = (size_t)(s.charsmap.end - s.charsmap.p)};
    SG_TRY(sg_spm_next(&m, 0, &p, &more, err));
    for (size_t id = 0; more; id++) {
        v->pieces[id] = (sg_str){p.text, p.n};
        v->scores[id] = (double)p.score;
        v->types[id] = (int64_t)p.type;
        SG_TRY(sg_spm_next(&m, id + 1, &p, &more, err));
    }
    return SG_OK;
}

sg_status sg_tokenizer_meta_spm(sg_dict *meta, const char *path, uint64_t nvocab, sg_error *err)
{
    sg_file f = {0};
    sg_wordlist v = {0};
    rules r = {0};
    SG_TRY(sg_file_open(&f, path, err));
    sg_status st = sg_wordlist_init(&v, nvocab, err);
    if (st == SG_OK)
        st = read_model((sg_protobuf){f.data, f.data + f.size}, &v, &r, err);
    if (st == SG_OK)
        st = sg_wordlist_fill_holes(&v, err);
    if (st == SG_OK)
        st = sg_wordlist_set(meta, &v, true, err);
    if (st == SG_OK)
        st = set_rules(meta, &r, v.n, err);
    if (st == SG_OK)
        st = sg_dict_set_bool(meta, "tokenizer.ggml.add_bos_token", r.bos >= 0, err);
    if (st == SG_OK && r.unigram)
        st = sg_dict_set_bool(meta, "tokenizer.ggml.add_eos_token", false, err);
    if (st != SG_OK)
        sg_fail_at(err, st, "%s", path);
    sg_wordlist_fini(&v);
    sg_file_close(&f);
    return st;
}

/* ---- tokenizer.json with a Unigram model --------------------------------------------- */

/* "vocab": [["piece", score], ...] */
static sg_status place_vocab(sg_wordlist *v, json_t *vocab, sg_error *err)
{
    json_t *one;
    size_t i;
    json_array_foreach(vocab, i, one) {
        json_t *piece = json_array_get(one, 0), *score = json_array_get(one, 1);
        if (i >= v->n)
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: more pieces than the embedding's %zu rows", v->n);
        if (!json_is_string(piece) || !json_is_number(score))
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: model: vocab[%zu] is not [piece, score]", i);
        v->pieces[i] = (sg_str){json_string_value(piece), json_string_length(piece)};
        v->scores[i] = json_number_value(score);
        v->types[i] = sg_word_is_byte(v->pieces[i].data, v->pieces[i].len) ? SG_WORD_BYTE : SG_WORD_NORMAL;
    }
    return SG_OK;
}

/* One step of the normaliser or pre-tokeniser.  True when GGUF can say it. */
static bool take_step(rules *r, sg_buf *charsmap, json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    json_t *list = json_object_get(o, "normalizers"), *step;
    size_t i;
    if (json_is_null(o) || !o)
        return true;
    if (!type)
        return false;
    if (strcmp(type, "Sequence") == 0) {
        json_array_foreach(list ? list : json_object_get(o, "pretokenizers"), i, step)
            if (!take_step(r, charsmap, step))
                return false;
        return true;
    }
    if (strcmp(type, "Precompiled") == 0) {
        json_t *map = json_object_get(o, "precompiled_charsmap");
        return json_is_string(map) && sg_buf_add_base64(charsmap, json_string_value(map), json_string_length(map));
    }
    if (strcmp(type, "NFKC") == 0)
        return r->nfkc = true;
    if (strcmp(type, "Replace") == 0) { /* runs of blanks become one */
        const char *regex = json_string_value(json_object_get(json_object_get(o, "pattern"), "Regex"));
        const char *to = json_string_value(json_object_get(o, "content"));
        r->squeeze = true;
        return regex && to && strcmp(regex, " {2,}") == 0 && (strcmp(to, " ") == 0 || strcmp(to, "\xe2\x96\x81") == 0);
    }
    if (strcmp(type, "Strip") == 0 || strcmp(type, "WhitespaceSplit") == 0)
        return r->squeeze = true;
    if (strcmp(type, "Metaspace") == 0) {
        const char *scheme = json_string_value(json_object_get(o, "prepend_scheme"));
        r->prefix = scheme ? strcmp(scheme, "never") != 0 : !json_is_false(json_object_get(o, "add_prefix_space"));
        return true;
    }
    return false;
}

sg_status sg_tokenizer_meta_unigram(sg_dict *meta, json_t *root, sg_wordlist *v, sg_error *err)
{
    json_t *model = json_object_get(root, "model"), *unk = json_object_get(model, "unk_id");
    rules r = {.unigram = true, .unk = json_is_integer(unk) ? json_integer_value(unk) : -1, .bos = -1, .eos = -1, .pad = -1};
    sg_buf charsmap = SG_BUF_INIT;
    sg_status st = place_vocab(v, json_object_get(model, "vocab"), err);
    if (st == SG_OK && (!take_step(&r, &charsmap, json_object_get(root, "normalizer")) ||
                        !take_step(&r, &charsmap, json_object_get(root, "pre_tokenizer"))))
        st = sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: GGUF cannot say this normalizer or pre_tokenizer of a Unigram model");
    if (st == SG_OK && !sg_buf_ok(&charsmap))
        st = sg_fail_nomem(err, "the character map");
    if (st == SG_OK && !r.nfkc == !charsmap.len)
        st = sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: GGUF wants either NFKC or a precompiled_charsmap for a Unigram model");
    r.charsmap = (const unsigned char *)sg_buf_str(&charsmap);
    r.ncharsmap = charsmap.len;
    if (st == SG_OK)
        st = set_rules(meta, &r, v->n, err);
    sg_buf_fini(&charsmap);
    return st;
}
