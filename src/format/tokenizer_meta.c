/* format/tokenizer_meta.c - tokenizer.json and tokenizer.bin as GGUF's tokenizer.ggml.* keys.
 *
 * GGUF names whole behaviours instead of describing them: a model ("gpt2", "llama", "bert") and, for
 * byte-level BPE, the rule that cuts text into words ("tokenizer.ggml.pre").  So the rules of tokenizer.json
 * are recognised, letter by letter; one that is not known is refused, since a file that tokenizes
 * differently would be worse than none.
 *
 *     BPE over bytes          model gpt2, merges, pre by the rule
 *     BPE with byte fallback  model llama; scores are the ranks of the merges, negative, so that the best
 *                             pair by score is the first pair by rank
 *     WordPiece               model bert; "##x" becomes "x", a word's start gets U+2581
 *     Unigram                 model t5; tokenizer_spm.c, also for SentencePiece's own files
 */
#include "format/tokenizer_meta.h"

#include "base/buf.h"
#include "base/heap.h"
#include "base/json.h"
#include "format/gguf.h"
#include "format/tokenizer_wordlist.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_TOKENIZER = 256 << 20 };

/* ---- vocabulary of tokenizer.json ------------------------------------------------- */

static sg_status place(sg_wordlist *v, json_t *id, const char *piece, size_t len, int64_t type, sg_error *err)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || (uint64_t)json_integer_value(id) >= v->n)
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: the id of '%s' is not one of the embedding's %zu rows", piece,
                       v->n);
    size_t i = (size_t)json_integer_value(id);
    v->pieces[i] = (sg_str){piece, len};
    v->types[i] = type;
    return SG_OK;
}

static sg_status place_all(sg_wordlist *v, json_t *root, sg_error *err)
{
    const char *piece;
    json_t *id, *added;
    size_t i;
    json_t *model = json_object_get(root, "model");
    json_object_foreach(json_object_get(model, "vocab"), piece, id)
        SG_TRY(place(v, id, piece, strlen(piece), SG_WORD_NORMAL, err));
    json_array_foreach(json_object_get(root, "added_tokens"), i, added) {
        json_t *content = json_object_get(added, "content");
        if (!json_is_string(content))
            return sg_fail(err, SG_E_FORMAT, "tokenizer.json: added_tokens[%zu] has no content", i);
        SG_TRY(place(v, json_object_get(added, "id"), json_string_value(content), json_string_length(content),
                     json_is_true(json_object_get(added, "special")) ? SG_WORD_CONTROL : SG_WORD_USER, err));
    }
    return SG_OK;
}

/* ---- merges --------------------------------------------------------------------------- */

/* The two halves of merge i, which is "a b" or ["a", "b"]. */
static sg_status halves(json_t *merge, size_t i, sg_str *a, sg_str *b, sg_error *err)
{
    json_t *x = json_array_get(merge, 0), *y = json_array_get(merge, 1);
    const char *s = json_string_value(merge);
    const char *gap = s ? strchr(s, ' ') : NULL;
    if (gap && gap > s && gap[1] && !strchr(gap + 1, ' ')) {
        *a = (sg_str){s, (size_t)(gap - s)};
        *b = (sg_str){gap + 1, strlen(gap + 1)};
        return SG_OK;
    }
    if (json_array_size(merge) != 2 || !json_is_string(x) || !json_is_string(y))
        return sg_fail(err, SG_E_FORMAT, "tokenizer.json: merge %zu is not a pair of pieces", i);
    *a = (sg_str){json_string_value(x), json_string_length(x)};
    *b = (sg_str){json_string_value(y), json_string_length(y)};
    return SG_OK;
}

static sg_status set_merges(sg_dict *d, json_t *merges, sg_error *err)
{
    size_t n = json_array_size(merges);
    sg_buf text = SG_BUF_INIT;
    sg_str *list = sg_calloc(n ? n : 1, sizeof *list), a = {0}, b = {0};
    sg_status st = list ? SG_OK : sg_fail_nomem(err, "the merges");
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        st = halves(json_array_get(merges, i), i, &a, &b, err);
        if (st == SG_OK && (memchr(a.data, ' ', a.len) || memchr(b.data, ' ', b.len)))
            st = sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: merge %zu has a blank, which GGUF cannot say", i);
        list[i].len = a.len + b.len + 1;
        sg_buf_add(&text, a.data, a.len);
        sg_buf_addc(&text, ' ');
        sg_buf_add(&text, b.data, b.len);
    }
    const char *p = sg_buf_str(&text);
    for (size_t i = 0; i < n && st == SG_OK; p += list[i++].len)
        list[i].data = p;
    if (st == SG_OK && !sg_buf_ok(&text))
        st = sg_fail_nomem(err, "the merges");
    if (st == SG_OK)
        st = sg_dict_set_array(d, "tokenizer.ggml.merges", &(sg_array){.kind = SG_KIND_STR, .n = n, .s = list}, err);
    sg_buf_fini(&text);
    sg_free(list);
    return st;
}

/* Scores from ranks: a token's is that of the first merge that makes it. */
static sg_status set_scores(sg_wordlist *v, json_t *model, sg_error *err)
{
    json_t *merges = json_object_get(model, "merges"), *vocab = json_object_get(model, "vocab"), *merge;
    size_t i;
    sg_str a = {0}, b = {0};
    sg_buf piece = SG_BUF_INIT;
    sg_status st = SG_OK;
    for (size_t k = 0; k < v->n; k++)
        v->scores[k] = -1e6;
    json_array_foreach(merges, i, merge) {
        st = halves(merge, i, &a, &b, err);
        if (st != SG_OK)
            break;
        sg_buf_clear(&piece);
        sg_buf_add(&piece, a.data, a.len);
        sg_buf_add(&piece, b.data, b.len);
        json_t *id = json_object_get(vocab, sg_buf_str(&piece));
        if (!sg_buf_ok(&piece) || !json_is_integer(id)) {
            st = !sg_buf_ok(&piece)
                     ? sg_fail_nomem(err, "the merges")
                     : sg_fail(err, SG_E_FORMAT, "tokenizer.json: merge %zu makes '%s', which is no token", i,
                               sg_buf_str(&piece));
            break;
        }
        double *score = &v->scores[json_integer_value(id)]; /* ids were checked by place_all */
        if (*score == -1e6)
            *score = -(double)i;
    }
    sg_buf_fini(&piece);
    return st;
}

/* ---- the kinds ----------------------------------------------------------------------------- */

/* One letter and argument for each step of the pre-tokeniser: "S<regex>", "D", "d", "B", "b". */
static void signature(sg_buf *b, json_t *pre)
{
    const char *type = json_string_value(json_object_get(pre, "type"));
    json_t *step;
    size_t i;
    if (!type) {
        sg_buf_addc(b, '?');
    } else if (strcmp(type, "Sequence") == 0) {
        json_array_foreach(json_object_get(pre, "pretokenizers"), i, step)
            signature(b, step);
    } else if (strcmp(type, "Split") == 0) {
        const char *regex = json_string_value(json_object_get(json_object_get(pre, "pattern"), "Regex"));
        const char *behaviour = json_string_value(json_object_get(pre, "behavior"));
        sg_buf_addf(b, "%s%s\n", behaviour && strcmp(behaviour, "Isolated") == 0 ? "S" : "?", regex ? regex : "?");
    } else if (strcmp(type, "Digits") == 0) {
        sg_buf_addc(b, json_is_true(json_object_get(pre, "individual_digits")) ? 'D' : 'd');
    } else if (strcmp(type, "ByteLevel") == 0) {
        sg_buf_addc(b, json_is_false(json_object_get(pre, "use_regex")) ? 'b' : 'B');
    } else {
        sg_buf_addf(b, "?%s", type);
    }
}

static const char *pre_name(json_t *pre, sg_error *err)
{
    static const char *const known[][2] = {
        {"B", "gpt-2"},
        {"DB", "smollm"},
        {"S(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\nb",
         "llama-bpe"},
        {"S(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\nb",
         "qwen2"},
        {"S[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'"
         "m|'ll|'d)?|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'"
         "m|'ll|'d)?|"
         "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\nb",
         "gpt-4o"},
        {"S\\p{N}{1,3}\nS[一-龥぀-ゟ゠-ヿ]+\nS[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
         "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+\nb",
         "deepseek-v3"},
    };
    sg_buf b = {.max = 4096};
    signature(&b, pre);
    const char *name = NULL;
    for (size_t i = 0; sg_buf_ok(&b) && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(sg_buf_str(&b), known[i][0]) == 0)
            name = known[i][1];
    if (!name)
        sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: GGUF has no name for the pre-tokeniser '%s'", sg_buf_str(&b));
    sg_buf_fini(&b);
    return name;
}

static sg_status bpe(sg_dict *d, sg_wordlist *v, json_t *root, sg_error *err)
{
    const char *pre = pre_name(json_object_get(root, "pre_tokenizer"), err);
    if (!pre)
        return SG_E_UNSUPPORTED;
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.model", "gpt2", err));
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.pre", pre, err));
    SG_TRY(sg_wordlist_set(d, v, false, err));
    return set_merges(d, json_object_get(json_object_get(root, "model"), "merges"), err);
}

/* Whether some step of this type (with "Replace" of the named kind) is in a normaliser or pre-tokeniser. */
static json_t *find_step(json_t *o, const char *type, const char *list)
{
    const char *own = json_string_value(json_object_get(o, "type"));
    json_t *step, *found;
    size_t i;
    if (own && strcmp(own, type) == 0)
        return o;
    json_array_foreach(json_object_get(o, list), i, step)
        if ((found = find_step(step, type, list)))
            return found;
    return NULL;
}

static sg_status spm(sg_dict *d, sg_wordlist *v, json_t *root, sg_error *err)
{
    json_t *model = json_object_get(root, "model");
    const char *unk = json_string_value(json_object_get(model, "unk_token"));
    SG_TRY(set_scores(v, model, err));
    for (size_t i = 0; i < v->n; i++) {
        const sg_str *p = &v->pieces[i];
        if (sg_word_is_byte(p->data, p->len))
            v->types[i] = SG_WORD_BYTE;
        else if (unk && strcmp(p->data, unk) == 0)
            v->types[i] = SG_WORD_UNKNOWN;
    }
    json_t *meta = find_step(json_object_get(root, "pre_tokenizer"), "Metaspace", "pretokenizers");
    const char *scheme = json_string_value(json_object_get(meta, "prepend_scheme"));
    bool prefix = find_step(json_object_get(root, "normalizer"), "Prepend", "normalizers") ||
                  (meta && (!scheme || strcmp(scheme, "never") != 0));
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.model", "llama", err));
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.pre", "default", err));
    SG_TRY(sg_wordlist_set(d, v, true, err));
    return sg_dict_set_bool(d, "tokenizer.ggml.add_space_prefix", prefix, err);
}

static sg_status wordpiece(sg_dict *d, sg_wordlist *v, json_t *root, sg_error *err)
{
    sg_buf text = SG_BUF_INIT;
    size_t *starts = sg_alloc(v->n * sizeof *starts);
    if (!starts)
        return sg_fail_nomem(err, "a vocabulary");
    for (size_t i = 0; i < v->n; i++) {
        const sg_str *p = &v->pieces[i];
        bool more = p->len > 2 && memcmp(p->data, "##", 2) == 0;
        starts[i] = text.len;
        if (v->types[i] == SG_WORD_NORMAL && !more)
            sg_buf_adds(&text, "\xe2\x96\x81");
        sg_buf_add(&text, p->data + (v->types[i] == SG_WORD_NORMAL && more ? 2 : 0),
                   p->len - (v->types[i] == SG_WORD_NORMAL && more ? 2 : 0));
    }
    sg_status st = sg_buf_ok(&text) ? SG_OK : sg_fail_nomem(err, "a vocabulary");
    for (size_t i = 0; i < v->n && st == SG_OK; i++)
        v->pieces[i] = (sg_str){sg_buf_str(&text) + starts[i], (i + 1 < v->n ? starts[i + 1] : text.len) - starts[i]};
    if (st == SG_OK)
        st = sg_wordlist_set_str(d, "tokenizer.ggml.model", "bert", err);
    if (st == SG_OK)
        st = sg_wordlist_set_str(d, "tokenizer.ggml.pre", "default", err);
    if (st == SG_OK)
        st = sg_wordlist_set(d, v, false, err);
    json_t *lower = json_object_get(json_object_get(root, "normalizer"), "lowercase");
    if (st == SG_OK && json_is_boolean(lower))
        st = sg_dict_set_bool(d, "tokenizer.ggml.normalizer.lowercase", json_is_true(lower), err);
    sg_buf_fini(&text);
    sg_free(starts);
    return st;
}

/* ---- special tokens and template --------------------------------------------------------- */

static json_t *id_of(json_t *root, const char *text)
{
    json_t *added;
    size_t i;
    json_array_foreach(json_object_get(root, "added_tokens"), i, added) {
        const char *content = json_string_value(json_object_get(added, "content"));
        if (content && strcmp(content, text) == 0)
            return json_object_get(added, "id");
    }
    return json_object_get(json_object_get(json_object_get(root, "model"), "vocab"), text);
}

/* "bos_token": "text" or {"content": "text"} of tokenizer_config.json. */
static json_t *named_id(json_t *root, json_t *config, const char *key)
{
    json_t *v = json_object_get(config, key);
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    return text ? id_of(root, text) : NULL;
}

static sg_status special_ids(sg_dict *d, json_t *root, json_t *config, json_t *model_config, bool bert, sg_error *err)
{
    static const char *const keys[][3] = {
        {"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
        {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
        {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
        {"sep_token", "sep_token_id", "tokenizer.ggml.seperator_token_id"},
        {"mask_token", "mask_token_id", "tokenizer.ggml.mask_token_id"},
        {"cls_token", "", "tokenizer.ggml.bos_token_id"},
        {"sep_token", "", "tokenizer.ggml.eos_token_id"},
    };
    size_t n = bert ? 8 : 6; /* GGUF keeps [CLS] as bos and [SEP] as eos too */
    for (size_t i = 0; i < n; i++) {
        json_t *id = named_id(root, config, keys[i][0]);
        if (!id)
            id = json_object_get(model_config, keys[i][1]);
        if (json_is_array(id))
            id = json_array_get(id, 0);
        if (json_is_integer(id) && json_integer_value(id) >= 0)
            SG_TRY(sg_dict_set_u64(d, keys[i][2], (uint64_t)json_integer_value(id), err));
    }
    return SG_OK;
}

/* Whether the post-processor's template begins with a special token. */
static bool template_begins(json_t *root, bool *known)
{
    json_t *post = find_step(json_object_get(root, "post_processor"), "TemplateProcessing", "processors");
    json_t *first = json_array_get(json_object_get(post, "single"), 0);
    *known = post != NULL;
    return json_object_get(first, "SpecialToken") != NULL;
}

static sg_status add_marks(sg_dict *d, json_t *root, json_t *config, sg_error *err)
{
    json_t *bos = json_object_get(config, "add_bos_token"), *eos = json_object_get(config, "add_eos_token");
    bool known = false, begins = template_begins(root, &known);
    if (json_is_boolean(bos) || known)
        SG_TRY(sg_dict_set_bool(d, "tokenizer.ggml.add_bos_token", json_is_boolean(bos) ? json_is_true(bos) : begins,
                                err));
    return json_is_boolean(eos) ? sg_dict_set_bool(d, "tokenizer.ggml.add_eos_token", json_is_true(eos), err) : SG_OK;
}

static sg_status chat_template(sg_dict *d, const sg_weights *w, json_t *config, sg_error *err)
{
    json_t *t = json_object_get(config, "chat_template"), *one;
    size_t i, n;
    char *text;
    if (sg_weights_chat_template(w)) {
        SG_TRY(sg_file_read(sg_weights_chat_template(w), MAX_TOKENIZER, &text, &n, err));
        sg_status st = sg_dict_set_str(d, "tokenizer.chat_template", text, n, err);
        sg_free(text);
        return st;
    }
    json_array_foreach(t, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0) {
            t = json_object_get(one, "template");
            break;
        }
    }
    return json_is_string(t)
               ? sg_dict_set_str(d, "tokenizer.chat_template", json_string_value(t), json_string_length(t), err)
               : SG_OK;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static sg_status from_json(sg_dict *d, const sg_weights *w, json_t *root, json_t *config, json_t *model_config,
                           sg_wordlist *v, sg_error *err)
{
    json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    bool piece = json_object_get(model, "max_input_chars_per_word") != NULL || (type && strcmp(type, "WordPiece") == 0);
    bool unigram = json_is_array(json_object_get(model, "vocab")) && (!type || strcmp(type, "Unigram") == 0);
    if (!unigram && !json_is_object(json_object_get(model, "vocab")))
        return sg_fail(err, SG_E_UNSUPPORTED, "tokenizer.json: a model of type %s cannot be written to GGUF",
                       type ? type : "?");
    if (unigram)
        SG_TRY(sg_tokenizer_meta_unigram(d, root, v, err));
    SG_TRY(place_all(v, root, err));
    json_t *unk = json_object_get(model, "unk_id"); /* a Unigram model's, which added_tokens may have called special */
    if (unigram && json_is_integer(unk) && json_integer_value(unk) >= 0 && (uint64_t)json_integer_value(unk) < v->n)
        v->types[json_integer_value(unk)] = SG_WORD_UNKNOWN;
    SG_TRY(sg_wordlist_fill_holes(v, err));
    if (unigram)
        SG_TRY(sg_wordlist_set(d, v, true, err));
    else if (piece)
        SG_TRY(wordpiece(d, v, root, err));
    else if (json_is_true(json_object_get(model, "byte_fallback")))
        SG_TRY(spm(d, v, root, err));
    else
        SG_TRY(bpe(d, v, root, err));
    SG_TRY(special_ids(d, root, config, model_config, piece, err));
    if (!piece)
        SG_TRY(add_marks(d, root, config, err));
    return chat_template(d, w, config, err);
}

/* Without tokenizer.json: SentencePiece's own file, or no tokenizer at all, which is a file of use too. */
static sg_status from_model_file(sg_dict *d, const sg_weights *w, uint64_t nvocab, sg_error *err)
{
    char *path = sg_path_join(sg_weights_path(w), "tokenizer.model");
    if (!path)
        return sg_fail_nomem(err, "a path");
    json_t *config = NULL;
    sg_status st = SG_OK;
    if (sg_path_exists(path)) {
        st = sg_tokenizer_meta_spm(d, path, nvocab, err);
        if (st == SG_OK && sg_weights_tokenizer_config(w))
            st = sg_json_read(&config, sg_weights_tokenizer_config(w), MAX_TOKENIZER, err);
        if (st == SG_OK)
            st = chat_template(d, w, config, err);
    }
    json_decref(config);
    sg_free(path);
    return st;
}

sg_status sg_tokenizer_meta_hf(sg_dict *meta, const sg_weights *w, uint64_t nvocab, sg_error *err)
{
    json_t *root = NULL, *config = NULL, *model_config = NULL;
    sg_wordlist v = {0};
    if (!sg_weights_tokenizer_json(w))
        return from_model_file(meta, w, nvocab, err);
    char *path = sg_path_join(sg_weights_path(w), "config.json");
    sg_status st = path ? sg_json_read(&model_config, path, MAX_TOKENIZER, err) : sg_fail_nomem(err, "a path");
    sg_free(path);
    if (st == SG_OK)
        st = sg_json_read(&root, sg_weights_tokenizer_json(w), MAX_TOKENIZER, err);
    if (st == SG_OK && sg_weights_tokenizer_config(w))
        st = sg_json_read(&config, sg_weights_tokenizer_config(w), MAX_TOKENIZER, err);
    if (st == SG_OK)
        st = sg_wordlist_init(&v, nvocab, err);
    if (st == SG_OK)
        st = from_json(meta, w, root, config, model_config, &v, err);
    sg_wordlist_fini(&v);
    json_decref(root);
    json_decref(config);
    json_decref(model_config);
    return st;
}

/* tokenizer.bin: int32 longest piece, then for each piece float32 score, int32 length, bytes.  Pieces hold
 * blanks where SentencePiece has U+2581; 0 to 2 are <unk>, <s>, </s>; then come the bytes, if there are any. */
static sg_status read_pieces(const sg_file *f, sg_wordlist *v, sg_buf *text, sg_error *err)
{
    size_t at = 4;
    for (size_t i = 0; i < v->n; i++) {
        float score;
        int32_t len;
        if (f->size < 4 || f->size - at < 8)
            return sg_fail(err, SG_E_FORMAT, "piece %zu of %zu: the file ends at byte %zu", i, v->n, f->size);
        memcpy(&score, f->data + at, sizeof score);
        memcpy(&len, f->data + at + 4, sizeof len);
        at += 8;
        if (len < 0 || (size_t)len > f->size - at || !(score == score))
            return sg_fail(err, SG_E_FORMAT, "piece %zu: length %" PRId32 " and score %g at byte %zu of %zu", i, len,
                           (double)score, at, f->size);
        const char *p = (const char *)f->data + at;
        for (int32_t k = 0; k < len; k++)
            if (p[k] == ' ' && i > 2)
                sg_buf_adds(text, "\xe2\x96\x81");
            else
                sg_buf_addc(text, p[k]);
        v->pieces[i].len = text->len;
        v->scores[i] = (double)score;
        v->types[i] = i == 0                             ? SG_WORD_UNKNOWN
                      : i < 3                            ? SG_WORD_CONTROL
                      : len == 6 && !memcmp(p, "<0x", 3) ? SG_WORD_BYTE
                                                         : SG_WORD_NORMAL;
        at += (size_t)len;
    }
    if (at != f->size)
        return sg_fail(err, SG_E_FORMAT, "%zu bytes follow the last of %zu pieces", f->size - at, v->n);
    return sg_buf_ok(text) ? SG_OK : sg_fail_nomem(err, "a vocabulary");
}

static sg_status set_llama2c(sg_dict *d, sg_wordlist *v, const sg_buf *text, sg_error *err)
{
    size_t begin = 0;
    for (size_t i = 0; i < v->n; i++) {
        size_t end = v->pieces[i].len;
        v->pieces[i] = (sg_str){sg_buf_str(text) + begin, end - begin};
        begin = end;
    }
    SG_TRY(sg_wordlist_set_str(d, "tokenizer.ggml.model", "llama", err));
    SG_TRY(sg_wordlist_set(d, v, true, err));
    SG_TRY(sg_dict_set_u64(d, "tokenizer.ggml.unknown_token_id", 0, err));
    SG_TRY(sg_dict_set_u64(d, "tokenizer.ggml.bos_token_id", 1, err));
    SG_TRY(sg_dict_set_u64(d, "tokenizer.ggml.eos_token_id", 2, err));
    return sg_dict_set_bool(d, "tokenizer.ggml.add_bos_token", true, err);
}

sg_status sg_tokenizer_meta_llama2c(sg_dict *meta, const char *path, uint64_t nvocab, sg_error *err)
{
    sg_file f = {0};
    sg_wordlist v = {0};
    sg_buf text = SG_BUF_INIT;
    SG_TRY(sg_file_open(&f, path, err));
    sg_status st = sg_wordlist_init(&v, nvocab, err);
    if (st == SG_OK)
        st = read_pieces(&f, &v, &text, err);
    if (st == SG_OK)
        st = set_llama2c(meta, &v, &text, err);
    if (st != SG_OK)
        sg_fail_at(err, st, "%s", path);
    sg_wordlist_fini(&v);
    sg_buf_fini(&text);
    sg_file_close(&f);
    return st;
}
