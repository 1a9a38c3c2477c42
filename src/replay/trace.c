/* replay/trace.c - reading recorded loads.
 *
 * One pass over the text, a line at a time.  A file whose first character is '{' has JSON lines, everything else is CSV
 * with a header.  CSV is read plainly: fields between commas, no quotes, because none of the published traces has
 * any; a quote is an error and not a surprise.  Lengths are bounded and numbers checked, since a trace is a file like any
 * other: it may be hostile.
 */
#include "replay/trace.h"

#include "base/file.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS_MAX = 64, LINE_MAX_BYTES = 1 << 20, FILE_MAX = 1 << 28 };

void sg_trace_fini(sg_trace *t)
{
    sg_free(t->request);
    sg_free(t->hash);
    *t = (sg_trace){0};
}

bool sg_trace_grow(void **data, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return true;
    size_t want = *cap ? *cap * 2 : 256;
    void *more = sg_realloc(*data, want * size);
    if (!more)
        return false;
    *data = more;
    *cap = want;
    return true;
}

sg_status sg_trace_add(sg_trace *t, sg_trace_request r, const char *what, size_t line, sg_error *err)
{
    if (r.prompt < 1 || r.prompt > SG_TRACE_TOKENS_MAX || r.output < 0 || r.output > SG_TRACE_TOKENS_MAX)
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: %d prompt and %d output tokens", what, line, (int)r.prompt, (int)r.output);
    r.output = r.output ? r.output : 1; /* answers of no tokens were recorded: one is drawn and it ends */
    if (!sg_trace_grow((void **)&t->request, &t->cap, t->n, sizeof *t->request))
        return sg_fail_nomem(err, what);
    t->request[t->n++] = r;
    return SG_OK;
}

/* ---- CSV ---- */

typedef struct columns {
    int arrival, prompt, output;
} columns;

static bool is_one_of(const char *s, size_t n, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == n && memcmp(*names, s, n) == 0)
            return true;
    return false;
}

static const char *const arrival_names[] = {"TIMESTAMP", "timestamp", "arrived_at", "arrival", NULL};
static const char *const prompt_names[] = {"ContextTokens", "num_prefill_tokens", "prompt_tokens", "input_length", NULL};
static const char *const output_names[] = {"GeneratedTokens", "num_decode_tokens", "output_tokens", "output_length", NULL};

/* Field after field of a line; false at its end. */
static bool next_field(const char **at, const char *end, const char **field, size_t *n)
{
    if (*at > end)
        return false;
    const char *comma = memchr(*at, ',', (size_t)(end - *at)), *stop = comma ? comma : end;
    *field = *at;
    *n = (size_t)(stop - *at);
    *at = stop + 1;
    return true;
}

static sg_status read_header(columns *c, const char *line, const char *end, const char *what, sg_error *err)
{
    *c = (columns){-1, -1, -1};
    const char *field;
    size_t n;
    for (int i = 0; i < COLUMNS_MAX && next_field(&line, end, &field, &n); i++) {
        if (is_one_of(field, n, arrival_names))
            c->arrival = i;
        else if (is_one_of(field, n, prompt_names))
            c->prompt = i;
        else if (is_one_of(field, n, output_names))
            c->output = i;
    }
    if (c->prompt < 0 || c->output < 0)
        return sg_fail(err, SG_E_FORMAT, "%s: line 1: no column of prompt tokens or none of output tokens", what);
    return SG_OK;
}

static bool to_number(const char *s, size_t n, double *x)
{
    char text[64], *end;
    if (n == 0 || n >= sizeof text)
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    *x = strtod(text, &end);
    return *end == 0 && isfinite(*x) && fabs(*x) < 1e12;
}

/* Days since 1970-01-01 of a date (Howard Hinnant's civil calendar algorithm). */
static int64_t days(int y, int m, int d)
{
    y -= m <= 2;
    int era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return (int64_t)era * 146097 + doe - 719468;
}

/* Seconds, or a date and time. */
static bool to_arrival(const char *s, size_t n, double *seconds)
{
    if (to_number(s, n, seconds))
        return true;
    char text[64];
    int y, mo, d, h, mi;
    double sec;
    if (n >= sizeof text)
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    if (sscanf(text, "%4d-%2d-%2d%*1[ T]%2d:%2d:%lf", &y, &mo, &d, &h, &mi, &sec) != 6 || mo < 1 || mo > 12 || d < 1 || d > 31 || h < 0 ||
        h > 24 || mi < 0 || mi > 59 || !(sec >= 0 && sec < 61))
        return false;
    *seconds = (double)days(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec;
    return true;
}

static sg_status read_row(sg_trace *t, const columns *c, const char *line, const char *end, const char *what, size_t number, sg_error *err)
{
    sg_trace_request r = {0};
    const char *field;
    size_t n;
    bool good = true;
    int seen = 0;
    for (int i = 0; i < COLUMNS_MAX && good && next_field(&line, end, &field, &n); i++) {
        double x = 0;
        if (i == c->arrival) {
            good = to_arrival(field, n, &x);
            if (good)
                r.arrival_us = (int64_t)(x * 1e6);
        } else if (i == c->prompt || i == c->output) {
            good = to_number(field, n, &x) && x >= 0 && x <= SG_TRACE_TOKENS_MAX;
            if (good)
                *(i == c->prompt ? &r.prompt : &r.output) = (int32_t)x;
            seen++;
        }
    }
    if (!good || seen != 2)
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: a field is missing or no number", what, number);
    return sg_trace_add(t, r, what, number, err);
}

/* ---- JSON lines ---- */

static const json_t *member(const json_t *o, const char *const *names)
{
    const json_t *v = NULL;
    for (; *names && !v; names++)
        v = json_object_get(o, *names);
    return v;
}

static sg_status read_object(sg_trace *t, const json_t *o, const char *what, size_t number, sg_error *err)
{
    const json_t *at = member(o, arrival_names), *prompt = member(o, prompt_names), *output = member(o, output_names);
    const json_t *hashes = json_object_get(o, "hash_ids"), *h;
    double ms = json_number_value(at), np = json_number_value(prompt), no = json_number_value(output);
    if (!json_is_number(prompt) || !json_is_number(output) ||
        !(np >= 0 && np <= SG_TRACE_TOKENS_MAX && no >= 0 && no <= SG_TRACE_TOKENS_MAX) || !(fabs(ms) < 1e15))
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: no lengths", what, number);
    sg_trace_request r = {.arrival_us = (int64_t)(ms * 1000), .prompt = (int32_t)np, .output = (int32_t)no, .hash = t->nhash};
    size_t i;
    json_array_foreach(hashes, i, h) {
        if (!sg_trace_grow((void **)&t->hash, &t->caphash, t->nhash, sizeof *t->hash))
            return sg_fail_nomem(err, what);
        t->hash[t->nhash++] = (int64_t)json_integer_value(h);
    }
    r.nhash = (int32_t)(t->nhash - r.hash);
    t->timed = t->timed || at;
    return sg_trace_add(t, r, what, number, err);
}

static sg_status read_json(sg_trace *t, const char *line, size_t n, const char *what, size_t number, sg_error *err)
{
    json_t *o = NULL;
    sg_error why;
    if (sg_json_parse(&o, line, n, what, &why) != SG_OK)
        return sg_fail(err, why.status, "line %zu: %.200s", number, why.text);
    sg_status st = read_object(t, o, what, number, err);
    json_decref(o);
    return st;
}

/* ---- both ---- */

static int by_arrival(const void *a, const void *b)
{
    const sg_trace_request *x = a, *y = b;
    return x->arrival_us != y->arrival_us ? (x->arrival_us < y->arrival_us ? -1 : 1) : x->hash < y->hash ? -1 : x->hash > y->hash;
}

static sg_status read_lines(sg_trace *t, const char *text, size_t n, const char *what, size_t max, sg_error *err)
{
    const char *end = text + n;
    bool json = n > 0 && text[0] == '{';
    columns c = {-1, -1, -1};
    size_t number = 0;
    while (text < end && (max == 0 || t->n < max)) {
        const char *stop = memchr(text, '\n', (size_t)(end - text)), *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        if (stop > text && stop[-1] == '\r')
            stop--;
        number++;
        if (stop - text > LINE_MAX_BYTES)
            return sg_fail(err, SG_E_FORMAT, "%s: line %zu: too long", what, number);
        if (stop > text && json)
            SG_TRY(read_json(t, text, (size_t)(stop - text), what, number, err));
        else if (stop > text && number == 1)
            SG_TRY(read_header(&c, text, stop, what, err));
        else if (stop > text)
            SG_TRY(read_row(t, &c, text, stop, what, number, err));
        text = next;
    }
    t->timed = t->timed || c.arrival >= 0;
    if (!t->n)
        return sg_fail(err, SG_E_FORMAT, "%s: no requests", what);
    return SG_OK;
}

/* Requests in order, time from 0. */
static void settle(sg_trace *t)
{
    if (t->timed && t->n)
        qsort(t->request, t->n, sizeof *t->request, by_arrival);
    for (size_t i = t->n; i-- > 0;)
        t->request[i].arrival_us -= t->request[0].arrival_us;
}

sg_status sg_trace_parse(sg_trace *trace, const char *text, size_t n, const char *what, size_t max, sg_error *err)
{
    sg_trace t = {0};
    sg_status st = read_lines(&t, text, n, what, max, err);
    if (st != SG_OK) {
        sg_trace_fini(&t);
        return st;
    }
    settle(&t);
    *trace = t;
    return SG_OK;
}

/* Clients by descriptions: each has its own first `max` requests, together they have more. */
static sg_status read_clients(sg_trace *trace, const char *path, size_t max, sg_error *err)
{
    sg_trace t = {.timed = true};
    sg_status st = sg_servegen_read(&t, path, max, err);
    if (st == SG_OK && !t.n)
        st = sg_fail(err, SG_E_FORMAT, "%s: no requests", path);
    if (st != SG_OK) {
        sg_trace_fini(&t);
        return st;
    }
    settle(&t);
    t.n = max && t.n > max ? max : t.n;
    *trace = t;
    return SG_OK;
}

sg_status sg_trace_read(sg_trace *trace, const char *path, size_t max, sg_error *err)
{
    if (sg_servegen_is(path))
        return read_clients(trace, path, max, err);
    char *text;
    size_t n;
    SG_TRY(sg_file_read(path, FILE_MAX, &text, &n, err));
    sg_status st = sg_trace_parse(trace, text, n, path, max, err);
    sg_free(text);
    return st;
}

sg_status sg_trace_mix(sg_trace *trace, size_t n, uint64_t seed, sg_error *err)
{
    sg_rng r = {seed ^ 0x6d6978};
    sg_trace t = {0};
    for (size_t i = 0; i < n; i++) {
        bool large = sg_rng_below(&r, 10) < 3;
        int prompt = large ? 1024 + (int)sg_rng_below(&r, 1025) : 32 + (int)sg_rng_below(&r, 97);
        sg_status st = sg_trace_add(&t, (sg_trace_request){.prompt = prompt, .output = 32 + (int32_t)sg_rng_below(&r, 33)}, "mix", i, err);
        if (st != SG_OK) {
            sg_trace_fini(&t);
            return st;
        }
    }
    *trace = t;
    return SG_OK;
}

int32_t sg_trace_token(const sg_trace *trace, size_t i, int at, double k, uint64_t salt, int nvocab)
{
    const sg_trace_request *t = &trace->request[i];
    int block = (int)fmax(1, SG_TRACE_HASH_TOKENS / (k >= 1 ? k : 1)), b = at / block;
    uint64_t x = b < t->nhash ? sg_rng_at((uint64_t)trace->hash[t->hash + (size_t)b], (uint64_t)(at % block), 7)
                              : sg_rng_at(salt, i, (uint64_t)at);
    return (int32_t)(x % (uint64_t)nvocab);
}

/* One turn of a task: the numbers of the turns before it are the first of its own; the last one stands for a part of its tokens, so
 * that the next turn goes on within it. */
static sg_status add_turn(sg_trace *t, int tools, int task, int length, int answer, size_t i, sg_error *err)
{
    enum { TOOLS_BLOCKS = 6 };
    sg_trace_request q = {.prompt = length, .output = answer, .hash = t->nhash};
    for (int b = 0; b * SG_TRACE_HASH_TOKENS < length; b++, q.nhash++) {
        if (!sg_trace_grow((void **)&t->hash, &t->caphash, t->nhash, sizeof *t->hash))
            return sg_fail_nomem(err, "a load");
        t->hash[t->nhash++] = b < TOOLS_BLOCKS ? 1000 + tools * 100 + b : 1000000 + (int64_t)task * 1000 + b;
    }
    return sg_trace_add(t, q, "agents", i, err);
}

sg_status sg_trace_agents(sg_trace *trace, size_t n, uint64_t seed, sg_error *err)
{
    enum { TURNS = 8, TOOLS = 4, TOOLS_TOKENS = 3072, AT_ONCE = 8 };
    sg_rng r = {seed ^ 0x6167656e74};
    sg_trace t = {0};
    int length[AT_ONCE] = {0};
    sg_status st = SG_OK;
    for (size_t i = 0; i < n && st == SG_OK; i++) { /* eight tasks side by side, a turn of each in turn */
        size_t lane = i % AT_ONCE, turn = i / AT_ONCE % TURNS, task = i / (AT_ONCE * TURNS) * AT_ONCE + lane;
        int answer = 20 + (int)sg_rng_below(&r, 101);
        length[lane] = turn ? length[lane] + 120 + (int)sg_rng_below(&r, 501) : TOOLS_TOKENS + 50 + (int)sg_rng_below(&r, 200);
        st = add_turn(&t, (int)(task % TOOLS), (int)task, length[lane], answer, i, err);
    }
    if (st != SG_OK) {
        sg_trace_fini(&t);
        return st;
    }
    *trace = t;
    return SG_OK;
}

void sg_trace_scale(sg_trace *t, double k, int ctx)
{
    k = k >= 1 ? k : 1;
    for (size_t i = 0; i < t->n; i++) {
        sg_trace_request *r = &t->request[i];
        r->prompt = (int32_t)fmax(1, round(r->prompt / k));
        r->output = (int32_t)fmax(1, round(r->output / k));
        if (ctx > 1 && r->output > ctx / 2)
            r->output = ctx / 2;
        if (ctx > 1 && r->prompt > ctx - r->output)
            r->prompt = ctx - r->output;
    }
}

void sg_trace_poisson(sg_trace *t, double qps, uint64_t seed)
{
    sg_rng r = {seed ^ 0x706f6973};
    double at = 0;
    for (size_t i = 0; i < t->n; i++) {
        t->request[i].arrival_us = (int64_t)at;
        at += -log(1 - sg_rng_unit(&r)) / qps * 1e6;
    }
}
