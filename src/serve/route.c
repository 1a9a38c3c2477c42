/* serve/route.c - which path does what, who may, and the small answers.
 *
 * One table lists every path with its methods and whether it wants a key; paths are compared as they were sent, so no
 * spelling slips past the check.  What can be refused by the head alone is refused before the body is read.
 */
#include "serve/internal.h"

#include "base/clock.h"
#include "base/heap.h"
#include "serve/out.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct route {
    const char *path; /* ending in '*': anything behind it */
    const char *methods;
    bool open; /* needs no key */
    void (*run)(sg_conn *c);
} route;

static void run_health(sg_conn *c) { sg_conn_answer(c, 200, "application/json", "", "{\"status\":\"ok\"}", 15); }

static void run_ready(sg_conn *c)
{
    sg_server *s = c->server;
    sg_api_error e;
    for (size_t i = 0; i < s->nmodel; i++)
        if (!atomic_load(&s->model[i].engine)) {
            sg_api_fail(&e, 503, "model_loading", NULL, "The model '%.64s' is still loading.", s->model[i].name);
            sg_conn_error(c, &e);
            return;
        }
    if (s->draining) {
        sg_api_fail(&e, 503, "draining", NULL, "The server is shutting down.");
        sg_conn_error(c, &e);
        return;
    }
    sg_conn_answer(c, 200, "application/json", "", "{\"status\":\"ready\"}", 18);
}

static void answer_buf(sg_conn *c, sg_buf *b, const char *type)
{
    sg_api_error e;
    if (sg_buf_ok(b))
        sg_conn_answer(c, 200, type, "", sg_buf_str(b), b->len);
    else {
        sg_api_fail(&e, 507, "insufficient_memory", NULL, "There is no memory for this answer.");
        sg_conn_error(c, &e);
    }
    sg_buf_fini(b);
}

static void run_metrics(sg_conn *c)
{
    sg_buf b = SG_BUF_INIT;
    sg_metrics_write(c->server, &b);
    answer_buf(c, &b, "text/plain; version=0.0.4; charset=utf-8");
}

static void out_model(sg_buf *b, const sg_served *m, int64_t created)
{
    sg_engine *engine = atomic_load(&m->engine);
    sg_buf_adds(b, "{\"id\":");
    sg_out_string(b, m->name, strlen(m->name));
    sg_buf_addf(b, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"segue\",\"status\":\"%s\"",
                (long long)created, engine ? "ready" : "loading");
    if (engine) {
        sg_engine_info info;
        sg_engine_info_get(engine, &info);
        sg_buf_adds(b, ",\"meta\":{\"architecture\":");
        sg_out_string(b, info.architecture, strlen(info.architecture));
        sg_buf_addf(b, ",\"context_length\":%d,\"vocabulary\":%d,\"parameters\":%llu,\"chat_template\":%s}", info.ctx, info.nvocab,
                    (unsigned long long)info.parameters, info.chat_template ? "true" : "false");
        sg_buf_addf(b, ",\"max_model_len\":%d", info.ctx);
    }
    sg_buf_addc(b, '}');
}

static int64_t started(const sg_server *s) { return (int64_t)time(NULL) - (sg_clock_us() - s->begin_us) / 1000000; }

static void run_models(sg_conn *c)
{
    sg_server *s = c->server;
    sg_buf b = SG_BUF_INIT;
    sg_buf_adds(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < s->nmodel; i++) {
        if (i)
            sg_buf_addc(&b, ',');
        out_model(&b, &s->model[i], started(s));
    }
    sg_buf_adds(&b, "]}");
    answer_buf(c, &b, "application/json");
}

static void run_model(sg_conn *c)
{
    char name[512];
    sg_api_error e;
    sg_served *m = NULL;
    if (sg_http_unescape(c->http.path + strlen("/v1/models/"), name, sizeof name) && *name)
        m = sg_server_find(c->server, name);
    if (!m) {
        sg_api_fail(&e, 404, "model_not_found", "model", "That model does not exist here; GET /v1/models lists what does.");
        sg_conn_error(c, &e);
        return;
    }
    sg_buf b = SG_BUF_INIT;
    out_model(&b, m, started(c->server));
    answer_buf(c, &b, "application/json");
}

/* The number of the key that the request came with; checked already. */
static uint64_t tenant_of(const sg_conn *c)
{
    size_t n;
    if (!c->server->access.key_file)
        return 0;
    const char *v = sg_http_find(&c->http, "Authorization", &n), *x = sg_http_find(&c->http, "x-api-key", &n);
    if (!x && v && strncasecmp(v, "Bearer ", 7) == 0)
        x = v + 7 + strspn(v + 7, " ");
    return x ? sg_api_number_of(c->server->secret, x) : 0;
}

static void run_generation(sg_conn *c, int kind)
{
    sg_server *s = c->server;
    sg_api_error error;
    sg_exchange *e = NULL;
    if (s->draining)
        sg_api_fail(&error, 503, "draining", NULL, "The server is shutting down.");
    else if (s->nexchange >= 4096)
        sg_api_fail(&error, 429, "queue_full", NULL, "Too many requests are in the works; try again later.");
    else if (!(e = sg_calloc(1, sizeof *e)))
        sg_api_fail(&error, 507, "insufficient_memory", NULL, "There is no memory for this request.");
    if (!e) {
        sg_conn_error(c, &error);
        return;
    }
    e->server = s;
    e->conn = c;
    e->route = kind;
    e->nbody = c->http.body.len;
    e->body = sg_buf_steal(&c->http.body);
    e->tenant = tenant_of(c);
    e->begin_us = sg_clock_us();
    e->created = (int64_t)time(NULL);
    snprintf(e->id, sizeof e->id, "%s-%012llx%06llx", kind == SG_ROUTE_CHAT ? "chatcmpl" : "cmpl",
             (unsigned long long)e->begin_us & 0xffffffffffff,
             (unsigned long long)s->next_id++ & 0xffffff);
    c->exchange = e;
    sg_server_submit(s, e);
}

static void run_chat(sg_conn *c) { run_generation(c, SG_ROUTE_CHAT); }
static void run_completion(sg_conn *c) { run_generation(c, SG_ROUTE_COMPLETION); }

static const route routes[] = {
    {"/health", "GET", true, run_health},
    {"/ready", "GET", true, run_ready},
    {"/metrics", "GET", false, run_metrics},
    {"/v1/models", "GET", false, run_models},
    {"/v1/models/*", "GET", false, run_model},
    {"/v1/chat/completions", "POST", false, run_chat},
    {"/v1/completions", "POST", false, run_completion},
};

static const route *find(const char *path)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t n = strlen(routes[i].path);
        if (routes[i].path[n - 1] == '*' ? strncmp(routes[i].path, path, n - 1) == 0 : strcmp(routes[i].path, path) == 0)
            return &routes[i];
    }
    return NULL;
}

/* ---- checks ---- */

static bool is_loopback_name(const char *host, size_t n)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < 3; i++)
        if (strlen(names[i]) == n && strncasecmp(host, names[i], n) == 0)
            return true;
    return n > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= n;
}

/* DNS rebinding: a page's own name made to point at us.  On loopback only local names are ours. */
static bool host_is_ours(const sg_conn *c)
{
    const char *h = c->http.host;
    if (!c->server->loopback || !*h)
        return true;
    const char *colon = *h == '[' ? strchr(h, ']') ? strchr(strchr(h, ']'), ':') : NULL : strchr(h, ':');
    size_t n = colon ? (size_t)(colon - h) : strlen(h);
    return is_loopback_name(h, n) || (n == strlen(c->server->host) && strncasecmp(h, c->server->host, n) == 0);
}

/* No Origin, our own, or one that was allowed by name. */
static bool origin_is_allowed(sg_conn *c)
{
    size_t count;
    const char *o = sg_http_find(&c->http, "Origin", &count);
    c->origin[0] = 0;
    if (!o)
        return true;
    if (count > 1)
        return false;
    for (size_t i = 0; i < c->server->access.norigin; i++)
        if (strcmp(c->server->access.origin[i], o) == 0) {
            snprintf(c->origin, sizeof c->origin, "%s", o);
            return true;
        }
    const char *host = strstr(o, "://");
    return host && *c->http.host && strcasecmp(host + 3, c->http.host) == 0;
}

static bool key_is_good(const sg_conn *c, bool *given)
{
    size_t n, m;
    const char *v = sg_http_find(&c->http, "Authorization", &n), *x = sg_http_find(&c->http, "x-api-key", &m);
    *given = n + m > 0;
    if (n + m != 1)
        return false;
    if (x)
        return sg_api_keys_have(&c->server->access.keys, x);
    if (strncasecmp(v, "Bearer ", 7) != 0)
        return false;
    return sg_api_keys_have(&c->server->access.keys, v + 7 + strspn(v + 7, " "));
}

static bool type_is_json(const sg_conn *c)
{
    size_t count;
    const char *t = sg_http_find(&c->http, "Content-Type", &count);
    if (count != 1 || strncasecmp(t, "application/json", 16) != 0)
        return false;
    t += 16;
    t += strspn(t, " \t");
    if (*t && *t != ';')
        return false;
    const char *charset = strcasestr(t, "charset=");
    return !charset || strcasecmp(charset + 8, "utf-8") == 0 || strcasecmp(charset + 8, "\"utf-8\"") == 0;
}

static bool method_is_known(const char *m)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i], m) == 0)
            return true;
    return false;
}

static bool refuse(sg_conn *c, sg_api_error *e)
{
    c->answering = true;
    sg_conn_error(c, e);
    return false;
}

/* The browser's question before a request from another origin. */
static bool preflight(sg_conn *c)
{
    sg_api_error e;
    if (!c->origin[0]) {
        sg_api_fail(&e, 403, "origin_not_allowed", NULL, "This origin has no permission here.");
        return refuse(c, &e);
    }
    c->answering = true;
    sg_conn_answer(c, 204, NULL,
                   "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Allow-Headers: Authorization, "
                   "Content-Type\r\n", "", 0);
    return false;
}

bool sg_route_check(sg_conn *c)
{
    sg_api_error e;
    const char *m = c->http.method;
    const route *r = find(c->http.path);
    bool given;
    if (!method_is_known(m)) {
        sg_api_fail(&e, 501, NULL, NULL, "The method is not known here.");
        return refuse(c, &e);
    }
    if (!host_is_ours(c)) {
        sg_api_fail(&e, 403, "host_not_allowed", NULL, "The Host header names another host.");
        return refuse(c, &e);
    }
    if (!origin_is_allowed(c)) {
        sg_api_fail(&e, 403, "origin_not_allowed", NULL, "This origin has no permission here.");
        return refuse(c, &e);
    }
    if (r && strcmp(m, "OPTIONS") == 0)
        return preflight(c);
    if (c->server->access.key_file && !(r && r->open) && !key_is_good(c, &given)) {
        sg_api_fail(&e, 401, given ? "invalid_api_key" : NULL, NULL,
                    given ? "Incorrect API key provided."
                        : "You did not provide an API key: send 'Authorization: Bearer KEY'.");
        return refuse(c, &e);
    }
    if (!r) {
        sg_api_fail(&e, 404, "unknown_url", NULL, "There is nothing at this path.");
        return refuse(c, &e);
    }
    if (strcmp(m, r->methods) != 0 && !(strcmp(m, "HEAD") == 0 && strcmp(r->methods, "GET") == 0)) {
        sg_buf b = SG_BUF_INIT;
        sg_api_fail(&e, 405, "method_not_allowed", NULL, "This path takes %s.", r->methods);
        sg_api_error_write(&b, &e);
        c->answering = true;
        sg_conn_answer(c, 405, "application/json", strcmp(r->methods, "GET") == 0 ? "Allow: GET, HEAD\r\n"
                       : "Allow: POST\r\n", sg_buf_str(&b), b.len);
        sg_buf_fini(&b);
        return false;
    }
    if (strcmp(m, "POST") == 0 && !type_is_json(c)) {
        sg_api_fail(&e, 415, "unsupported_media_type", NULL, "The Content-Type must be application/json in UTF-8.");
        return refuse(c, &e);
    }
    return true;
}

void sg_route_run(sg_conn *c) { find(c->http.path)->run(c); } /* sg_route_check has found it */
