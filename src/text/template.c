/* text/template.c - chat templates: compile, render, and where models keep them.
 *
 * A template is a syntax tree with the arena it lives in.  A rendering has an arena of its own:
 *
 *     globals (scope)    what the template sets at its top level
 *       |
 *     given (scope)      messages, tools, documents, bos_token, ..., options
 *       |
 *     functions          range, namespace, raise_exception, ... (a table)
 *
 * Variables that a template never names are not even converted.
 *
 * Budgets.  A step is one evaluated node or about 64 bytes moved, and takes about 50 ns; so ten million
 * of them are half a second, and the 64 MiB and 2 s that a hostile template may take are kept with room.
 * What an honest template needs grows with its input, so the budgets do: templates walk all messages once
 * or twice for each message at the worst.
 *
 * continue_final_message follows the transformers library: a tag is put behind the last message's content
 * and the rendered text is cut where the tag stands.
 */
#include "text/template.h"

#include "base/heap.h"
#include "base/json.h"
#include "text/jinja_eval.h"
#include "text/jinja_parse.h"
#include "text/jinja_print.h"
#include "text/jinja_unicode.h"

#include <stdio.h>
#include <time.h>

struct sg_template {
    sg_jinja compiled; /* the arena of the tree */
    sg_jinja_symbols symbols;
    sg_jstmt *body;
    char *bos, *eos; /* that came with the template, or NULL */
};

/* ---- compile ------------------------------------------------------------------------- */

void sg_template_free(sg_template *t)
{
    if (!t)
        return;
    sg_jinja_fini(&t->compiled);
    sg_free(t->bos);
    sg_free(t->eos);
    sg_free(t);
}

sg_status sg_template_new(sg_template **out, const char *text, size_t n, sg_error *err)
{
    enum { DEPTH = 400 };
    if (n > SG_TEMPLATE_SOURCE_MAX)
        return sg_fail(err, SG_E_LIMIT, "template: %zu bytes, at most %d", n, SG_TEMPLATE_SOURCE_MAX);
    sg_template *t = sg_calloc(1, sizeof *t);
    if (!t)
        return sg_fail_nomem(err, "template");
    sg_jinja *j = &t->compiled;
    sg_jinja_init(j, SG_TEMPLATE_MEMORY_MAX, SG_TEMPLATE_STEPS_MAX, DEPTH);
    j->symbols = &t->symbols;
    t->body = sg_jinja_parse(j, text, n);
    if (!sg_jinja_ok(j)) {
        sg_status status = j->status;
        if (err)
            *err = j->error;
        sg_template_free(t);
        return status;
    }
    *out = t;
    return SG_OK;
}

/* ---- where models keep templates --------------------------------------------------------- */

static sg_status copy_token(char **out, const char *s, size_t n, sg_error *err)
{
    char *copy = sg_strndup(s, n);
    if (!copy)
        return sg_fail_nomem(err, "template");
    *out = copy;
    return SG_OK;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}; anything else is none. */
static sg_status config_token(char **out, const json_t *config, const char *key, sg_error *err)
{
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    return json_is_string(v) ? copy_token(out, json_string_value(v), json_string_length(v), err) : SG_OK;
}

/* The template of that name in a list of {"name", "template"}. */
static const json_t *named_template(const json_t *list, const char *name)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const char *have = json_string_value(json_object_get(entry, "name"));
        if (have && strcmp(have, name ? name : "default") == 0)
            return json_object_get(entry, "template");
    }
    return !name && json_array_size(list) == 1 ? json_object_get(json_array_get(list, 0), "template") : NULL;
}

static sg_status from_config(sg_template **out, const json_t *config, const char *name, sg_error *err)
{
    const json_t *v = json_object_get(config, "chat_template");
    if (json_is_array(v))
        v = named_template(v, name);
    else if (name && strcmp(name, "default") != 0)
        v = NULL;
    if (!v || json_is_null(v))
        return sg_fail(err, SG_E_NOT_FOUND, "tokenizer_config.json: no chat template%s%s", name ? " named " : "", name ? name : "");
    if (!json_is_string(v))
        return sg_fail(err, SG_E_FORMAT, "tokenizer_config.json: chat_template: no string");
    sg_template *t;
    SG_TRY(sg_template_new(&t, json_string_value(v), json_string_length(v), err));
    sg_status st = config_token(&t->bos, config, "bos_token", err);
    if (st == SG_OK)
        st = config_token(&t->eos, config, "eos_token", err);
    if (st == SG_OK)
        *out = t;
    else
        sg_template_free(t);
    return st;
}

sg_status sg_template_from_config(sg_template **t, const char *json, size_t n, const char *name, sg_error *err)
{
    json_t *config;
    SG_TRY(sg_json_parse_any_number(&config, json, n, "tokenizer_config.json", err));
    sg_status st = from_config(t, config, name, err);
    json_decref(config);
    return st;
}

static sg_status dict_token(char **out, const sg_dict *meta, const char *key, sg_error *err)
{
    const sg_value *id = sg_dict_find(meta, key);
    const sg_array *tokens;
    if (!id || id->kind != SG_KIND_U64)
        return SG_OK;
    SG_TRY(sg_dict_array(meta, "tokenizer.ggml.tokens", SG_KIND_STR, &tokens, err));
    return tokens && id->u < tokens->n ? copy_token(out, tokens->s[id->u].data, tokens->s[id->u].len, err) : SG_OK;
}

bool sg_template_in_dict(const sg_dict *meta) { return sg_dict_find(meta, "tokenizer.chat_template") != NULL; }

sg_status sg_template_from_dict(sg_template **out, const sg_dict *meta, const char *name, sg_error *err)
{
    char key[128] = "tokenizer.chat_template";
    if (name && strcmp(name, "default") != 0)
        snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
    if (!sg_dict_find(meta, key))
        return sg_fail(err, SG_E_NOT_FOUND, "the model has no chat template (%s)", key);
    sg_str text;
    sg_template *t;
    SG_TRY(sg_dict_need_str(meta, key, &text, err));
    SG_TRY(sg_template_new(&t, text.data, text.len, err));
    sg_status st = dict_token(&t->bos, meta, "tokenizer.ggml.bos_token_id", err);
    if (st == SG_OK)
        st = dict_token(&t->eos, meta, "tokenizer.ggml.eos_token_id", err);
    if (st == SG_OK)
        *out = t;
    else
        sg_template_free(t);
    return st;
}

/* ---- render -------------------------------------------------------------------------------- */

typedef struct rendering {
    const sg_template *t;
    const sg_template_input *in;
    sg_jinja j;
    sg_jscope given;
    struct tm now;
    json_t *messages, *options;
    bool cut;     /* continue_final_message */
    char *final;  /* the content that the text is cut behind; with cut */
    size_t nfinal;
} rendering;

static const char tag[] = "CONTINUE_FINAL_MESSAGE_TAG ";

static sg_status set_now(rendering *r, sg_error *err)
{
    if (!r->in->now) {
        time_t seconds = time(NULL);
        localtime_r(&seconds, &r->now);
        return SG_OK;
    }
    struct tm m = {0};
    int used = 0;
    if (sscanf(r->in->now, "%4d-%2d-%2d%*1[T ]%2d:%2d:%2d%n", &m.tm_year, &m.tm_mon, &m.tm_mday, &m.tm_hour, &m.tm_min,
               &m.tm_sec, &used) != 6 ||
        r->in->now[used] || m.tm_mon < 1 || m.tm_mon > 12 || m.tm_mday < 1 || m.tm_mday > 31 || m.tm_hour < 0 ||
        m.tm_hour > 23 || m.tm_min < 0 || m.tm_min > 59 || m.tm_sec < 0 || m.tm_sec > 60 || m.tm_year < 1)
        return sg_fail(err, SG_E_ARGUMENT, "now: '%.40s' is no time like 2026-01-02T03:04:05", r->in->now);
    m.tm_year -= 1900;
    m.tm_mon -= 1;
    timegm(&m); /* fills in the day of the week and of the year */
    r->now = m;
    return SG_OK;
}

static void give(rendering *r, const char *name, sg_jval v)
{
    sg_jval symbol = sg_jinja_symbol(&r->t->symbols, name, strlen(name));
    if (symbol.s)
        sg_jscope_set(&r->j, &r->given, symbol, v);
}

static bool wanted(const rendering *r, const char *name) { return sg_jinja_symbol(&r->t->symbols, name, strlen(name)).s != NULL; }

/* A variable that is JSON text, none when there is no text. */
static sg_status give_json(rendering *r, const char *name, const char *text, sg_error *err)
{
    if (!text) {
        give(r, name, sg_jval_none());
        return SG_OK;
    }
    json_t *v;
    SG_TRY(sg_json_parse(&v, text, strlen(text), name, err));
    if (wanted(r, name))
        give(r, name, sg_jval_from_json(&r->j, v));
    json_decref(v);
    return SG_OK;
}

/* The place of the last message's text: content itself or the last part of it that has a text. */
static json_t *final_text(json_t *message, const char **key)
{
    json_t *content = json_object_get(message, "content");
    *key = "content";
    if (json_is_string(content))
        return message;
    *key = "text";
    for (size_t i = json_array_size(content); i-- > 0;)
        if (json_is_string(json_object_get(json_array_get(content, i), "text")))
            return json_array_get(content, i);
    return NULL;
}

/* Put the tag behind the last message's content, remembering that content. */
static sg_status tag_final(rendering *r, sg_error *err)
{
    const char *key;
    size_t n = json_array_size(r->messages);
    json_t *holder = n ? final_text(json_array_get(r->messages, n - 1), &key) : NULL;
    if (!holder)
        return sg_fail(err, SG_E_ARGUMENT, "continue_final_message: the last message has no text");
    json_t *text = json_object_get(holder, key);
    r->nfinal = json_string_length(text);
    r->final = sg_alloc(r->nfinal + sizeof tag);
    if (!r->final)
        return sg_fail_nomem(err, "template");
    memcpy(r->final, json_string_value(text), r->nfinal);
    memcpy(r->final + r->nfinal, tag, sizeof tag);
    json_t *tagged = json_stringn(r->final, r->nfinal + sizeof tag - 1);
    if (!tagged || json_object_set_new(holder, key, tagged))
        return sg_fail_nomem(err, "template");
    return SG_OK;
}

static sg_status give_messages(rendering *r, sg_error *err)
{
    if (!r->in->messages && !r->cut)
        return SG_OK;
    const char *text = r->in->messages ? r->in->messages : "[]";
    SG_TRY(sg_json_parse(&r->messages, text, strlen(text), "messages", err));
    if (!json_is_array(r->messages))
        return sg_fail(err, SG_E_ARGUMENT, "messages: not an array");
    if (r->cut)
        SG_TRY(tag_final(r, err));
    give(r, "messages", sg_jval_from_json(&r->j, r->messages));
    return SG_OK;
}

static sg_status read_options(rendering *r, sg_error *err)
{
    r->cut = r->in->continue_final_message;
    if (!r->in->options)
        return SG_OK;
    SG_TRY(sg_json_parse(&r->options, r->in->options, strlen(r->in->options), "options", err));
    if (!json_is_object(r->options))
        return sg_fail(err, SG_E_ARGUMENT, "options: not an object");
    const json_t *c = json_object_get(r->options, "continue_final_message");
    if (c)
        r->cut = json_is_true(c);
    return SG_OK;
}

static void give_options(rendering *r)
{
    const char *key;
    json_t *v;
    json_object_foreach(r->options, key, v)
        if (strcmp(key, "continue_final_message") != 0 && wanted(r, key))
            give(r, key, sg_jval_from_json(&r->j, v));
}

static sg_status give_all(rendering *r, sg_error *err)
{
    const char *bos = r->in->bos ? r->in->bos : r->t->bos, *eos = r->in->eos ? r->in->eos : r->t->eos;
    SG_TRY(set_now(r, err));
    r->j.now = &r->now;
    SG_TRY(read_options(r, err));
    SG_TRY(give_messages(r, err));
    SG_TRY(give_json(r, "tools", r->in->tools, err));
    SG_TRY(give_json(r, "documents", r->in->documents, err));
    if (bos)
        give(r, "bos_token", sg_jval_cstr(bos));
    if (eos)
        give(r, "eos_token", sg_jval_cstr(eos));
    if (r->in->add_generation_prompt >= 0)
        give(r, "add_generation_prompt", sg_jval_bool(r->in->add_generation_prompt > 0));
    give_options(r);
    return SG_OK;
}

/* The last place of needle[0..n) in s, or NULL. */
static const char *last_place(const char *s, size_t ns, const char *needle, size_t n)
{
    const char *found = NULL;
    for (const char *p = s; n <= ns - (size_t)(p - s) && (p = memmem(p, ns - (size_t)(p - s), needle, n)); p++)
        found = p;
    return found;
}

/* Cut the text behind the last message's content, where the tag stands. */
static sg_status cut_final(const rendering *r, const sg_jinja_text *out, size_t *n, sg_error *err)
{
    size_t ntag = sizeof tag - 2; /* without the space */
    size_t left = sg_jstr_space_left(r->final, r->nfinal), right = left < r->nfinal ? sg_jstr_space_right(r->final, r->nfinal) : 0;
    const char *place = out->n ? last_place(out->s, out->n, tag, ntag) : NULL;
    bool there = place && (left == r->nfinal || memmem(out->s, out->n, r->final + left, r->nfinal - left - right));
    if (!there)
        return sg_fail(err, SG_E_ARGUMENT, "continue_final_message: the template does not print the last message as it is");
    *n = (size_t)(place - out->s);
    if (out->n - *n <= ntag || place[ntag] != ' ')
        *n -= sg_jstr_space_right(out->s, *n);
    return SG_OK;
}

static sg_status failure(const sg_jinja *j, char **raised, sg_error *err)
{
    if (err)
        *err = j->error;
    if (raised)
        *raised = j->raised ? sg_strndup(j->raised, j->nraised) : NULL;
    return j->status;
}

static sg_status run(rendering *r, char **text, size_t *n, char **raised, sg_error *err)
{
    SG_TRY(give_all(r, err));
    sg_jscope globals = {.parent = &r->given};
    sg_jinja_text out = {.j = &r->j,
                         .max = SG_TEMPLATE_OUTPUT_MAX + (SG_TEMPLATE_MEMORY_MAX < r->j.bytes_max
                                                              ? (r->j.bytes_max - SG_TEMPLATE_MEMORY_MAX) / 4
                                                              : 0)};
    if (sg_jinja_ok(&r->j))
        sg_jinja_exec(&r->j, r->t->body, &globals, &out);
    if (!sg_jinja_ok(&r->j))
        return failure(&r->j, raised, err);
    size_t length = out.n;
    if (r->cut)
        SG_TRY(cut_final(r, &out, &length, err));
    char *copy = sg_strndup(out.n ? out.s : "", length);
    if (!copy)
        return sg_fail_nomem(err, "template");
    *text = copy;
    *n = length;
    return SG_OK;
}

static size_t text_length(const char *s) { return s ? strlen(s) : 0; }

sg_status sg_template_render(const sg_template *t, const sg_template_input *in, char **text, size_t *n, char **raised, sg_error *err)
{
    rendering r = {.t = t, .in = in};
    if (raised)
        *raised = NULL;
    size_t given = text_length(in->messages) + text_length(in->tools) + text_length(in->documents) + text_length(in->options);
    if (given > SIZE_MAX / 64)
        return sg_fail(err, SG_E_LIMIT, "template: too much input");
    sg_jinja_init(&r.j, SG_TEMPLATE_MEMORY_MAX + 32 * given, SG_TEMPLATE_STEPS_MAX + 64 * (uint64_t)given, SG_TEMPLATE_DEPTH_MAX);
    /* Only read from here on; the pointer is shared with the interpreter's other half, which adds names. */
    r.j.symbols = (sg_jinja_symbols *)(uintptr_t)&t->symbols;
    sg_status st = run(&r, text, n, raised, err);
    json_decref(r.messages);
    json_decref(r.options);
    sg_free(r.final);
    sg_jinja_fini(&r.j);
    return st;
}
