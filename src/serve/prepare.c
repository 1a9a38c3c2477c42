/* serve/prepare.c - from a body to submitted requests, in a worker thread.
 *
 * Parsing, checking, rendering and tokenising may take tens of milliseconds for the megabytes that agents send, so they
 * do not happen in the I/O thread.  Everything that a request can get wrong ends here, before a step is
 * spent on it: the error is left in the exchange.
 */
#include "serve/internal.h"

#include "base/heap.h"
#include "base/rng.h"
#include "serve/tools.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static bool no_memory(sg_exchange *e)
{
    return sg_api_fail(&e->error, 507, "insufficient_memory", NULL, "There is no memory for this request.");
}

static bool parse(sg_exchange *e)
{
    json_error_t je;
    sg_json_init();
    if (e->nbody == 0)
        return sg_api_fail(&e->error, 400, "invalid_json", NULL, "The body is empty; it must be a JSON object.");
    if (sg_json_bytes_most(e->body, e->nbody) > sg_heap_left())
        return sg_api_fail(&e->error, 429, "memory_full", NULL, "There is no memory for this request now; try again later.");
    e->json = json_loadb(e->body, e->nbody, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &je);
    if (!e->json) {
        if (json_error_code(&je) == json_error_out_of_memory)
            return no_memory(e);
        sg_error plain; /* its text is cut and escaped: je.text may quote the body */
        sg_fail(&plain, SG_E_FORMAT, "The body is not JSON: line %d column %d: %.100s", je.line, je.column, je.text);
        return sg_api_fail(&e->error, 400, "invalid_json", NULL, "%s", plain.text);
    }
    return sg_api_params_read(&e->params, e->route, e->json, &e->error);
}

static bool choose_model(sg_exchange *e)
{
    const char *name = e->params.model;
    e->model = sg_server_find(e->server, name);
    if (!e->model) {
        sg_error shown;
        sg_fail(&shown, SG_E_NOT_FOUND, "The model '%.64s' does not exist here; GET /v1/models lists what does.", name);
        return sg_api_fail(&e->error, 404, "model_not_found", "model", "%s", shown.text);
    }
    if (!atomic_load(&e->model->engine))
        return sg_api_fail(&e->error, 503, "model_loading", NULL, "The model '%.64s' is still loading; try again soon.", e->model->name);
    return true;
}

/* ---- prompts ---- */

typedef struct prompts {
    size_t n;
    int32_t *ids[SG_API_CHOICES_MAX];
    size_t nid[SG_API_CHOICES_MAX];
    sg_grammar *grammar;
    bool thinks; /* the prompt has opened a thought: the grammar begins behind it */
} prompts;

static void prompts_fini(prompts *p)
{
    for (size_t i = 0; i < p->n; i++)
        sg_free(p->ids[i]);
    sg_grammar_free(p->grammar);
}

/* The rendered prompt ends with <think>. */
static bool ends_in_thought(const char *text, size_t n)
{
    while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    return n >= 7 && memcmp(text + n - 7, "<think>", 7) == 0;
}

static bool add_text(sg_exchange *e, prompts *p, const char *text, size_t n, bool begin, const char *param)
{
    sg_error err;
    sg_status st = sg_engine_tokenize(e->model->engine, text, n, true, begin, &p->ids[p->n], &p->nid[p->n], &err);
    if (st != SG_OK)
        return sg_api_fail_status(&e->error, &err, param);
    p->n++;
    return true;
}

static bool add_ids(sg_exchange *e, prompts *p, const json_t *list, int nvocab)
{
    size_t n = json_array_size(list);
    if (n == 0)
        return sg_api_fail(&e->error, 400, "empty_array", "prompt", "Invalid 'prompt': a list of token ids is empty.");
    int32_t *ids = sg_calloc(n, sizeof *ids);
    if (!ids)
        return no_memory(e);
    p->ids[p->n] = ids;
    p->nid[p->n++] = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= nvocab)
            return sg_api_fail(&e->error, 400, json_is_integer(v) ? "invalid_value" : "invalid_type", "prompt",
                               "Invalid 'prompt': entry %zu is not a token id from 0 to %d.", i, nvocab - 1);
        ids[i] = (int32_t)id;
    }
    return true;
}

static bool add_one_of_many(sg_exchange *e, prompts *p, const json_t *v, int nvocab)
{
    if (json_is_string(v))
        return add_text(e, p, json_string_value(v), json_string_length(v), true, "prompt");
    if (json_is_array(v))
        return add_ids(e, p, v, nvocab);
    return sg_api_fail(&e->error, 400, "invalid_type", "prompt", "Invalid type for 'prompt': strings or lists of token ids, not both.");
}

/* A text, a list of texts, a list of ids or a list of lists of ids. */
static bool read_prompt(sg_exchange *e, prompts *p, int nvocab)
{
    const json_t *v = e->params.prompt;
    if (json_is_string(v))
        return add_text(e, p, json_string_value(v), json_string_length(v), true, "prompt");
    if (!json_is_array(v))
        return sg_api_fail(&e->error, 400, "invalid_type", "prompt",
                           "Invalid type for 'prompt': a string, strings, token ids or lists of token ids.");
    size_t n = json_array_size(v);
    if (n == 0)
        return sg_api_fail(&e->error, 400, "empty_array", "prompt", "Invalid 'prompt': it must not be empty.");
    if (json_is_number(json_array_get(v, 0)))
        return add_ids(e, p, v, nvocab);
    int64_t each = e->params.best_of > e->params.n ? e->params.best_of : e->params.n;
    if (n > (size_t)(SG_API_CHOICES_MAX / each))
        return sg_api_fail(&e->error, 400, "array_above_max_length", "prompt",
                           "Invalid 'prompt': %zu prompts with %lld answers each, at most %d answers in all.",
                           n, (long long)each, SG_API_CHOICES_MAX);
    const json_t *first = json_array_get(v, 0);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        if (json_typeof(x) != json_typeof(first))
            return sg_api_fail(&e->error, 400, "invalid_type", "prompt",
                               "Invalid type for 'prompt': strings or lists of token ids, not both.");
        if (!add_one_of_many(e, p, x, nvocab))
            return false;
    }
    return true;
}

/* A template that leaves tools out must not make them free: what they would have taken counts. */
static bool check_unused_tools(sg_exchange *e, const prompts *p, const char *tools)
{
    sg_engine_info info;
    prompts extra = {0};
    sg_engine_info_get(e->model->engine, &info);
    if (!add_text(e, &extra, tools, strlen(tools), false, "tools"))
        return false;
    size_t n = p->nid[0] + extra.nid[0];
    prompts_fini(&extra);
    return n < (size_t)info.ctx || sg_api_fail(&e->error, 400, "context_length_exceeded", "tools",
                                               "This model's maximum context length is %d tokens, but messages and "
                                               "tools have %zu tokens.", info.ctx, n);
}

static bool render_chat(sg_exchange *e, prompts *p)
{
    char *messages = NULL, *tools = NULL, *documents = NULL, *variables = NULL, *text = NULL;
    size_t n = 0;
    sg_error err;
    if (!sg_api_chat_read(&e->params, &messages, &tools, &documents, &variables, &e->error))
        return false;
    sg_chat chat = {.messages = messages, .tools = tools, .documents = documents, .variables = variables};
    bool ok = sg_engine_render(e->model->engine, &chat, &text, &n, &err) == SG_OK || sg_api_fail_status(&e->error, &err, "messages");
    if (!ok && e->error.status == 413)
        e->error.status = 400;
    ok = ok && add_text(e, p, text, n, false, "messages");
    p->thinks = ok && ends_in_thought(text, n);
    if (ok && tools && n < strlen(tools))
        ok = check_unused_tools(e, p, tools);
    sg_free(messages);
    sg_free(tools);
    sg_free(documents);
    sg_free(variables);
    sg_memory_free(text);
    return ok;
}

/* ---- requests ---- */

static bool check_context(sg_exchange *e, const prompts *p, const sg_engine_info *info)
{
    const char *param = e->route == SG_ROUTE_CHAT ? "messages" : "prompt";
    for (size_t i = 0; i < p->n; i++) {
        if (p->nid[i] == 0)
            return sg_api_fail(&e->error, 400, "invalid_value", param, "Invalid '%s': it has no tokens.", param);
        if (p->nid[i] >= (size_t)info->ctx)
            return sg_api_fail(&e->error, 400, "context_length_exceeded", param,
                               "This model's maximum context length is %d tokens, but the %s resulted in %zu tokens.",
                                   info->ctx, param, p->nid[i]);
    }
    return true;
}

static bool read_bias(sg_exchange *e, sg_sampling *s, sg_logit_bias *bias, int nvocab)
{
    const char *key;
    json_t *v;
    json_object_foreach(e->params.logit_bias, key, v) {
        unsigned long long id = strtoull(key, NULL, 10); /* the table allows up to ten digits */
        if (id >= (unsigned long long)nvocab)
            return sg_api_fail(&e->error, 400, "invalid_value", "logit_bias",
                               "Invalid 'logit_bias': %llu is beyond the vocabulary of %d.", id, nvocab);
        double x = json_number_value(v);
        bias[s->nbias++] = (sg_logit_bias){.id = (int32_t)id, .bias = x <= -100 ? -INFINITY : (float)x};
    }
    s->bias = bias;
    return true;
}

static uint64_t seed_of(const sg_exchange *e)
{
    uint64_t seed = e->params.has_seed ? (uint64_t)e->params.seed : e->server->seed;
    if (!e->params.has_seed && !e->server->seeded && getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t)e->begin_us;
    return seed;
}

/* Interactive, normal or batch: what `priority` says, else the service tier. */
static int priority_of(const sg_api_params *p)
{
    if (p->priority || !p->service_tier)
        return p->priority < 0 ? 0 : p->priority > 0 ? 2 : 1;
    return strcmp(p->service_tier, "priority") == 0 ? 0 : strcmp(p->service_tier, "flex") == 0 ? 2 : 1;
}

static void fill_options(const sg_exchange *e, sg_request_options *o, const char *stop[SG_API_STOPS_MAX])
{
    const sg_api_params *p = &e->params;
    *o = sg_request_defaults();
    o->sampling.temperature = (float)p->temperature;
    o->sampling.top_k = (int32_t)p->top_k;
    o->sampling.top_p = (float)p->top_p;
    o->sampling.min_p = (float)p->min_p;
    o->sampling.typical_p = (float)p->typical_p;
    o->sampling.repeat_penalty = (float)p->repeat_penalty;
    o->sampling.frequency_penalty = (float)p->frequency_penalty;
    o->sampling.presence_penalty = (float)p->presence_penalty;
    o->sampling.repeat_last_n = (int32_t)p->repeat_last_n;
    o->max_tokens = p->max_tokens;
    o->ignore_eos = p->ignore_eos;
    o->priority = priority_of(p);
    o->tenant = (uint32_t)e->tenant;
    o->space = p->cache_salt ? sg_api_number_of(e->tenant ^ e->server->secret, p->cache_salt) : e->tenant;
    o->logprobs = p->best_of > p->n && p->logprobs < 0 ? 0 : (int)p->logprobs;
    o->notify = sg_exchange_notify;
    o->arg = (void *)e;
    o->stop = stop;
    if (json_is_string(p->stop))
        stop[o->nstop++] = json_string_value(p->stop);
    for (size_t i = 0; i < json_array_size(p->stop) && i < SG_API_STOPS_MAX; i++)
        stop[o->nstop++] = json_string_value(json_array_get(p->stop, i));
}

static bool submit_all(sg_exchange *e, const prompts *p, sg_request_options *o)
{
    uint64_t seed = seed_of(e);
    sg_error err;
    for (size_t i = 0; i < e->nchoice; i++) {
        size_t k = i % e->per_prompt;
        o->prompt = p->ids[i / e->per_prompt];
        o->nprompt = p->nid[i / e->per_prompt];
        o->sampling.seed = k ? sg_rng_at(seed, k, 0) : seed;
        e->choice[i].index = (int)i;
        sg_status st = sg_request_submit(&e->choice[i].request, e->model->engine, o, &err);
        if (st == SG_OK)
            continue;
        e->choice[i].request = NULL;
        for (size_t j = 0; j < i; j++)
            sg_request_cancel(e->choice[j].request); /* they end through the exchange */
        return sg_api_fail_status(&e->error, &err, NULL);
    }
    return true;
}

static bool start(sg_exchange *e, const prompts *p, const sg_engine_info *info)
{
    const char *stop[SG_API_STOPS_MAX];
    sg_request_options o;
    fill_options(e, &o, stop);
    o.grammar = p->grammar;
    o.grammar_after = p->grammar && p->thinks ? "</think>" : NULL;
    sg_logit_bias *bias = NULL;
    if (e->params.logit_bias) {
        bias = sg_calloc(json_object_size(e->params.logit_bias) + 1, sizeof *bias);
        if (!bias)
            return no_memory(e);
        if (!read_bias(e, &o.sampling, bias, info->nvocab)) {
            sg_free(bias);
            return false;
        }
    }
    e->per_prompt = (size_t)(e->params.best_of > e->params.n ? e->params.best_of : e->params.n);
    e->nprompt = p->n;
    e->choice = sg_calloc(e->nprompt * e->per_prompt, sizeof *e->choice);
    if (e->choice)
        e->nchoice = e->nprompt * e->per_prompt;
    for (size_t i = 0; i < p->n; i++)
        e->prompt_tokens += (int64_t)p->nid[i];
    bool ok = e->choice ? submit_all(e, p, &o) : no_memory(e);
    sg_free(bias);
    return ok;
}

/* The texts that an answer with echo begins with. */
static bool keep_echo(sg_exchange *e, const prompts *p)
{
    e->echo = sg_calloc(p->n, sizeof *e->echo);
    if (!e->echo)
        return no_memory(e);
    for (size_t i = 0; i < p->n; i++) {
        const json_t *v = e->params.prompt;
        const json_t *s = json_is_string(v) ? v : json_is_string(json_array_get(v, i)) ? json_array_get(v, i) : NULL;
        sg_buf text = SG_BUF_INIT;
        char piece[512];
        for (size_t k = 0; k < p->nid[i] && !s; k++) {
            size_t n = sg_engine_token_bytes(e->model->engine, p->ids[i][k], piece, sizeof piece);
            sg_buf_add(&text, piece, n < sizeof piece ? n : sizeof piece);
        }
        if (s)
            sg_buf_adds(&text, json_string_value(s));
        sg_buf_addc(&text, 0);
        if (!(e->echo[i] = sg_buf_steal(&text)))
            return no_memory(e);
    }
    return true;
}

void sg_exchange_prepare(sg_exchange *e)
{
    prompts p = {0};
    sg_engine_info info;
    bool ok = parse(e) && choose_model(e);
    if (ok) {
        sg_engine_info_get(e->model->engine, &info);
        ok = e->route == SG_ROUTE_CHAT ? render_chat(e, &p) : read_prompt(e, &p, info.nvocab);
    }
    ok = ok && check_context(e, &p, &info) && sg_api_grammar(&e->params, &p.grammar, &e->error) && (!e->params.echo || keep_echo(e, &p));
    if (ok && !atomic_load(&e->abandoned))
        ok = start(e, &p, &info);
    else if (ok)
        ok = sg_api_fail(&e->error, 503, "cancelled", NULL, "The client has left.");
    prompts_fini(&p);
    e->failed = !ok;
}
