/* serve/tools.c - calls of functions in answers, and what answers may be.
 *
 * A forced call (tool_choice "required" or a function) is a matter of grammar: the answer is one object
 *
 *     {"name": "f", "arguments": { as the parameters of f say }}
 *
 * and nothing else can be written.  With "auto" the model writes in the way of its template, and what it wrote is
 * looked for by a small table of beginnings:
 *
 *     <tool_call>{"name", "arguments"}</tool_call> ...   Hermes, Qwen
 *     [TOOL_CALLS][{"name", "arguments"}, ...]           Mistral (the marker may be a special token, which shows nothing)
 *     {"name", "parameters"} ; ...                       Llama 3, with or without <|python_tag|>
 *     <function=f>{...}</function>                       Llama 3.1's other way
 *
 * A call counts when its name is among the tools and its arguments are an object.  Everything else stays content: a
 * user would rather see an odd answer than an error.  Arguments go out as the model wrote them.
 */
#include "serve/tools.h"

#include "base/heap.h"
#include "serve/out.h"

#include <string.h>

/* ---- what the answer must be ---------------------------------------------------------------- */

sg_tool_use sg_tools_use(const sg_api_params *p)
{
    if (!p->tools)
        return SG_TOOLS_OFF;
    if (json_is_object(p->tool_choice))
        return SG_TOOLS_FORCED;
    const char *s = json_string_value(p->tool_choice);
    return !s || strcmp(s, "auto") == 0 ? SG_TOOLS_FREE : strcmp(s, "required") == 0 ? SG_TOOLS_FORCED : SG_TOOLS_OFF;
}

static bool no_memory(sg_api_error *e) { return sg_api_fail(e, 507, "insufficient_memory", NULL, "There is no memory for this request."); }

static json_t *function_of(const sg_api_params *p, size_t i) { return json_object_get(json_array_get(p->tools, i), "function"); }

/* References inside of parameters that become "#/$defs/NAME...". */
static bool move_references(json_t *v, const char *name, int depth)
{
    const char *key;
    json_t *x;
    size_t i;
    char text[400];
    if (depth > 200)
        return false;
    if (json_is_array(v)) {
        json_array_foreach(v, i, x)
            if (!move_references(x, name, depth + 1))
                return false;
        return true;
    }
    json_object_foreach(v, key, x) {
        const char *ref = json_string_value(x);
        if (strcmp(key, "$ref") == 0 && ref && ref[0] == '#' && (!ref[1] || ref[1] == '/')) {
            if (strlen(ref) > 300)
                return false;
            snprintf(text, sizeof text, "#/$defs/%s%s", name, ref + 1);
            if (json_string_set(x, text) != 0)
                return false;
        } else if (!move_references(x, name, depth + 1)) {
            return false;
        }
    }
    return true;
}

/* {"name": const, "arguments": parameters} as a choice, the parameters among the definitions. */
static bool add_function(json_t *choices, json_t *defs, const json_t *f)
{
    const char *name = json_string_value(json_object_get(f, "name"));
    json_t *given = json_object_get(f, "parameters");
    json_t *own = json_is_object(given) && json_object_size(given) ? json_deep_copy(given)
                                                                   : json_pack("{s:s, s:b}", "type", "object", "additionalProperties", 0);
    if (own && !json_object_get(own, "type"))
        json_object_set_new(own, "type", json_string("object"));
    if (!own || !move_references(own, name, 0)) {
        json_decref(own);
        return false;
    }
    char ref[100];
    snprintf(ref, sizeof ref, "#/$defs/%s", name);
    json_t *call = json_pack("{s:s, s:{s:{s:s}, s:{s:s}}, s:[s, s], s:b}", "type", "object", "properties", "name", "const", name,
                             "arguments", "$ref", ref, "required", "name", "arguments", "additionalProperties", 0);
    return json_object_set_new(defs, name, own) == 0 && call && json_array_append_new(choices, call) == 0;
}

/* One call of one of the functions that tool_choice allows. */
static json_t *call_schema(const sg_api_params *p)
{
    const char *only = json_string_value(json_object_get(json_object_get(p->tool_choice, "function"), "name"));
    json_t *choices = json_array(), *defs = json_object();
    bool ok = choices && defs;
    for (size_t i = 0; ok && i < json_array_size(p->tools); i++) {
        const char *name = json_string_value(json_object_get(function_of(p, i), "name"));
        if (name && (!only || strcmp(only, name) == 0))
            ok = add_function(choices, defs, function_of(p, i));
    }
    json_t *all = ok ? json_pack("{s:O, s:O}", "anyOf", choices, "$defs", defs) : NULL;
    json_decref(choices);
    json_decref(defs);
    return all;
}

/* A schema to a grammar; the schema is a JSON value or its text. */
static bool from_schema(const json_t *schema, unsigned flags, const char *param, sg_grammar **g, sg_api_error *e)
{
    char *text = json_is_string(schema) ? NULL : json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    sg_error err;
    if (!text && !json_is_string(schema))
        return no_memory(e);
    const char *s = text ? text : json_string_value(schema);
    sg_status st = sg_grammar_from_schema(g, s, text ? strlen(text) : json_string_length(schema), flags, &err);
    sg_free(text);
    if (st == SG_OK)
        return true;
    if (st == SG_E_LIMIT)
        st = err.status = SG_E_ARGUMENT; /* the client's value is wrong, whatever its size */
    return sg_api_fail_status(e, &err, param);
}

static bool from_choices(const json_t *choice, sg_grammar **g, sg_error *err)
{
    size_t n = json_array_size(choice);
    const char **text = sg_calloc(n + 1, sizeof *text);
    size_t *len = sg_calloc(n + 1, sizeof *len);
    sg_status st = text && len ? SG_OK : sg_fail_nomem(err, "choices");
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        text[i] = json_string_value(json_array_get(choice, i));
        len[i] = json_string_length(json_array_get(choice, i));
    }
    if (st == SG_OK)
        st = sg_grammar_from_texts(g, text, len, n, err);
    sg_free(text);
    sg_free(len);
    return st == SG_OK;
}

bool sg_api_grammar(const sg_api_params *p, sg_grammar **g, sg_api_error *e)
{
    const char *param = p->schema_param ? p->schema_param : "json_schema";
    sg_error err;
    *g = NULL;
    if (sg_tools_use(p) == SG_TOOLS_FORCED) {
        json_t *schema = call_schema(p);
        bool ok = schema ? from_schema(schema, SG_SCHEMA_CLOSED, "tools", g, e) : no_memory(e);
        json_decref(schema);
        return ok;
    }
    if (sg_tools_use(p) == SG_TOOLS_FREE && (p->json_schema || p->any_object || p->grammar || p->regex || p->choice))
        return sg_api_fail(e, 400, "unsupported_value", "tools",
                           "An answer that may be a tool call cannot be bound to a schema; use tool_choice.");
    if (p->any_object) {
        json_t *schema = json_pack("{s:s}", "type", "object");
        bool ok = schema ? from_schema(schema, 0, param, g, e) : no_memory(e);
        json_decref(schema);
        return ok;
    }
    if (p->json_schema)
        return from_schema(p->json_schema, 0, param, g, e);
    bool ok = p->grammar  ? sg_grammar_parse(g, p->grammar, strlen(p->grammar), &err) == SG_OK
              : p->regex  ? sg_grammar_from_pattern(g, p->regex, strlen(p->regex), &err) == SG_OK
              : p->choice ? from_choices(p->choice, g, &err)
                          : true;
    if (ok)
        return true;
    if (err.status == SG_E_LIMIT)
        err.status = SG_E_ARGUMENT;
    return sg_api_fail_status(e, &err, p->structured ? param : p->grammar ? "grammar" : p->regex ? "guided_regex" : "guided_choice");
}

/* ---- calls in answers --------------------------------------------------------------------------- */

/* What a call may begin with; a bare one only at the beginning of the answer. */
static const struct marker {
    const char *open, *close;
    bool bare, named; /* named: the function's name follows, up to '>' */
} markers[] = {
    {"<tool_call>", "</tool_call>", false, false}, {"[TOOL_CALLS]", "", false, false}, {"<|python_tag|>", "", false, false},
    {"<function=", "</function>", false, true},    {"{", "", true, false},             {"[", "", true, false},
};

enum { NMARKER = sizeof markers / sizeof markers[0] };

static size_t blanks(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r'))
        i++;
    return i;
}

static bool starts(const char *s, size_t n, const char *with) { return n >= strlen(with) && memcmp(s, with, strlen(with)) == 0; }

static bool offered(const sg_api_params *p, const char *name)
{
    for (size_t i = 0; name && i < json_array_size(p->tools); i++) {
        const char *have = json_string_value(json_object_get(function_of(p, i), "name"));
        if (have && strcmp(have, name) == 0)
            return true;
    }
    return false;
}

/* Behind a JSON value at s (it is known to be one). */
static size_t value_length(const char *s, size_t n)
{
    size_t i = 0;
    int depth = 0;
    do {
        if (s[i] == '"') {
            for (i++; i < n && s[i] != '"'; i++)
                i += s[i] == '\\';
        } else if (s[i] == '{' || s[i] == '[')
            depth++;
        else if (s[i] == '}' || s[i] == ']')
            depth--;
        i++;
    } while (i < n && (depth > 0 || (s[i - 1] != '"' && s[i - 1] != '}' && s[i - 1] != ']' && !strchr(",:}] \t\r\n", s[i]))));
    return i < n ? i : n;
}

/* The text of the value of `key` in the object at s; NULL when it is not there. */
static const char *find_value(const char *s, size_t n, const char *key, size_t *len)
{
    size_t i = 1;
    for (i += blanks(s + i, n - i); i < n && s[i] == '"';) {
        size_t name = value_length(s + i, n - i), at = i + name;
        at += blanks(s + at, n - at) + 1; /* the colon */
        at += blanks(s + at, n - at);
        size_t value = value_length(s + at, n - at);
        if (name == strlen(key) + 2 && memcmp(s + i + 1, key, name - 2) == 0) {
            *len = value;
            return s + at;
        }
        i = at + value;
        i += blanks(s + i, n - i);
        if (i < n && s[i] == ',')
            i++;
        i += blanks(s + i, n - i);
    }
    return NULL;
}

typedef struct reading {
    const sg_api_params *p;
    const char *id;
    bool stream;
    sg_buf *calls;
    size_t n;
} reading;

static void add_call(reading *r, const char *name, const char *args, size_t nargs)
{
    if (r->n && !r->p->parallel)
        return; /* one call only */
    if (r->n)
        sg_buf_addc(r->calls, ',');
    sg_buf_addc(r->calls, '{');
    if (r->stream)
        sg_buf_addf(r->calls, "\"index\":%zu,", r->n);
    sg_buf_addf(r->calls, "\"id\":\"call_%s_%zu\",\"type\":\"function\",\"function\":{\"name\":", r->id, r->n);
    sg_out_string(r->calls, name, strlen(name));
    sg_buf_adds(r->calls, ",\"arguments\":");
    sg_out_string(r->calls, args, nargs);
    sg_buf_adds(r->calls, "}}");
    r->n++;
}

/* {"name", "arguments" or "parameters"}; s is its text. */
static bool read_call(reading *r, const json_t *v, const char *s, size_t n)
{
    const char *name = json_string_value(json_object_get(v, "name"));
    const char *key = json_object_get(v, "arguments") ? "arguments" : "parameters";
    const json_t *args = json_object_get(v, key);
    size_t len;
    if (!offered(r->p, name))
        return false;
    if (!args) {
        add_call(r, name, "{}", 2);
        return true;
    }
    if (json_is_string(args)) {
        json_t *inner = json_loadb(json_string_value(args), json_string_length(args), JSON_ALLOW_NUL, NULL);
        bool ok = json_is_object(inner);
        json_decref(inner);
        if (ok)
            add_call(r, name, json_string_value(args), json_string_length(args));
        return ok;
    }
    const char *text = find_value(s, n, key, &len);
    if (!json_is_object(args) || !text)
        return false;
    add_call(r, name, text, len);
    return true;
}

/* An object or a list of them at s; *used bytes.  False: no calls, or one that is wrong. */
static bool read_calls(reading *r, const char *s, size_t n, size_t *used)
{
    json_error_t je;
    json_t *v = json_loadb(s, n, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &je);
    bool ok = v != NULL;
    if (!v)
        return false;
    *used = value_length(s, n);
    if (json_is_object(v)) {
        ok = read_call(r, v, s, *used);
    } else {
        size_t at = 1;
        ok = json_array_size(v) > 0;
        for (size_t i = 0; ok && i < json_array_size(v); i++) {
            at += blanks(s + at, n - at);
            size_t len = value_length(s + at, n - at);
            ok = read_call(r, json_array_get(v, i), s + at, len);
            at += len;
            at += blanks(s + at, n - at) + 1;
        }
    }
    json_decref(v);
    return ok;
}

/* <function=NAME>{...}; s is behind the '='. */
static bool read_named(reading *r, const char *s, size_t n, size_t *used)
{
    char name[80];
    const char *end = memchr(s, '>', n < sizeof name ? n : sizeof name);
    if (!end)
        return false;
    size_t len = (size_t)(end - s), at = len + 1;
    memcpy(name, s, len < sizeof name ? len : sizeof name - 1);
    name[len < sizeof name ? len : sizeof name - 1] = 0;
    at += blanks(s + at, n - at);
    json_t *v = at < n ? json_loadb(s + at, n - at, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    bool ok = json_is_object(v) && offered(r->p, name);
    json_decref(v);
    if (!ok)
        return false;
    len = value_length(s + at, n - at);
    add_call(r, name, s + at, len);
    *used = at + len;
    return true;
}

/* All calls from s on, where a marker stands. */
static bool read_all(reading *r, const char *s, size_t n)
{
    size_t at = 0;
    while (at < n) {
        const struct marker *m = NULL;
        at += blanks(s + at, n - at);
        if (r->n && at < n && s[at] == ';')
            at += 1 + blanks(s + at + 1, n - at - 1);
        for (size_t i = 0; i < NMARKER && !m; i++)
            m = starts(s + at, n - at, markers[i].open) ? &markers[i] : NULL;
        if (!m)
            return r->n > 0; /* text behind the calls is dropped */
        size_t used = 0, open = m->bare ? 0 : strlen(m->open);
        at += open;
        at += m->named ? 0 : blanks(s + at, n - at);
        if (at >= n || !(m->named ? read_named(r, s + at, n - at, &used) : read_calls(r, s + at, n - at, &used)))
            return false;
        at += used;
        at += blanks(s + at, n - at);
        at += starts(s + at, n - at, m->close) ? strlen(m->close) : 0;
    }
    return r->n > 0;
}

/* Where the first marker stands; n when there is none. */
static size_t find_marker(const char *s, size_t n)
{
    size_t first = blanks(s, n);
    for (size_t at = 0; at < n; at++)
        for (size_t i = 0; i < NMARKER; i++)
            if ((!markers[i].bare || at == first) && starts(s + at, n - at, markers[i].open))
                return at;
    return n;
}

size_t sg_tools_parse(const sg_api_params *p, const char *text, size_t n, const char *id, bool stream, sg_buf *calls, size_t *content)
{
    reading r = {.p = p, .id = id, .stream = stream, .calls = calls};
    size_t at = find_marker(text, n);
    if (at < n && read_all(&r, text + at, n - at)) {
        while (at > 0 && blanks(text + at - 1, 1))
            at--;
        *content = at;
        return r.n;
    }
    sg_buf_clear(calls);
    *content = n;
    return 0;
}

size_t sg_tools_safe(const sg_api_params *p, const char *text, size_t n, bool begun)
{
    if (sg_tools_use(p) == SG_TOOLS_FORCED)
        return 0;
    size_t first = blanks(text, n);
    if (!begun && first == n)
        return 0;
    for (size_t at = 0; at < n; at++)
        for (size_t i = 0; i < NMARKER; i++) {
            size_t len = strlen(markers[i].open), have = n - at < len ? n - at : len;
            if ((markers[i].bare ? !begun && at == first : true) && memcmp(text + at, markers[i].open, have) == 0) {
                while (at > 0 && blanks(text + at - 1, 1))
                    at--;
                return at;
            }
        }
    return n;
}
