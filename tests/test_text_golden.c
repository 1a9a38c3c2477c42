/* Tokenizers against the vectors of shared/data: ids, special tokens, decoding, streaming, ill-formed input; the vectors of
 * llama.cpp's vocabularies; the tokenizers of the small golden models. */
#include "tap.h"

#include "base/file.h"
#include "base/json.h"
#include "text/tokenizer.h"

#include <dirent.h>
#include <stdlib.h>

static size_t npass, nfail;

/* One line for each of the first few failures of a test. */
static void count(bool ok, const char *what, const char *which, long row)
{
    if (ok)
        npass++;
    else if (++nfail <= 8)
        tap_note("%s: %s differs in row %ld", which, what, row);
}

/* All of a file, unpacked when its name ends in .gz; NULL when it cannot be read. */
static char *slurp(const char *path, size_t *n)
{
    size_t k = strlen(path);
    char command[600];
    snprintf(command, sizeof command, k > 3 && strcmp(path + k - 3, ".gz") == 0 ? "gzip -dc '%s'" : "cat '%s'", path);
    FILE *f = popen(command, "r");
    char *data = NULL;
    size_t cap = 0;
    *n = 0;
    for (size_t got = 1; f && got > 0; *n += got) {
        if (cap - *n < 1 << 20)
            data = sg_realloc(data, cap = cap * 2 + (4 << 20));
        got = fread(data + *n, 1, cap - *n - 1, f);
    }
    if (f && pclose(f) == 0) {
        data[*n] = '\0';
        return data;
    }
    sg_free(data);
    return NULL;
}

static json_t *load(const char *path)
{
    size_t n;
    char *s = slurp(path, &n);
    json_t *v = NULL;
    if (s)
        sg_json_parse(&v, s, n, path, NULL);
    sg_free(s);
    return v;
}

static sg_tokenizer *open_any(const char *path)
{
    sg_error err;
    sg_tokenizer *t = NULL;
    size_t k = strlen(path), n;
    if (k > 3 && strcmp(path + k - 3, ".gz") == 0) {
        char *s = slurp(path, &n);
        if (!s || sg_tokenizer_new_from_json(&t, s, n, NULL, 0, &err) != SG_OK)
            tap_note("%s: %s", path, s ? err.text : "cannot be read");
        sg_free(s);
    } else if (sg_tokenizer_open(&t, path, &err) != SG_OK) {
        tap_note("%s", err.text);
    }
    return t;
}

static bool same_ids(const sg_tokenizer *t, const char *s, size_t n, unsigned flags, const json_t *want)
{
    sg_tokens ids = {0};
    sg_error err = {.text = ""};
    bool ok = sg_tokenizer_encode(t, s, n, flags, &ids, &err) == SG_OK && ids.n == json_array_size(want);
    for (size_t i = 0; ok && i < ids.n; i++)
        ok = ids.data[i] == json_integer_value(json_array_get(want, i));
    sg_tokens_fini(&ids);
    return ok;
}

static size_t to_ids(const json_t *list, sg_token *ids, size_t cap)
{
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n && i < cap; i++)
        ids[i] = (sg_token)json_integer_value(json_array_get(list, i));
    return n < cap ? n : cap;
}

static sg_token scratch[200000];

static bool same_text(const sg_tokenizer *t, const json_t *list, bool skip, const char *want, size_t nwant)
{
    char *s;
    size_t n;
    size_t k = to_ids(list, scratch, sizeof scratch / sizeof scratch[0]);
    if (sg_tokenizer_decode(t, scratch, k, skip, &s, &n, NULL) != SG_OK)
        return false;
    bool ok = n == nwant && memcmp(s, want, n) == 0;
    sg_tokenizer_text_free(s);
    return ok;
}

static bool same_json_text(const sg_tokenizer *t, const json_t *list, bool skip, const json_t *want)
{
    return same_text(t, list, skip, json_string_value(want), json_string_length(want));
}

/* A row's text, plain ids, special ids and what they decode to. */
static void check_row(const char *name, const sg_tokenizer *t, const json_t *row, const char *s, size_t n, long i)
{
    const json_t *plain = json_object_get(row, "plain"), *special = json_object_get(row, "special");
    const json_t *text = json_object_get(row, "decode"), *shown = json_object_get(row, "decode_special");
    count(same_ids(t, s, n, 0, plain), "plain", name, i);
    if (special)
        count(same_ids(t, s, n, SG_ENCODE_SPECIAL, special), "special", name, i);
    count(text ? same_json_text(t, plain, false, text) : same_text(t, plain, false, s, n), "decode", name, i);
    if (shown && special) {
        count(same_json_text(t, special, false, json_object_get(shown, "keep")), "decode keep", name, i);
        count(same_json_text(t, special, true, json_object_get(shown, "skip")), "decode skip", name, i);
    }
}

static void check_stream(const char *name, const sg_tokenizer *t, const json_t *row, long i)
{
    const json_t *ids = json_object_get(row, "ids"), *pieces = json_object_get(row, "pieces"), *end = json_object_get(row, "end");
    sg_detok *d;
    bool ok = sg_detok_new(&d, t, json_is_true(json_object_get(row, "skip_special")), NULL) == SG_OK;
    const char *s;
    size_t n;
    for (size_t k = 0; ok && k < json_array_size(ids); k++) {
        const json_t *want = json_array_get(pieces, k);
        ok = sg_detok_add(d, (sg_token)json_integer_value(json_array_get(ids, k)), &s, &n, NULL) == SG_OK &&
             n == json_string_length(want) && memcmp(s, json_string_value(want), n) == 0;
    }
    ok = ok && sg_detok_end(d, &s, &n, NULL) == SG_OK && n == json_string_length(end) && memcmp(s, json_string_value(end), n) == 0;
    sg_detok_free(d);
    count(ok, "stream", name, i);
}

static void check_invalid(const char *name, const sg_tokenizer *t, const json_t *row, long i)
{
    const char *hex = json_string_value(json_object_get(row, "bytes"));
    char bytes[512];
    size_t n = strlen(hex) / 2;
    for (size_t k = 0; k < n && k < sizeof bytes; k++) {
        unsigned x;
        sscanf(hex + 2 * k, "%2x", &x);
        bytes[k] = (char)x;
    }
    count(n <= sizeof bytes && same_ids(t, bytes, n, 0, json_object_get(row, "plain")), "invalid", name, i);
}

static void check_file(const char *name, const json_t *g, const json_t *const *texts, size_t ntext)
{
    char path[600];
    snprintf(path, sizeof path, "%s/data/%s", tap_shared(), json_string_value(json_object_get(g, "source")));
    sg_tokenizer *t = open_any(path);
    count(t != NULL, "opening", name, 0);
    if (!t)
        return;
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(g, "rows"), i, row) {
        size_t k = (size_t)json_integer_value(json_object_get(row, "i"));
        if (k < ntext && texts[k])
            check_row(name, t, row, json_string_value(texts[k]), json_string_length(texts[k]), (long)k);
    }
    json_array_foreach(json_object_get(g, "own"), i, row) {
        const json_t *s = json_object_get(row, "text");
        check_row(name, t, row, json_string_value(s), json_string_length(s), (long)i);
    }
    json_array_foreach(json_object_get(g, "stream"), i, row)
        check_stream(name, t, row, (long)i);
    json_array_foreach(json_object_get(g, "invalid"), i, row)
        check_invalid(name, t, row, (long)i);
    const json_t *size = json_object_get(g, "vocab_size");
    count((size_t)json_integer_value(size) == sg_tokenizer_size(t), "vocab_size", name, 0);
    sg_tokenizer_free(t);
}

TEST(golden_tokenizers)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    static const char *const names[] = {"bert-bge", "deepseek-llm", "deepseek_v3", "gemma3", "gpt-2", "gptoss", "llama-spm",
                                        "llama2", "llama3", "phi-3", "qwen3", "tok105", "tok512"};
    static const json_t *texts[1000];
    char path[600];
    snprintf(path, sizeof path, "%s/data/golden/tokenizers/texts.json.gz", tap_shared());
    json_t *all = load(path), *row;
    CHECK(all != NULL);
    size_t i;
    json_array_foreach(json_object_get(all, "texts"), i, row) {
        size_t id = (size_t)json_integer_value(json_object_get(row, "id"));
        if (id < 1000)
            texts[id] = json_object_get(row, "text");
    }
    npass = nfail = 0;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t before = npass;
        snprintf(path, sizeof path, "%s/data/golden/tokenizers/%s.json.gz", tap_shared(), names[i]);
        json_t *g = load(path);
        CHECK(g != NULL);
        check_file(names[i], g, texts, 1000);
        json_decref(g);
        tap_note("%s: %zu checks hold", names[i], npass - before);
    }
    json_decref(all);
    tap_note("%zu of %zu", npass, npass + nfail);
    CHECK_INT(nfail, 0);
}

/* One vocabulary's .inp (texts between separators) against its .out (a line of ids each). */
static void check_vocab(const char *name, const char *source)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[600];
    size_t n, m;
    snprintf(path, sizeof path, "%s/data/tokenizers/%s", tap_shared(), source);
    sg_tokenizer *t = open_any(path);
    snprintf(path, sizeof path, "%s/data/tokenizers/gguf-vocab/ggml-vocab-%s.gguf.inp", tap_shared(), name);
    char *inp = slurp(path, &n);
    snprintf(path, sizeof path, "%s/data/tokenizers/gguf-vocab/ggml-vocab-%s.gguf.out", tap_shared(), name);
    char *out = slurp(path, &m), *line = out;
    count(t && inp && out, "opening", name, 0);
    long i = 0;
    for (char *s = inp; t && out && s && s < inp + n; i++) {
        char *e = strstr(s, separator);
        size_t k = e ? (size_t)(e - s) : (size_t)(inp + n - s);
        json_t *want = json_array();
        for (char *end; line && *line && *line != '\n'; line = end) {
            json_array_append_new(want, json_integer(strtol(line, &end, 10)));
            while (*end == ' ')
                end++;
        }
        line = line && *line ? line + 1 : line;
        count(same_ids(t, s, k, 0, want), "ids", name, i);
        json_decref(want);
        s = e ? e + sizeof separator - 1 : NULL;
    }
    sg_tokenizer_free(t);
    sg_free(inp);
    sg_free(out);
}

TEST(ggml_vocabularies)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    static const char *const pairs[][2] = {
        {"bert-bge", "gguf-vocab/ggml-vocab-bert-bge.gguf"},   {"deepseek-llm", "gguf-vocab/ggml-vocab-deepseek-llm.gguf"},
        {"gpt-2", "gguf-vocab/ggml-vocab-gpt-2.gguf"},         {"llama-spm", "gguf-vocab/ggml-vocab-llama-spm.gguf"},
        {"phi-3", "gguf-vocab/ggml-vocab-phi-3.gguf"},         {"llama-bpe", "hf/llama3.tokenizer.json.gz"},
        {"qwen2", "hf/qwen3.tokenizer.json.gz"},               {"deepseek-r1-qwen", "hf/qwen3.tokenizer.json.gz"},
    };
    npass = nfail = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        check_vocab(pairs[i][0], pairs[i][1]);
    tap_note("%zu of %zu", npass, npass + nfail);
    CHECK_INT(nfail, 0);
}

static void check_model(const char *name, const char *path, const json_t *rows)
{
    if (!sg_path_exists(path))
        return;
    sg_tokenizer *t = open_any(path);
    count(t != NULL, "opening", name, 0);
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        const json_t *s = json_object_get(row, "text");
        if (!t)
            break;
        count(same_ids(t, json_string_value(s), json_string_length(s), SG_ENCODE_SPECIAL, json_object_get(row, "ids")), "ids",
              path, (long)i);
        count(same_ids(t, json_string_value(s), json_string_length(s), SG_ENCODE_AROUND | SG_ENCODE_SPECIAL,
                       json_object_get(row, "ids_with_special")),
              "ids with special", path, (long)i);
    }
    sg_tokenizer_free(t);
}

TEST(golden_models)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/data/golden/arch", tap_shared() ? tap_shared() : "");
    DIR *d = tap_shared() ? opendir(path) : NULL;
    if (!d) {
        tap_skip("no shared data");
        return;
    }
    npass = nfail = 0;
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/data/golden/arch/%s/expect.json", tap_shared(), e->d_name);
        json_t *x = e->d_name[0] != '.' && sg_path_exists(path) ? load(path) : NULL;
        const json_t *rows = json_object_get(x, "tokenizer");
        snprintf(path, sizeof path, "%s/data/golden/arch/%s", tap_shared(), e->d_name);
        if (rows)
            check_model(e->d_name, path, rows);
        snprintf(path, sizeof path, "%s/data/golden/arch/%s/model.gguf", tap_shared(), e->d_name);
        if (rows)
            check_model(e->d_name, path, rows);
        json_decref(x);
    }
    closedir(d);
    tap_note("%zu of %zu", npass, npass + nfail);
    CHECK_INT(nfail, 0);
}

TAP_MAIN
