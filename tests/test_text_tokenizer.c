/* Tokenizers without shared data: scanners against their patterns, merging against the definition, streaming against decoding,
 * normal forms against utf8proc, refusals, failing allocations, several threads. */
#include "tap.h"

#include "base/json.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

#include <pthread.h>
#include <stdlib.h>
#include <utf8proc.h>

/* ---- random text of awkward characters ---- */

/* Characters that PCRE2 and utf8proc know from different versions of Unicode. */
static bool disputed[0x3000];

static size_t random_text(char *out, size_t nchar)
{
    static const uint32_t odd[] = {' ', ' ', ' ', '\n', '\r', '\t', '\'', '\'', 's', 'S', 't', 'l', 'L', 'r', 'e', 'V', 'm',
        'D', 'a', 'Z', '0', '9',
                                   '!', '/', '.', '$', '_', 0xe9, 0xc9, 0x17f, 0x1c5, 0x2b0, 0x301, 0x308, 0x30a, 0xbd,
                                       0x661, 0x4e2d, 0x3042,
                                   0x30ab, 0x9fa6, 0xa0, 0x85, 0x2028, 0x3000, 0x200b, 0x180e, 0x200d, 0x1f600, 0x1d7d8,
                                       0xe01, 0xe31, 0x915,
                                   0x93f, 0xac00, 0x1161, 0x11a8, 0x20ac, 0xb2, 0x2160, 0, 7, 0x378, 0xe000, 0x10ffff};
    size_t n = 0;
    for (size_t i = 0; i < nchar; i++) {
        uint64_t r = sg_rng_u64(tap_rng());
        uint32_t cp = r % 8 ? odd[(r >> 8) % (sizeof odd / sizeof odd[0])] : (uint32_t)((r >> 8) % 0x3000);
        n += sg_utf8_encode(out + n, cp < 0x3000 && disputed[cp] ? 'x' : cp);
    }
    return n;
}

/* ---- scanners ---- */

/* The same pieces by PCRE2. */
static size_t by_regex(const pcre2_code *re, sg_regex_scratch *s, const char *text, size_t n, sg_span *out)
{
    size_t k = 0, at = 0, start, stop;
    bool found;
    while (at < n && sg_regex_next(s, re, text, 0, at, n, &start, &stop, &found, NULL) == SG_OK && found && stop > start) {
        if (start > at)
            out[k++] = (sg_span){(uint32_t)at, (uint32_t)start};
        out[k++] = (sg_span){(uint32_t)start, (uint32_t)stop};
        at = stop;
    }
    if (at < n)
        out[k++] = (sg_span){(uint32_t)at, (uint32_t)n};
    return k;
}

static void find_disputed(sg_regex_scratch *s)
{
    pcre2_code *unassigned;
    if (sg_regex_new(&unassigned, "\\p{Cn}", 6, NULL) != SG_OK)
        return;
    for (uint32_t cp = 1; cp < 0x3000; cp++) {
        char c[4];
        size_t n = sg_utf8_encode(c, cp), start, stop;
        bool found;
        if (sg_regex_next(s, unassigned, c, 0, 0, n, &start, &stop, &found, NULL) == SG_OK)
            disputed[cp] = found != (utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_CN);
    }
    sg_regex_free(unassigned);
}

TEST(scanners_are_their_patterns)
{
    enum { NTEXT = 4000, LENGTH = 40 };
    static sg_span want[LENGTH * 4 + 8], have[LENGTH * 4 + 8];
    char text[LENGTH * 4];
    sg_error err;
    sg_unicode_init();
    sg_regex_scratch s = {0};
    size_t npattern = 0;
    find_disputed(&s);
    for (const sg_scanner *p = sg_scanners; p->pattern; p++, npattern++) {
        pcre2_code *re;
        CHECK_OK(sg_regex_new(&re, p->pattern, strlen(p->pattern), &err));
        for (int i = 0; i < NTEXT; i++) {
            size_t n = random_text(text, 1 + sg_rng_u64(tap_rng()) % LENGTH), nwant = by_regex(re, &s, text, n, want), nhave = 0;
            uint32_t pos = 0;
            size_t max = 2 + (size_t)i % 7; /* small batches too */
            for (size_t k; (k = p->scan(text, &pos, (uint32_t)n, have + nhave, max)) > 0;)
                nhave += k;
            if (nhave != nwant || memcmp(have, want, nhave * sizeof *have) != 0) {
                char *hex = sg_alloc(2 * n + 1);
                for (size_t k = 0; k < n; k++)
                    snprintf(hex + 2 * k, 3, "%02x", (unsigned char)text[k]);
                tap_note("pattern %s text %s", p->pattern, hex);
                sg_free(hex);
            }
            CHECK_INT(nhave, nwant);
            for (size_t k = 0; k < nhave; k++) {
                CHECK_INT(have[k].start, want[k].start);
                CHECK_INT(have[k].end, want[k].end);
            }
        }
        sg_regex_free(re);
    }
    sg_regex_scratch_fini(&s);
    tap_note("%zu patterns, %d texts each", npattern, NTEXT);
}

/* ---- merging ---- */

/* Take the lowest rank, the leftmost of equals, by going through everything each time. */
static size_t merge_by_definition(const sg_merges *m, uint32_t *ids, size_t n)
{
    for (;;) {
        uint32_t best = UINT32_MAX;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            if (sg_merges_find(m, ids[i], ids[i + 1]) < best) {
                best = sg_merges_find(m, ids[i], ids[i + 1]);
                at = i;
            }
        if (best == UINT32_MAX)
            return n;
        ids[at] = m->id[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

TEST(merging_is_its_definition)
{
    sg_error err;
    sg_bpe_scratch s = {0};
    for (int round = 0; round < 200; round++) {
        sg_merges m;
        uint32_t nid = 3, ids[300];
        CHECK_OK(sg_merges_init(&m, 40, &err));
        for (int i = 0; i < 40; i++) { /* any pairs of ids so far, so ranks need not rise along a derivation */
            uint32_t a = (uint32_t)(sg_rng_u64(tap_rng()) % nid), b = (uint32_t)(sg_rng_u64(tap_rng()) % nid);
            CHECK_OK(sg_merges_put(&m, a, b, sg_rng_u64(tap_rng()) % 4 ? nid++ : a, &err));
        }
        size_t n = 1 + sg_rng_u64(tap_rng()) % 300;
        CHECK_OK(sg_bpe_room(&s, n, &err));
        for (size_t i = 0; i < n; i++) {
            ids[i] = (uint32_t)(sg_rng_u64(tap_rng()) % 3);
            s.symbol[i] = (sg_symbol){.id = (int32_t)ids[i], .start = (uint32_t)i, .len = 1};
        }
        CHECK_OK(sg_bpe_merge(&s, n, NULL, &m, NULL, &err));
        size_t want = merge_by_definition(&m, ids, n), have = 0;
        for (uint32_t i = 0; i != UINT32_MAX; i = s.symbol[i].next)
            CHECK_INT(s.symbol[i].id, ids[have++]);
        CHECK_INT(have, want);
        sg_merges_fini(&m);
    }
    sg_bpe_scratch_fini(&s);
}

TEST(windows_change_nothing)
{
    sg_error err;
    sg_bpe_scratch s = {.window_least = 12};
    for (int round = 0; round < 400; round++) {
        sg_merges m;
        uint32_t nid = 2 + (uint32_t)(sg_rng_u64(tap_rng()) % 2), first = nid;
        static uint32_t ids[2000];
        CHECK_OK(sg_merges_init(&m, 30, &err));
        for (int i = 0; i < 30; i++) { /* parts are older than the whole, or (every other round) anything goes */
            uint32_t a = (uint32_t)(sg_rng_u64(tap_rng()) % nid), b = (uint32_t)(sg_rng_u64(tap_rng()) % nid);
            if (sg_merges_find(&m, a, b) == UINT32_MAX)
                CHECK_OK(sg_merges_put(&m, a, b, round % 2 && i % 4 == 0 ? a : nid++, &err));
        }
        size_t n = 25 + sg_rng_u64(tap_rng()) % 1900, odd = sg_rng_u64(tap_rng()) % 9;
        CHECK_OK(sg_bpe_room(&s, n, &err));
        for (size_t i = 0; i < n; i++) {
            ids[i] = odd == 0 || sg_rng_u64(tap_rng()) % (odd + 1) ? 0 : (uint32_t)(sg_rng_u64(tap_rng()) % first);
            s.symbol[i] = (sg_symbol){.id = (int32_t)ids[i], .start = (uint32_t)i, .len = 1};
        }
        CHECK_OK(sg_bpe_merge(&s, n, NULL, &m, NULL, &err));
        size_t want = merge_by_definition(&m, ids, n), have = 0, end = 0;
        for (uint32_t i = 0; i != UINT32_MAX; i = s.symbol[i].next) {
            CHECK_INT(s.symbol[i].id, ids[have++]);
            CHECK_INT(s.symbol[i].start, end);
            end += s.symbol[i].len;
        }
        CHECK_INT(have, want);
        CHECK_INT(end, n);
        sg_merges_fini(&m);
    }
    sg_bpe_scratch_fini(&s);
}

/* ---- small tokenizers ---- */

static const char bpe_json[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<|end|>\",\"special\":true},{\"id\":300,\"content\":\"<tool>\",\"special\":false}],"
    "\"normalizer\":{\"type\":\"NFC\"},"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<|end|>"
    "\"}},{\"Sequence\":{\"id\":\"A\"}}],"
    "\"special_tokens\":{\"<|end|>\":{\"ids\":[0]}}},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<|end|>\":0,\"a\":1,\"b\":2,\"ab\":3,\"\\u0120\":4,\"\\u0120a"
    "\":5,\"\\u00c3\":6,\"\\u00a9\":7,\"\\u00c3\\u00a9\":8},"
    "\"merges\":[\"a b\",\"\\u0120 a\",[\"\\u00c3\",\"\\u00a9\"]]}}";

static const char unigram_json[] =
    "{\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement"
    "\":\"\\u2581\",\"prepend_scheme\":\"always\"},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"prepend_scheme\":\"always\"},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"\\u2581\",-3],[\"a\",-2],["
    "\"b\",-2.5],[\"ab\",-3],[\"\\u2581ab\",-4]]}}";

static const char wordpiece_json[] =
    "{\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"decoder"
    "\":{\"type\":\"WordPiece\"},"
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0,\"a\":1,\"##b\":2,\"ab\":3,\".\":4}}}";

static bool ids_are(const sg_tokenizer *t, const char *s, unsigned flags, const char *want)
{
    sg_tokens ids = {0};
    sg_buf b = SG_BUF_INIT;
    bool ok = sg_tokenizer_encode(t, s, strlen(s), flags, &ids, NULL) == SG_OK;
    for (size_t i = 0; i < ids.n; i++)
        sg_buf_addf(&b, "%s%d", i ? " " : "", ids.data[i]);
    ok = ok && strcmp(sg_buf_str(&b), want) == 0;
    if (!ok)
        tap_note("'%s': %s, want %s", s, sg_buf_str(&b), want);
    sg_buf_fini(&b);
    sg_tokens_fini(&ids);
    return ok;
}

static sg_status from_json(sg_tokenizer **t, const char *json, sg_error *err)
{
    return sg_tokenizer_new_from_json(t, json, strlen(json), NULL, 0, err);
}

TEST(small_tokenizers)
{
    sg_error err;
    sg_tokenizer *t;
    CHECK_OK(from_json(&t, bpe_json, &err));
    CHECK(ids_are(t, "abba ab a\xc3\xa9", 0, "3 2 1 4 3 5 8"));
    CHECK(ids_are(t, "ae\xcc\x81", 0, "1 8"));                /* NFC */
    CHECK(ids_are(t, "a<tool>b<|end|>", 0, "1 300 2"));     /* what has no token is left out */
    CHECK(ids_are(t, "a<tool>b<|end|>", SG_ENCODE_SPECIAL | SG_ENCODE_AROUND, "0 1 300 2 0"));
    CHECK(ids_are(t, "", SG_ENCODE_AROUND, "0"));
    CHECK_INT(sg_tokenizer_size(t), 301);
    CHECK_INT(sg_tokenizer_find(t, "<tool>"), 300);
    CHECK(sg_tokenizer_is_special(t, 0) && !sg_tokenizer_is_special(t, 300) && !sg_tokenizer_is_special(t, -1));
    CHECK(sg_tokenizer_is_end(t, 0) && !sg_tokenizer_is_end(t, 1));
    char *s;
    CHECK_FAILS(sg_tokenizer_decode(t, (sg_token[]){301}, 1, false, &s, NULL, &err), SG_E_ARGUMENT, "301");
    sg_tokenizer_free(t);
    CHECK_OK(from_json(&t, unigram_json, &err));
    CHECK(ids_are(t, "ab", 0, "5"));
    CHECK(ids_are(t, "abab zz\xef\xbd\x81", 0, "5 4 1 0 2"));
    sg_tokenizer_free(t);
    CHECK_OK(from_json(&t, wordpiece_json, &err));
    CHECK(ids_are(t, "AB abb, \xc3\xa1.", 0, "3 3 2 0 1 4"));
    sg_tokenizer_free(t);
}

TEST(refusals_say_why)
{
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"", "tokenizer.json"},
        {"[]", "not an object"},
        {"{\"model\":{\"type\":\"Morse\",\"vocab\":{}}}", "Morse"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", "vocab"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "'b'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", "duplicate"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a q\"]}}", "'q'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", "'aa'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}", "99999999"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "merges"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":{\"type\":\"Sand\"}}", "Sand"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split"
        "\",\"pattern\":{\"Regex\":\"(\"}}}", "'('"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split"
        "\",\"pattern\":{\"Regex\":\"[a&&b]\"}}}", "intersection"},
        {"{\"model\":{\"type\":\"Unigram\",\"unk_id\":3,\"vocab\":[[\"a\",0]]}}", "unk_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_error err = {0};
        sg_tokenizer *t;
        CHECK(from_json(&t, cases[i].json, &err) != SG_OK);
        if (!strstr(err.text, cases[i].why))
            tap_note("%s: %s", cases[i].json, err.text);
        CHECK(strstr(err.text, cases[i].why) != NULL);
    }
}

TEST(patterns_without_end_are_refused)
{
    sg_error err;
    sg_tokenizer *t;
    char json[400], as[60] = "";
    snprintf(json, sizeof json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split\","
                                "\"pattern\":{\"Regex\":\"(a+)+$\"},\"behavior\":\"Isolated\"}}");
    CHECK_OK(from_json(&t, json, &err));
    memset(as, 'a', 50);
    as[50] = '!';
    sg_tokens ids = {0};
    CHECK_FAILS(sg_tokenizer_encode(t, as, 51, 0, &ids, &err), SG_E_LIMIT, "steps");
    CHECK_INT(ids.n, 0);
    sg_tokens_fini(&ids);
    sg_tokenizer_free(t);
}

/* ---- streaming ---- */

TEST(streaming_is_decoding)
{
    sg_error err;
    sg_tokenizer *t;
    CHECK_OK(from_json(&t, bpe_json, &err));
    for (int round = 0; round < 500; round++) {
        sg_token ids[40];
        size_t n = sg_rng_u64(tap_rng()) % 40, len, k;
        for (size_t i = 0; i < n; i++)
            ids[i] = (sg_token)(sg_rng_u64(tap_rng()) % 9);
        char *whole;
        CHECK_OK(sg_tokenizer_decode(t, ids, n, true, &whole, &len, &err));
        CHECK(sg_utf8_valid(whole, len));
        sg_detok *d;
        CHECK_OK(sg_detok_new(&d, t, true, &err));
        sg_buf b = SG_BUF_INIT;
        const char *s;
        for (size_t i = 0; i < n; i++) {
            CHECK_OK(sg_detok_add(d, ids[i], &s, &k, &err));
            CHECK(sg_utf8_valid(s, k));
            sg_buf_add(&b, s, k);
        }
        CHECK_OK(sg_detok_end(d, &s, &k, &err));
        sg_buf_add(&b, s, k);
        CHECK_STR(sg_buf_str(&b), whole);
        sg_buf_fini(&b);
        sg_detok_free(d);
        sg_tokenizer_text_free(whole);
    }
    sg_tokenizer_free(t);
}

/* ---- normal forms ---- */

TEST(normal_forms_are_utf8procs)
{
    static const struct {
        sg_normal_form form;
        int options;
    } forms[] = {{SG_NFC, UTF8PROC_STABLE | UTF8PROC_COMPOSE},
                 {SG_NFD, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
                 {SG_NFKC, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {SG_NFKD, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    sg_error err;
    char text[200];
    sg_buf b = SG_BUF_INIT;
    for (int i = 0; i < 8000; i++) {
        size_t n = random_text(text, sg_rng_u64(tap_rng()) % 30);
        bool same;
        sg_buf_clear(&b);
        CHECK_OK(sg_unicode_normalize(&b, text, n, forms[i % 4].form, &same, &err));
        utf8proc_uint8_t *want;
        utf8proc_ssize_t k = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &want,
            (utf8proc_option_t)forms[i % 4].options);
        CHECK(k >= 0);
        CHECK_INT(same ? n : b.len, k);
        CHECK(memcmp(same ? text : sg_buf_str(&b), want, (size_t)k) == 0);
        free(want);
    }
    sg_buf_fini(&b);
}

/* ---- failing allocations ---- */

/* The document is parsed outside: the JSON library does not survive every failing allocation. */
static bool use_once(void *json)
{
    sg_error err;
    sg_tokenizer *t;
    if (sg_tokenizer_new_from_values(&t, json, NULL, &err) != SG_OK)
        return false;
    sg_tokens ids = {0};
    char *s = NULL;
    bool ok = sg_tokenizer_encode(t, "ab a\xc3\xa9 e\xcc\x81 \xff zzzz <|end|>", 21, SG_ENCODE_SPECIAL | SG_ENCODE_AROUND,
        &ids, &err) == SG_OK &&
              sg_tokenizer_decode(t, ids.data, ids.n, false, &s, NULL, &err) == SG_OK;
    sg_tokenizer_text_free(s);
    sg_tokens_fini(&ids);
    sg_tokenizer_free(t);
    return ok;
}

TEST(failing_allocations)
{
    const char *const texts[] = {bpe_json, unigram_json, wordpiece_json};
    for (int i = 0; i < 3; i++) {
        json_t *v;
        CHECK(sg_json_parse(&v, texts[i], strlen(texts[i]), "text", NULL) == SG_OK);
        CHECK_ALLOC_LOOP(use_once, v);
        json_decref(v);
    }
}

/* A SentencePiece model and a llama2.c vocabulary by hand. */
static size_t make_spm(char *out)
{
    static const struct {
        const char *s;
        int type;
    } pieces[] = {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}, {"\xe2\x96\x81", 1}, {"a", 1}, {"b", 1}, {"ab", 1},
        {"\xe2\x96\x81" "ab", 1}, {"<0x21>", 6}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t k = strlen(pieces[i].s);
        float score = (float)i;
        const char head[] = {0x0a, (char)(k + 9), 0x0a, (char)k};
        memcpy(out + n, head, 4);
        memcpy(out + n + 4, pieces[i].s, k);
        n += 4 + k;
        out[n++] = 0x15;
        memcpy(out + n, &score, 4);
        n += 4;
        out[n++] = 0x18;
        out[n++] = (char)pieces[i].type;
    }
    static const char settings[] = {0x12, 2, 0x18, 2, 0x1a, 2, 0x20, 0};
    memcpy(out + n, settings, sizeof settings);
    return n + sizeof settings;
}

static bool use_spm(void *arg)
{
    char model[400];
    size_t n = make_spm(model);
    sg_error err;
    sg_tokenizer *t;
    if (sg_tokenizer_new_from_spm(&t, model, arg ? *(size_t *)arg : n, &err) != SG_OK)
        return false;
    bool ok = ids_are(t, "ab a!\xc3\xa9", SG_ENCODE_AROUND, "1 7 3 4 8 0");
    sg_tokenizer_free(t);
    return ok;
}

TEST(sentencepiece_models)
{
    CHECK(use_spm(NULL));
    CHECK_ALLOC_LOOP(use_spm, NULL);
    char model[400];
    for (size_t n = 0, all = make_spm(model); n < all; n++) { /* cut anywhere: no crash */
        sg_tokenizer *t = NULL;
        if (sg_tokenizer_new_from_spm(&t, model, n, NULL) == SG_OK)
            sg_tokenizer_free(t);
    }
}

static size_t make_llama2c(char *out)
{
    uint32_t longest = 8;
    memcpy(out, &longest, 4);
    size_t n = 4;
    for (int i = 0; i < 40; i++) {
        char s[8];
        snprintf(s, sizeof s, i < 3 ? "<%d>" : i == 3 ? " " : i < 30 ? "%c" : "a%c", i < 3 ? i : i < 30 ? 'a' + i - 4 : 'a' + i - 30);
        float score = (float)-i;
        uint32_t k = (uint32_t)strlen(s);
        memcpy(out + n, &score, 4);
        memcpy(out + n + 4, &k, 4);
        memcpy(out + n + 8, s, k);
        n += 8 + k;
    }
    return n;
}

static bool use_llama2c(void *arg)
{
    (void)arg;
    char file[800];
    size_t n = make_llama2c(file);
    sg_error err;
    sg_tokenizer *t;
    if (sg_tokenizer_new_from_llama2c(&t, file, n, &err) != SG_OK)
        return false;
    bool ok = ids_are(t, "abc", SG_ENCODE_AROUND, "1 3 31 6");
    sg_tokenizer_free(t);
    return ok;
}

TEST(llama2c_vocabularies)
{
    CHECK(use_llama2c(NULL));
    CHECK_ALLOC_LOOP(use_llama2c, NULL);
    char file[800];
    for (size_t n = 0, all = make_llama2c(file); n < all; n++) {
        sg_tokenizer *t = NULL;
        if (sg_tokenizer_new_from_llama2c(&t, file, n, NULL) == SG_OK)
            sg_tokenizer_free(t);
    }
}

static sg_status make_meta(sg_dict **out, sg_error *err)
{
    sg_str tokens[] = {{"<end>", 5}, {"a", 1}, {"b", 1}, {"ab", 2}}, merges[] = {{"a b", 3}};
    int64_t types[] = {3, 1, 1, 1};
    sg_dict *d = sg_dict_new();
    sg_status st = d ? sg_dict_set_str(d, "tokenizer.ggml.model", "gpt2", 4, err) : SG_E_NOMEM;
    if (st == SG_OK)
        st = sg_dict_set_str(d, "tokenizer.ggml.pre", "qwen2", 5, err);
    if (st == SG_OK)
        st = sg_dict_set_array(d, "tokenizer.ggml.tokens", &(sg_array){.kind = SG_KIND_STR, .n = 4, .s = tokens}, err);
    if (st == SG_OK)
        st = sg_dict_set_array(d, "tokenizer.ggml.merges", &(sg_array){.kind = SG_KIND_STR, .n = 1, .s = merges}, err);
    if (st == SG_OK)
        st = sg_dict_set_array(d, "tokenizer.ggml.token_type", &(sg_array){.kind = SG_KIND_I64, .n = 4, .i = types}, err);
    if (st == SG_OK)
        st = sg_dict_set_u64(d, "tokenizer.ggml.eos_token_id", 0, err);
    if (st == SG_OK)
        *out = d;
    else
        sg_dict_free(d);
    return st;
}

static bool use_meta(void *arg)
{
    (void)arg;
    sg_error err;
    sg_dict *d;
    sg_tokenizer *t;
    if (make_meta(&d, &err) != SG_OK)
        return false;
    sg_status st = sg_tokenizer_new_from_dict(&t, d, &err);
    sg_dict_free(d);
    if (st != SG_OK)
        return false;
    bool ok = ids_are(t, "abb<end>", SG_ENCODE_SPECIAL, "3 2 0") && sg_tokenizer_eos(t) == 0;
    sg_tokenizer_free(t);
    return ok;
}

TEST(metadata)
{
    CHECK(use_meta(NULL));
    CHECK_ALLOC_LOOP(use_meta, NULL);
    sg_error err;
    sg_dict *d;
    sg_tokenizer *t;
    CHECK_OK(make_meta(&d, &err));
    CHECK_OK(sg_dict_set_u64(d, "tokenizer.ggml.bos_token_id", 4, &err));
    CHECK_FAILS(sg_tokenizer_new_from_dict(&t, d, &err), SG_E_FORMAT, "bos_token_id");
    CHECK_OK(sg_dict_set_u64(d, "tokenizer.ggml.bos_token_id", UINT32_MAX, &err));
    CHECK_OK(sg_tokenizer_new_from_dict(&t, d, &err));
    CHECK_INT(sg_tokenizer_bos(t), SG_TOKEN_NONE);
    sg_tokenizer_free(t);
    CHECK_OK(sg_dict_set_str(d, "tokenizer.ggml.pre", "nobody", 6, &err));
    CHECK_FAILS(sg_tokenizer_new_from_dict(&t, d, &err), SG_E_UNSUPPORTED, "nobody");
    sg_dict_free(d);
}

/* ---- threads ---- */

static void *encode_much(void *arg)
{
    uintptr_t bad = 0;
    for (int i = 0; i < 300; i++)
        bad += !ids_are(arg, "abba ab a\xc3\xa9", 0, "3 2 1 4 3 5 8");
    return (void *)bad;
}

TEST(threads_share_a_tokenizer)
{
    sg_error err;
    sg_tokenizer *t;
    CHECK_OK(from_json(&t, bpe_json, &err));
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&thread[i], NULL, encode_much, t) == 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(thread[i], &bad);
        CHECK(bad == NULL);
    }
    sg_tokenizer_free(t);
}

TAP_MAIN
