/* Grammars: what they accept, and the masks they put on a vocabulary. */
#include "tap.h"

#include "base/utf8.h"
#include "sample/grammar.h"

/* The status of feeding text to a grammar: 1 whole, 0 may go on, -1 refused, -2 the grammar itself. */
static int reads_n(const char *grammar, const char *text, size_t n)
{
    sg_grammar *g;
    sg_matcher *m;
    sg_error err = {0};
    if (sg_grammar_parse(&g, grammar, strlen(grammar), &err) != SG_OK) {
        tap_note("%s", err.text);
        return -2;
    }
    int verdict = -2;
    if (sg_matcher_new(&m, g, &err) == SG_OK) {
        verdict = sg_matcher_feed(m, text, n, &err) != SG_OK ? -1 : sg_matcher_may_end(m);
        sg_matcher_free(m);
    }
    sg_grammar_free(g);
    return verdict;
}

static int reads(const char *grammar, const char *text) { return reads_n(grammar, text, strlen(text)); }

static const char json_grammar[] =
    "root ::= value\n"
    "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"
    "object ::= \"{\" ws ( pair (\",\" ws pair)* )? \"}\" ws   # pairs\n"
    "pair ::= string \":\" ws value\n"
    "array ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt/] | \"u\" [0-9a-fA-F]{4}) )* \"\\\"\" ws\n"
    "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9]{1,3})? ws\n"
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n";

TEST(grammar_reads_what_it_describes)
{
    static const struct {
        const char *grammar, *text;
        int verdict;
    } cases[] = {
        {"root ::= \"yes\" | \"no\"", "yes", 1},
        {"root ::= \"yes\" | \"no\"", "ye", 0},
        {"root ::= \"yes\" | \"no\"", "yn", -1},
        {"root ::= \"yes\" | \"no\"", "yesx", -1},
        {"root ::= \"a\"*", "", 1},
        {"root ::= \"a\"+", "", 0},
        {"root ::= \"a\"?", "aa", -1},
        {"root ::= \"a\"{2,3}", "a", 0},
        {"root ::= \"a\"{2,3}", "aa", 1},
        {"root ::= \"a\"{2,3}", "aaa", 1},
        {"root ::= \"a\"{2,3}", "aaaa", -1},
        {"root ::= \"a\"{2}", "aaa", -1},
        {"root ::= \"a\"{2,}", "aaaaa", 1},
        {"root ::= \"ab\"{0} \"c\"", "c", 1},
        {"root ::= \"ab\"* \"c\"", "ababc", 1},
        {"root ::= (\"a\" | \"b\"\n  \"c\")+ \"d\"", "abcad", 1},
        {"root ::= x # comment\n\nx ::= [a-c]\n  | [^\\x00-\\x7f]", "\xc3\xa9", 1},
        {"root ::= [^a]", "a", -1},
        {"root ::= .", "\xf0\x9f\x98\x80", 1},
        {"root ::= .", "\xf0\x9f\x98", 0},
        {"root ::= .", "\xff", -1},
        {"root ::= .", "\xed\xa0\x80", -1},
        {"root ::= [a\\]\\-]+", "]-a", 1},
        {"root ::= [a-]+", "a-", 1},
        {"root ::= (\"a\"*)*", "aaa", 1},
        {"root ::= ((\"a\"?)* \"b\"?)* \"c\"", "abac", 1},
        {"root ::= \"\\u00e9\\x41\\n\"",
         "\xc3\xa9"
         "A\n",
         1},
        {"root ::= a a\na ::= \"x\" a | \"y\"", "xxyy", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int have = reads(cases[i].grammar, cases[i].text);
        if (have != cases[i].verdict)
            tap_note("%s on \"%s\"", cases[i].grammar, cases[i].text);
        CHECK_INT(have, cases[i].verdict);
    }
    CHECK_INT(reads(json_grammar, "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\xc3\xa9\"], \"b\": {}}"), 1);
    CHECK_INT(reads(json_grammar, "{\"a\": [1, "), 0);
    CHECK_INT(reads(json_grammar, "{\"a\" 1}"), -1);
    CHECK_INT(reads(json_grammar, "[01]"), -1);
}

TEST(grammar_classes_are_exact)
{
    for (int round = 0; round < 200; round++) {
        uint32_t low = (uint32_t)sg_rng_below(tap_rng(), 0x110000) >> sg_rng_below(tap_rng(), 14);
        uint32_t high = low + ((uint32_t)sg_rng_below(tap_rng(), 0x110000 - low) >> sg_rng_below(tap_rng(), 20));
        if ((low >= 0xd800 && low < 0xe000) || (high >= 0xd800 && high < 0xe000))
            continue;
        char source[64];
        snprintf(source, sizeof source, "root ::= [\\U%08x-\\U%08x]", low, high);
        uint32_t probe[] = {low,
                            high,
                            low - 1,
                            high + 1,
                            low + (uint32_t)sg_rng_below(tap_rng(), high - low + 1),
                            (uint32_t)sg_rng_below(tap_rng(), 0x110000)};
        for (size_t i = 0; i < sizeof probe / sizeof probe[0]; i++) {
            char b[4];
            size_t n = sg_utf8_encode(b, probe[i]);
            if (n)
                CHECK_INT(reads_n(source, b, n), probe[i] >= low && probe[i] <= high ? 1 : -1);
        }
    }
}

TEST(grammar_errors_name_the_line)
{
    static const struct {
        const char *source;
        sg_status status;
        const char *text;
    } cases[] = {
        {"", SG_E_FORMAT, "no rule 'root'"},
        {"root ::= x", SG_E_FORMAT, "line 1: rule 'x' is not defined"},
        {"root ::= \"a\nb\"\nx", SG_E_FORMAT, "line 3: '::=' is missing"},
        {"root ::= \"a", SG_E_FORMAT, "line 1: the text ends"},
        {"root ::= [b-a]", SG_E_FORMAT, "backward"},
        {"root ::= (\"a\"", SG_E_FORMAT, "')' is missing"},
        {"root ::= \"a\"{3,2}", SG_E_FORMAT, "bad repetition"},
        {"root ::= \"a\"{99999}", SG_E_LIMIT, "repetitions"},
        {"root ::= *", SG_E_FORMAT, "is expected"},
        {"root ::= \"\\q\"", SG_E_FORMAT, "unknown escape"},
        {"root ::= root \"a\" | \"b\"", SG_E_FORMAT, "line 1: rule 'root' begins with itself"},
        {"root ::= a\na ::= b \"x\"\nb ::= \"\"? a", SG_E_FORMAT, "begins with itself"},
        {"root ::= root", SG_E_FORMAT, "line 1: rule 'root' leads to nothing but itself"},
        {"root ::= (root)", SG_E_FORMAT, "rule 'root' leads to nothing but itself"},
        {"root ::= \"x\" | a\na ::= b\nb ::= a", SG_E_FORMAT, "rule 'a' leads to nothing but itself"},
        {"root ::= \"a\"\nroot ::= \"b\"", SG_E_FORMAT, "defined twice"},
        {"root ::= \"\\ud800\"", SG_E_FORMAT, "no character"},
        {"root ::= \xff", SG_E_FORMAT, "is expected"},
        {"root ::= ((((\"a\"{9999}){9999}){9999}){9999}){9999} "
         "(\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"{0,9999}){0,9999} \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"{9999}",
         SG_E_LIMIT, "symbols"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_grammar *g;
        sg_error err;
        CHECK_FAILS(sg_grammar_parse(&g, cases[i].source, strlen(cases[i].source), &err), cases[i].status, cases[i].text);
    }
}

/* ---- masks ----------------------------------------------------------------------- */

enum { NVOCAB = 600 };
static char pieces[NVOCAB][8];
static size_t piece_bytes[NVOCAB];

static const char *get_piece(void *arg, int32_t id, size_t *n)
{
    (void)arg;
    *n = piece_bytes[id];
    return pieces[id];
}

/* All single bytes, some random short strings over few letters, and tokens that write nothing. */
static void make_vocabulary(void)
{
    static const char letters[] = "{}[]\",:0123ae-\\ntrul s";
    for (int i = 0; i < NVOCAB; i++) {
        piece_bytes[i] = i < 256 ? 1 : i % 50 == 0 ? 0 : 1 + (size_t)sg_rng_below(tap_rng(), 7);
        pieces[i][0] = (char)i;
        for (size_t k = 0; i >= 256 && k < piece_bytes[i]; k++)
            pieces[i][k] = letters[sg_rng_below(tap_rng(), sizeof letters - 1)];
    }
}

TEST(grammar_masks_are_what_feeding_says)
{
    sg_grammar *g;
    sg_matcher *m;
    sg_token_trie *t;
    sg_error err;
    make_vocabulary();
    CHECK_OK(sg_grammar_parse(&g, json_grammar, sizeof json_grammar - 1, &err));
    CHECK_OK(sg_token_trie_new(&t, NVOCAB, get_piece, NULL, &err));
    for (int round = 0; round < 10; round++) {
        char text[4096];
        size_t n = 0;
        CHECK_OK(sg_matcher_new(&m, g, &err));
        for (int s = 0; s < 40 && !sg_matcher_must_end(m); s++) {
            uint32_t mask[(NVOCAB + 31) / 32];
            int allowed = 0, pick = -1;
            CHECK_OK(sg_matcher_mask(m, t, mask, &err));
            for (int id = 0; id < NVOCAB; id++) {
                bool bit = mask[id / 32] >> (id % 32) & 1;
                if (round < 2) { /* against a matcher of its own, from the start */
                    memcpy(text + n, pieces[id], piece_bytes[id]);
                    bool fits = piece_bytes[id] > 0 && reads_n(json_grammar, text, n + piece_bytes[id]) >= 0;
                    CHECK_INT(bit, fits);
                }
                if (bit && sg_rng_below(tap_rng(), (uint64_t)++allowed) == 0)
                    pick = id;
            }
            CHECK(pick >= 0); /* a state from which nothing goes on would be a dead end */
            CHECK_OK(sg_matcher_feed(m, pieces[pick], piece_bytes[pick], &err));
            memcpy(text + n, pieces[pick], piece_bytes[pick]);
            n += piece_bytes[pick];
        }
        sg_matcher_free(m);
    }
    sg_token_trie_free(t);
    sg_grammar_free(g);
}

TEST(grammar_keeps_its_place_when_refused)
{
    sg_grammar *g;
    sg_matcher *m;
    sg_error err;
    CHECK_OK(sg_grammar_parse(&g, "root ::= \"abc\" | \"abd\"", 22, &err));
    CHECK_OK(sg_matcher_new(&m, g, &err));
    CHECK_OK(sg_matcher_feed(m, "a", 1, &err));
    CHECK_FAILS(sg_matcher_feed(m, "bx", 2, &err), SG_E_ARGUMENT, "byte 1");
    CHECK(!sg_matcher_may_end(m));
    CHECK_OK(sg_matcher_feed(m, "bd", 2, &err));
    CHECK(sg_matcher_may_end(m) && sg_matcher_must_end(m));
    sg_matcher_free(m);
    sg_grammar_free(g);
}

TEST(grammar_bounds_its_memory)
{
    sg_grammar *g;
    sg_matcher *m;
    sg_error err;
    /* Lists and strings of any length keep their depth ... */
    CHECK_OK(sg_grammar_parse(&g, json_grammar, sizeof json_grammar - 1, &err));
    CHECK_OK(sg_matcher_new(&m, g, &err));
    CHECK_OK(sg_matcher_feed(m, "[0", 2, &err));
    size_t before = sg_heap_live();
    for (int i = 0; i < 100000; i++)
        CHECK_OK(sg_matcher_feed(m, ",\"a\"", 4, &err));
    CHECK(sg_heap_live() < before + (1 << 20));
    CHECK_OK(sg_matcher_feed(m, "]", 1, &err));
    CHECK(sg_matcher_may_end(m));
    sg_matcher_free(m);
    /* ... and true nesting ends in an error at worst; what was read before it stays. */
    CHECK_OK(sg_matcher_new(&m, g, &err));
    int depth = 0;
    sg_status st = SG_OK;
    while (depth < 2000000 && (st = sg_matcher_feed(m, "[", 1, &err)) == SG_OK)
        depth++;
    CHECK_INT(st, SG_E_LIMIT);
    CHECK(depth > 10000);
    tap_note("%d levels", depth);
    for (int i = 0; i < 100; i++)
        CHECK_OK(sg_matcher_feed(m, "]", 1, &err));
    CHECK(!sg_matcher_may_end(m));
    sg_matcher_free(m);
    sg_grammar_free(g);
}

static bool build_and_read(void *arg)
{
    sg_grammar *g;
    sg_matcher *m = NULL;
    sg_token_trie *t = NULL;
    sg_error err;
    uint32_t mask[(NVOCAB + 31) / 32];
    (void)arg;
    if (sg_grammar_parse(&g, json_grammar, sizeof json_grammar - 1, &err) != SG_OK)
        return false;
    bool ok = sg_matcher_new(&m, g, &err) == SG_OK && sg_token_trie_new(&t, NVOCAB, get_piece, NULL, &err) == SG_OK;
    ok = ok && sg_matcher_feed(m, "{\"a\": [", 7, &err) == SG_OK && sg_matcher_mask(m, t, mask, &err) == SG_OK;
    sg_token_trie_free(t);
    sg_matcher_free(m);
    sg_grammar_free(g);
    return ok;
}

/* ---- texts and patterns ---- */

static int verdict_of(const sg_grammar *g, const char *text)
{
    sg_matcher *m;
    if (sg_matcher_new(&m, g, NULL) != SG_OK)
        return -2;
    int verdict = sg_matcher_feed(m, text, strlen(text), NULL) != SG_OK ? -1 : sg_matcher_may_end(m);
    sg_matcher_free(m);
    return verdict;
}

TEST(grammar_of_texts_reads_one_of_them)
{
    static const char *const text[] = {"yes", "yesterday", "", "\xc3\xa9t\xc3\xa9", "no", "yes"};
    size_t len[6];
    sg_error err;
    sg_grammar *g = NULL;
    for (int i = 0; i < 6; i++)
        len[i] = strlen(text[i]);
    CHECK_OK(sg_grammar_from_texts(&g, text, len, 6, &err));
    for (int i = 0; i < 6; i++)
        CHECK_INT(verdict_of(g, text[i]), 1);
    CHECK_INT(verdict_of(g, "yest"), 0);
    CHECK_INT(verdict_of(g, "yesx"), -1);
    CHECK_INT(verdict_of(g, "\xc3"), 0);
    CHECK_INT(verdict_of(g, "nope"), -1);
    sg_grammar_free(g);
    CHECK_INT(sg_grammar_from_texts(&g, text, len, 0, &err), SG_E_FORMAT);
}

TEST(grammar_of_a_pattern_reads_what_matches_whole)
{
    static const struct {
        const char *pattern, *text;
        int verdict;
    } cases[] = {
        {"[a-z]+", "abc", 1},          {"[a-z]+", "abc1", -1},       {"[a-z]+", "", 0},
        {"a|bc", "a", 1},              {"a|bc", "ac", -1},           {"a|bc", "bc", 1},
        {"^\\d{3}-\\d{4}$", "555-1234", 1}, {"\\d{3}", "55", 0},     {"\\d{3}", "5555", -1},
        {".", "\xc3\xa9", 1},          {"[^a]", "\xf0\x9f\x98\x80", 1}, {"[^a]", "a", -1},
        {"(yes|no)( maybe)?", "no maybe", 1}, {"", "", 1},          {"", "x", -1},
        {"a*", "", 1},                 {"\"x\"", "\"x\"", 1},        {"[^a]", "\xed\xa0\x80", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_grammar *g = NULL;
        sg_error err;
        CHECK_OK(sg_grammar_from_pattern(&g, cases[i].pattern, strlen(cases[i].pattern), &err));
        int have = verdict_of(g, cases[i].text);
        if (have != cases[i].verdict)
            tap_fail(__FILE__, __LINE__, "%s reads '%s': %d, want %d", cases[i].pattern, cases[i].text, have, cases[i].verdict);
        sg_grammar_free(g);
    }
    static const struct {
        const char *pattern;
        sg_status status;
    } wrong[] = {{"a)|(b", SG_E_FORMAT}, {"(", SG_E_FORMAT}, {"[z-a]", SG_E_FORMAT}, {"(?=a)b", SG_E_UNSUPPORTED}, {"a$b", SG_E_FORMAT},
                 {"((a{1000}){1000}){1000}", SG_E_LIMIT}, {"(a|b)*a(a|b){60}", SG_E_LIMIT}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sg_grammar *g = NULL;
        sg_error err;
        CHECK_INT(sg_grammar_from_pattern(&g, wrong[i].pattern, strlen(wrong[i].pattern), &err), wrong[i].status);
        CHECK(!g && err.text[0] && !strchr(err.text, '\n'));
    }
}

static bool build_plain(void *arg)
{
    static const char *const text[] = {"one", "two", "three"};
    static const size_t len[] = {3, 3, 5};
    sg_grammar *a = NULL, *b = NULL;
    (void)arg;
    bool ok = sg_grammar_from_texts(&a, text, len, 3, NULL) == SG_OK && sg_grammar_from_pattern(&b, "a+(b|[cd])", 10, NULL) == SG_OK;
    sg_grammar_free(a);
    sg_grammar_free(b);
    return ok;
}

TEST(grammar_of_texts_survives_failing_allocations) { CHECK_ALLOC_LOOP(build_plain, NULL); }

TEST(grammar_survives_failing_allocations)
{
    make_vocabulary();
    CHECK_ALLOC_LOOP(build_and_read, NULL);
}

TAP_MAIN
