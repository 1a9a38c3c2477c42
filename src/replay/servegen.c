/* replay/servegen.c - loads from ServeGen's descriptions of clients (Xiang et al. 2025, github.com/alibaba/ServeGen).
 *
 * The archive has two files for each client of a service:
 *
 *     chunk-N-trace.csv      start,rate,cv,family,shape,scale     one line a window of ten minutes, no header
 *     chunk-N-dataset.json   {"21600": {"input_tokens": "{294: 0.01, 299: 0.01, ...}", "output_tokens": "{...}", ...}, ...}
 *
 * start in seconds, rate in requests a second; the time between two requests follows a Gamma or Weibull distribution of that shape
 * (its scale follows from the rate).  Lengths are histograms, written as a text within the text, that hold from the second in
 * their key on; before the first key those of the first hold.  A description is not a recording: requests are drawn from it, the same
 * ones every time.
 *
 *     window   |  .  . .      .   |  ..   .  |        a wait that passes the end of a window goes on in the next one, in units of
 *                              ---->               the mean wait there; windows without requests are passed over
 *
 * Gamma: Marsaglia and Tsang 2000.  The files may be hostile: counts, lengths and numbers are bounded, and the number of requests.
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

enum { CLIENTS_MAX = 1000, WINDOWS_MAX = 1 << 16, PERIODS_MAX = 1 << 12, BINS_MAX = 1 << 20, REQUESTS_MAX = 1 << 22, FILE_MAX = 1 << 26 };
static const double seconds_max = 1e9, rate_max = 1e6;

typedef struct window {
    double start, rate, shape;
    bool weibull;
} window;

/* A histogram of lengths: running sums of its probabilities. */
typedef struct lengths {
    int32_t *tokens; /* [n] */
    double *below;   /* [n] share of lengths up to this one, times the whole */
    size_t n, cap, capbelow;
} lengths;

typedef struct period {
    double start;
    lengths in, out;
} period;

typedef struct client {
    window *w;
    size_t nw, capw;
    period *p;
    size_t np, capp;
} client;

static void client_fini(client *c)
{
    for (size_t i = 0; i < c->np; i++) {
        sg_free(c->p[i].in.tokens);
        sg_free(c->p[i].in.below);
        sg_free(c->p[i].out.tokens);
        sg_free(c->p[i].out.below);
    }
    sg_free(c->p);
    sg_free(c->w);
}

/* ---- windows ---- */

static sg_status read_window(client *c, const char *line, size_t n, const char *what, size_t number, sg_error *err)
{
    char text[160], family[16] = "";
    window w = {0};
    double cv, scale;
    int used = 0;
    if (n >= sizeof text || memchr(line, 0, n))
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: no window", what, number);
    memcpy(text, line, n);
    text[n] = 0;
    bool empty = sscanf(text, "%lf,%lf,%lf,,%lf,%lf%n", &w.start, &w.rate, &cv, &w.shape, &scale, &used) == 5;
    if (!empty && sscanf(text, "%lf,%lf,%lf,%15[A-Za-z],%lf,%lf%n", &w.start, &w.rate, &cv, family, &w.shape, &scale, &used) != 6)
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: start, rate, cv, family, shape and scale are needed", what, number);
    w.weibull = strcmp(family, "Weibull") == 0;
    if (text[used] || !(w.start >= 0 && w.start <= seconds_max) || !(w.rate >= 0 && w.rate <= rate_max) ||
        (c->nw && w.start <= c->w[c->nw - 1].start) || c->nw == WINDOWS_MAX)
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: windows must follow each other, at most %d of them", what, number,
                       (int)WINDOWS_MAX);
    if (w.rate > 0 && ((!w.weibull && strcmp(family, "Gamma") != 0) || !(w.shape >= 1e-3 && w.shape <= 1e6)))
        return sg_fail(err, SG_E_FORMAT, "%s: line %zu: Gamma or Weibull with a shape from 0.001 to 1000000", what, number);
    if (!sg_trace_grow((void **)&c->w, &c->capw, c->nw, sizeof *c->w))
        return sg_fail_nomem(err, what);
    c->w[c->nw++] = w;
    return SG_OK;
}

static sg_status read_windows(client *c, const char *text, size_t n, const char *what, sg_error *err)
{
    const char *end = text + n;
    for (size_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text)), *next = stop ? stop + 1 : end;
        stop = stop ? stop : end;
        if (stop > text && stop[-1] == '\r')
            stop--;
        if (stop > text)
            SG_TRY(read_window(c, text, (size_t)(stop - text), what, number, err));
        text = next;
    }
    return c->nw ? SG_OK : sg_fail(err, SG_E_FORMAT, "%s: no windows", what);
}

/* ---- lengths ---- */

static sg_status add_bin(lengths *l, double tokens, double share, const char *what, sg_error *err)
{
    if (!(tokens >= 0 && tokens <= SG_TRACE_TOKENS_MAX) || !(share >= 0 && share <= 1e9) || l->n == BINS_MAX)
        return sg_fail(err, SG_E_FORMAT, "%s: a histogram has %.6g tokens with a share of %.6g", what, tokens, share);
    if (!sg_trace_grow((void **)&l->tokens, &l->cap, l->n, sizeof *l->tokens) ||
        !sg_trace_grow((void **)&l->below, &l->capbelow, l->n, sizeof *l->below))
        return sg_fail_nomem(err, what);
    l->tokens[l->n] = (int32_t)tokens;
    l->below[l->n] = (l->n ? l->below[l->n - 1] : 0) + share;
    l->n++;
    return SG_OK;
}

static const char *skip(const char *s) { return s + strspn(s, " \t\r\n"); }

/* "{294: 0.01, 299: 0.02}" */
static sg_status read_lengths(lengths *l, const json_t *value, const char *what, sg_error *err)
{
    const char *s = json_string_value(value);
    s = s ? skip(s) : "";
    if (*s != '{')
        return sg_fail(err, SG_E_FORMAT, "%s: a histogram is no text of the form {tokens: share, ...}", what);
    s = skip(s + 1);
    while (*s != '}') {
        char *end;
        double tokens = strtod(s, &end);
        const char *colon = skip(end);
        if (end == s || *colon != ':')
            return sg_fail(err, SG_E_FORMAT, "%s: a histogram has '%.20s' instead of tokens: share", what, s);
        double share = strtod(colon + 1, &end);
        if (end == colon + 1)
            return sg_fail(err, SG_E_FORMAT, "%s: a histogram has '%.20s' instead of a share", what, colon);
        SG_TRY(add_bin(l, tokens, share, what, err));
        s = skip(end);
        if (*s != ',' && *s != '}')
            return sg_fail(err, SG_E_FORMAT, "%s: a histogram has '%.20s' instead of a comma", what, s);
        s = *s == ',' ? skip(s + 1) : s;
    }
    return SG_OK;
}

static int by_start(const void *a, const void *b)
{
    const period *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static sg_status read_periods(client *c, const char *text, size_t n, const char *what, sg_error *err)
{
    json_t *root = NULL, *value;
    const char *key;
    SG_TRY(sg_json_parse(&root, text, n, what, err));
    sg_status st = json_is_object(root) && json_object_size(root) <= PERIODS_MAX
                       ? SG_OK : sg_fail(err, SG_E_FORMAT, "%s: no object of at most %d periods", what, (int)PERIODS_MAX);
    json_object_foreach(root, key, value) {
        char *end;
        double start = strtod(key, &end);
        if (st != SG_OK)
            break;
        if (end == key || *end || !(start >= 0 && start <= seconds_max)) {
            st = sg_fail(err, SG_E_FORMAT, "%s: '%.20s' is no second that a period begins at", what, key);
            break;
        }
        if (!sg_trace_grow((void **)&c->p, &c->capp, c->np, sizeof *c->p)) {
            st = sg_fail_nomem(err, what);
            break;
        }
        period *p = &c->p[c->np++];
        *p = (period){.start = start};
        st = read_lengths(&p->in, json_object_get(value, "input_tokens"), what, err);
        if (st == SG_OK)
            st = read_lengths(&p->out, json_object_get(value, "output_tokens"), what, err);
    }
    json_decref(root);
    if (st == SG_OK && c->np)
        qsort(c->p, c->np, sizeof *c->p, by_start);
    return st;
}

static bool drawable(const lengths *l) { return l->n && l->below[l->n - 1] > 0; }

/* The period that holds at a time: the last one that has begun and has lengths, else the first one that has. */
static const period *period_at(const client *c, double at)
{
    const period *p = NULL;
    for (size_t i = 0; i < c->np; i++)
        if (drawable(&c->p[i].in) && drawable(&c->p[i].out) && (!p || c->p[i].start <= at))
            p = &c->p[i];
    return p;
}

/* ---- drawing ---- */

static int32_t draw_length(const lengths *l, sg_rng *g)
{
    double u = sg_rng_unit(g) * l->below[l->n - 1];
    size_t low = 0, high = l->n - 1;
    while (low < high) { /* the first one with below > u */
        size_t mid = low + (high - low) / 2;
        if (l->below[mid] > u)
            high = mid;
        else
            low = mid + 1;
    }
    return l->tokens[low] > 0 ? l->tokens[low] : 1;
}

static double normal(sg_rng *g) { return sqrt(-2 * log(1 - sg_rng_unit(g))) * cos(2 * M_PI * sg_rng_unit(g)); }

/* Mean `shape`. */
static double gamma_draw(double shape, sg_rng *g)
{
    double boost = 1;
    if (shape < 1) { /* a draw with shape + 1, made smaller */
        boost = pow(1 - sg_rng_unit(g), 1 / shape);
        shape += 1;
    }
    double d = shape - 1.0 / 3, k = 1 / sqrt(9 * d);
    for (;;) {
        double x = normal(g), v = 1 + k * x;
        v = v * v * v;
        if (v > 0 && log(1 - sg_rng_unit(g)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v * boost;
    }
}

/* A wait in units of the mean wait. */
static double wait_of(const window *w, sg_rng *g)
{
    if (w->weibull)
        return pow(-log(1 - sg_rng_unit(g)), 1 / w->shape) / tgamma(1 + 1 / w->shape);
    return gamma_draw(w->shape, g) / w->shape;
}

/* The last window is as long as the one before it. */
static double window_end(const client *c, size_t i)
{
    if (i + 1 < c->nw)
        return c->w[i + 1].start;
    return c->w[i].start + (i ? c->w[i].start - c->w[i - 1].start : 600);
}

static sg_status draw_requests(sg_trace *t, const client *c, size_t max, sg_rng *g, const char *what, sg_error *err)
{
    double left = -1; /* of the wait for the next request, in mean waits; negative: none is drawn yet */
    size_t from = t->n;
    for (size_t i = 0; i < c->nw; i++) {
        const window *w = &c->w[i];
        const period *p = period_at(c, w->start);
        if (w->rate <= 0)
            continue;
        if (!p)
            return sg_fail(err, SG_E_FORMAT, "%s: there are requests and no lengths", what);
        if (left < 0)
            left = wait_of(w, g) * sg_rng_unit(g); /* the window opens somewhere in a wait */
        double at = w->start, end = window_end(c, i);
        for (; at + left / w->rate < end; left = wait_of(w, g)) {
            at += left / w->rate;
            if (max && t->n - from == max)
                return SG_OK;
            if (t->n == REQUESTS_MAX)
                return sg_fail(err, SG_E_LIMIT, "%s: more than %d requests; --requests N takes the first ones", what,
                               (int)REQUESTS_MAX);
            SG_TRY(sg_trace_add(t, (sg_trace_request){.arrival_us = (int64_t)(at * 1e6), .prompt = draw_length(&p->in, g),
                                                      .output = draw_length(&p->out, g)}, what, t->n, err));
        }
        left -= (end - at) * w->rate;
        left = left > 0 ? left : 0;
    }
    return SG_OK;
}

sg_status sg_servegen_add(sg_trace *t, const char *windows, size_t nwindows, const char *periods, size_t nperiods, uint64_t seed,
                          size_t max, const char *what, const char *what_periods, sg_error *err)
{
    client c = {0};
    sg_rng g = {seed ^ 0x73657276};
    sg_status st = read_windows(&c, windows, nwindows, what, err);
    if (st == SG_OK)
        st = read_periods(&c, periods, nperiods, what_periods, err);
    if (st == SG_OK)
        st = draw_requests(t, &c, max, &g, what, err);
    client_fini(&c);
    return st;
}

/* ---- files ---- */

static sg_status add_files(sg_trace *t, const char *windows, const char *periods, uint64_t seed, size_t max, sg_error *err)
{
    char *csv = NULL, *json = NULL;
    size_t ncsv, njson;
    sg_status st = sg_file_read(windows, FILE_MAX, &csv, &ncsv, err);
    if (st == SG_OK)
        st = sg_file_read(periods, FILE_MAX, &json, &njson, err);
    if (st == SG_OK)
        st = sg_servegen_add(t, csv, ncsv, json, njson, seed, max, windows, periods, err);
    sg_free(csv);
    sg_free(json);
    return st;
}

static const char csv_end[] = "-trace.csv", json_end[] = "-dataset.json";

/* "DIR/chunk-3-trace.csv" -> "DIR/chunk-3-dataset.json", in fresh memory; NULL for other names, or without memory. */
static char *dataset_of(const char *path)
{
    size_t n = strlen(path), k = sizeof csv_end - 1;
    if (n < k || memcmp(path + n - k, csv_end, k) != 0)
        return NULL;
    char *out = sg_alloc(n - k + sizeof json_end);
    if (out) {
        memcpy(out, path, n - k);
        memcpy(out + n - k, json_end, sizeof json_end);
    }
    return out;
}

bool sg_servegen_is(const char *path)
{
    char *json = sg_path_is_directory(path) ? NULL : dataset_of(path);
    bool is = sg_path_is_directory(path) || (json && sg_path_exists(json));
    sg_free(json);
    return is;
}

static sg_status add_client(sg_trace *t, const char *path, uint64_t seed, size_t max, sg_error *err)
{
    char *json = dataset_of(path);
    sg_status st = json ? add_files(t, path, json, seed, max, err) : sg_fail_nomem(err, path);
    sg_free(json);
    return st;
}

static sg_status add_directory(sg_trace *t, const char *dir, size_t max, sg_error *err)
{
    sg_status st = SG_OK;
    int n = 0;
    for (int i = 0; i < CLIENTS_MAX && st == SG_OK; i++) {
        char name[40];
        snprintf(name, sizeof name, "chunk-%d%s", i, csv_end);
        char *path = sg_path_join(dir, name);
        if (!path)
            return sg_fail_nomem(err, dir);
        if (sg_path_exists(path)) {
            st = add_client(t, path, (uint64_t)i, max, err);
            n++;
        }
        sg_free(path);
    }
    if (st == SG_OK && !n)
        return sg_fail(err, SG_E_FORMAT, "%s: a folder without chunk-N%s", dir, csv_end);
    return st;
}

sg_status sg_servegen_read(sg_trace *t, const char *path, size_t max, sg_error *err)
{
    return sg_path_is_directory(path) ? add_directory(t, path, max, err) : add_client(t, path, 0, max, err);
}
