/* JSON Schema to grammars: what they accept and refuse, on written cases and on the shared collection. */
#include "tap.h"

#include "base/file.h"
#include "base/json.h"
#include "sample/automaton.h"
#include "sample/grammar.h"

#include <ctype.h>
#include <stdlib.h>

/* 1 whole, 0 may go on, -1 refused, -2 the matcher gave up */
static int reads(const sg_grammar *g, const char *text, size_t n)
{
    sg_matcher *m;
    int verdict = -2;
    if (sg_matcher_new(&m, g, NULL) == SG_OK) {
        sg_status st = sg_matcher_feed(m, text, n, NULL);
        verdict = st == SG_OK ? sg_matcher_may_end(m) : st == SG_E_ARGUMENT ? -1 : -2;
        sg_matcher_free(m);
    }
    return verdict;
}

static int obeys(const char *schema, const char *text)
{
    sg_grammar *g;
    sg_error err;
    if (sg_grammar_from_schema(&g, schema, strlen(schema), 0, &err) != SG_OK) {
        tap_note("%s: %s", schema, err.text);
        return -3;
    }
    int verdict = reads(g, text, strlen(text));
    sg_grammar_free(g);
    return verdict;
}

TEST(schema_says_what_is_allowed)
{
    static const struct {
        const char *schema, *text;
        int verdict;
    } cases[] = {
        {"true", "{\"a\": [1, \"x\", null, -2.5e-3]}", 1},
        {"{\"type\":\"boolean\"}", "true", 1},
        {"{\"type\":\"boolean\"}", "null", -1},
        {"{\"type\":\"string\"}", "\"a\\u00e9\\ud83d\\ude00\xc3\xa9\"", 1},
        {"{\"type\":\"string\"}", "\"\\ud83d\"", -1},
        {"{\"type\":\"string\"}", "\"a\nb\"", -1},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"\xc3\xa9\\n\"", 1},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"a\"", -1},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"abcd\"", -1},
        {"{\"type\":\"string\",\"maxLength\":1000000000}", "\"abcd\"", 1},
        {"{\"type\":\"string\",\"minLength\":1000000000}", "\"abcd\"", -1},
        {"{\"type\":\"string\",\"pattern\":\"^a+$\",\"maxLength\":2}", "\"aa\"", 1},
        {"{\"type\":\"string\",\"pattern\":\"^a+$\",\"maxLength\":2}", "\"aaa\"", -1},
        {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}],\"type\":\"string\"}", "\"xbya\"", 1},
        {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}],\"type\":\"string\"}", "\"xya\"", -1},
        {"{\"type\":\"string\",\"pattern\":\"^$\"}", "\"\"", 1},
        {"{\"type\":\"string\",\"pattern\":\"^$\"}", "\"a\"", -1},
        {"{\"type\":\"integer\"}", "-120", 1},
        {"{\"type\":\"integer\"}", "012", -1},
        {"{\"type\":\"integer\"}", "1.5", -1},
        {"{\"type\":\"integer\"}", "1.0", 1},
        {"{\"type\":\"number\"}", "-0.5e+10", 1},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":123}", "-5", 1},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":123}", "-6", -1},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":123}", "99", 1},
        {"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":123}", "124", -1},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", "0", -1},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", "10", 1},
        {"{\"type\":\"integer\",\"minimum\":10.5}", "10", 0},
        {"{\"type\":\"integer\",\"minimum\":10.5}", "11", 1},
        {"{\"type\":\"number\",\"minimum\":0.1,\"exclusiveMaximum\":1.25}", "0.1", 1},
        {"{\"type\":\"number\",\"minimum\":0.1,\"exclusiveMaximum\":1.25}", "0.09", -1},
        {"{\"type\":\"number\",\"minimum\":0.1,\"exclusiveMaximum\":1.25}", "1.24999", 1},
        {"{\"type\":\"number\",\"minimum\":0.1,\"exclusiveMaximum\":1.25}", "1.25", -1},
        {"{\"type\":\"number\",\"minimum\":0}", "1e5", 1},
        {"{\"type\":\"number\",\"minimum\":0}", "-1", -1},
        {"{\"type\":\"number\",\"maximum\":-2.5}", "-2.5", 1},
        {"{\"type\":\"number\",\"maximum\":-2.5}", "-2.4", -1},
        {"{\"type\":\"number\",\"maximum\":1e300}", "12345", 1},
        {"{\"type\":\"integer\",\"multipleOf\":7}", "-49", 1},
        {"{\"type\":\"integer\",\"multipleOf\":7}", "48", 0},
        {"{\"type\":\"number\",\"multipleOf\":0.01}", "12.34", 1},
        {"{\"type\":\"number\",\"multipleOf\":0.01}", "12.345", -1},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "-1.5", 1},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "0.010", 1},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "7", 0},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "7.00", 0},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"}}", "7e1", -1},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"},\"minimum\":2,\"maximum\":3}", "2.5", 1},
        {"{\"type\":\"number\",\"not\":{\"type\":\"integer\"},\"minimum\":2,\"maximum\":3}", "3.5", -1},
        {"{\"enum\":[\"a\",\"ab\",1,null,{\"k\":[1]}]}", "\"ab\"", 1},
        {"{\"enum\":[\"a\",\"ab\",1,null,{\"k\":[1]}]}", "{ \"k\": [ 1 ] }", 1},
        {"{\"enum\":[\"a\",\"ab\",1,null,{\"k\":[1]}]}", "\"b", -1},
        {"{\"enum\":[\"a\",2],\"type\":\"string\"}", "2", -1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"}},\"required\":[\"b\"],"
         "\"additionalProperties\":false}", "{\"b\":null}", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"}},\"required\":[\"b\"],"
         "\"additionalProperties\":false}", "{\n  \"a\": 1,\n  \"b\": null\n}", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"}},\"required\":[\"b\"],"
         "\"additionalProperties\":false}", "{\"a\":1}", -1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"c\":1, \"d\":[]}", 1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"a\":1, \"a\":2}", -1},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}", "{\"c\":1, \"a\":\"x\"}", -1},
        {"{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2}", "{}", -1},
        {"{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2}", "{\"x\":1,\"y\":2}", 1},
        {"{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2}", "{\"x\":1,\"y\":2,\"z\":3}", -1},
        {"{\"type\":\"object\",\"properties\":{\"a\":true,\"b\":true,\"c\":true},\"minProperties\":2,\"additionalProperties\":false}",
         "{\"a\":1}", -1},
        {"{\"type\":\"object\",\"properties\":{\"a\":true,\"b\":true,\"c\":true},\"minProperties\":2,\"additionalProperties\":false}",
         "{\"a\":1,\"c\":2}", 1},
        {"{\"type\":\"object\",\"patternProperties\":{\"^s_\":{\"type\":\"string\"}},\"additionalProperties\":{\"type\":\"integer\"}}",
         "{\"s_a\":\"x\",\"t\":1}", 1},
        {"{\"type\":\"object\",\"patternProperties\":{\"^s_\":{\"type\":\"string\"}},\"additionalProperties\":{\"type\":\"integer\"}}",
         "{\"s_a\":1}", -1},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[]", -1},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1,2]", 1},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1,2,3]", -1},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"}],\"items\":false}", "[null]", 1},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"}],\"items\":false}", "[null,1]", -1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/x\"},\"$defs\":{\"x\":{\"enum\":[\"a\",\"b\",1,1.0]}}}",
         "[\"b\",1,\"a\"]", 1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/x\"},\"$defs\":{\"x\":{\"enum\":[\"a\",\"b\",1,1.0]}}}",
         "[\"b\",1,1.0]", -1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\",1],\"type\":\"string\"}}", "[\"b\",1]", -1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"allOf\":[{\"enum\":[\"a\",\"b\"]}]},\"minItems\":3}", "", -3},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}", "[false,true]", 1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}", "[false,false]", -1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-2,\"maximum\":2,\"multipleOf\":2}}",
         "[2,-2,0]", 1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":-2,\"maximum\":2,\"multipleOf\":2}}",
         "[2,1]", -1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99}}", "[7,20,99]", 1},
        {"{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99}}", "[7,20,7]", -1},
        {"{\"uniqueItems\":true,\"type\":[\"array\",\"null\"],\"items\":{\"const\":{\"k\":1}}}", "[{\"k\":1}]", 1},
        {"{\"uniqueItems\":true,\"type\":[\"array\",\"null\"],\"items\":{\"const\":{\"k\":1}}}", "[{\"k\":1},{\"k\":1}]", -1},
        {"{\"type\":\"array\",\"contains\":{\"const\":1},\"items\":{\"type\":\"integer\"}}", "[2,3]", -1},
        {"{\"type\":\"array\",\"contains\":{\"const\":1},\"items\":{\"type\":\"integer\"}}", "[2,1,3]", 1},
        {"{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"integer\",\"maximum\":3}]}", "3", 1},
        {"{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"integer\",\"maximum\":3}]}", "4", -1},
        {"{\"oneOf\":[{\"type\":\"integer\",\"multipleOf\":3},{\"type\":\"integer\",\"multipleOf\":5}]}", "15", 0},
        {"{\"oneOf\":[{\"type\":\"integer\",\"multipleOf\":3},{\"type\":\"integer\",\"multipleOf\":5}]}", "9", 1},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"a\":true},\"required\":[\"a\"],\"additionalProperties\":false},"
         "{\"type\":\"object\",\"required\":[\"b\"],\"propertyNames\":{\"maxLength\":1}}]}", "{\"a\":1}", 1},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[1,2]}},\"additionalProperties\":{\"type\":\"null\"}},"
         "{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[2,3]}},\"additionalProperties\":{\"type\":\"null\"}}]}", "{\"k\":1}", 1},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[1,2]}},\"additionalProperties\":{\"type\":\"null\"}},"
         "{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[2,3]}},\"additionalProperties\":{\"type\":\"null\"}}]}", "{\"k\":2}", -1},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[1,2]}},\"additionalProperties\":{\"type\":\"null\"}},"
         "{\"type\":\"object\",\"properties\":{\"k\":{\"enum\":[2,3]}},\"additionalProperties\":{\"type\":\"null\"}}]}", "{}", -1},
        {"{\"not\":{\"type\":[\"null\",\"boolean\"]}}", "null", -1},
        {"{\"not\":{\"type\":[\"null\",\"boolean\"]}}", "[null]", 1},
        {"{\"type\":\"string\",\"not\":{\"enum\":[\"ab\"]}}", "\"ab\"", -1},
        {"{\"type\":\"string\",\"not\":{\"enum\":[\"ab\"]}}", "\"abc\"", 1},
        {"{\"properties\":{\"a\":{\"const\":1},\"b\":true},\"dependentRequired\":{\"a\":[\"b\"]},\"type\":\"object\"}",
         "{\"a\":1}", -1},
        {"{\"properties\":{\"a\":{\"const\":1},\"b\":true},\"dependentRequired\":{\"a\":[\"b\"]},\"type\":\"object\"}",
         "{\"a\":1,\"b\":2}", 1},
        {"{\"properties\":{\"a\":{\"const\":1},\"b\":true},\"dependentRequired\":{\"a\":[\"b\"]},\"type\":\"object\"}",
         "{\"b\":2}", 1},
        {"{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/x\"}}}}", "[[],[[]]]", 1},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2024-02-29\"", 1},
        {"{\"type\":\"string\",\"format\":\"date\"}", "\"2024-13-29\"", -1},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", "\"2026-01-02T03:04:05+09:00\"", 1},
        {"{\"type\":\"string\",\"format\":\"ipv4\"}", "\"192.168.0.1\"", 1},
        {"{\"type\":\"string\",\"format\":\"ipv4\"}", "\"192.168.0.256\"", -1},
        {"{\"type\":\"string\",\"format\":\"email\"}", "\"a.b@c.de\"", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int verdict = obeys(cases[i].schema, cases[i].text);
        if (verdict != cases[i].verdict)
            tap_fail(__FILE__, __LINE__, "%s reads %s: %d, want %d", cases[i].schema, cases[i].text, verdict, cases[i].verdict);
    }
}

static void enum_of(char *out, size_t cap, int n, const char *limits)
{
    size_t at = (size_t)snprintf(out, cap, "{\"type\":\"array\",\"uniqueItems\":true,%s\"items\":{\"enum\":[", limits);
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(out + at, cap - at, "%s%d", i ? "," : "", i);
    snprintf(out + at, cap - at, "]}}");
}

/* Arrays of different values, drawn at random, against what the keywords say. */
TEST(schema_of_different_items)
{
    static const struct {
        int n, min, max; /* values, minItems, maxItems (-1: none) */
    } shapes[] = {{1, 0, -1}, {3, 0, -1}, {4, 2, 3}, {6, 1, 2}, {10, 0, -1}, {11, 0, -1}, {12, 3, -1}, {20, 0, 4}, {30, 2, 5}, {40, 3, 3}};
    sg_rng *g = tap_rng();
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
        char schema[2000], limits[80], text[400];
        int n = shapes[k].n, min = shapes[k].min, max = shapes[k].max, yes = 0;
        snprintf(limits, sizeof limits, max < 0 ? "\"minItems\":%d," : "\"minItems\":%d,\"maxItems\":%d,", min, max);
        enum_of(schema, sizeof schema, n, limits);
        sg_grammar *grammar;
        sg_error err;
        CHECK_OK(sg_grammar_from_schema(&grammar, schema, strlen(schema), 0, &err));
        for (int i = 0; i < 400; i++) {
            int item[8], len = (int)sg_rng_below(g, 8), at = snprintf(text, sizeof text, "[");
            bool want = len >= min && (max < 0 || len <= max);
            for (int j = 0; j < len; j++) {
                item[j] = (int)sg_rng_below(g, (uint64_t)n + (sg_rng_below(g, 20) == 0)); /* now and then one that is not listed */
                for (int h = 0; n > 10 && sg_rng_below(g, 8) && j && item[j] <= item[j - 1] && h < 8; h++)
                    item[j] = (int)sg_rng_below(g, (uint64_t)n);
                want &= item[j] < n && (n <= 10 || j == 0 || item[j] > item[j - 1]); /* many values: in their order */
                for (int h = 0; h < j; h++)
                    want &= item[h] != item[j];
                at += snprintf(text + at, sizeof text - (size_t)at, "%s%d", j ? ", " : "", item[j]);
            }
            snprintf(text + at, sizeof text - (size_t)at, "]");
            int verdict = reads(grammar, text, strlen(text));
            yes += want;
            if ((verdict == 1) != want)
                tap_fail(__FILE__, __LINE__, "%s reads %s: %d", schema, text, verdict);
        }
        CHECK(yes > 3 && yes < 400);
        sg_grammar_free(grammar);
    }
}

TEST(schema_refuses_what_it_cannot_keep)
{
    static const struct {
        const char *schema;
        sg_status status;
        const char *part;
    } cases[] = {
        {"[]", SG_E_FORMAT, "must be an object"},
        {"{\"type\":5}", SG_E_FORMAT, "'type'"},
        {"{\"type\":[\"object\",5]}", SG_E_FORMAT, "'type'"},
        {"{\"type\":\"text\"}", SG_E_FORMAT, "'text' is not a type"},
        {"{\"properties\":{\"a\":{\"type\":\"array\",\"uniqueItems\":true}}}", SG_E_UNSUPPORTED, "/properties/a: 'uniqueItems'"},
        {"{\"properties\":{\"a\":{\"uniqueItems\":true,\"items\":{\"type\":\"integer\",\"minimum\":-9000000000000000,\"maximum\":9}}}}",
         SG_E_UNSUPPORTED, "/properties/a: 'uniqueItems'"},
        {"{\"type\":\"array\",\"unevaluatedItems\":false}", SG_E_UNSUPPORTED, "'unevaluatedItems'"},
        {"{\"type\":\"string\",\"pattern\":\"(\"}", SG_E_FORMAT, "pattern: a group is not closed"},
        {"{\"type\":\"string\",\"pattern\":\"(?<=x)y\"}", SG_E_UNSUPPORTED, "look-behind"},
        {"{\"type\":\"string\",\"pattern\":\"^((a{1000}){1000}){1000}$\"}", SG_E_LIMIT, "pattern"},
        {"{\"type\":\"string\",\"pattern\":\"^(a|b)*a(a|b){60}$\"}", SG_E_LIMIT, ""},
        {"{\"$ref\":\"#/$defs/nope\"}", SG_E_FORMAT, "points at nothing"},
        {"{\"$ref\":\"http://127.0.0.1:1/x.json\"}", SG_E_UNSUPPORTED, "nothing is fetched"},
        {"{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{\"$ref\":\"#/$defs/x\"}}}", SG_E_FORMAT, "leads back to itself"},
        {"{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{\"$ref\":\"#/$defs/y\"},\"y\":{\"$ref\":\"#/$defs/x\"}}}", SG_E_FORMAT, "itself"},
        {"{\"type\":\"integer\",\"minimum\":10,\"maximum\":5}", SG_E_FORMAT, "no value obeys"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[]}},\"required\":[\"a\"]}", SG_E_FORMAT, "no value obeys"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", SG_E_FORMAT, "no value obeys"},
        {"false", SG_E_FORMAT, "no value obeys"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_grammar *g = NULL;
        sg_error err = {0};
        sg_status st = sg_grammar_from_schema(&g, cases[i].schema, strlen(cases[i].schema), 0, &err);
        if (st != cases[i].status || !strstr(err.text, cases[i].part))
            tap_fail(__FILE__, __LINE__, "%s: %s \"%s\"", cases[i].schema, sg_status_name(st), err.text);
        if (st == SG_OK)
            sg_grammar_free(g);
    }
}

TEST(schema_choices_do_not_explode)
{
    char text[8192], *p = text, *end = text + sizeof text;
    p += snprintf(p, (size_t)(end - p), "{\"allOf\":[");
    for (int i = 0; i < 24; i++)
        p += snprintf(p, (size_t)(end - p), "%s{\"anyOf\":[{\"required\":[\"a%d\"]},{\"required\":[\"b%d\"]}]}", i ? "," : "", i, i);
    snprintf(p, (size_t)(end - p), "]}");
    sg_grammar *g;
    sg_error err;
    CHECK_FAILS(sg_grammar_from_schema(&g, text, strlen(text), 0, &err), SG_E_LIMIT, "");
}

TEST(pattern_reads_as_ecma_does)
{
    static const struct {
        const char *pattern, *text;
        bool finds;
    } cases[] = {
        {"b", "abc", true}, {"^b", "abc", false}, {"c$", "abc", true}, {"^$", "", true}, {"^$", "a", false},
        {"^in$|^out$", "out", true}, {"^in$|^out$", "outer", false}, {"a|b", "xb", true}, {"^(a|b){2,3}$", "aba", true},
        {"^(a|b){2,3}$", "abab", false}, {"^a*?b+$", "aabb", true}, {"^[^a-c]+$", "xyz", true}, {"^[^a-c]+$", "xaz", false},
        {"^\\d{3}$", "123", true}, {"^\\d{3}$", "12a", false}, {"^\\w+$", "a_1", true}, {"^\\w+$", "a b", false},
        {"^\\S$", "\xc3\xa9", true}, {"^.$", "\n", false}, {"^[\\s\\S]$", "\n", true}, {"^[a-z-]+$", "a-z", true},
        {"^\\u00e9$", "\xc3\xa9", true}, {"^\\ud83d\\ude00$", "\xf0\x9f\x98\x80", true}, {"^x{2}$", "xx", true}, {"^x{,2}$", "x{,2}", true},
        {"^(?:ab)+$", "abab", true}, {"^(?<name>ab)$", "ab", true}, {"", "anything", true}, {"^a\\.b$", "a.b", true},
        {"^a\\.b$", "axb", false},
        {"^a?$", "", true}, {"^a{0}$", "", true}, {"(^a)|b$", "ax", true}, {"(^a)|b$", "xb", true}, {"(^a)|b$", "xa", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_dfa d;
        sg_error err = {0};
        if (sg_dfa_of_pattern(&d, cases[i].pattern, strlen(cases[i].pattern), &err) != SG_OK) {
            tap_fail(__FILE__, __LINE__, "%s: %s", cases[i].pattern, err.text);
            continue;
        }
        if ((sg_dfa_match(&d, cases[i].text, strlen(cases[i].text)) != 0) != cases[i].finds)
            tap_fail(__FILE__, __LINE__, "%s in '%s' is not %d", cases[i].pattern, cases[i].text, cases[i].finds);
        sg_dfa_fini(&d);
    }
}

/* ---- the shared collection: read as text, because its numbers do not all fit 64 bits ---- */

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\n')
        p++;
    return p;
}

/* Behind one JSON value (the text is JSON). */
static const char *skip_value(const char *p)
{
    int depth = 0;
    do {
        if (*p == '"') {
            for (p++; *p != '"'; p++)
                p += *p == '\\';
        } else if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
    } while (depth > 0 || (*p && *p != ',' && *p != '}' && *p != ']' && *p != ' ' && *p != ':' &&
                            p[-1] != '"' && p[-1] != '}' && p[-1] != ']'));
    return p;
}

/* The value of a key of the object at p, or NULL. */
static const char *find_key(const char *p, const char *key)
{
    size_t n = strlen(key);
    for (p = skip_space(p + 1); *p == '"'; p = skip_space(p + 1)) {
        const char *end = skip_value(p), *value = skip_space(skip_space(end) + 1);
        if ((size_t)(end - p) == n + 2 && memcmp(p + 1, key, n) == 0)
            return value;
        p = skip_space(skip_value(value));
        if (*p != ',')
            return NULL;
    }
    return NULL;
}

/* Compact (style 0), as it stands (1), indented (2); \uXXXX that needs no escape becomes the character. */
static void restyle(char *out, const char *p, const char *end, int style)
{
    int depth = 0;
    for (; p < end; p++) {
        if (*p == '"') {
            const char *close = skip_value(p);
            for (; p < close; p++) {
                unsigned cp;
                if (p[0] == '\\' && p[1] == 'u' && sscanf(p + 2, "%4x", &cp) == 1 && cp >= 0x7f) {
                    unsigned low;
                    if (cp >= 0xd800 && cp < 0xdc00 && sscanf(p + 8, "%4x", &low) == 1) {
                        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
                        p += 6;
                    }
                    if (cp >= 0x10000)
                        *out++ = (char)(0xf0 | cp >> 18), *out++ = (char)(0x80 | (cp >> 12 & 63));
                    else if (cp >= 0x800)
                        *out++ = (char)(0xe0 | cp >> 12);
                    *out++ = cp < 0x800 ? (char)(0xc0 | cp >> 6) : (char)(0x80 | (cp >> 6 & 63));
                    *out++ = (char)(0x80 | (cp & 63));
                    p += 5;
                } else {
                    *out++ = *p;
                    if (*p == '\\')
                        *out++ = *++p;
                }
            }
            p--;
            continue;
        }
        if (*p == ' ' && style != 1)
            continue;
        if (style == 2 && (*p == '}' || *p == ']') && out[-1] != '{' && out[-1] != '[') {
            depth--;
            out += snprintf(out, 256, "\n%*s", 2 * depth, "");
        } else if (*p == '}' || *p == ']')
            depth--;
        *out++ = *p;
        if (*p == '{' || *p == '[')
            depth++;
        if (style == 2 && *p == ':')
            *out++ = ' ';
        if (style == 2 && (((*p == '{' || *p == '[') && p[1] != '}' && p[1] != ']') || *p == ','))
            out += snprintf(out, 256, "\n%*s", 2 * depth, "");
    }
    *out = 0;
}

typedef struct tally {
    int schemas, unsupported, valid, accepted, in_order, in_order_accepted, invalid, refused;
} tally;

static void judge(const sg_grammar *g, const char *name, const char *p, const char *part, char *text, tally *t)
{
    const char *list = find_key(p, part);
    bool valid = part[0] == 'v';
    if (!list)
        return;
    for (const char *x = skip_space(list + 1); *x == '{'; x = skip_space(x + 1)) {
        const char *instance = find_key(x, "instance"), *order = find_key(x, "in_order");
        int good = 0;
        for (int style = 0; style < 3; style++) {
            restyle(text, instance, skip_value(instance), style);
            good += reads(g, text, strlen(text)) == 1;
        }
        bool ordered = order && *order == 't';
        if (valid) {
            t->valid++;
            t->accepted += good == 3;
            t->in_order += ordered;
            t->in_order_accepted += ordered && good == 3;
            if (ordered && good < 3)
                tap_note("%s: a valid instance is not accepted (in %d of 3 ways to write it)", name, good);
        } else {
            t->invalid++;
            t->refused += good == 0;
            if (good)
                tap_note("%s: an invalid instance is accepted: %.200s", name, text);
        }
        x = skip_space(skip_value(x));
        if (*x != ',')
            break;
    }
}

static void judge_line(const char *line, tally *t)
{
    const char *schema = find_key(line, "schema"), *label = find_key(line, "name");
    size_t n = (size_t)(skip_value(schema) - schema);
    char name[100];
    snprintf(name, sizeof name, "%.*s", (int)(skip_value(label) - label), label);
    sg_grammar *g;
    sg_error err;
    t->schemas++;
    if (sg_grammar_from_schema(&g, schema, n, 0, &err) != SG_OK) {
        tap_note("%s: %s", name, err.text);
        t->unsupported++;
        return;
    }
    char *text = malloc(16 * strlen(line) + 64);
    judge(g, name, line, "valid", text, t);
    judge(g, name, line, "invalid", text, t);
    free(text);
    sg_grammar_free(g);
}

static tally judge_file(const char *name)
{
    char path[600];
    tally t = {0};
    sg_error err;
    char *text;
    size_t n;
    snprintf(path, sizeof path, "%s/data/golden/schemas/%s.jsonl", tap_shared(), name);
    if (sg_file_read(path, 64 << 20, &text, &n, &err) != SG_OK)
        return t;
    for (char *line = text; line < text + n;) {
        char *end = memchr(line, '\n', (size_t)(text + n - line));
        if (end)
            *end = 0;
        if (*line == '{')
            judge_line(line, &t);
        line = end ? end + 1 : text + n;
    }
    sg_free(text);
    tap_note("%s: %d schemas, %d refused by keyword; valid %d, accepted %d (in order %d, accepted %d); invalid %d, refused %d", name,
             t.schemas, t.unsupported, t.valid, t.accepted, t.in_order, t.in_order_accepted, t.invalid, t.refused);
    return t;
}

static void check_file(const char *name, int unsupported_max, int missed_max)
{
    if (!tap_shared()) {
        tap_skip("the shared data is not here");
        return;
    }
    tally t = judge_file(name);
    CHECK(t.schemas > 0);
    CHECK(t.unsupported <= unsupported_max);
    CHECK_INT(t.refused, t.invalid);
    CHECK(t.in_order - t.in_order_accepted <= missed_max);
}

TEST(schemas_written) { check_file("written", 0, 2); }
TEST(schemas_of_functions) { check_file("functions", 0, 0); }
TEST(schemas_of_schemastore) { check_file("schemastore", 25, 0); }

/* ---- failures ---- */

static bool compile(void *arg)
{
    const char *schema = arg;
    sg_grammar *g;
    if (sg_grammar_from_schema(&g, schema, strlen(schema), 0, NULL) != SG_OK)
        return false;
    sg_grammar_free(g);
    return true;
}

TEST(schema_survives_failing_allocations)
{
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"},\"b\":{\"oneOf\":[{\"const\":1},"
        "{\"type\":\"integer\",\"minimum\":5}]},\"c\":{\"$ref\":\"#\"}},\"required\":[\"a\"],\"dependentRequired\":{\"a\":[\"b\"]}}";
    static const char unique[] = "{\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":4}}";
    CHECK_ALLOC_LOOP(compile, (void *)(uintptr_t)unique);
    CHECK_ALLOC_LOOP(compile, (void *)(uintptr_t)schema);
}

TAP_MAIN
