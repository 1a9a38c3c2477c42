/* Chat templates: the language, its limits, and every rendering of the shared data. */
#include "tap.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "text/template.h"

#include <stdlib.h>

/* Render `source` with messages and options; *text or the error. */
static sg_status render(const char *source, const char *messages, const char *options, char **text, sg_error *err)
{
    sg_template *t;
    size_t n;
    SG_TRY(sg_template_new(&t, source, strlen(source), err));
    sg_template_input in = {.messages = messages, .options = options, .now = "2026-01-02T03:04:05", .add_generation_prompt = -1};
    sg_status st = sg_template_render(t, &in, text, &n, NULL, err);
    sg_template_free(t);
    return st;
}

static bool gives(const char *source, const char *want)
{
    sg_error err = {0};
    char *text = NULL;
    bool same = render(source, "[{\"role\": \"user\", \"content\": \"hi\"}]", "{\"n\": 3, \"l\": [1, 2, 3]}", &text,
                       &err) == SG_OK &&
                strcmp(text, want) == 0;
    if (!same)
        tap_note("%s: gave \"%s\" (%s), want \"%s\"", source, text ? text : "", err.text, want);
    sg_memory_free(text);
    return same;
}

TEST(jinja_keeps_and_trims_white_space)
{
    CHECK(gives("a\n  {% if n %}\nb\n  {% endif %}\nc\n", "a\nb\nc"));
    CHECK(gives("a \n {{- n -}} \n b", "a3b"));
    CHECK(gives("  {%+ if n %}x{% endif +%}\n", "  x"));
    CHECK(gives("\xc2\xa0{% if n %}x{% endif %}\r\ny\r", "xy"));
    CHECK(gives("{% raw %}{{ n }}{% endraw %}{# c #}\n.", "{{ n }}."));
}

TEST(jinja_evaluates_expressions)
{
    CHECK(gives("{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 1e16 }} {{ 0.1 + 0.2 }}",
                "4 64 -4 2 1e+16 0.30000000000000004"));
    CHECK(gives("{{ l[::-1] }}{{ l[-1] }}{{ 'caf\xc3\xa9'[3] }}{{ messages[0].content }}", "[3, 2, 1]3\xc3\xa9hi"));
    CHECK(gives("{{ 'x' if nope is defined else 'y' }}{{ nope }}{{ nope|default('z') }}", "yz"));
    CHECK(gives("{{ [none, true, \"it's\"] }} {{ {'a': 1.0}|tojson }}", "[None, True, \"it's\"] {\"a\": 1.0}"));
    CHECK(gives("{{ l|map('string')|join('+') }}{{ l|select('odd')|list }}", "1+2+3[1, 3]"));
}

TEST(jinja_scopes_as_jinja_does)
{
    CHECK(gives("{% set x = 0 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "0"));
    CHECK(gives("{% set s = namespace(x=0) %}{% for i in l %}{% set s.x = s.x + i %}{% endfor %}{{ s.x }}", "6"));
    CHECK(gives("{% macro m(a, b=a) %}{{ a }}{{ b }}{{ i }}{% endmacro %}{% for i in l %}{{ m(i) }}{% endfor %}", "112233"));
    CHECK(gives("{% for i in l if i != 2 %}{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}", "1/2 2/2 "));
    CHECK(gives("{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "123"));
}

TEST(jinja_errors_name_the_line)
{
    sg_error err;
    char *text;
    CHECK_FAILS(render("a\nb\n{% if %}", "[]", NULL, &text, &err), SG_E_FORMAT, "template line 3: ");
    CHECK_FAILS(render("\n{{ x.y }}", "[]", NULL, &text, &err), SG_E_ARGUMENT, "template line 2: 'x' is undefined");
    CHECK_FAILS(render("{{ 1|frob }}", "[]", NULL, &text, &err), SG_E_FORMAT, "line 1: no filter named 'frob'");
    CHECK_FAILS(render("{{ \xff }}", "[]", NULL, &text, &err), SG_E_FORMAT, "UTF-8");
    CHECK_FAILS(render("{{ 1 }}", "{}", NULL, &text, &err), SG_E_ARGUMENT, "messages: not an array");
    CHECK_FAILS(render("{{ 1 }}", "[", NULL, &text, &err), SG_E_FORMAT, "messages: line 1");
    CHECK_FAILS(render("{{ 1 }}", "[]", "[]", &text, &err), SG_E_ARGUMENT, "options: not an object");
}

TEST(jinja_raises_word_for_word)
{
    sg_error err;
    sg_template *t;
    char *text, *raised;
    size_t n;
    const char *source = "{{ raise_exception('two\\nlines ' ~ 'x' * 300) }}";
    CHECK_OK(sg_template_new(&t, source, strlen(source), &err));
    sg_template_input in = {.messages = "[]"};
    CHECK_FAILS(sg_template_render(t, &in, &text, &n, &raised, &err), SG_E_ARGUMENT, "two\\x0alines xxx");
    CHECK_INT(strlen(raised), 310);
    CHECK(strncmp(raised, "two\nlines xxx", 13) == 0);
    sg_memory_free(raised);
    sg_template_free(t);
}

TEST(jinja_bounds_what_templates_take)
{
    static const struct {
        const char *source;
        sg_status status;
    } cases[] = {
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", SG_E_LIMIT},
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% "
         "endfor %}",
         SG_E_LIMIT},
        {"{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}", SG_E_LIMIT},
        {"{% set s = namespace(x='ab') %}{% for a in range(64) %}{% set s.x = s.x ~ s.x %}{% endfor %}", SG_E_LIMIT},
        {"{% set s = namespace(x=[]) %}{% for a in range(64) %}{% set s.x = [s.x, s.x] %}{% endfor %}{{ s.x }}",
         SG_E_LIMIT},
        {"{% set a = range(99999)|list %}{% for i in a %}{% set x = 'q' in a %}{% endfor %}", SG_E_LIMIT},
        {"{% set a = range(99999)|list %}{% set b = range(99999)|list %}{% for i in a %}{% set x = a == b %}{% endfor "
         "%}",
         SG_E_LIMIT},
        {"{% set s = 'a' * 1000000 %}{% for i in range(99999) %}{% set x = s.isalpha() or s.startswith(s) %}{% endfor "
         "%}",
         SG_E_LIMIT},
        {"{% for a in range(99999) %}{% for b in range(99999) %}{% set x = (1e300 / 7)|round(300) %}{% endfor %}{% "
         "endfor %}",
         SG_E_LIMIT},
        {"{{ 'a' * 1000000000000 }}", SG_E_LIMIT},
        {"{{ [0] * 1000000000000 }}", SG_E_LIMIT},
        {"{{ '%2000000000d' % 1 }}", SG_E_LIMIT},
        {"{{ '%99999999999d' % 1 }}", SG_E_LIMIT},
        {"{{ '{:2000000000}'.format(1) }}", SG_E_LIMIT},
        {"{{ 'a'.center(2000000000) }}", SG_E_LIMIT},
        {"{{ 9 ** (9 ** 9) }}", SG_E_LIMIT},
        {"{{ (-9223372036854775807 - 1) // -1 }}", SG_E_LIMIT},
        {"{{ (-9223372036854775807 - 1)|abs }}", SG_E_LIMIT},
        {"{{ -(-9223372036854775807 - 1) }}", SG_E_LIMIT},
        {"{{ range(10 ** 12)|list }}", SG_E_LIMIT},
        {"{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", SG_E_LIMIT},
        {"{{ l[1:2:0] }}", SG_E_ARGUMENT},
        {"{{ [].append(1) }}", SG_E_ARGUMENT},
        {"{{ ''.__class__.__mro__ }}", SG_E_ARGUMENT},
        {"{% include 'x' %}", SG_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_error err;
        char *text;
        size_t before = sg_heap_live();
        int64_t start = sg_clock_us();
        sg_status st = render(cases[i].source, "[]", "{\"l\": [1, 2]}", &text, &err);
        if (st != cases[i].status)
            tap_note("%s: %s", cases[i].source, err.text);
        CHECK_INT(st, cases[i].status);
        CHECK_INT(sg_heap_live(), before);
        CHECK(sg_clock_us() - start < 20000000); /* sanitizers are slow; the check of the limits themselves is by steps */
    }
    CHECK(gives("{{ (-9223372036854775807 - 1) % -1 }}", "0"));
    CHECK(gives("{{ ('a' * 1000000)|wordwrap(1)|length }} {{ ('<' * 1000000)|striptags|length }}", "1999999 1000000"));
    CHECK(gives("{{ 'a' * -1 }}{{ l[-99:99] }}{{ l[99:] }}{{ 'ab'[:-99:-1] }}", "[1, 2, 3][]ba"));
}

TEST(jinja_refuses_deep_sources)
{
    static const struct {
        const char *piece;
        size_t n;
    } cases[] = {{"{% if 1 %}", 100000}, {"{{ [", 1}, {"[", 100000}, {"(", 5000}, {"not ", 5000}, {"-", 5000}, {"1 if 1 else ", 5000},
                 {"x.", 10000}, {"1+", 10000}, {"1 if ", 5000}, {"{", 5000}, {"{'a':", 5000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t k = strlen(cases[i].piece);
        char *source = sg_alloc(k * cases[i].n + 16), *at = source;
        CHECK(source != NULL);
        if (cases[i].piece[0] != '{' || cases[i].piece[1] == '\'') {
            memcpy(at, "{{ ", 3);
            at += 3;
        }
        for (size_t c = 0; c < cases[i].n; c++, at += k)
            memcpy(at, cases[i].piece, k);
        *at = '\0';
        sg_template *t;
        sg_error err;
        sg_status st = sg_template_new(&t, source, strlen(source), &err);
        sg_free(source);
        CHECK(st == SG_E_LIMIT || st == SG_E_FORMAT);
    }
}

TEST(jinja_does_not_change_its_input)
{
    sg_error err;
    sg_template *t;
    const char *source = "{% for m in messages %}{{ m.content }}{% endfor %}";
    CHECK_OK(sg_template_new(&t, source, strlen(source), &err));
    for (int i = 0; i < 2; i++) {
        char *text;
        size_t n;
        sg_template_input in = {.messages = "[{\"content\": \"a\\u0000b\"}, {\"content\": \"c \"}]", .continue_final_message = i == 1};
        CHECK_OK(sg_template_render(t, &in, &text, &n, NULL, &err));
        CHECK_INT(n, 5);
        CHECK(memcmp(text, "a\0bc ", 5) == 0);
        sg_memory_free(text);
    }
    sg_template_free(t);
}

TEST(jinja_continues_the_final_message)
{
    sg_error err;
    sg_template *t;
    const char *source = "{% for m in messages %}<{{ m.content|trim }}>{% endfor %}";
    CHECK_OK(sg_template_new(&t, source, strlen(source), &err));
    char *text;
    size_t n;
    sg_template_input in = {.messages = "[{\"content\": \"a\"}, {\"content\": \"b  \"}]", .options = "{\"continue_final_message\": true}"};
    CHECK_OK(sg_template_render(t, &in, &text, &n, NULL, &err));
    CHECK_STR(text, "<a><b");
    sg_memory_free(text);
    in.messages = "[]";
    CHECK_FAILS(sg_template_render(t, &in, &text, &n, NULL, &err), SG_E_ARGUMENT, "continue_final_message");
    in.messages = "[{\"role\": \"user\"}]";
    CHECK_FAILS(sg_template_render(t, &in, &text, &n, NULL, &err), SG_E_ARGUMENT, "continue_final_message");
    sg_template_free(t);
}

TEST(jinja_finds_named_templates)
{
    sg_error err;
    sg_template *t;
    char *text;
    size_t n;
    static const char config[] =
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"{{ bos_token }}D{{ eos_token }}\"},"
        "{\"name\": \"tool_use\", \"template\": \"T\"}], \"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": "
        "\"</s>\", \"model_max_length\": 1000000000000000019884624838656}";
    sg_template_input in = {.messages = "[]"};
    CHECK_OK(sg_template_from_config(&t, config, strlen(config), NULL, &err));
    CHECK_OK(sg_template_render(t, &in, &text, &n, NULL, &err));
    CHECK_STR(text, "<s>D</s>");
    sg_memory_free(text);
    sg_template_free(t);
    CHECK_OK(sg_template_from_config(&t, config, strlen(config), "tool_use", &err));
    sg_template_free(t);
    CHECK_FAILS(sg_template_from_config(&t, config, strlen(config), "rag", &err), SG_E_NOT_FOUND, "rag");
    CHECK_FAILS(sg_template_from_config(&t, "{}", 2, NULL, &err), SG_E_NOT_FOUND, "no chat template");

    sg_dict *meta = sg_dict_new();
    static const sg_str words[] = {{"<a>", 3}, {"<b>", 3}};
    sg_array tokens = {.kind = SG_KIND_STR, .n = 2, .s = words};
    CHECK_FAILS(sg_template_from_dict(&t, meta, NULL, &err), SG_E_NOT_FOUND, "chat_template");
    CHECK_OK(sg_dict_set_u64(meta, "tokenizer.chat_template", 5, &err));
    CHECK_FAILS(sg_template_from_dict(&t, meta, NULL, &err), SG_E_FORMAT, "chat_template");
    CHECK_OK(sg_dict_set_str(meta, "tokenizer.chat_template", "{{ bos_token }}", 15, &err));
    CHECK_OK(sg_dict_set_array(meta, "tokenizer.ggml.tokens", &tokens, &err));
    CHECK_OK(sg_dict_set_u64(meta, "tokenizer.ggml.bos_token_id", 1, &err));
    CHECK_OK(sg_template_from_dict(&t, meta, NULL, &err));
    CHECK_OK(sg_template_render(t, &in, &text, &n, NULL, &err));
    CHECK_STR(text, "<b>");
    sg_memory_free(text);
    sg_template_free(t);
    sg_dict_free(meta);
}

static bool parse_and_render(void *arg)
{
    static const char source[] =
        "{%- set ns = namespace(a=[], s='x') -%}{% macro m(x, y=2) %}{{ x }}{{ varargs }}{{ kwargs }}{% endmacro %}"
        "{% for m1 in messages if m1.role %}{% set ns.a = ns.a + [m1.content ~ '!'] %}{{ m(m1, 3, 4, z=5) }}{{ "
        "loop.cycle('a', 'b') }}{% endfor %}"
        "{{ ns.a|sort|join(',') }}{{ messages|tojson(indent=2) }}{{ '%5d' % 3 }}{{ 'a,b'.split(',')|map('upper')|list "
        "}}"
        "{% set c %}{{ {'k': (1, 2.5)} }}{% endset %}{{ c|trim|length }}{{ strftime_now('%Y') }}{{ '[1]'|from_json }}";
    sg_error err;
    sg_template *t;
    char *text = NULL, *raised;
    size_t n;
    (void)arg;
    if (sg_template_new(&t, source, sizeof source - 1, &err) != SG_OK)
        return false;
    sg_template_input in = {.messages =
                                "[{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"b\", \"content\": \"x\"}]",
                            .tools = "[{\"a\": 1}]",
                            .options = "{\"continue_final_message\": false, \"n\": 1}",
                            .bos = "<s>",
                            .add_generation_prompt = 1};
    bool ok = sg_template_render(t, &in, &text, &n, &raised, &err) == SG_OK;
    sg_memory_free(text);
    sg_template_free(t);
    return ok;
}

TEST(jinja_survives_failing_allocations)
{
    CHECK(parse_and_render(NULL));
    CHECK_ALLOC_LOOP(parse_and_render, NULL);
}

/* ---- shared data -------------------------------------------------------------------- */

static json_t *shared_json(const char *path)
{
    char full[4300];
    snprintf(full, sizeof full, "%s/data/%s", tap_shared(), path);
    json_t *v = NULL;
    return sg_json_read(&v, full, 256 << 20, NULL) == SG_OK ? v : NULL;
}

static char *dumped(const json_t *v) { return v && !json_is_null(v) ? json_dumps(v, JSON_ENCODE_ANY) : NULL; }

static json_t *pool(const json_t *cases, const char *kind, const json_t *name)
{
    return json_is_string(name) ? json_object_get(json_object_get(cases, kind), json_string_value(name)) : NULL;
}

/* Whether a rendering is what the row of the golden file wants. */
static bool as_wanted(const json_t *row, sg_status st, const char *text, size_t n, const char *raised)
{
    const json_t *want = json_object_get(row, "expect"), *lenient = json_object_get(row, "expect_lenient");
    if (st == SG_OK) {
        want = want ? want : lenient;
        return want && json_string_length(want) == n && memcmp(json_string_value(want), text, n) == 0;
    }
    if (want || (st != SG_E_ARGUMENT && st != SG_E_LIMIT && st != SG_E_FORMAT && st != SG_E_UNSUPPORTED))
        return false;
    if (strcmp(json_string_value(json_object_get(row, "kind")), "raise_exception") != 0)
        return true;
    return raised && strcmp(raised, json_string_value(json_object_get(row, "error"))) == 0;
}

static bool golden_row(const sg_template *t, const json_t *cases, const json_t *row, const char *file)
{
    char *messages = dumped(pool(cases, "messages", json_object_get(row, "messages")));
    char *tools = dumped(pool(cases, "tools", json_object_get(row, "tools")));
    char *documents = dumped(pool(cases, "documents", json_object_get(row, "documents")));
    char *options = dumped(json_object_get(row, "options")), *text = NULL, *raised = NULL;
    size_t n = 0;
    sg_error err = {0};
    /* bos null means that the variable is not passed; the templates here come without tokens of their own. */
    sg_template_input in = {messages,
                            tools,
                            documents,
                            options,
                            json_string_value(json_object_get(row, "bos")),
                            json_string_value(json_object_get(row, "eos")),
                            json_string_value(json_object_get(cases, "strftime_now")),
                            -1,
                            false};
    sg_status st = sg_template_render(t, &in, &text, &n, &raised, &err);
    bool ok = as_wanted(row, st, text, n, raised);
    if (!ok)
        tap_note("%s: %s: %s", file, json_string_value(json_object_get(row, "case")), st == SG_OK ? "another text" : err.text);
    sg_memory_free(text);
    sg_memory_free(raised);
    sg_free(messages);
    sg_free(tools);
    sg_free(documents);
    sg_free(options);
    return ok;
}

/* The template of a golden file: a .jinja file, a tokenizer_config.json, or a GGUF vocabulary. */
static sg_template *golden_template(const char *name)
{
    char path[4300], *text = NULL;
    size_t n;
    sg_template *t = NULL;
    sg_error err;
    snprintf(path, sizeof path, "%s/data/tokenizers/chat-templates/%s.jinja", tap_shared(), name);
    if (sg_file_read(path, 1 << 20, &text, &n, &err) == SG_OK) {
        sg_template_new(&t, text, n, &err);
    } else if (strncmp(name, "hf-", 3) == 0) {
        snprintf(path, sizeof path, "%s/data/tokenizers/hf/%s.tokenizer_config.json", tap_shared(), name + 3);
        json_t *config = NULL;
        if (sg_file_read(path, 64 << 20, &text, &n, &err) == SG_OK && sg_json_parse_any_number(&config, text, n, path, &err) == SG_OK) {
            const json_t *source = json_object_get(config, "chat_template");
            if (json_is_string(source)) /* without the tokens of the configuration: the rows say which are passed */
                sg_template_new(&t, json_string_value(source), json_string_length(source), &err);
        }
        json_decref(config);
    } else if (strncmp(name, "gguf-", 5) == 0) {
        snprintf(path, sizeof path, "%s/data/tokenizers/gguf-vocab/ggml-vocab-%s.gguf", tap_shared(), name + 5);
        sg_template_open(&t, path, NULL, &err);
    }
    if (!t)
        tap_note("%s: %s", path, err.text);
    sg_free(text);
    return t;
}

static int golden_file(const json_t *cases, const char *name, int *total)
{
    char path[200];
    snprintf(path, sizeof path, "golden/templates/%s.json", name);
    json_t *rows = shared_json(path), *row;
    sg_template *t = golden_template(name);
    int good = 0;
    size_t i;
    json_array_foreach(rows, i, row) good += t && golden_row(t, cases, row, name);
    *total += (int)json_array_size(rows);
    sg_template_free(t);
    json_decref(rows);
    return good;
}

TEST(jinja_renders_every_golden_case)
{
    static const char *const names[] = {
        "Apertus-8B-Instruct",
        "Apriel-1.6-15b-Thinker-fixed",
        "ByteDance-Seed-OSS",
        "Cohere2MoE",
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        "GLM-4.6",
        "GLM-5.2",
        "GigaChat3-10B-A1.8B",
        "HuggingFaceTB-SmolLM3-3B",
        "Kimi-K2-Instruct",
        "LFM2-8B-A1B",
        "LFM2.5-Instruct",
        "MiroThinker",
        "Mistral-Small-3.2-24B-Instruct-2506",
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "Qwen-Qwen2.5-7B-Instruct",
        "Qwen-Qwen3-0.6B",
        "Qwen3.5-4B",
        "Reka-Edge",
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "deepseek-ai-DeepSeek-V3.2",
        "deepseek-ai-DeepSeek-V4",
        "google-gemma-2-2b-it",
        "google-gemma-4-31B-it-interleaved",
        "ibm-granite-granite-3.3-2B-Instruct",
        "llama-cpp-deepseek-r1",
        "meetkai-functionary-medium-v3.1",
        "meetkai-functionary-medium-v3.2",
        "meta-llama-Llama-3.2-3B-Instruct",
        "meta-llama-Llama-3.3-70B-Instruct",
        "mistralai-Ministral-3-14B-Reasoning-2512",
        "mistralai-Mistral-Nemo-Instruct-2407",
        "openai-gpt-oss-120b",
        "stepfun-ai-Step-3.5-Flash",
        "unsloth-mistral-Devstral-Small-2507",
        "hf-deepseek_v3",
        "hf-llama3",
        "gguf-phi-3",
    };
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    json_t *cases = shared_json("golden/templates/cases.json");
    CHECK(cases != NULL);
    int good = 0, total = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        good += golden_file(cases, names[i], &total);
    json_decref(cases);
    tap_note("%d of %d renderings", good, total);
    CHECK_INT(good, total);
    CHECK(total > 0);
}

/* What a bytes object prints like is the one thing of the reference that is left out. */
static bool beyond(const char *source) { return strstr(source, ".encode()") != NULL; }

static bool construct_row(const json_t *row, const char *context)
{
    const char *source = json_string_value(json_object_get(row, "template"));
    sg_template *t;
    char *text = NULL, *raised = NULL;
    size_t n = 0;
    sg_error err = {0};
    sg_status st = sg_template_new(&t, source, strlen(source), &err);
    if (st == SG_OK) {
        sg_template_input in = {.options = context, .now = "2026-01-02T03:04:05", .add_generation_prompt = -1};
        st = sg_template_render(t, &in, &text, &n, &raised, &err);
        sg_template_free(t);
    }
    bool ok = as_wanted(row, st, text, n, raised);
    if (!ok)
        tap_note("%s: %s", source, st == SG_OK ? text : err.text);
    sg_memory_free(text);
    sg_memory_free(raised);
    return ok;
}

TEST(jinja_knows_every_construct)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    json_t *all = shared_json("golden/templates/constructs.json"), *row;
    CHECK(all != NULL);
    char *context = json_dumps(json_object_get(all, "context"), 0);
    int good = 0, total = 0, left_out = 0;
    size_t i;
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        if (beyond(json_string_value(json_object_get(row, "template")))) {
            left_out++;
            continue;
        }
        total++;
        good += construct_row(row, context);
    }
    sg_free(context);
    json_decref(all);
    tap_note("%d of %d constructs, %d left out", good, total, left_out);
    CHECK_INT(good, total);
}

/* Files with a template: does the rendering end as the index says, in time and memory? */
static bool hostile_entry(const json_t *entry)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/data/hostile/%s", tap_shared(), json_string_value(json_object_get(entry, "file")));
    const json_t *chat = json_object_get(entry, "chat");
    const char *verdict = json_string_value(json_object_get(chat, "verdict")), *want = json_string_value(json_object_get(chat, "text"));
    sg_template *t;
    sg_error err = {0};
    char *text = NULL;
    size_t n = 0;
    sg_status st = sg_template_open(&t, path, NULL, &err);
    if (st == SG_OK) {
        sg_template_input in = {.messages = "[{\"role\": \"user\", \"content\": \"hi\"}]", .add_generation_prompt = 1};
        st = sg_template_render(t, &in, &text, &n, NULL, &err);
        sg_template_free(t);
    }
    bool ok = strcmp(verdict, "either") == 0 || (st == SG_OK) == (strcmp(verdict, "must render") == 0);
    ok = ok && (st != SG_OK || !want || strcmp(text, want) == 0);
    if (!ok)
        tap_note("%s: %s: %s", path, verdict, st == SG_OK ? "renders" : err.text);
    sg_memory_free(text);
    return ok;
}

TEST(jinja_withstands_the_hostile_templates)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    json_t *index = shared_json("hostile/index.json"), *entry;
    CHECK(index != NULL);
    const json_t *files = json_is_array(index) ? index : json_object_get(index, "files");
    int good = 0, total = 0;
    size_t i;
    json_array_foreach(files, i, entry)
    {
        if (!json_object_get(entry, "chat"))
            continue;
        total++;
        good += hostile_entry(entry);
    }
    json_decref(index);
    tap_note("%d of %d hostile templates", good, total);
    CHECK_INT(good, total);
    CHECK(total > 0);
}

TAP_MAIN
