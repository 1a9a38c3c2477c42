/* serve/exchange.c - from events to an answer, in the I/O thread.
 *
 * Pumping takes events out of the rings of the choices and turns them into SSE lines or gathers them for one JSON
 * body.  It stops when the connection has too much to send: the rings fill, the step loop pauses those
 * sequences, and nothing grows.  When the client is gone events are thrown away until each request has ended.
 */
#include "serve/internal.h"

#include "base/clock.h"
#include "base/heap.h"
#include "serve/out.h"
#include "serve/tools.h"

#include <string.h>

void sg_exchange_notify(void *arg)
{
    sg_exchange *e = arg;
    sg_server *s = e->server;
    pthread_mutex_lock(&s->lock);
    bool wake = false;
    if (!e->ready) {
        wake = !s->ready;
        e->ready = true;
        e->next_ready = s->ready;
        s->ready = e;
    }
    pthread_mutex_unlock(&s->lock);
    if (wake)
        sg_server_wake(s);
}

void sg_exchange_job_over(sg_exchange *e)
{
    sg_server *s = e->server;
    pthread_mutex_lock(&s->lock);
    e->job_over = true;
    if (!e->ready) {
        e->ready = true;
        e->next_ready = s->ready;
        s->ready = e;
    }
    pthread_mutex_unlock(&s->lock);
    sg_server_wake(s); /* e may be gone from here on */
}

/* ---- pieces of JSON ---- */

static void out_token(sg_exchange *e, sg_buf *b, int32_t id)
{
    char bytes[256];
    size_t n = sg_engine_token_bytes(e->model->engine, id, bytes, sizeof bytes);
    sg_out_string(b, bytes, n < sizeof bytes ? n : sizeof bytes);
}

/* {"token","logprob","bytes"} without its closing brace */
static void out_chat_logprob(sg_exchange *e, sg_buf *b, int32_t id, double logprob)
{
    char bytes[256];
    size_t n = sg_engine_token_bytes(e->model->engine, id, bytes, sizeof bytes);
    n = n < sizeof bytes ? n : sizeof bytes;
    sg_buf_adds(b, "{\"token\":");
    sg_out_string(b, bytes, n);
    sg_buf_adds(b, ",\"logprob\":");
    sg_out_number(b, logprob);
    sg_buf_adds(b, ",\"bytes\":");
    sg_out_bytes(b, bytes, n);
}

static void add_chat_logprob(sg_exchange *e, sg_choice_out *c, const sg_event *ev)
{
    sg_buf *b = &c->tokens;
    if (b->len)
        sg_buf_addc(b, ',');
    out_chat_logprob(e, b, ev->token, ev->logprob);
    sg_buf_adds(b, ",\"top_logprobs\":[");
    for (size_t i = 0; i < ev->ntop && ev->top[i].id >= 0; i++) {
        if (i)
            sg_buf_addc(b, ',');
        out_chat_logprob(e, b, ev->top[i].id, ev->top[i].logprob);
        sg_buf_addc(b, '}');
    }
    sg_buf_adds(b, "]}");
}

static void add_text_logprob(sg_exchange *e, sg_choice_out *c, const sg_event *ev)
{
    if (c->tokens.len) {
        sg_buf_addc(&c->tokens, ',');
        sg_buf_addc(&c->values, ',');
        sg_buf_addc(&c->tops, ',');
        sg_buf_addc(&c->offsets, ',');
    }
    out_token(e, &c->tokens, ev->token);
    sg_out_number(&c->values, ev->logprob);
    sg_buf_addf(&c->offsets, "%zu", c->ntext);
    sg_buf_addc(&c->tops, '{');
    for (size_t i = 0; i < ev->ntop && ev->top[i].id >= 0; i++) {
        if (i)
            sg_buf_addc(&c->tops, ',');
        out_token(e, &c->tops, ev->top[i].id);
        sg_buf_addc(&c->tops, ':');
        sg_out_number(&c->tops, ev->top[i].logprob);
    }
    sg_buf_addc(&c->tops, '}');
}

static size_t characters(const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xc0) != 0x80;
    return k;
}

static void add_logprob(sg_exchange *e, sg_choice_out *c, const sg_event *ev)
{
    c->sum_logprob += ev->logprob;
    c->ntoken++;
    if (e->params.logprobs >= 0) {
        if (e->route == SG_ROUTE_CHAT)
            add_chat_logprob(e, c, ev);
        else
            add_text_logprob(e, c, ev);
    }
    c->ntext += characters(ev->text, ev->ntext);
}

/* "logprobs": what has been gathered, which is then forgotten */
static void out_logprobs(sg_exchange *e, sg_buf *b, sg_choice_out *c)
{
    if (e->params.logprobs < 0) {
        sg_buf_adds(b, "\"logprobs\":null");
        return;
    }
    if (e->route == SG_ROUTE_CHAT)
        sg_buf_addf(b, "\"logprobs\":{\"content\":[%s],\"refusal\":null}", sg_buf_str(&c->tokens));
    else if (e->params.logprobs == 0)
        sg_buf_addf(b, "\"logprobs\":{\"tokens\":[%s],\"token_logprobs\":[%s],"
                    "\"top_logprobs\":null,\"text_offset\":[%s]}", sg_buf_str(&c->tokens),
                    sg_buf_str(&c->values), sg_buf_str(&c->offsets));
    else
        sg_buf_addf(b, "\"logprobs\":{\"tokens\":[%s],\"token_logprobs\":[%s],"
                    "\"top_logprobs\":[%s],\"text_offset\":[%s]}", sg_buf_str(&c->tokens),
                    sg_buf_str(&c->values), sg_buf_str(&c->tops), sg_buf_str(&c->offsets));
    sg_buf_clear(&c->tokens);
    sg_buf_clear(&c->values);
    sg_buf_clear(&c->tops);
    sg_buf_clear(&c->offsets);
}

static void out_usage(const sg_exchange *e, sg_buf *b)
{
    sg_buf_addf(b, "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%d,"
                   "\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":%d},"
                   "\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
                (long long)e->prompt_tokens, e->usage.completion_tokens,
                    (long long)e->prompt_tokens + e->usage.completion_tokens, e->usage.cached_tokens);
}

static void out_timings(const sg_exchange *e, sg_buf *b)
{
    sg_buf_addf(b, "\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,\"cached_tokens\":%d}",
                (double)e->timings.queue_us / 1e3, (double)e->timings.prefill_us / 1e3, (double)e->timings.decode_us / 1e3,
                e->usage.cached_tokens);
}

/* {"id","object","created","model" */
static void out_top(const sg_exchange *e, sg_buf *b)
{
    const char *object = e->route != SG_ROUTE_CHAT ? "text_completion" : e->params.stream ? "chat.completion.chunk" : "chat.completion";
    sg_buf_addf(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", e->id, object, (long long)e->created);
    sg_out_string(b, e->model->name, strlen(e->model->name));
    sg_buf_adds(b, ",\"system_fingerprint\":\"segue-" SG_VERSION "\"");
}

/* ---- streaming ---- */

/* One SSE line with one choice.  text NULL: none; finish: its name or NULL. */
static void out_chunk(sg_exchange *e, sg_choice_out *c, const char *text, size_t n, const char *finish)
{
    sg_buf *b = &e->out;
    sg_buf_adds(b, "data: ");
    out_top(e, b);
    sg_buf_addf(b, ",\"choices\":[{\"index\":%d,", c->index);
    if (e->route == SG_ROUTE_CHAT) {
        sg_buf_adds(b, "\"delta\":{");
        if (!c->begun)
            sg_buf_adds(b, "\"role\":\"assistant\",\"refusal\":null,");
        if (text) {
            sg_buf_adds(b, "\"content\":");
            sg_out_string(b, text, n);
        } else if (!c->begun)
            sg_buf_adds(b, "\"content\":\"\"");
        sg_buf_adds(b, "},");
    } else {
        sg_buf_adds(b, "\"text\":");
        sg_out_string(b, text ? text : "", n);
        sg_buf_addc(b, ',');
    }
    c->begun = true;
    out_logprobs(e, b, c);
    if (finish)
        sg_buf_addf(b, ",\"finish_reason\":\"%s\"}]", finish);
    else
        sg_buf_adds(b, ",\"finish_reason\":null}]");
    sg_buf_adds(b, e->params.include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

/* The calls that the end of a streamed answer turned out to be, and its finish. */
static void out_calls(sg_exchange *e, sg_choice_out *c, const char *calls)
{
    sg_buf *b = &e->out;
    sg_buf_adds(b, "data: ");
    out_top(e, b);
    sg_buf_addf(b, ",\"choices\":[{\"index\":%d,\"delta\":{\"tool_calls\":[", c->index);
    sg_buf_adds(b, calls);
    sg_buf_adds(b, "]},\"logprobs\":null,\"finish_reason\":null}]");
    sg_buf_adds(b, e->params.include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
    out_chunk(e, c, NULL, 0, "tool_calls");
}

static void begin_choice(sg_exchange *e, sg_choice_out *c)
{
    const char *echo = e->echo ? e->echo[(size_t)c->index / e->per_prompt] : NULL;
    if (e->route == SG_ROUTE_CHAT)
        out_chunk(e, c, "", 0, NULL);
    else if (echo)
        out_chunk(e, c, echo, strlen(echo), NULL);
    c->begun = true;
}

static void stream_event(sg_exchange *e, sg_choice_out *c, const sg_event *ev)
{
    if (!c->begun)
        begin_choice(e, c);
    if (!ev->end) {
        if (ev->ntext || e->params.logprobs >= 0)
            out_chunk(e, c, ev->text, ev->ntext, NULL);
        return;
    }
    if (ev->ntext)
        out_chunk(e, c, ev->text, ev->ntext, NULL);
    if (ev->finish <= SG_FINISH_LENGTH)
        out_chunk(e, c, NULL, 0, sg_finish_name(ev->finish));
}

/* A streamed answer that may have calls in it: what surely is none goes out at once. */
static void stream_with_tools(sg_exchange *e, sg_choice_out *c, const sg_event *ev)
{
    if (!c->begun)
        begin_choice(e, c);
    sg_buf_add(&c->text, ev->text, ev->ntext);
    const char *text = sg_buf_str(&c->text);
    size_t n = c->text.len, safe = ev->end ? n : sg_tools_safe(&e->params, text, n, c->has_content), found = 0;
    sg_buf calls = SG_BUF_INIT;
    if (ev->end)
        found = sg_tools_parse(&e->params, text, n, e->id, true, &calls, &safe);
    if (safe) {
        out_chunk(e, c, text, safe, NULL);
        c->has_content = true;
        sg_buf rest = SG_BUF_INIT;
        sg_buf_add(&rest, text + safe, n - safe);
        sg_buf_fini(&c->text);
        c->text = rest;
    }
    if (ev->end && found)
        out_calls(e, c, sg_buf_str(&calls));
    else if (ev->end && ev->finish <= SG_FINISH_LENGTH)
        out_chunk(e, c, NULL, 0, sg_finish_name(ev->finish));
    e->out.failed |= !sg_buf_ok(&calls) || !sg_buf_ok(&c->text);
    sg_buf_fini(&calls);
}

static void stream_finish(sg_exchange *e, sg_conn *c, const sg_api_error *error)
{
    sg_buf *b = &e->out;
    if (error) {
        sg_buf_adds(b, "data: ");
        sg_api_error_write(b, error);
        sg_buf_adds(b, "\n\n");
        c->closing = true;
    } else {
        if (e->params.include_usage) {
            sg_buf_adds(b, "data: ");
            out_top(e, b);
            sg_buf_adds(b, ",\"choices\":[],");
            out_usage(e, b);
            sg_buf_addc(b, ',');
            out_timings(e, b);
            sg_buf_adds(b, "}\n\n");
        }
        sg_buf_adds(b, "data: [DONE]\n\n");
    }
    bool whole = sg_buf_ok(b);
    if (whole)
        sg_conn_stream(c, sg_buf_str(b), b->len);
    sg_conn_stream_end(c, whole);
}

/* ---- one body ---- */

static void out_choice(sg_exchange *e, sg_buf *b, sg_choice_out *c, size_t index)
{
    const char *echo = e->echo ? e->echo[(size_t)c->index / e->per_prompt] : "";
    bool called = false;
    sg_buf_addf(b, "{\"index\":%zu,", index);
    if (e->route == SG_ROUTE_CHAT) {
        sg_buf calls = SG_BUF_INIT;
        size_t n = c->text.len;
        if (sg_tools_use(&e->params) != SG_TOOLS_OFF)
            called = sg_tools_parse(&e->params, sg_buf_str(&c->text), n, e->id, false, &calls, &n) > 0;
        sg_buf_adds(b, "\"message\":{\"role\":\"assistant\",\"content\":");
        if (called && n == 0)
            sg_buf_adds(b, "null");
        else
            sg_out_string(b, sg_buf_str(&c->text), n);
        sg_buf_adds(b, ",\"refusal\":null");
        if (called) {
            sg_buf_adds(b, ",\"tool_calls\":[");
            sg_buf_adds(b, sg_buf_str(&calls));
            sg_buf_addc(b, ']');
        }
        sg_buf_adds(b, "},");
        b->failed |= !sg_buf_ok(&calls);
        sg_buf_fini(&calls);
    } else {
        sg_buf all = SG_BUF_INIT;
        sg_buf_adds(&all, echo);
        sg_buf_add(&all, sg_buf_str(&c->text), c->text.len);
        sg_buf_adds(b, "\"text\":");
        sg_out_string(b, sg_buf_str(&all), all.len);
        b->failed |= !sg_buf_ok(&all);
        sg_buf_fini(&all);
        sg_buf_addc(b, ',');
    }
    out_logprobs(e, b, c);
    sg_buf_addf(b, ",\"finish_reason\":\"%s\"}", called ? "tool_calls" : sg_finish_name(c->finish));
}

static double mean_logprob(const sg_choice_out *c) { return c->ntoken ? c->sum_logprob / (double)c->ntoken : -1e30; }

/* The n best of a prompt's candidates stand first, best first. */
static void order_best(sg_exchange *e, size_t prompt)
{
    sg_choice_out *c = e->choice + prompt * e->per_prompt;
    for (size_t i = 0; i < (size_t)e->params.n; i++) {
        size_t best = i;
        for (size_t k = i + 1; k < e->per_prompt; k++)
            if (mean_logprob(&c[k]) > mean_logprob(&c[best]))
                best = k;
        sg_choice_out t = c[i];
        c[i] = c[best];
        c[best] = t;
    }
}

static void answer_whole(sg_exchange *e, sg_conn *c)
{
    sg_buf *b = &e->out;
    bool memory = true;
    out_top(e, b);
    sg_buf_adds(b, ",\"choices\":[");
    for (size_t p = 0, index = 0; p < e->nprompt; p++) {
        if (e->per_prompt > (size_t)e->params.n)
            order_best(e, p);
        for (size_t k = 0; k < (size_t)e->params.n; k++, index++) {
            sg_choice_out *o = &e->choice[p * e->per_prompt + k];
            memory &= sg_buf_ok(&o->text) && sg_buf_ok(&o->tokens) && sg_buf_ok(&o->values) && sg_buf_ok(&o->tops) &&
                sg_buf_ok(&o->offsets);
            if (index)
                sg_buf_addc(b, ',');
            out_choice(e, b, o, index);
        }
    }
    sg_buf_adds(b, "],");
    out_usage(e, b);
    sg_buf_addc(b, ',');
    out_timings(e, b);
    sg_buf_addc(b, '}');
    if (memory && sg_buf_ok(b)) {
        sg_conn_answer(c, 200, "application/json", "", sg_buf_str(b), b->len);
        return;
    }
    sg_api_error no;
    sg_api_fail(&no, 507, "insufficient_memory", NULL, "There is no memory for this answer.");
    sg_conn_error(c, &no);
}

/* ---- pumping ---- */

static void take(sg_exchange *e, sg_choice_out *c, const sg_event *ev)
{
    if (ev->end) {
        c->finish = ev->finish;
        c->ended = true;
        e->usage.completion_tokens += ev->usage.completion_tokens;
        if ((size_t)c->index % e->per_prompt == 0) /* a prompt counts once, whatever the number of its answers */
            e->usage.cached_tokens += ev->usage.cached_tokens;
        if (c->index == 0)
            e->timings = ev->timings;
        if (ev->finish == SG_FINISH_ERROR)
            e->engine_error = *ev->error;
        else if (ev->finish == SG_FINISH_CANCELLED)
            sg_fail(&e->engine_error, SG_E_UNAVAILABLE, "The server is shutting down.");
    }
    if (!e->conn)
        return;
    if (!ev->end)
        add_logprob(e, c, ev);
    if (e->params.stream && e->route == SG_ROUTE_CHAT && sg_tools_use(&e->params) != SG_TOOLS_OFF)
        stream_with_tools(e, c, ev);
    else if (e->params.stream)
        stream_event(e, c, ev);
    else
        sg_buf_add(&c->text, ev->text, ev->ntext);
}

/* True when all that was there has been taken. */
static bool drain(sg_exchange *e)
{
    bool all = true;
    for (size_t i = 0; i < e->nchoice; i++) {
        sg_choice_out *c = &e->choice[i];
        sg_event ev;
        while (c->request) {
            if (e->conn && e->params.stream && (sg_conn_full(e->conn) || e->out.len > SG_OUTPUT_LOW)) {
                all = false;
                break;
            }
            if (!sg_request_next(c->request, &ev, 0))
                break;
            take(e, c, &ev);
            if (ev.end) {
                sg_request_free(c->request);
                c->request = NULL;
            }
        }
    }
    return all;
}

static bool all_ended(const sg_exchange *e)
{
    for (size_t i = 0; i < e->nchoice; i++)
        if (e->choice[i].request)
            return false;
    return true;
}

static void cancel_all(sg_exchange *e)
{
    for (size_t i = 0; i < e->nchoice; i++)
        if (e->choice[i].request)
            sg_request_cancel(e->choice[i].request);
}

bool sg_exchange_over(const sg_exchange *e) { return !e->conn && all_ended(e); }

static sg_conn *detach(sg_exchange *e)
{
    sg_conn *c = e->conn;
    e->conn = NULL;
    if (c)
        c->exchange = NULL;
    e->finished = true;
    return c;
}

static void flush(sg_exchange *e)
{
    if (!e->out.len || !e->conn)
        return;
    if (!sg_buf_ok(&e->out)) { /* a line is missing: the stream must not go on as if it were not */
        sg_conn_free(e->conn);
        return;
    }
    sg_conn_stream(e->conn, e->out.data, e->out.len);
    sg_buf_clear(&e->out);
}

static void conclude(sg_exchange *e)
{
    sg_api_error error, *failed = NULL;
    if (e->failed)
        failed = &e->error;
    else if (e->engine_error.status != SG_OK) {
        sg_api_fail_status(&error, &e->engine_error, NULL);
        failed = &error;
    }
    bool stream = e->head_sent;
    sg_conn *c = detach(e);
    if (stream)
        stream_finish(e, c, failed);
    else if (failed)
        sg_conn_error(c, failed);
    else
        answer_whole(e, c);
}

void sg_exchange_pump(sg_exchange *e)
{
    sg_server *s = e->server;
    pthread_mutex_lock(&s->lock);
    bool over = e->job_over;
    pthread_mutex_unlock(&s->lock);
    if (!over)
        return;
    if (e->conn && e->params.stream && !e->failed && !e->head_sent) {
        e->head_sent = true;
        sg_conn_stream_begin(e->conn, "text/event-stream");
    }
    do {
        bool all = e->failed && e->conn ? true : drain(e);
        flush(e);
        if (!all && !(e->conn && sg_conn_full(e->conn)))
            continue;
        break;
    } while (true);
    if (e->conn && (e->failed || all_ended(e)))
        conclude(e);
    if (!e->conn && !all_ended(e)) {
        cancel_all(e);
        drain(e);
    }
    if (sg_exchange_over(e))
        sg_server_drop_exchange(s, e);
}

void sg_exchange_abandon(sg_exchange *e)
{
    if (e->conn)
        e->conn->exchange = NULL;
    e->conn = NULL;
    atomic_store(&e->abandoned, true);
    sg_exchange_notify(e); /* the pump cancels what runs, once the worker is through with it */
}

void sg_exchange_free(sg_exchange *e)
{
    for (size_t i = 0; i < e->nchoice; i++) {
        sg_choice_out *c = &e->choice[i];
        sg_buf_fini(&c->text);
        sg_buf_fini(&c->tokens);
        sg_buf_fini(&c->values);
        sg_buf_fini(&c->tops);
        sg_buf_fini(&c->offsets);
    }
    for (size_t i = 0; e->echo && i < e->nprompt; i++)
        sg_free(e->echo[i]);
    sg_free(e->echo);
    sg_free(e->choice);
    json_decref(e->json);
    sg_free(e->body);
    sg_buf_fini(&e->out);
    sg_free(e);
}
