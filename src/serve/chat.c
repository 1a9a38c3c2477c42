/* serve/chat.c - messages and tools: from OpenAI's shapes to what chat templates read.
 *
 * Templates were written for Hugging Face's shapes: a message's content is a string, a tool call's arguments are an
 * object.  OpenAI's API has lists of parts and arguments as JSON in a string.  Everything is checked by path
 * ("messages[2].content[0].type") before anything is rendered; what a text model cannot take (images, audio) is
 * refused and never left out silently.
 */
#include "serve/api.h"

#include "base/heap.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct path {
    char text[96];
} path;

__attribute__((format(printf, 1, 2))) static path at(const char *format, ...)
{
    path p;
    va_list ap;
    va_start(ap, format);
    vsnprintf(p.text, sizeof p.text, format, ap);
    va_end(ap);
    return p;
}

static bool wants(sg_api_error *e, path p, const char *want)
{
    return sg_api_fail(e, 400, "invalid_type", p.text, "Invalid type for '%s': expected %s.", p.text, want);
}

static bool missing(sg_api_error *e, path p)
{
    return sg_api_fail(e, 400, "missing_required_parameter", p.text, "Missing required parameter: '%s'.", p.text);
}

static bool is_word(const char *s, const char *words)
{
    size_t n = strlen(s);
    for (const char *w = words; *w; w = strchr(w, ' ') + 1)
        if (n && strncmp(w, s, n) == 0 && w[n] == ' ')
            return true;
    return false;
}

/* ---- content ---- */

static bool read_part(sg_buf *text, const json_t *part, size_t i, size_t k, bool first, sg_api_error *e)
{
    if (!json_is_object(part))
        return wants(e, at("messages[%zu].content[%zu]", i, k), "an object");
    const char *type = json_string_value(json_object_get(part, "type"));
    path p = at("messages[%zu].content[%zu].type", i, k);
    if (!type)
        return missing(e, p);
    if (is_word(type, "image_url input_audio file "))
        return sg_api_fail(e, 400, "unsupported_value", p.text,
                           "This model takes text only; a part of type '%s' cannot be given to it.", type);
    if (strcmp(type, "text") != 0 && strcmp(type, "refusal") != 0)
        return sg_api_fail(e, 400, "invalid_value", p.text, "Invalid value for '%s': supported values are: text.", p.text);
    const json_t *t = json_object_get(part, type);
    if (!json_is_string(t))
        return t ? wants(e, at("messages[%zu].content[%zu].%s", i, k, type), "a string")
                 : missing(e, at("messages[%zu].content[%zu].%s", i, k, type));
    if (!first)
        sg_buf_addc(text, '\n');
    sg_buf_add(text, json_string_value(t), json_string_length(t));
    return true;
}

/* A list of text parts becomes one string in the message. */
static bool join_parts(json_t *message, const json_t *parts, size_t i, sg_api_error *e)
{
    size_t n = json_array_size(parts);
    if (n == 0)
        return sg_api_fail(e, 400, "empty_array", at("messages[%zu].content", i).text,
                           "Invalid 'messages[%zu].content': it must not be empty.", i);
    sg_buf text = SG_BUF_INIT;
    bool ok = true;
    for (size_t k = 0; k < n && ok; k++)
        ok = read_part(&text, json_array_get(parts, k), i, k, k == 0, e);
    if (ok) {
        json_t *s = sg_buf_ok(&text) ? json_stringn(sg_buf_str(&text), text.len) : NULL;
        if (!s || json_object_set_new(message, "content", s) != 0)
            ok = sg_api_fail(e, 507, "insufficient_memory", NULL, "There is no memory for this request.");
    }
    sg_buf_fini(&text);
    return ok;
}

static bool check_content(json_t *message, const char *role, size_t i, bool has_calls, sg_api_error *e)
{
    json_t *c = json_object_get(message, "content");
    if (!c || json_is_null(c)) {
        if (strcmp(role, "assistant") == 0 && has_calls)
            return true;
        return c ? wants(e, at("messages[%zu].content", i), "a string or an array of parts") : missing(e, at("messages[%zu].content", i));
    }
    if (json_is_string(c))
        return true;
    if (!json_is_array(c))
        return wants(e, at("messages[%zu].content", i), "a string or an array of parts");
    return join_parts(message, c, i, e);
}

/* ---- tool calls ---- */

static bool check_call(json_t *call, size_t i, size_t k, json_t *open, sg_api_error *e)
{
    if (!json_is_object(call))
        return wants(e, at("messages[%zu].tool_calls[%zu]", i, k), "an object");
    const json_t *id = json_object_get(call, "id"), *type = json_object_get(call, "type");
    if (!json_is_string(id))
        return missing(e, at("messages[%zu].tool_calls[%zu].id", i, k));
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "function") != 0))
        return sg_api_fail(e, 400, "invalid_value", at("messages[%zu].tool_calls[%zu].type", i, k).text,
                           "A tool call's type must be 'function'.");
    json_t *f = json_object_get(call, "function");
    if (!json_is_object(f) || !json_is_string(json_object_get(f, "name")))
        return missing(e, at("messages[%zu].tool_calls[%zu].function.name", i, k));
    const json_t *args = json_object_get(f, "arguments");
    if (!json_is_string(args))
        return wants(e, at("messages[%zu].tool_calls[%zu].function.arguments", i, k), "a string of JSON");
    json_t *parsed = json_loadb(json_string_value(args), json_string_length(args), JSON_ALLOW_NUL, NULL);
    if (json_is_object(parsed))
        json_object_set(f, "arguments", parsed);
    json_decref(parsed); /* an old answer that is no JSON is passed on as it is */
    return json_object_set_new(open, json_string_value(id), json_true()) == 0 ||
        sg_api_fail(e, 507, NULL, NULL, "There is no memory for this request.");
}

static bool check_calls(json_t *message, size_t i, json_t *open, bool *has, sg_api_error *e)
{
    json_t *calls = json_object_get(message, "tool_calls");
    *has = false;
    if (!calls || json_is_null(calls))
        return true;
    if (!json_is_array(calls))
        return wants(e, at("messages[%zu].tool_calls", i), "an array");
    for (size_t k = 0; k < json_array_size(calls); k++)
        if (!check_call(json_array_get(calls, k), i, k, open, e))
            return false;
    *has = json_array_size(calls) > 0;
    return true;
}

static bool check_tool_answer(const json_t *message, size_t i, const json_t *open, sg_api_error *e)
{
    const json_t *id = json_object_get(message, "tool_call_id");
    path p = at("messages[%zu].tool_call_id", i);
    if (!id || json_is_null(id))
        return missing(e, p);
    if (!json_is_string(id))
        return wants(e, p, "a string");
    if (!json_object_get(open, json_string_value(id)))
        return sg_api_fail(e, 400, "invalid_value", p.text, "'%s' answers no tool call of an earlier message.", p.text);
    return true;
}

static bool check_message(json_t *message, size_t i, json_t *open, sg_api_error *e)
{
    if (!json_is_object(message))
        return wants(e, at("messages[%zu]", i), "an object");
    const json_t *role = json_object_get(message, "role");
    path p = at("messages[%zu].role", i);
    if (!role)
        return missing(e, p);
    if (!json_is_string(role))
        return wants(e, p, "a string");
    const char *name = json_string_value(role);
    if (!is_word(name, "system developer user assistant tool "))
        return sg_api_fail(e, 400, "invalid_value", p.text,
                           "Invalid value for '%s': supported values are: system, developer, user, assistant, tool.",
                               p.text);
    bool has_calls = false;
    if (strcmp(name, "assistant") == 0 && !check_calls(message, i, open, &has_calls, e))
        return false;
    if (strcmp(name, "tool") == 0 && !check_tool_answer(message, i, open, e))
        return false;
    return check_content(message, name, i, has_calls, e);
}

/* ---- tools ---- */

static bool legal_name(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= 64 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static bool check_parameters(const json_t *parameters, size_t i, sg_api_error *e)
{
    path p = at("tools[%zu].function.parameters", i);
    if (!parameters || json_is_null(parameters))
        return true;
    if (!json_is_object(parameters))
        return wants(e, p, "a JSON schema object");
    const json_t *type = json_object_get(parameters, "type");
    const char *name = json_string_value(type);
    if (type && (!name || strcmp(name, "object") != 0))
        return sg_api_fail(e, 400, "invalid_function_parameters", p.text, "Invalid schema in '%s': its type must be 'object'.", p.text);
    return true;
}

static bool check_tool(const json_t *tool, size_t i, json_t *names, sg_api_error *e)
{
    if (!json_is_object(tool))
        return wants(e, at("tools[%zu]", i), "an object");
    const char *type = json_string_value(json_object_get(tool, "type"));
    if (!type)
        return missing(e, at("tools[%zu].type", i));
    if (strcmp(type, "function") != 0)
        return sg_api_fail(e, 400, "invalid_value", at("tools[%zu].type", i).text,
                           "Invalid value for 'tools[%zu].type': supported values are: function.", i);
    const json_t *f = json_object_get(tool, "function");
    if (!json_is_object(f))
        return missing(e, at("tools[%zu].function", i));
    const char *name = json_string_value(json_object_get(f, "name"));
    path p = at("tools[%zu].function.name", i);
    if (!name)
        return missing(e, p);
    if (!legal_name(name))
        return sg_api_fail(e, 400, "invalid_value", p.text, "Invalid '%s': 1 to 64 letters, digits, '_' and '-'.", p.text);
    if (json_object_get(names, name))
        return sg_api_fail(e, 400, "invalid_value", p.text, "There are two functions with the name '%s'.", name);
    if (json_object_set_new(names, name, json_true()) != 0)
        return sg_api_fail(e, 507, "insufficient_memory", NULL, "There is no memory for this request.");
    return check_parameters(json_object_get(f, "parameters"), i, e);
}

/* *pass: whether the template gets to see the tools. */
static bool check_tool_choice(const json_t *choice, const json_t *names, bool *pass, sg_api_error *e)
{
    *pass = true;
    if (!choice || json_is_null(choice))
        return true;
    if (json_is_string(choice)) {
        const char *s = json_string_value(choice);
        *pass = strcmp(s, "none") != 0;
        if (is_word(s, "none auto required "))
            return json_object_size(names) > 0 || strcmp(s, "required") != 0 ||
                   sg_api_fail(e, 400, "invalid_value", "tool_choice", "'tool_choice' is 'required' without 'tools'.");
        return sg_api_fail(e, 400, "invalid_value", "tool_choice",
                           "Invalid value for 'tool_choice': supported values are: none, auto, required.");
    }
    if (!json_is_object(choice))
        return wants(e, at("tool_choice"), "a string or an object");
    const char *name = json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    if (!name || !json_object_get(names, name))
        return sg_api_fail(e, 400, "invalid_value", "tool_choice", "'tool_choice' names a function that is not among 'tools'.");
    return true;
}

/* ---- all of it ---- */

static bool dump(char **out, const json_t *v, sg_api_error *e)
{
    if (!v)
        return true;
    *out = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    return *out || sg_api_fail(e, 507, "insufficient_memory", NULL, "There is no memory for this request.");
}

static bool dump_variables(const sg_api_params *p, char **out, sg_api_error *e)
{
    json_t *v = p->template_kwargs ? json_incref(p->template_kwargs) : p->reasoning_effort ? json_object() : NULL;
    if (p->reasoning_effort && v && !json_object_get(v, "reasoning_effort"))
        json_object_set_new(v, "reasoning_effort", json_string(p->reasoning_effort));
    bool ok = dump(out, v, e);
    json_decref(v);
    return ok;
}

bool sg_api_chat_read(const sg_api_params *p, char **messages, char **tools, char **documents, char **variables, sg_api_error *e)
{
    json_t *open = json_object(), *names = json_object();
    char *out[4] = {0};
    bool ok = open && names ? true : sg_api_fail(e, 507, "insufficient_memory", NULL, "There is no memory for this request.");
    for (size_t i = 0; ok && i < json_array_size(p->messages); i++)
        ok = check_message(json_array_get(p->messages, i), i, open, e);
    for (size_t i = 0; ok && i < json_array_size(p->tools); i++)
        ok = check_tool(json_array_get(p->tools, i), i, names, e);
    bool pass = true;
    ok = ok && check_tool_choice(p->tool_choice, names, &pass, e) && dump(&out[0], p->messages, e) &&
         dump(&out[1], pass ? p->tools : NULL, e) && dump(&out[2], p->documents, e) && dump_variables(p, &out[3], e);
    json_decref(open);
    json_decref(names);
    if (!ok) {
        for (int i = 0; i < 4; i++)
            sg_free(out[i]);
        return false;
    }
    *messages = out[0];
    *tools = out[1];
    *documents = out[2];
    *variables = out[3];
    return true;
}
