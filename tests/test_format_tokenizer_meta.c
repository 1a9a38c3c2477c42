/* SentencePiece vocabularies written as GGUF metadata give the ids that their own files give. */
#include "tap.h"

#include "base/file.h"
#include "base/heap.h"
#include "engine/tokenizer_open.h"
#include "format/tokenizer_meta.h"
#include "format/tokenizer_wordlist.h"
#include "text/tokenizer.h"

#include <stdlib.h>

static sg_error err;

static bool same_ids(const sg_tokenizer *a, const sg_tokenizer *b, const char *text, size_t n)
{
    sg_tokens x = {0}, y = {0};
    bool same = sg_tokenizer_encode(a, text, n, SG_ENCODE_AROUND, &x, &err) == SG_OK &&
                sg_tokenizer_encode(b, text, n, SG_ENCODE_AROUND, &y, &err) == SG_OK && x.n == y.n &&
                memcmp(x.data, y.data, x.n * sizeof *x.data) == 0;
    sg_tokens_fini(&x);
    sg_tokens_fini(&y);
    return same;
}

TEST(a_sentencepiece_model_keeps_its_ids)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char path[512];
    snprintf(path, sizeof path, "%s/data/tokenizers/llama2/tokenizer.model", tap_shared());
    sg_tokenizer *own, *written;
    sg_dict *meta = sg_dict_new();
    CHECK(meta);
    CHECK_OK(sg_tokenizer_meta_spm(meta, path, 32016, &err));
    CHECK_INT(sg_dict_find(meta, "tokenizer.ggml.tokens")->a.n, 32016);
    CHECK_OK(sg_tokenizer_open(&own, path, &err));
    CHECK_OK(sg_tokenizer_new_from_dict(&written, meta, &err));
    static const char *const texts[] = {"war-and-peace.txt", "wikitext-2-raw.test.txt"};
    int nline = 0, bad = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/data/text/%s", tap_shared(), texts[i]);
        char *text = NULL;
        size_t n = 0;
        CHECK_OK(sg_file_read(path, 64 << 20, &text, &n, &err));
        const char *p = text;
        for (int k = 0; k < 2000; k++, nline++) {
            const char *end = strchr(p, '\n');
            bad += !same_ids(own, written, p, (size_t)(end - p) + 1);
            p = end + 1;
        }
        sg_free(text);
    }
    bad += !same_ids(own, written, "  two  blanks \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\xa6\x84\t\x01", 28);
    tap_note("%d lines", nline);
    CHECK_INT(bad, 0);
    CHECK_FAILS(sg_tokenizer_meta_spm(meta, "no/such.model", 10, &err), SG_E_IO, "no/such.model");
    snprintf(path, sizeof path, "%s/data/tokenizers/llama2/tokenizer.model", tap_shared());
    CHECK_FAILS(sg_tokenizer_meta_spm(meta, path, 31999, &err), SG_E_FORMAT, "more pieces than the embedding's 31999 rows");
    sg_tokenizer_free(own);
    sg_tokenizer_free(written);
    sg_dict_free(meta);
}

TEST(a_unigram_tokenizer_becomes_the_golden_files_keys)
{
    static const char *const keys[] = {"tokens", "scores", "token_type", "model", "add_space_prefix", "remove_extra_whitespaces"};
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char path[512];
    sg_weights *w = NULL;
    json_t *root = NULL;
    sg_wordlist v = {0};
    sg_dict *meta = sg_dict_new();
    snprintf(path, sizeof path, "%s/data/golden/arch/t5-encoder/model.gguf", tap_shared());
    CHECK_OK(sg_weights_open(&w, path, &err));
    snprintf(path, sizeof path, "%s/data/golden/arch/t5-encoder/tokenizer.json", tap_shared());
    CHECK_OK(sg_json_read(&root, path, 1 << 20, &err));
    CHECK_OK(sg_wordlist_init(&v, 512, &err));
    CHECK_OK(sg_tokenizer_meta_unigram(meta, root, &v, &err));
    for (size_t i = 0; i < v.n; i++) /* what the caller does with added tokens */
        v.types[i] = i == 2 ? SG_WORD_UNKNOWN : i < 2 ? SG_WORD_CONTROL : v.types[i];
    CHECK_OK(sg_wordlist_fill_holes(&v, &err));
    CHECK_OK(sg_wordlist_set(meta, &v, true, &err));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s", keys[i]);
        const sg_value *have = sg_dict_find(meta, key), *want = sg_dict_find(sg_weights_meta(w), key);
        CHECK(have && want && have->kind == want->kind);
        if (have->kind == SG_KIND_BOOL)
            CHECK_INT(have->b, want->b);
        if (have->kind != SG_KIND_ARRAY)
            continue;
        CHECK_INT(have->a.n, want->a.n);
        for (size_t k = 0; k < have->a.n; k++)
            if (have->a.kind == SG_KIND_STR)
                CHECK(have->a.s[k].len == want->a.s[k].len && memcmp(have->a.s[k].data, want->a.s[k].data, have->a.s[k].len) == 0);
            else if (have->a.kind == SG_KIND_F64)
                CHECK((float)have->a.f[k] == (float)want->a.f[k]);
            else
                CHECK_INT(have->a.i[k], want->a.i[k]);
    }
    json_object_set_new(json_object_get(root, "normalizer"), "type", json_string("Bert"));
    CHECK_FAILS(sg_tokenizer_meta_unigram(meta, root, &v, &err), SG_E_UNSUPPORTED, "normalizer");
    sg_wordlist_fini(&v);
    json_decref(root);
    sg_dict_free(meta);
    sg_weights_close(w);
}

/* Field 1 (a piece) of: piece "ab", score 0, type 9; and the same cut off. */
TEST(broken_sentencepiece_models_are_refused)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *part;
    } cases[] = {
        {"\x0a\x06\x0a\x02" "ab\x18\x09", 8, "piece 0 has type 9"},
        {"\x0a\x06\x0a\x02" "ab", 6, "goes beyond its message"},
        {"\x12\x02\x18\x03", 4, "no pieces"},
        {"\x0a\x04\x0a\x02" "ab\x12\x02\x18\x03", 10, "model_type 3"},
        {"\x0a\x07\x0a\x00\x15\x00\x00\xc0\x7f", 9, "the score of piece 0 is not a number"},
    };
    sg_dict *meta = sg_dict_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = tap_scratch("broken.model");
        FILE *f = fopen(path, "wb");
        fwrite(cases[i].bytes, 1, cases[i].n, f);
        fclose(f);
        sg_status st = sg_tokenizer_meta_spm(meta, path, 4, &err);
        if (st == SG_OK || !strstr(err.text, cases[i].part))
            tap_fail(__FILE__, __LINE__, "case %zu: %s", i, st == SG_OK ? "taken" : err.text);
    }
    sg_dict_free(meta);
}

static bool write_once(void *arg)
{
    sg_dict *meta = sg_dict_new();
    bool ok = meta && sg_tokenizer_meta_spm(meta, arg, 4, NULL) == SG_OK;
    sg_dict_free(meta);
    return ok;
}

TEST(lack_of_memory_is_survived)
{
    const char *path = tap_scratch("small.model");
    FILE *f = fopen(path, "wb");
    fwrite("\x0a\x04\x0a\x02" "ab\x0a\x03\x0a\x01" "c\x1a\x04\x12\x02xy", 1, 17, f);
    fclose(f);
    CHECK_ALLOC_LOOP(write_once, (void *)path);
}

TAP_MAIN
