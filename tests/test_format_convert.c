/* Converting golden directories gives what the golden GGUF files hold: keys, vocabulary, every byte of every
 * tensor. */
#include "tap.h"

#include "base/heap.h"
#include "format/weights.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static bool same_array(const sg_array *a, const sg_array *b)
{
    if (a->kind != b->kind || a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->kind == SG_KIND_STR ? a->s[i].len != b->s[i].len || memcmp(a->s[i].data, b->s[i].data, a->s[i].len) != 0
                                   : a->kind == SG_KIND_BOOL ? a->b[i] != b->b[i] : a->u[i] != b->u[i])
            return false;
    return true;
}

static bool same_value(const sg_value *a, const sg_value *b)
{
    if (a->kind != b->kind || a->wire != b->wire)
        return false;
    switch (a->kind) {
    case SG_KIND_STR: return a->s.len == b->s.len && memcmp(a->s.data, b->s.data, a->s.len) == 0;
    case SG_KIND_BOOL: return a->b == b->b;
    case SG_KIND_ARRAY: return a->wire_element == b->wire_element && same_array(&a->a, &b->a);
    default: return a->u == b->u;
    }
}

/* What the golden files lack or cannot say (their README, 4), and the name. */
static bool known_difference(const char *key)
{
    static const char *const only[] = {"general.name", "rope.freq_base_swa", "yarn_truncate", "normalizer.lowercase"};
    for (size_t i = 0; i < sizeof only / sizeof only[0]; i++)
        if (strstr(key, only[i]))
            return true;
    return false;
}

static int key_differences(const char *model, const sg_weights *a, const sg_weights *b)
{
    int bad = 0;
    for (size_t i = 0; i < sg_dict_count(sg_weights_meta(a)); i++) {
        const char *key = sg_dict_key(sg_weights_meta(a), i);
        const sg_value *v = sg_dict_find(sg_weights_meta(b), key);
        if (known_difference(key) || (v && same_value(sg_dict_at(sg_weights_meta(a), i), v)))
            continue;
        tap_note("%s: %s is %s", model, key, v ? "another" : "on one side only");
        bad++;
    }
    return bad;
}

static int tensor_differences(const char *model, const sg_weights *a, const sg_weights *b, size_t *n, size_t *nround)
{
    int bad = sg_weights_count(a) != sg_weights_count(b);
    for (size_t i = 0; i < sg_weights_count(a); i++) {
        const sg_tensor *s = sg_weights_at(a, i), *t = sg_weights_find(b, s->name);
        bool same = t && s->type == t->type && s->ndim == t->ndim && memcmp(s->ne, t->ne, sizeof s->ne) == 0;
        if (same && strncmp(s->name, "rope_f", 6) == 0) {
            ++*nround; /* a power and a logarithm: another library rounds otherwise; test_format_hf bounds it */
        } else if (!same || memcmp(s->data, t->data, s->bytes) != 0) {
            tap_note("%s: %s differs", model, s->name);
            bad++;
        }
        ++*n;
    }
    return bad;
}

static const char *type_of(const sg_weights *w)
{
    uint64_t v = 0;
    sg_dict_u64(sg_weights_meta(w), "general.file_type", 0, &v, NULL);
    return v == 0 ? "f32" : v == 32 ? "bf16" : "f16";
}

TEST(converted_directories_equal_the_golden_files)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char root[512];
    snprintf(root, sizeof root, "%s/data/golden/arch", tap_shared());
    DIR *d = opendir(root);
    CHECK(d);
    int nmodel = 0, bad = 0;
    size_t n = 0, nround = 0;
    const char *out = tap_scratch("converted.gguf");
    for (struct dirent *e; (e = readdir(d));) {
        char dir[1024], path[1100];
        snprintf(dir, sizeof dir, "%s/%s", root, e->d_name);
        snprintf(path, sizeof path, "%s/model.gguf", dir);
        sg_error err;
        sg_weights *want = NULL, *have = NULL;
        if (e->d_name[0] == '.' || !sg_path_exists(path))
            continue;
        CHECK_OK(sg_weights_open(&want, path, &err));
        sg_status st = sg_convert(dir, out, &(sg_convert_options){.type = type_of(want)}, &err);
        if (st != SG_E_UNSUPPORTED) {
            CHECK_OK(st);
            CHECK_OK(sg_weights_open(&have, out, &err));
            bad += key_differences(e->d_name, want, have) + key_differences(e->d_name, have, want);
            bad += tensor_differences(e->d_name, want, have, &n, &nround);
            nmodel++;
        }
        sg_weights_close(want);
        sg_weights_close(have);
    }
    closedir(d);
    tap_note("%d models converted: %zu tensors byte for byte (%zu of rope factors not compared here)", nmodel, n,
             nround);
    CHECK_INT(bad, 0);
    CHECK(nmodel >= 20);
}

TEST(llama2c_becomes_gguf)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char in[512], tok[512];
    sg_error err;
    sg_weights *w = NULL;
    snprintf(in, sizeof in, "%s/data/llm/stories260K.bin", tap_shared());
    snprintf(tok, sizeof tok, "%s/data/llm/tok512.bin", tap_shared());
    const char *out = tap_scratch("stories.gguf");
    CHECK_OK(sg_convert(in, out, &(sg_convert_options){.type = "f16", .tokenizer = tok}, &err));
    CHECK_OK(sg_weights_open(&w, out, &err));
    CHECK_INT(sg_weights_find(w, "blk.0.attn_q.weight")->type, SG_F16);
    CHECK_INT(sg_weights_find(w, "blk.0.attn_norm.weight")->type, SG_F32);
    CHECK_INT(sg_dict_find(sg_weights_meta(w), "tokenizer.ggml.tokens")->a.n, 512);
    sg_weights_close(w);
    snprintf(tok, sizeof tok, "%s/data/llm/tok105.bin", tap_shared());
    CHECK_FAILS(sg_convert(in, out, &(sg_convert_options){.tokenizer = tok}, &err), SG_E_FORMAT, "piece 105 of 512");
    CHECK_FAILS(sg_convert(in, out, &(sg_convert_options){.type = "q4_0"}, &err), SG_E_ARGUMENT, "q4_0");
}

typedef struct watch {
    size_t ncall, stop_at;
    uint64_t done, bytes;
} watch;

static bool watch_progress(void *arg, const sg_write_progress *p)
{
    watch *w = arg;
    w->done = p->bytes_done;
    w->bytes = p->bytes;
    return ++w->ncall != w->stop_at;
}

TEST(progress_is_told_and_can_stop_the_work)
{
    char in[512];
    sg_error err;
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    snprintf(in, sizeof in, "%s/data/golden/arch/qwen3", tap_shared());
    watch w = {0};
    sg_convert_options o = {.progress = watch_progress, .arg = &w};
    const char *out = tap_scratch("stopped.gguf");
    CHECK_OK(sg_convert(in, out, &o, &err));
    CHECK(w.ncall > 10 && w.done > 0 && w.done < w.bytes); /* before the last piece */
    unlink(out);
    w = (watch){.stop_at = 5};
    CHECK_FAILS(sg_convert(in, out, &o, &err), SG_E_CANCELLED, "stopped");
    CHECK(access(out, F_OK) != 0);
}

static bool convert(void *arg)
{
    const char *const *io = arg;
    return sg_convert(io[0], io[1], &(sg_convert_options){.type = "f16", .tokenizer = io[2]}, NULL) == SG_OK;
}

TEST(every_allocation_can_fail)
{
    static const char *const names[] = {"bert-mean", "gemma"};
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char dir[512];
        snprintf(dir, sizeof dir, "%s/data/golden/arch/%s", tap_shared(), names[i]);
        const char *io[] = {dir, tap_scratch("loop.gguf"), NULL};
        CHECK_ALLOC_LOOP(convert, io);
    }
    char bin[512], tok[512];
    snprintf(bin, sizeof bin, "%s/data/llm/babyllama-tok105.bin", tap_shared());
    snprintf(tok, sizeof tok, "%s/data/llm/tok105.bin", tap_shared());
    const char *io[] = {bin, tap_scratch("loop.gguf"), tok};
    CHECK_ALLOC_LOOP(convert, io);
}

TAP_MAIN
