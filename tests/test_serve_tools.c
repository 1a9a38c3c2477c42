/* Calls of functions in answers, and schemas of requests. */
#include "tap.h"

#include "serve/tools.h"

static const char tools[] =
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
    "\"integer\"}},\"required\":[\"a\"]}}},{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]";

static json_t *read_body(sg_api_params *p, const char *rest)
{
    char text[2000];
    sg_api_error e;
    snprintf(text, sizeof text, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]%s%s}", *rest ? "," : "", rest);
    json_t *v = json_loads(text, 0, NULL);
    if (!v || !sg_api_params_read(p, SG_ROUTE_CHAT, v, &e))
        tap_fail(__FILE__, __LINE__, "%s: %s", text, v ? e.message : "not JSON");
    return v;
}

TEST(calls_are_found_in_the_ways_of_templates)
{
    static const struct {
        const char *text, *calls, *content;
    } cases[] = {
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 0.10}}\n</tool_call>", "f{\"a\": 0.10}", ""},
        {"I will. <tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</tool_call>\n"
         "<tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>",
         "f{\"a\":1}g{}", "I will."},
        {"[TOOL_CALLS][{\"name\":\"g\",\"arguments\":{}},{\"name\":\"f\",\"arguments\":{\"a\":[1,\"]\"]}}]", "g{}f{\"a\":[1,\"]\"]}", ""},
        {"[{\"name\": \"g\", \"arguments\": {}}]", "g{}", ""},
        {"{\"name\": \"f\", \"parameters\": {\"a\": \"}\"}}", "f{\"a\": \"}\"}", ""},
        {"<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"g\", \"parameters\": {}}", "f{\"a\": 1}g{}", ""},
        {"<function=f>{\"a\": 1}</function>", "f{\"a\": 1}", ""},
        {"{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}", "f{\"a\":1}", ""},
        {"{\"name\":\"h\",\"arguments\":{}}", "", "{\"name\":\"h\",\"arguments\":{}}"},
        {"<tool_call>{\"name\":\"f\",\"arguments\":", "", "<tool_call>{\"name\":\"f\",\"arguments\":"},
        {"{\"name\":\"f\",\"arguments\":[1]}", "", "{\"name\":\"f\",\"arguments\":[1]}"},
        {"plain [text] {here}", "", "plain [text] {here}"},
        {"", "", ""},
    };
    sg_api_params p;
    json_t *body = read_body(&p, tools);
    CHECK(body);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_buf calls = SG_BUF_INIT, have = SG_BUF_INIT;
        size_t content, n = sg_tools_parse(&p, cases[i].text, strlen(cases[i].text), "x", true, &calls, &content);
        char list[2000];
        snprintf(list, sizeof list, "[%s]", sg_buf_str(&calls));
        json_t *v = json_loads(list, 0, NULL);
        if (!v || json_array_size(v) != n)
            tap_fail(__FILE__, __LINE__, "%s: %s", cases[i].text, list);
        for (size_t k = 0; k < json_array_size(v); k++) {
            const json_t *f = json_object_get(json_array_get(v, k), "function");
            sg_buf_adds(&have, json_string_value(json_object_get(f, "name")));
            sg_buf_adds(&have, json_string_value(json_object_get(f, "arguments")));
        }
        if (strcmp(sg_buf_str(&have), cases[i].calls) != 0 || content != strlen(cases[i].content))
            tap_fail(__FILE__, __LINE__, "%s: calls %s, content %zu", cases[i].text, sg_buf_str(&have), content);
        json_decref(v);
        sg_buf_fini(&calls);
        sg_buf_fini(&have);
    }
    json_decref(body);
}

TEST(what_may_become_a_call_is_held_back)
{
    sg_api_params p;
    json_t *body = read_body(&p, tools);
    CHECK_INT(sg_tools_safe(&p, "Hello <tool", 11, false), 5);
    CHECK_INT(sg_tools_safe(&p, "Hello <b>", 9, false), 9);
    CHECK_INT(sg_tools_safe(&p, "{\"na", 4, false), 0);
    CHECK_INT(sg_tools_safe(&p, "{\"na", 4, true), 4);
    CHECK_INT(sg_tools_safe(&p, "\n", 1, false), 0);
    json_decref(body);
}

TEST(forced_calls_and_schemas_become_grammars)
{
    static const struct {
        const char *rest;
        bool ok, constrains;
        const char *param;
    } cases[] = {
        {"", true, false, ""},
        {"\"response_format\":{\"type\":\"text\"}", true, false, ""},
        {"\"response_format\":{\"type\":\"json_object\"}", true, true, ""},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\",\"schema\":{\"type\":\"object\"}}}",
         true, true, ""},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\",\"schema\":{\"$ref\":\"#/x\"}}}", false, false,
         "response_format"},
        {"\"grammar\":\"root ::= [a-z]+\"", true, true, ""},
        {"\"grammar\":\"root ::= (\"", false, false, "grammar"},
        {"\"guided_json\":{\"type\":\"integer\"}", true, true, ""},
        {"\"json_schema\":\"{\\\"type\\\":\\\"integer\\\"}\"", true, true, ""},
        {"\"guided_regex\":\"[a-z]+\"", true, true, ""},
        {"\"guided_regex\":\"a)|(b\"", false, false, "guided_regex"},
        {"\"guided_choice\":[\"yes\",\"no\"]", true, true, ""},
        {"\"structured_outputs\":{}", true, false, ""},
        {"\"structured_outputs\":{\"json\":{\"type\":\"integer\"},\"regex\":null}", true, true, ""},
        {"\"structured_outputs\":{\"json\":{\"$ref\":\"#/x\"}}", false, false, "structured_outputs"},
        {"\"structured_outputs\":{\"json_object\":true}", true, true, ""},
        {"\"structured_outputs\":{\"json_object\":false,\"choice\":[\"a\"]}", true, true, ""},
        {"\"structured_outputs\":{\"regex\":\"(?=x)y\"}", false, false, "structured_outputs"},
        {"\"structured_outputs\":{\"grammar\":\"root ::= [a-z]+\"},\"response_format\":{\"type\":\"text\"}", true, true, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_api_params p;
        sg_api_error e = {0};
        sg_grammar *g = NULL;
        json_t *body = read_body(&p, cases[i].rest);
        bool ok = sg_api_grammar(&p, &g, &e);
        if (ok != cases[i].ok || (g != NULL) != cases[i].constrains || strcmp(e.param, cases[i].param) != 0 || (!ok && e.status != 400))
            tap_fail(__FILE__, __LINE__, "%s: %d %s: %s", cases[i].rest, ok, e.param, e.message);
        sg_grammar_free(g);
        json_decref(body);
    }
    static const char *const wrong[][2] = {
        {"\"structured_outputs\":{\"regex\":\"a\",\"choice\":[\"a\"]}", "guided_regex"},
        {"\"structured_outputs\":{\"json\":{},\"json_object\":true}", "structured_outputs"},
        {"\"structured_outputs\":{\"regex\":5}", "regex"},
        {"\"structured_outputs\":{\"shape\":5}", "structured_outputs"},
        {"\"structured_outputs\":{\"structural_tag\":\"x\"}", "structural_tag"},
        {"\"structured_outputs\":[]", "structured_outputs"},
        {"\"structured_outputs\":{},\"guided_json\":{}", "structured_outputs"},
        {"\"guided_choice\":[]", "guided_choice"},
        {"\"guided_choice\":[1]", "guided_choice"},
        {"\"guided_choice\":[\"a\"],\"guided_regex\":\"a\"", "guided_regex"},
        {"\"grammar\":\"root ::= [a]\",\"guided_json\":{}", "grammar"},
        {"\"guided_regex\":\"a\",\"response_format\":{\"type\":\"json_object\"}", "guided_regex"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[1000];
        sg_api_params p;
        sg_api_error e = {0};
        snprintf(text, sizeof text, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],%s}", wrong[i][0]);
        json_t *body = json_loads(text, 0, NULL);
        CHECK(body);
        if (sg_api_params_read(&p, SG_ROUTE_CHAT, body, &e) || e.status != 400 || strcmp(e.param, wrong[i][1]) != 0)
            tap_fail(__FILE__, __LINE__, "%s: %d %s: %s", wrong[i][0], e.status, e.param, e.message);
        json_decref(body);
    }
    static const char *const choices[] = {"\"auto\"", "\"none\"", "\"required\"", "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}"};
    for (size_t i = 0; i < 4; i++) {
        char rest[1000];
        sg_api_params p;
        sg_api_error e = {0};
        sg_grammar *g = NULL;
        snprintf(rest, sizeof rest, "%s,\"tool_choice\":%s", tools, choices[i]);
        json_t *body = read_body(&p, rest);
        if (!sg_api_grammar(&p, &g, &e) || (g != NULL) != (i >= 2))
            tap_fail(__FILE__, __LINE__, "%s: %s", choices[i], e.message);
        sg_grammar_free(g);
        json_decref(body);
    }
}

TAP_MAIN
