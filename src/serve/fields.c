/* serve/fields.c - the table of request fields.
 *
 * A row says where a field may stand, its type, its range and its default, and where its value goes.  All checks
 * of single fields happen by that table; rules between fields follow in `across`.  Rejected: reading fields where
 * they are used, which is how "-1 in a field that nobody checked" became memory corruption in other servers.
 */
#include "serve/api.h"

#include "serve/out.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef enum field_type { F_BOOL, F_INT, F_NUMBER, F_STRING, F_ARRAY, F_OBJECT, F_ANY, F_REFUSED } field_type;

typedef struct field {
    const char *name;
    int routes;
    field_type type;
    double min, max, fallback;
    size_t offset;     /* into sg_api_params; NOWHERE: checked and left */
    const char *text;  /* F_STRING: allowed words, each followed by a space, NULL: any; F_REFUSED: why */
} field;

#define CHAT SG_ROUTE_CHAT
#define TEXT SG_ROUTE_COMPLETION
#define BOTH (CHAT | TEXT)
#define AT(member) offsetof(sg_api_params, member)
#define NOWHERE SIZE_MAX
#define INT_ANY -9223372036854775808.0, 9223372036854775807.0

static const field fields[] = {
    {"model", BOTH, F_STRING, 0, 256, 0, AT(model), NULL},
    {"messages", CHAT, F_ARRAY, 1, SG_API_MESSAGES_MAX, 0, AT(messages), NULL},
    {"prompt", TEXT, F_ANY, 0, 0, 0, AT(prompt), NULL},
    {"stream", BOTH, F_BOOL, 0, 1, 0, AT(stream), NULL},
    {"stream_options", BOTH, F_OBJECT, 0, 0, 0, AT(stream_options), NULL},
    {"n", BOTH, F_INT, 1, SG_API_CHOICES_MAX, 1, AT(n), NULL},
    {"best_of", TEXT, F_INT, 1, 20, 0, AT(best_of), NULL},
    {"max_tokens", BOTH, F_INT, 1, 2147483647, 0, AT(max_tokens), NULL},
    {"max_completion_tokens", CHAT, F_INT, 1, 2147483647, 0, AT(max_completion_tokens), NULL},
    {"temperature", BOTH, F_NUMBER, 0, 2, 1, AT(temperature), NULL},
    {"top_p", BOTH, F_NUMBER, 0, 1, 1, AT(top_p), NULL},
    {"top_k", BOTH, F_INT, -1, 2147483647, 0, AT(top_k), NULL},
    {"min_p", BOTH, F_NUMBER, 0, 1, 0, AT(min_p), NULL},
    {"typical_p", BOTH, F_NUMBER, 0, 1, 1, AT(typical_p), NULL},
    {"repeat_penalty", BOTH, F_NUMBER, 0.01, 100, 1, AT(repeat_penalty), NULL},
    {"repetition_penalty", BOTH, F_NUMBER, 0.01, 100, 0, AT(repeat_penalty), NULL},
    {"repeat_last_n", BOTH, F_INT, -1, 2147483647, 64, AT(repeat_last_n), NULL},
    {"frequency_penalty", BOTH, F_NUMBER, -2, 2, 0, AT(frequency_penalty), NULL},
    {"presence_penalty", BOTH, F_NUMBER, -2, 2, 0, AT(presence_penalty), NULL},
    {"seed", BOTH, F_INT, INT_ANY, 0, AT(seed), NULL},
    {"logit_bias", BOTH, F_OBJECT, 0, SG_API_BIAS_MAX, 0, AT(logit_bias), NULL},
    {"stop", BOTH, F_ANY, 0, 0, 0, AT(stop), NULL},
    {"ignore_eos", BOTH, F_BOOL, 0, 1, 0, AT(ignore_eos), NULL},
    {"logprobs", CHAT, F_BOOL, 0, 1, 0, AT(chat_logprobs), NULL},
    {"logprobs", TEXT, F_INT, 0, 5, -1, AT(logprobs), NULL},
    {"top_logprobs", CHAT, F_INT, 0, SG_LOGPROBS_MAX, -1, AT(top_logprobs), NULL},
    {"echo", TEXT, F_BOOL, 0, 1, 0, AT(echo), NULL},
    {"suffix", TEXT, F_REFUSED, 0, 0, 0, AT(suffix), "this model has no fill-in-the-middle tokens"},
    {"tools", CHAT, F_ARRAY, 1, 128, 0, AT(tools), NULL},
    {"tool_choice", CHAT, F_ANY, 0, 0, 0, AT(tool_choice), NULL},
    {"parallel_tool_calls", CHAT, F_BOOL, 0, 1, 0, AT(parallel), NULL},
    {"documents", CHAT, F_ARRAY, 0, 1024, 0, AT(documents), NULL},
    {"chat_template_kwargs", CHAT, F_OBJECT, 0, 64, 0, AT(template_kwargs), NULL},
    {"response_format", BOTH, F_OBJECT, 0, 0, 0, AT(response_format), NULL},
    {"modalities", CHAT, F_ARRAY, 1, 4, 0, AT(modalities), NULL},
    {"reasoning_effort", CHAT, F_STRING, 0, 16, 0, AT(reasoning_effort), "none minimal low medium high xhigh "},
    {"verbosity", CHAT, F_STRING, 0, 16, 0, NOWHERE, "low medium high "},
    {"service_tier", CHAT, F_STRING, 0, 16, 0, AT(service_tier), "auto default flex scale priority "},
    {"priority", BOTH, F_INT, INT_ANY, 0, AT(priority), NULL},
    {"cache_salt", BOTH, F_STRING, 1, 1024, 0, AT(cache_salt), NULL},
    {"user", BOTH, F_STRING, 0, 1024, 0, AT(user), NULL},
    {"safety_identifier", CHAT, F_STRING, 0, 1024, 0, NOWHERE, NULL},
    {"prompt_cache_key", CHAT, F_STRING, 0, 1024, 0, NOWHERE, NULL},
    {"prompt_cache_retention", CHAT, F_STRING, 0, 64, 0, NOWHERE, NULL},
    {"metadata", CHAT, F_OBJECT, 0, 16, 0, NOWHERE, NULL},
    {"store", CHAT, F_BOOL, 0, 1, 0, NOWHERE, NULL},
    {"grammar", BOTH, F_STRING, 0, 1 << 20, 0, AT(grammar), NULL},
    {"json_schema", BOTH, F_ANY, 0, 0, 0, AT(json_schema), NULL},
    {"guided_json", BOTH, F_ANY, 0, 0, 0, AT(json_schema), NULL},
    {"guided_grammar", BOTH, F_STRING, 0, 1 << 20, 0, AT(grammar), NULL},
    {"guided_regex", BOTH, F_STRING, 0, 1 << 16, 0, AT(regex), NULL},
    {"guided_choice", BOTH, F_ARRAY, 1, 4096, 0, AT(choice), NULL},
    {"structured_outputs", BOTH, F_OBJECT, 0, 64, 0, AT(structured), NULL},
    {"audio", CHAT, F_REFUSED, 0, 0, 0, NOWHERE, "this model gives no audio"},
    {"prediction", CHAT, F_REFUSED, 0, 0, 0, NOWHERE, "predicted outputs are not supported"},
    {"web_search_options", CHAT, F_REFUSED, 0, 0, 0, NOWHERE, "nothing here can search the web"},
    {"functions", CHAT, F_REFUSED, 0, 0, 0, NOWHERE, "use tools instead"},
    {"function_call", CHAT, F_REFUSED, 0, 0, 0, NOWHERE, "use tool_choice instead"},
};

enum { NFIELD = sizeof fields / sizeof fields[0] };

/* ---- errors ---- */

bool sg_api_fail(sg_api_error *e, int status, const char *code, const char *param, const char *format, ...)
{
    *e = (sg_api_error){.status = status, .code = code};
    e->type = status == 429 ? "rate_limit_error"
              : status == 401 ? "authentication_error"
              : status >= 500 ? "server_error"
                              : "invalid_request_error";
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    va_list ap;
    va_start(ap, format);
    vsnprintf(e->message, sizeof e->message, format, ap);
    va_end(ap);
    return false;
}

bool sg_api_fail_status(sg_api_error *e, const sg_error *err, const char *param)
{
    static const struct {
        sg_status status;
        int http;
        const char *code;
    } map[] = {
        {SG_E_ARGUMENT, 400, "invalid_value"},      {SG_E_FORMAT, 400, "invalid_value"},    {SG_E_UNSUPPORTED, 400, "unsupported_value"},
        {SG_E_LIMIT, 413, "limit_exceeded"},        {SG_E_NOT_FOUND, 404, "not_found"},     {SG_E_BUSY, 429, "queue_full"},
        {SG_E_UNAVAILABLE, 503, "not_ready"},       {SG_E_CANCELLED, 503, "cancelled"},     {SG_E_NOMEM, 507, "insufficient_memory"},
    };
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (map[i].status == err->status)
            return sg_api_fail(e, map[i].http, map[i].code, param, "%s", err->text);
    return sg_api_fail(e, 500, "internal_error", NULL, "%s", err->text);
}

void sg_api_error_write(sg_buf *b, const sg_api_error *e)
{
    sg_buf_adds(b, "{\"error\":{\"message\":");
    sg_out_string(b, e->message, strlen(e->message));
    sg_buf_addf(b, ",\"type\":\"%s\",\"param\":", e->type);
    if (e->param[0])
        sg_out_string(b, e->param, strlen(e->param));
    else
        sg_buf_adds(b, "null");
    sg_buf_adds(b, ",\"code\":");
    if (e->code)
        sg_buf_addf(b, "\"%s\"", e->code);
    else
        sg_buf_adds(b, "null");
    sg_buf_adds(b, "}}");
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a decimal number";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

static bool wrong_type(sg_api_error *e, const char *param, const char *want, const json_t *v)
{
    return sg_api_fail(e, 400, "invalid_type", param, "Invalid type for '%s': expected %s, but got %s instead.", param, want, type_name(v));
}

/* ---- single fields ---- */

static bool in_range(const field *f, double x, bool whole, sg_api_error *e)
{
    bool above = x > f->max;
    if (x >= f->min && !above)
        return true;
    const char *code = whole ? (above ? "integer_above_max_value" : "integer_below_min_value")
                             : (above ? "decimal_above_max_value" : "decimal_below_min_value");
    if (above && strstr(f->name, "tokens"))
        code = "invalid_value"; /* more than any context */
    return sg_api_fail(e, 400, code, f->name, "Invalid '%s': %.6g is %s the %s, %.6g.", f->name, x, above ? "above" : "below",
                       above ? "maximum" : "minimum", above ? f->max : f->min);
}

static bool read_string(const field *f, const json_t *v, sg_api_error *e)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if ((double)n > f->max)
        return sg_api_fail(e, 400, "string_above_max_length", f->name,
                           "Invalid '%s': a string of %zu bytes, the maximum is %.0f.", f->name, n, f->max);
    if (strlen(s) != n)
        return sg_api_fail(e, 400, "invalid_value", f->name, "Invalid '%s': it has a zero character.", f->name);
    if (!f->text)
        return true;
    for (const char *w = f->text; *w; w = strchr(w, ' ') + 1)
        if (strncmp(w, s, n) == 0 && w[n] == ' ' && n)
            return true;
    return sg_api_fail(e, 400, "invalid_value", f->name, "Invalid value for '%s': supported values are: %s.", f->name, f->text);
}

static bool check_count(const field *f, size_t n, sg_api_error *e)
{
    if (n == 0 && f->min > 0)
        return sg_api_fail(e, 400, "empty_array", f->name, "Invalid '%s': it must not be empty.", f->name);
    if (f->max > 0 && (double)n > f->max)
        return sg_api_fail(e, 400, f->type == F_ARRAY ? "array_above_max_length" : "object_above_max_properties", f->name,
                           "Invalid '%s': %zu entries, the maximum is %.0f.", f->name, n, f->max);
    return true;
}

/* Check a value by its row and put it where the row says. */
static bool read_field(const field *f, json_t *v, sg_api_params *p, sg_api_error *e)
{
    void *at = f->offset == NOWHERE ? NULL : (char *)p + f->offset;
    switch (f->type) {
    case F_BOOL:
        if (!json_is_boolean(v))
            return wrong_type(e, f->name, "a boolean", v);
        if (at)
            *(bool *)at = json_is_true(v);
        return true;
    case F_INT:
        if (!json_is_integer(v))
            return wrong_type(e, f->name, "an integer", v);
        *(int64_t *)at = json_integer_value(v);
        return in_range(f, (double)json_integer_value(v), true, e);
    case F_NUMBER:
        if (!json_is_number(v))
            return wrong_type(e, f->name, "a number", v);
        *(double *)at = json_number_value(v);
        return in_range(f, json_number_value(v), false, e);
    case F_STRING:
        if (!json_is_string(v))
            return wrong_type(e, f->name, "a string", v);
        if (at)
            *(const char **)at = json_string_value(v);
        return read_string(f, v, e);
    case F_ARRAY:
        if (!json_is_array(v))
            return wrong_type(e, f->name, "an array", v);
        if (at)
            *(json_t **)at = v;
        return check_count(f, json_array_size(v), e);
    case F_OBJECT:
        if (!json_is_object(v))
            return wrong_type(e, f->name, "an object", v);
        if (at)
            *(json_t **)at = v;
        return check_count(f, json_object_size(v), e);
    case F_ANY:
        *(json_t **)at = v;
        return true;
    case F_REFUSED:
        break;
    }
    return sg_api_fail(e, 400, "unsupported_parameter", f->name, "'%s' is not supported: %s.", f->name, f->text);
}

static const field *find(const char *name, int route)
{
    for (size_t i = 0; i < NFIELD; i++)
        if (fields[i].routes & route && strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static void defaults(sg_api_params *p, int route)
{
    *p = (sg_api_params){.parallel = true};
    for (size_t i = 0; i < NFIELD; i++) {
        const field *f = &fields[i];
        if (!(f->routes & route) || f->offset == NOWHERE || f->fallback == 0)
            continue;
        if (f->type == F_INT)
            *(int64_t *)(void *)((char *)p + f->offset) = (int64_t)f->fallback;
        else if (f->type == F_NUMBER)
            *(double *)(void *)((char *)p + f->offset) = f->fallback;
    }
}

/* ---- rules between and inside fields ---- */

static bool check_stop(const sg_api_params *p, sg_api_error *e)
{
    size_t n = json_is_array(p->stop) ? json_array_size(p->stop) : 1;
    if (!json_is_array(p->stop) && !json_is_string(p->stop))
        return wrong_type(e, "stop", "a string or an array of strings", p->stop);
    if (n > SG_API_STOPS_MAX)
        return sg_api_fail(e, 400, "array_above_max_length", "stop", "Invalid 'stop': %zu strings, the maximum is %d.",
                           n, SG_API_STOPS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(p->stop) ? json_array_get(p->stop, i) : p->stop;
        if (!json_is_string(s))
            return wrong_type(e, "stop", "strings", s);
        size_t len = json_string_length(s);
        if (len == 0)
            return sg_api_fail(e, 400, "invalid_value", "stop", "Invalid 'stop': a stop sequence is empty.");
        if (len > SG_STOP_BYTES_MAX)
            return sg_api_fail(e, 400, "string_above_max_length", "stop",
                               "Invalid 'stop': a string of %zu bytes, the maximum is %d.", len, SG_STOP_BYTES_MAX);
        if (strlen(json_string_value(s)) != len)
            return sg_api_fail(e, 400, "invalid_value", "stop", "Invalid 'stop': it has a zero character.");
    }
    return true;
}

static bool check_bias(const sg_api_params *p, sg_api_error *e)
{
    const char *key;
    json_t *v;
    json_object_foreach(p->logit_bias, key, v) {
        if (!*key || strlen(key) > 10 || strspn(key, "0123456789") != strlen(key))
            return sg_api_fail(e, 400, "invalid_value", "logit_bias", "Invalid 'logit_bias': '%.32s' is not a token id.", key);
        if (!json_is_number(v))
            return wrong_type(e, "logit_bias", "numbers", v);
        double x = json_number_value(v);
        if (!(x >= -100 && x <= 100))
            return sg_api_fail(e, 400, "invalid_value", "logit_bias", "Invalid 'logit_bias': %.6g is not between -100 and 100.", x);
    }
    return true;
}

static bool check_stream_options(sg_api_params *p, sg_api_error *e)
{
    const char *key;
    json_t *v;
    if (!p->stream)
        return sg_api_fail(e, 400, "invalid_value", "stream_options", "'stream_options' is only allowed when 'stream' is true.");
    json_object_foreach(p->stream_options, key, v) {
        if (strcmp(key, "include_usage") != 0 && strcmp(key, "include_obfuscation") != 0)
            return sg_api_fail(e, 400, "unknown_parameter", "stream_options", "Unknown parameter: 'stream_options.%.32s'.", key);
        if (!json_is_boolean(v) && !json_is_null(v))
            return wrong_type(e, "stream_options.include_usage", "a boolean", v);
        if (strcmp(key, "include_usage") == 0)
            p->include_usage = json_is_true(v);
    }
    return true;
}

static bool legal_name(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= 64 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

/* {"name", "schema", "strict", "description"} */
static bool check_schema_format(sg_api_params *p, const json_t *f, sg_api_error *e)
{
    const char *name = json_string_value(json_object_get(f, "name"));
    json_t *schema = json_object_get(f, "schema"), *strict = json_object_get(f, "strict");
    if (!json_is_object(f))
        return sg_api_fail(e, 400, "missing_required_parameter", "response_format.json_schema",
                           "Missing required parameter: 'response_format.json_schema'.");
    if (!name || !legal_name(name))
        return sg_api_fail(e, 400, "invalid_value", "response_format.json_schema.name",
                           "'response_format.json_schema.name' must be 1 to 64 letters, digits, '_' and '-'.");
    if (!json_is_object(schema))
        return sg_api_fail(e, 400, schema ? "invalid_type" : "missing_required_parameter", "response_format.json_schema.schema",
                           "'response_format.json_schema.schema' must be a JSON schema object.");
    if (strict && !json_is_boolean(strict) && !json_is_null(strict))
        return wrong_type(e, "response_format.json_schema.strict", "a boolean", strict);
    p->json_schema = schema;
    p->schema_param = "response_format";
    return true;
}

static bool check_format(sg_api_params *p, sg_api_error *e)
{
    const json_t *type = json_object_get(p->response_format, "type");
    if (!json_is_string(type))
        return sg_api_fail(e, 400, "invalid_value", "response_format.type", "'response_format.type' must be a string.");
    const char *name = json_string_value(type);
    if (strcmp(name, "text") == 0)
        return true;
    if (p->json_schema || p->grammar)
        return sg_api_fail(e, 400, "invalid_value", "response_format", "'response_format' together with a grammar or another schema.");
    if (strcmp(name, "json_schema") == 0)
        return check_schema_format(p, json_object_get(p->response_format, "json_schema"), e);
    if (strcmp(name, "json_object") != 0)
        return sg_api_fail(e, 400, "invalid_value", "response_format.type",
                           "Invalid value for 'response_format.type': supported values are: text, json_object, json_schema.");
    p->json_schema = json_object_get(p->response_format, "schema"); /* llama.cpp's way */
    p->any_object = !p->json_schema;
    p->schema_param = "response_format";
    return true;
}

/* Its fields are those of vLLM, each the same as a field of the request. */
static const field structured_fields[] = {
    {"json", BOTH, F_ANY, 0, 0, 0, AT(json_schema), NULL},
    {"regex", BOTH, F_STRING, 0, 1 << 16, 0, AT(regex), NULL},
    {"choice", BOTH, F_ARRAY, 1, 4096, 0, AT(choice), NULL},
    {"grammar", BOTH, F_STRING, 0, 1 << 20, 0, AT(grammar), NULL},
    {"json_object", BOTH, F_BOOL, 0, 1, 0, AT(any_object), NULL},
    {"disable_fallback", BOTH, F_BOOL, 0, 1, 0, NOWHERE, NULL},
    {"structural_tag", BOTH, F_REFUSED, 0, 0, 0, NOWHERE, "use tools instead"},
};

static bool read_structured(sg_api_params *p, sg_api_error *e)
{
    const char *key;
    json_t *v;
    if (p->json_schema || p->grammar || p->regex || p->choice)
        return sg_api_fail(e, 400, "invalid_value", "structured_outputs", "'structured_outputs' together with another grammar or schema.");
    json_object_foreach(p->structured, key, v) {
        const field *f = NULL;
        for (size_t i = 0; i < sizeof structured_fields / sizeof structured_fields[0] && !f; i++)
            f = strcmp(structured_fields[i].name, key) == 0 ? &structured_fields[i] : NULL;
        if (!f)
            return sg_api_fail(e, 400, "unknown_parameter", "structured_outputs", "'structured_outputs' has no field '%.64s' here.", key);
        if (!json_is_null(v) && !read_field(f, v, p, e))
            return false;
    }
    p->schema_param = "structured_outputs";
    return true;
}

static bool check_choice(const json_t *choice, sg_api_error *e)
{
    size_t all = 0;
    for (size_t i = 0; i < json_array_size(choice); i++) {
        const json_t *v = json_array_get(choice, i);
        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
            return sg_api_fail(e, 400, "invalid_type", "guided_choice", "Choices must be strings without zero characters.");
        all += json_string_length(v);
    }
    enum { MOST = 1 << 16 };
    return all <= MOST || sg_api_fail(e, 400, "invalid_value", "guided_choice", "Choices of %zu bytes together, at most %d.", all, MOST);
}

/* What the answer is bound to is one thing. */
static bool check_bound(const sg_api_params *p, sg_api_error *e)
{
    if (p->json_schema && p->grammar)
        return sg_api_fail(e, 400, "invalid_value", "grammar", "Either a grammar or a JSON schema, not both.");
    if ((p->json_schema != NULL) + p->any_object + (p->grammar != NULL) + (p->regex != NULL) + (p->choice != NULL) > 1)
        return sg_api_fail(e, 400, "invalid_value", p->regex ? "guided_regex" : p->choice ? "guided_choice" : "structured_outputs",
                           "An answer can be bound to one of a schema, a grammar, a pattern and choices.");
    return !p->choice || check_choice(p->choice, e);
}

static bool check_modalities(const sg_api_params *p, sg_api_error *e)
{
    for (size_t i = 0; i < json_array_size(p->modalities); i++) {
        const char *s = json_string_value(json_array_get(p->modalities, i));
        if (!s || strcmp(s, "text") != 0)
            return sg_api_fail(e, 400, "unsupported_value", "modalities", "This model gives text only.");
    }
    return true;
}

static bool across(sg_api_params *p, int route, sg_api_error *e)
{
    if ((p->stop && !check_stop(p, e)) || (p->logit_bias && !check_bias(p, e)) || (p->stream_options && !check_stream_options(p, e)) ||
        (p->structured && !read_structured(p, e)) || (p->response_format && !check_format(p, e)) || !check_bound(p, e) ||
        (p->modalities && !check_modalities(p, e)))
        return false;
    if (route == SG_ROUTE_CHAT) {
        if (!p->model)
            return sg_api_fail(e, 400, "missing_required_parameter", "model", "Missing required parameter: 'model'.");
        if (!p->messages)
            return sg_api_fail(e, 400, "missing_required_parameter", "messages", "Missing required parameter: 'messages'.");
        if (p->top_logprobs >= 0 && !p->chat_logprobs)
            return sg_api_fail(e, 400, NULL, "top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is true.");
        if (p->max_completion_tokens)
            p->max_tokens = p->max_completion_tokens;
        p->logprobs = p->chat_logprobs ? (p->top_logprobs > 0 ? p->top_logprobs : 0) : -1;
        return true;
    }
    if (!p->prompt)
        return sg_api_fail(e, 400, "missing_required_parameter", "prompt", "Missing required parameter: 'prompt'.");
    if (p->best_of && p->best_of < p->n)
        return sg_api_fail(e, 400, "invalid_value", "best_of", "'best_of' must be at least 'n'.");
    if (p->best_of && p->stream && p->best_of > p->n)
        return sg_api_fail(e, 400, "invalid_value", "best_of", "Nothing can be streamed before the best of several is known.");
    if (p->echo && p->logprobs >= 0)
        return sg_api_fail(e, 400, "unsupported_value", "echo", "'echo' together with 'logprobs' is not supported yet.");
    return true;
}

bool sg_api_params_read(sg_api_params *p, int route, json_t *body, sg_api_error *e)
{
    defaults(p, route);
    if (!json_is_object(body))
        return sg_api_fail(e, 400, "invalid_type", NULL, "The body must be a JSON object, but it is %s.", type_name(body));
    const char *key;
    json_t *v;
    json_object_foreach(body, key, v) {
        const field *f = find(key, route);
        if (!f)
            return sg_api_fail(e, 400, "unknown_parameter", key, "Unrecognized request argument supplied: '%.64s'.", key);
        if (json_is_null(v))
            continue; /* as if left out */
        if (!read_field(f, v, p, e))
            return false;
        if (f->offset == AT(seed))
            p->has_seed = true;
    }
    return across(p, route, e);
}
