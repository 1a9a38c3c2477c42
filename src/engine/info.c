/* engine/info.c - what a model file says of itself, and whether it is sound.
 *
 * Both work from the opened directory of tensors: nothing is loaded, so a model larger than memory can be
 * asked too.
 */
#include "base/heap.h"
#include "base/json.h"
#include "format/embedded.h"
#include "format/safetensors.h"
#include "engine/tokenizer_open.h"
#include "format/weights.h"
#include "model/model.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- numbers --------------------------------------------------------------------- */

typedef struct facts {
    uint64_t nlayer, nexpert, nused, nhead, key, value, context, vocabulary;
} facts;

static sg_status number(const sg_weights *w, const char *key, uint64_t fallback, uint64_t *v, sg_error *err)
{
    sg_str arch = {0};
    char full[512];
    SG_TRY(sg_dict_need_str(sg_weights_meta(w), "general.architecture", &arch, err));
    snprintf(full, sizeof full, "%s.%s", arch.data, key);
    return sg_dict_u64(sg_weights_meta(w), full, fallback, v, err);
}

static uint64_t sum_of(const sg_array *a)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < a->n && (a->kind == SG_KIND_U64 || a->kind == SG_KIND_I64); i++)
        sum += a->u[i];
    return sum;
}

/* Key-value heads of all layers together: one number for all or one for each layer. */
static sg_status heads_kv(const sg_weights *w, const facts *f, uint64_t *n, sg_error *err)
{
    sg_str arch = {0};
    char full[512];
    SG_TRY(sg_dict_need_str(sg_weights_meta(w), "general.architecture", &arch, err));
    snprintf(full, sizeof full, "%s.attention.head_count_kv", arch.data);
    const sg_value *v = sg_dict_find(sg_weights_meta(w), full);
    if (v && v->kind == SG_KIND_ARRAY) {
        *n = sum_of(&v->a);
        return SG_OK;
    }
    uint64_t one = 0;
    SG_TRY(number(w, "attention.head_count_kv", f->nhead, &one, err));
    *n = one * f->nlayer;
    return SG_OK;
}

static sg_status gather(const sg_weights *w, facts *f, sg_error *err)
{
    uint64_t width = 0;
    const sg_tensor *embedding = sg_weights_find(w, "token_embd.weight");
    const sg_value *tokens = sg_dict_find(sg_weights_meta(w), "tokenizer.ggml.tokens");
    SG_TRY(number(w, "block_count", 0, &f->nlayer, err));
    SG_TRY(number(w, "context_length", 0, &f->context, err));
    SG_TRY(number(w, "embedding_length", 0, &width, err));
    sg_error ignored; /* arrays, one number for each layer, are not counted here */
    if (number(w, "attention.head_count", 0, &f->nhead, &ignored) != SG_OK)
        f->nhead = 0;
    SG_TRY(number(w, "expert_count", 0, &f->nexpert, err));
    SG_TRY(number(w, "expert_used_count", 0, &f->nused, err));
    SG_TRY(number(w, "attention.key_length", f->nhead ? width / f->nhead : 0, &f->key, err));
    SG_TRY(number(w, "attention.value_length", f->key, &f->value, err));
    f->vocabulary = tokens && tokens->kind == SG_KIND_ARRAY ? tokens->a.n : embedding ? embedding->ne[1] : 0;
    return SG_OK;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

/* Weight bytes that decoding one token reads: all matrices once, of experts the used share, of embeddings
 * one row, but all of the embedding when it is the head too. */
static uint64_t bytes_per_token(const sg_weights *w, const facts *f)
{
    uint64_t sum = 0;
    bool head = sg_weights_find(w, "output.weight") != NULL;
    for (size_t i = 0; i < sg_weights_count(w); i++) {
        const sg_tensor *t = sg_weights_at(w, i);
        bool row = strcmp(t->name, "token_embd.weight") == 0 ? head : !strcmp(t->name, "position_embd.weight") ||
                                                                          !strcmp(t->name, "token_types.weight");
        if (row)
            sum += t->bytes / t->ne[1];
        else if (f->nexpert && f->nused <= f->nexpert && strstr(t->name, "_exps."))
            sum += (uint64_t)((unsigned __int128)t->bytes * f->nused / f->nexpert);
        else
            sum += t->bytes;
    }
    return sum;
}

/* ---- tokenizer ---------------------------------------------------------------------- */

static const char *kind_in_dict(const sg_dict *meta)
{
    sg_str model = {0};
    if (!sg_dict_find(meta, "tokenizer.ggml.model") ||
        sg_dict_str(meta, "tokenizer.ggml.model", "", &model, NULL) != SG_OK)
        return NULL;
    static const char *const names[][2] = {
        {"gpt2", "bpe"}, {"llama", "sentencepiece"}, {"t5", "unigram"}, {"bert", "wordpiece"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(model.data, names[i][0]) == 0)
            return names[i][1];
    return model.data;
}

/* From tokenizer.json: BPE with byte fallback is SentencePiece's. */
static const char *kind_in_json(const char *path)
{
    json_t *root = NULL;
    const char *kind = NULL;
    if (!path || sg_json_read(&root, path, 256 << 20, NULL) != SG_OK)
        return NULL;
    json_t *model = json_object_get(root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "Unigram") == 0)
        kind = "unigram";
    else if (type && strcmp(type, "WordPiece") == 0)
        kind = "wordpiece";
    else if (json_is_object(model))
        kind = json_is_true(json_object_get(model, "byte_fallback")) ? "sentencepiece" : "bpe";
    json_decref(root);
    return kind;
}

static bool has_template(const sg_weights *w)
{
    json_t *config = NULL;
    if (sg_dict_find(sg_weights_meta(w), "tokenizer.chat_template") || sg_weights_chat_template(w))
        return true;
    const char *path = sg_weights_tokenizer_config(w);
    if (!path || sg_json_read(&config, path, 64 << 20, NULL) != SG_OK)
        return false;
    json_t *t = json_object_get(config, "chat_template");
    bool has = json_is_string(t) || json_is_array(t);
    json_decref(config);
    return has;
}

/* ---- JSON ------------------------------------------------------------------------------ */

/* A JSON string of bytes that may be no UTF-8: what is malformed becomes U+FFFD through jansson's refusal. */
static json_t *text(const char *s, size_t n)
{
    json_t *v = json_stringn(s, n);
    return v ? v : json_string("\xef\xbf\xbd");
}

static json_t *types_of(const sg_weights *w)
{
    uint64_t count[SG_DTYPE_END] = {0};
    json_t *o = json_object();
    for (size_t i = 0; i < sg_weights_count(w); i++)
        count[sg_weights_at(w, i)->type]++;
    for (uint32_t t = 0; o && t < SG_DTYPE_END; t++)
        if (count[t])
            json_object_set_new(o, sg_dtype_name((sg_dtype)t), json_integer((json_int_t)count[t]));
    return o;
}

static json_t *tensors_of(const sg_weights *w)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < sg_weights_count(w); i++) {
        const sg_tensor *t = sg_weights_at(w, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->ndim; d++)
            json_array_append_new(shape, json_integer((json_int_t)t->ne[d]));
        if (json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:I}", "name", text(t->name, strlen(t->name)),
                                                  "type", sg_dtype_name(t->type), "shape", shape, "bytes",
                                                  (json_int_t)t->bytes)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *optional(const char *s) { return s ? json_string(s) : json_null(); }

static json_t *describe(const sg_weights *w, const facts *f, uint64_t kv_values, bool tensors)
{
    uint64_t parameters = 0, bytes = 0;
    sg_str arch = {0}, name = {0};
    for (size_t i = 0; i < sg_weights_count(w); i++) {
        parameters += sg_tensor_values(sg_weights_at(w, i));
        bytes += sg_weights_at(w, i)->bytes;
    }
    const sg_dict *meta = sg_weights_meta(w);
    if (sg_dict_str(meta, "general.architecture", "", &arch, NULL) != SG_OK ||
        sg_dict_str(meta, "general.name", "", &name, NULL) != SG_OK)
        name = (sg_str){"", 0};
    const char *kind = kind_in_dict(meta);
    kind = kind ? kind : kind_in_json(sg_weights_tokenizer_json(w));
    json_t *experts = f->nexpert
                          ? json_pack("{s:I, s:I}", "count", (json_int_t)f->nexpert, "used", (json_int_t)f->nused)
                          : json_null();
    json_t *memory =
        json_pack("{s:I, s:I}", "weights", (json_int_t)bytes, "kv_per_token_f16", (json_int_t)(kv_values * 2));
    json_t *o = json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:b, s:o, s:o, s:I, s:o}", "architecture",
                          text(arch.data, arch.len), "name", text(name.data, name.len), "parameters",
                          (json_int_t)parameters, "file_bytes", (json_int_t)sg_weights_file_bytes(w), "context_length",
                          (json_int_t)f->context, "vocabulary", (json_int_t)f->vocabulary, "tokenizer", optional(kind),
                          "chat_template", has_template(w), "types", types_of(w), "experts", experts, "bytes_per_token",
                          (json_int_t)bytes_per_token(w, f), "memory", memory);
    sg_str extra = {0};
    if (o && sg_dict_str(meta, "general.description", NULL, &extra, NULL) == SG_OK && extra.data)
        json_object_set_new(o, "description", text(extra.data, extra.len));
    extra = (sg_str){0};
    if (o && sg_dict_str(meta, "general.license", NULL, &extra, NULL) == SG_OK && extra.data)
        json_object_set_new(o, "license", text(extra.data, extra.len));
    if (o && tensors && json_object_set_new(o, "tensors", tensors_of(w)) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static sg_status info(char **json, const sg_weights *w, bool tensors, sg_error *err)
{
    facts f = {0};
    uint64_t nkv = 0;
    SG_TRY(gather(w, &f, err));
    SG_TRY(heads_kv(w, &f, &nkv, err));
    sg_json_init();
    json_t *o = describe(w, &f, nkv * (f.key + f.value), tensors);
    char *out = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!out)
        return sg_fail_nomem(err, "the description");
    *json = out;
    return SG_OK;
}

sg_status sg_info_json(char **json, const char *model, bool tensors, sg_error *err)
{
    sg_weights *w = NULL;
    if (model)
        SG_TRY(sg_weights_open(&w, model, err));
    else
        SG_TRY(sg_weights_open_memory(&w, sg_default_model, sg_default_model_bytes(), "the embedded default", err));
    sg_status st = info(json, w, tensors, err);
    if (st != SG_OK)
        sg_fail_at(err, st, "%s", sg_weights_path(w));
    sg_weights_close(w);
    return st;
}

/* ---- check ------------------------------------------------------------------------------- */

/* A file whose keys belong to another architecture than it says. */
static sg_status check_prefix(const sg_weights *w, sg_error *err)
{
    sg_str arch = {0};
    const sg_dict *meta = sg_weights_meta(w);
    SG_TRY(sg_dict_need_str(meta, "general.architecture", &arch, err));
    for (size_t i = 0; i < sg_dict_count(meta); i++)
        if (strncmp(sg_dict_key(meta, i), arch.data, arch.len) == 0 && sg_dict_key(meta, i)[arch.len] == '.')
            return SG_OK;
    return sg_fail(err, SG_E_FORMAT, "general.architecture is '%s', but no key begins with '%s.'", arch.data,
                   arch.data);
}

/* The tokenizer that a model brings: none at all is fine (encoders of other things), a broken one is not. */
static sg_status check_tokenizer(const sg_weights *w, sg_error *err)
{
    const sg_dict *meta = sg_weights_meta(w);
    bool any = sg_weights_source(w) == SG_SOURCE_HF && sg_weights_tokenizer_json(w);
    for (size_t i = 0; sg_weights_source(w) == SG_SOURCE_GGUF && i < sg_dict_count(meta); i++)
        any |= strncmp(sg_dict_key(meta, i), "tokenizer.ggml.", 15) == 0;
    sg_tokenizer *t = NULL;
    sg_status st = any ? sg_tokenizer_of_weights(&t, w, NULL, err) : SG_OK;
    sg_tokenizer_free(t);
    return st;
}

static sg_status check_model(const char *path, sg_error *err)
{
    sg_weights *w = NULL;
    SG_TRY(sg_weights_open(&w, path, err));
    sg_status st = check_prefix(w, err);
    if (st == SG_OK)
        st = sg_model_check(w, NULL, err);
    if (st != SG_OK)
        sg_fail_at(err, st, "%s", path);
    else
        st = check_tokenizer(w, err);
    sg_weights_close(w);
    return st;
}

static sg_status check_lone_tokenizer(const char *path, sg_error *err)
{
    sg_tokenizer *t = NULL;
    sg_status st = sg_tokenizer_open(&t, path, err);
    sg_tokenizer_free(t);
    return st;
}

sg_status sg_check(const char *path, sg_error *err)
{
    if (!sg_path_is_directory(path) && ends_with(path, ".safetensors"))
        return sg_safetensors_check(path, err);
    if (!sg_path_is_directory(path) &&
        (ends_with(path, ".json") || ends_with(path, ".model") || ends_with(path, ".tok.bin") || ends_with(path, "tokenizer.bin")))
        return check_lone_tokenizer(path, err);
    return check_model(path, err);
}
