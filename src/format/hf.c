/* format/hf.c - a Hugging Face directory as a GGUF-shaped model.
 *
 *     config.json --model_type--> family row --meta()--> dictionary
 *     *.safetensors --headers--> stored tensors --naming tables--> GGUF tensors
 *
 * Most tensors need nothing but their GGUF name and point into the mapped file; the others get a recipe
 * (recipe.h) and are made when they are read.  Every stored tensor must find a place or be on the family's
 * list of those that have none: a tensor that is silently left out is a wrong model.
 *
 * Not read: PyTorch's pickles, quantised checkpoints other than MXFP4, sharded names other than those of
 * the index.
 */
#include "format/hf.h"

#include "base/heap.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG = 16 << 20, MAX_INDEX = 32 << 20, MAX_NAME = 512 };

static const sg_hf_family *const groups[] = {
    sg_hf_llama_families,   sg_hf_qwen_families,     sg_hf_gemma_families,   sg_hf_phi_families,  sg_hf_olmo_families,
    sg_hf_granite_families, sg_hf_deepseek_families, sg_hf_gpt_oss_families, sg_hf_bert_families,
};

/* Stored tensors of all families that are recomputed or only used in training. */
static const char *const never_used[] = {".rotary_emb.inv_freq", ".position_ids", ".masked_bias", NULL};

static sg_status find_family(sg_hf *h, sg_error *err)
{
    const char *type = json_string_value(json_object_get(h->config, "model_type"));
    if (!type)
        return sg_fail(err, SG_E_FORMAT, "config.json: model_type is missing or no string");
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (const sg_hf_family *f = groups[g]; f->model_type; f++)
            if (strcmp(f->model_type, type) == 0) {
                h->family = f;
                return SG_OK;
            }
    return sg_fail(err, SG_E_UNSUPPORTED, "config.json: architecture '%s' is not supported", type);
}

static sg_status check_config(sg_hf *h, sg_error *err)
{
    json_t *q = json_object_get(h->config, "quantization_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    if (json_is_object(q) && (!method || strcmp(method, "mxfp4") != 0))
        return sg_fail(err, SG_E_UNSUPPORTED, "config.json: weights quantised by '%s' are not read",
                       method ? method : "?");
    const char *act = json_string_value(json_object_get(h->config, "hidden_act"));
    if (h->family->activation && act && strcmp(act, h->family->activation) != 0)
        return sg_fail(err, SG_E_UNSUPPORTED, "config.json: hidden_act is '%s', %s has '%s'", act,
                       h->family->architecture, h->family->activation);
    return SG_OK;
}

/* ---- files -------------------------------------------------------------------- */

static sg_status open_files(sg_hf *h, const char *const *names, size_t n, sg_error *err)
{
    sg_weights *w = h->w;
    w->files = sg_calloc(n, sizeof *w->files);
    if (!w->files)
        return sg_fail_nomem(err, "the list of files");
    for (size_t i = 0; i < n; i++) {
        char *path = sg_path_join(w->path, names[i]);
        if (!path)
            return sg_fail_nomem(err, "a path");
        sg_status st = sg_file_open(&w->files[i], path, err);
        sg_free(path);
        SG_TRY(st);
        w->nfile = i + 1;
        st = sg_safetensors_read(&h->dir, &w->files[i], err);
        if (st != SG_OK)
            return sg_fail_at(err, st, "%s", names[i]);
    }
    return sg_safetensors_sort(&h->dir, err);
}

static bool plain_name(const char *s) { return s && *s && !strchr(s, '/') && strlen(s) < 256 && s[0] != '.'; }

/* The distinct file names of an index, in order of appearance; *names is the caller's to free. */
static sg_status index_files(json_t *map, const char ***names, size_t *n, sg_error *err)
{
    size_t cap = json_object_size(map), count = 0;
    const char **list = sg_alloc((cap ? cap : 1) * sizeof *list), *key;
    json_t *value, *seen = json_object();
    sg_status st = list && seen ? SG_OK : sg_fail_nomem(err, "the index");
    json_object_foreach(map, key, value) {
        const char *file = json_string_value(value);
        if (st != SG_OK)
            break;
        if (!plain_name(file))
            st = sg_fail(err, SG_E_FORMAT, "model.safetensors.index.json: '%s' is in no file of this directory", key);
        else if (!json_object_get(seen, file)) {
            list[count++] = file;
            if (json_object_set(seen, file, value) != 0)
                st = sg_fail_nomem(err, "the index");
            if (count > SG_MAX_FILES)
                st = sg_fail(err, SG_E_LIMIT, "model.safetensors.index.json: more than %d files", SG_MAX_FILES);
        }
    }
    if (st == SG_OK && !count)
        st = sg_fail(err, SG_E_FORMAT, "model.safetensors.index.json: weight_map is missing or empty");
    json_decref(seen);
    if (st != SG_OK) {
        sg_free(list);
        return st;
    }
    *names = list;
    *n = count;
    return SG_OK;
}

static sg_status open_index(sg_hf *h, const char *path, sg_error *err)
{
    json_t *index = NULL;
    SG_TRY(sg_json_read(&index, path, MAX_INDEX, err));
    json_t *map = json_object_get(index, "weight_map");
    const char **names = NULL, *key;
    json_t *value;
    size_t n = 0;
    sg_status st = index_files(map, &names, &n, err);
    if (st == SG_OK)
        st = open_files(h, names, n, err);
    sg_free(names);
    json_object_foreach(map, key, value) {
        if (st != SG_OK)
            break;
        if (!sg_safetensors_find(&h->dir, key))
            st = sg_fail(err, SG_E_FORMAT, "model.safetensors.index.json: tensor '%s' is in none of the files", key);
    }
    json_decref(index);
    return st;
}

static sg_status open_tensors(sg_hf *h, sg_error *err)
{
    char *path = sg_path_join(h->w->path, "model.safetensors.index.json");
    if (!path)
        return sg_fail_nomem(err, "a path");
    static const char *const single = "model.safetensors";
    sg_status st = sg_path_exists(path) ? open_index(h, path, err) : open_files(h, &single, 1, err);
    sg_free(path);
    return st;
}

static sg_status beside(const sg_weights *w, const char *name, char **out, sg_error *err)
{
    char *path = sg_path_join(w->path, name);
    if (!path)
        return sg_fail_nomem(err, "a path");
    if (sg_path_exists(path))
        *out = path;
    else
        sg_free(path);
    return SG_OK;
}

static sg_status open_config(sg_hf *h, sg_error *err)
{
    char *path = NULL;
    SG_TRY(beside(h->w, "config.json", &path, err));
    if (!path)
        return sg_fail(err, SG_E_NOT_FOUND, "a directory without config.json is no model");
    sg_status st = sg_json_read(&h->config, path, MAX_CONFIG, err);
    sg_free(path);
    SG_TRY(st);
    if (!json_is_object(h->config))
        return sg_fail(err, SG_E_FORMAT, "config.json: it is not an object");
    return SG_OK;
}

/* ---- names ----------------------------------------------------------------------- */

/* Write `pattern` with its "%" and "#" replaced; false when it does not fit. */
static bool expand(char out[MAX_NAME], const char *prefix, size_t prefix_len, const char *pattern, uint64_t layer,
                   uint64_t expert)
{
    size_t n = prefix_len;
    memcpy(out, prefix, prefix_len);
    for (const char *p = pattern; *p; p++) {
        int m = *p == '%'   ? snprintf(out + n, MAX_NAME - n, "%" PRIu64, layer)
                : *p == '#' ? snprintf(out + n, MAX_NAME - n, "%" PRIu64, expert)
                            : (out[n] = *p, 1);
        n += (size_t)m;
        if (n >= MAX_NAME - 1)
            return false;
    }
    out[n] = '\0';
    return true;
}

static sg_stored *find_stored(sg_hf *h, const char *pattern, uint64_t layer, uint64_t expert)
{
    char name[MAX_NAME];
    if (!expand(name, h->prefix, h->prefix_len, pattern, layer, expert))
        return NULL;
    sg_stored *s = sg_safetensors_find(&h->dir, name);
    if (!s && h->prefix_len) /* heads stand beside the prefixed body */
        s = sg_safetensors_find(&h->dir, name + h->prefix_len);
    if (s)
        s->used = true;
    return s;
}

sg_stored *sg_hf_find(sg_hf *h, const char *name) { return find_stored(h, name, 0, 0); }

/* The prefix under which the first row's tensor is stored. */
static void choose_prefix(sg_hf *h)
{
    const char *p = h->family->prefixes ? h->family->prefixes : "";
    for (;;) {
        h->prefix = p;
        h->prefix_len = strcspn(p, "|");
        const char *rest = p + h->prefix_len;
        if (find_stored(h, h->family->tables[0]->stored, 0, 0) || !*rest)
            return;
        p = rest + 1;
    }
}

static sg_status stack(sg_hf *h, const sg_hf_row *row, const char *name, uint64_t layer, sg_error *err)
{
    const sg_stored *first = find_stored(h, row->stored, layer, 0);
    if (!first)
        return SG_OK;
    if (h->nexpert < 1 || h->nexpert > h->dir.n || first->ndim > 3)
        return sg_fail(err, SG_E_FORMAT, "tensor '%s': config.json says %" PRIu64 " experts", first->name, h->nexpert);
    sg_part *parts = sg_alloc(h->nexpert * sizeof *parts);
    if (!parts)
        return sg_fail_nomem(err, "the tensor directory");
    sg_status st = SG_OK;
    for (uint64_t e = 0; e < h->nexpert && st == SG_OK; e++) {
        const sg_stored *s = find_stored(h, row->stored, layer, e);
        if (!s || s->ndim != first->ndim || memcmp(s->shape, first->shape, sizeof s->shape) != 0)
            st = sg_fail(err, SG_E_FORMAT, "tensor '%s': that of expert %" PRIu64 " is missing or has another shape",
                         first->name, e);
        else
            st = sg_hf_part(&parts[e], s, err);
    }
    uint64_t ne[4] = {1, 1, 1, 1};
    for (int i = 0; i < first->ndim; i++)
        ne[i] = first->shape[first->ndim - 1 - i];
    ne[first->ndim] = h->nexpert;
    if (st == SG_OK)
        st = sg_hf_emit(h, name, first->ndim + 1, ne, parts, h->nexpert, SG_RECIPE_COPY, err);
    sg_free(parts);
    return st;
}

static sg_status map_row(sg_hf *h, const sg_hf_row *row, uint64_t layer, sg_error *err)
{
    char name[MAX_NAME];
    if (!expand(name, "", 0, row->name, layer, 0))
        return sg_fail(err, SG_E_LIMIT, "a name is too long");
    if (strchr(row->stored, '#'))
        return stack(h, row, name, layer, err);
    const sg_stored *s = find_stored(h, row->stored, layer, 0);
    if (!s)
        return SG_OK;
    return (row->make ? row->make : sg_hf_copy)(h, row, name, s, err);
}

/* All rows of one layer, or those that name no layer. */
static sg_status map_rows(sg_hf *h, bool layered, uint64_t layer, sg_error *err)
{
    for (const sg_hf_row *const *table = h->family->tables; *table; table++)
        for (const sg_hf_row *row = *table; row->stored; row++)
            if ((strchr(row->stored, '%') != NULL) == layered)
                SG_TRY(map_row(h, row, layer, err));
    return SG_OK;
}

static bool has_part(const char *name, const char *const *list)
{
    for (; list && *list; list++)
        if (strstr(name, *list))
            return true;
    return false;
}

/* Layers beyond num_hidden_layers (multi-token prediction heads) have no place either. */
static bool beyond_layers(const sg_hf *h, const char *name)
{
    unsigned long long layer;
    return sscanf(name, "model.layers.%llu.", &layer) == 1 && layer >= h->nlayer &&
           sg_hf_has(h, "num_nextn_predict_layers");
}

static sg_status check_all_used(const sg_hf *h, sg_error *err)
{
    for (size_t i = 0; i < h->dir.n; i++) {
        const sg_stored *s = &h->dir.tensors[i];
        if (!s->used && !has_part(s->name, never_used) && !has_part(s->name, h->family->ignore) &&
            !beyond_layers(h, s->name))
            return sg_fail(err, SG_E_UNSUPPORTED, "tensor '%s' has no place in architecture %s", s->name,
                           h->family->architecture);
    }
    return SG_OK;
}

/* ---- all of it ---------------------------------------------------------------------- */

/* The directory's own name, for people. */
static sg_status set_general(sg_hf *h, sg_error *err)
{
    const char *path = h->w->path;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t at = n;
    while (at > 0 && path[at - 1] != '/')
        at--;
    const char *arch = h->family->architecture;
    SG_TRY(sg_dict_set_str(h->w->meta, "general.architecture", arch, strlen(arch), err));
    return sg_dict_set_str(h->w->meta, "general.name", path + at, n - at, err);
}

static sg_status build(sg_hf *h, sg_error *err)
{
    SG_TRY(open_config(h, err));
    SG_TRY(find_family(h, err));
    SG_TRY(check_config(h, err));
    SG_TRY(open_tensors(h, err));
    SG_TRY(set_general(h, err));
    choose_prefix(h);
    SG_TRY(h->family->meta(h, err));
    SG_TRY(map_rows(h, false, 0, err));
    for (uint64_t i = 0; i < h->nlayer; i++)
        SG_TRY(map_rows(h, true, i, err));
    SG_TRY(check_all_used(h, err));
    SG_TRY(beside(h->w, "tokenizer.json", &h->w->tokenizer_json, err));
    SG_TRY(beside(h->w, "tokenizer_config.json", &h->w->tokenizer_config, err));
    return beside(h->w, "chat_template.jinja", &h->w->chat_template, err);
}

sg_status sg_hf_open(sg_weights *w, sg_error *err)
{
    sg_json_init();
    sg_hf h = {.w = w};
    sg_status st = build(&h, err);
    json_decref(h.config);
    sg_safetensors_fini(&h.dir);
    return st;
}
