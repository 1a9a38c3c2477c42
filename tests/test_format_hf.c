/* Hugging Face directories against the GGUF files that hold the same numbers.
 *
 * The golden files were written by another program, so equality of every value and every key says that
 * names, shapes, reordering and types are right.
 */
#include "tap.h"

#include "base/f16.h"
#include "base/heap.h"
#include "format/weights.h"

#include <dirent.h>
#include <stdlib.h>

static float value_of(const void *bytes, sg_dtype type, uint64_t i)
{
    const uint16_t *h = bytes;
    const float *f = bytes;
    return type == SG_F32 ? f[i] : type == SG_F16 ? sg_f16_to_f32(h[i]) : sg_bf16_to_f32(h[i]);
}

/* The number of values that differ. */
static uint64_t differences(const sg_weights *a, const sg_tensor *s, const sg_weights *b, const sg_tensor *t)
{
    void *x = malloc(s->bytes), *y = malloc(t->bytes);
    sg_weights_read(a, s, x, NULL);
    sg_weights_read(b, t, y, NULL);
    uint64_t n = 0;
    if (s->type == SG_MXFP4)
        n = memcmp(x, y, s->bytes) != 0;
    else
        for (uint64_t i = 0; i < sg_tensor_values(s); i++) {
            float u = value_of(x, s->type, i), v = value_of(y, t->type, i);
            n += strncmp(s->name, "rope_f", 6) == 0 ? !(fabsf(u - v) <= 2e-7f * fabsf(v)) : u != v;
        }
    free(x);
    free(y);
    return n;
}

static bool same_value(const sg_value *a, const sg_value *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case SG_KIND_STR: return a->s.len == b->s.len && memcmp(a->s.data, b->s.data, a->s.len) == 0;
    case SG_KIND_BOOL: return a->b == b->b;
    case SG_KIND_ARRAY:
        return a->a.kind == b->a.kind && a->a.n == b->a.n &&
               (a->a.kind != SG_KIND_STR || a->a.n == 0 || strcmp(a->a.s[0].data, b->a.s[0].data) == 0);
    case SG_KIND_F64: return fabs(a->f - b->f) <= 1e-7 * fabs(b->f);
    default: return a->u == b->u;
    }
}

/* Keys that one side has by right and the other has not. */
static bool known_difference(const char *key)
{
    static const char *const only[] = {"general.name", "general.file_type", "general.quantization_version",
                                       "tokenizer.",
                                       /* README of the golden data, 4: left out there as older files do */
                                       "rope.freq_base_swa", "gpt-oss.rope.scaling.yarn_truncate"};
    for (size_t i = 0; i < sizeof only / sizeof only[0]; i++)
        if (strstr(key, only[i]))
            return true;
    return false;
}

static int missing_keys(const char *model, const sg_weights *a, const sg_weights *b, const char *side)
{
    int bad = 0;
    const sg_dict *d = sg_weights_meta(a);
    for (size_t i = 0; i < sg_dict_count(d); i++) {
        const char *key = sg_dict_key(d, i);
        const sg_value *v = sg_dict_find(sg_weights_meta(b), key);
        if (known_difference(key) || (v && same_value(sg_dict_at(d, i), v)))
            continue;
        tap_note("%s: key %s of the %s side is %s", model, key, side, v ? "another value" : "missing on the other");
        bad++;
    }
    return bad;
}

/* Whether the tensor made row by row, in uneven pieces, is the tensor made at once. */
static bool pieces_agree(const sg_weights *w, const sg_tensor *t)
{
    unsigned char *x = malloc(t->bytes), *y = malloc(t->bytes);
    size_t row_bytes = sg_dtype_row_bytes(t->type, t->ne[0]);
    bool ok = sg_weights_read(w, t, x, NULL) == SG_OK;
    for (uint64_t row = 0, step = 1; row < sg_tensor_rows(t) && ok; row += step, step = step % 5 + 1) {
        uint64_t n = sg_tensor_rows(t) - row < step ? sg_tensor_rows(t) - row : step;
        ok = sg_weights_read_rows(w, t, row, n, y + row * row_bytes, NULL) == SG_OK;
    }
    ok =
        ok && memcmp(x, y, t->bytes) == 0 && sg_weights_read_rows(w, t, sg_tensor_rows(t), 1, y, NULL) == SG_E_ARGUMENT;
    free(x);
    free(y);
    return ok;
}

static int compare_tensors(const char *model, const sg_weights *hf, const sg_weights *gguf, size_t *ntensor,
                           uint64_t *nvalue)
{
    int bad = 0;
    const sg_value *file_type = sg_dict_find(sg_weights_meta(gguf), "general.file_type");
    bool all_f32 = file_type && file_type->u == 0;
    for (size_t i = 0; i < sg_weights_count(gguf); i++) {
        const sg_tensor *t = sg_weights_at(gguf, i), *s = sg_weights_find(hf, t->name);
        bool f32 = t->type == SG_F32 && !all_f32;
        if (!s || s->ndim != t->ndim || memcmp(s->ne, t->ne, sizeof s->ne) != 0 || (f32 && s->type != SG_F32)) {
            tap_note("%s: %s is %s", model, t->name, s ? "of another shape or type" : "missing");
            bad++;
            continue;
        }
        uint64_t n = differences(hf, s, gguf, t);
        if (n) {
            tap_note("%s: %s has %llu other values", model, t->name, (unsigned long long)n);
            bad++;
        }
        if (!pieces_agree(hf, s)) {
            tap_note("%s: %s differs when made in pieces", model, t->name);
            bad++;
        }
        ++*ntensor;
        *nvalue += sg_tensor_values(t);
    }
    for (size_t i = 0; i < sg_weights_count(hf); i++)
        if (!sg_weights_find(gguf, sg_weights_at(hf, i)->name)) {
            tap_note("%s: %s is only in the directory", model, sg_weights_at(hf, i)->name);
            bad++;
        }
    return bad;
}

/* Families of the golden data that are for later. */
static bool later(const char *name)
{
    static const char *const list[] = {"phi2",   "gpt2",       "gptneox",    "bloom",      "falcon", "starcoder2",
                                       "cohere", "nomic-bert", "modernbert", "t5-encoder", "mamba",  "whisper"};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

TEST(directories_equal_the_gguf_files)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char root[512];
    snprintf(root, sizeof root, "%s/data/golden/arch", tap_shared());
    DIR *d = opendir(root);
    CHECK(d);
    int nmodel = 0, nalone = 0, nrefused = 0, bad = 0;
    size_t ntensor = 0;
    uint64_t nvalue = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char dir[1024], path[1100];
        snprintf(dir, sizeof dir, "%s/%s", root, e->d_name);
        snprintf(path, sizeof path, "%s/config.json", dir);
        if (e->d_name[0] == '.' || !sg_path_exists(path))
            continue;
        sg_error err;
        sg_weights *hf = NULL, *gguf = NULL;
        if (later(e->d_name)) {
            CHECK_FAILS(sg_weights_open(&hf, dir, &err), SG_E_UNSUPPORTED, "architecture '");
            nrefused++;
            continue;
        }
        CHECK_OK(sg_weights_open(&hf, dir, &err));
        snprintf(path, sizeof path, "%s/model.gguf", dir);
        if (!sg_path_exists(path)) {
            nalone++;
        } else {
            CHECK_OK(sg_weights_open(&gguf, path, &err));
            bad += missing_keys(e->d_name, hf, gguf, "directory's") + missing_keys(e->d_name, gguf, hf, "file's");
            bad += compare_tensors(e->d_name, hf, gguf, &ntensor, &nvalue);
            nmodel++;
        }
        sg_weights_close(hf);
        sg_weights_close(gguf);
    }
    closedir(d);
    tap_note("%d models equal to their GGUF files: %zu tensors, %llu values; %d without a GGUF file; %d for later",
             nmodel, ntensor, (unsigned long long)nvalue, nalone, nrefused);
    CHECK_INT(bad, 0);
    CHECK(nmodel >= 20);
}

static bool open_close(void *arg)
{
    sg_weights *w = NULL;
    bool ok = sg_weights_open(&w, arg, NULL) == SG_OK;
    sg_weights_close(w);
    return ok;
}

TEST(every_allocation_can_fail)
{
    static const char *const names[] = {"qwen3moe", "gpt-oss-mxfp4", "phi3-longrope", "bert-reranker"};
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/data/golden/arch/%s", tap_shared(), names[i]);
        CHECK_ALLOC_LOOP(open_close, path);
    }
}

TAP_MAIN
