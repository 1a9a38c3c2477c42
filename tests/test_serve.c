/* The server over a fake model, through raw sockets on loopback: transcripts, refusals, disconnects, draining.
 * `test_serve --serve PORT` runs a server on the fake model for checks from outside. */
#include "tap.h"

#include "fake_lm.h"
#include "base/json.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static sg_error err;

typedef struct site {
    sg_engine *engine;
    fake_lm *fake;
    sg_server *server;
    pthread_t thread;
    int port;
    sg_status status;
} site;

static void *run_server(void *arg)
{
    site *s = arg;
    sg_error e;
    s->status = sg_server_run(s->server, &e);
    return NULL;
}

static bool site_open(site *s, sg_server_options *o, const sg_engine_options *engine)
{
    sg_lm lm;
    sg_engine_options eo = engine ? *engine : (sg_engine_options){0};
    sg_server_options none = {0};
    eo.name = "fake";
    if (!o)
        o = &none;
    *s = (site){0};
    if (fake_lm_open(&lm, &s->fake, 512, 256, &err) != SG_OK || sg_engine_open_lm(&s->engine, &lm, &eo, &err) != SG_OK) {
        tap_fail(__FILE__, __LINE__, "%s", err.text);
        return false;
    }
    o->engines = &s->engine;
    o->nengine = 1;
    if (sg_server_open(&s->server, o, &err) != SG_OK) {
        tap_fail(__FILE__, __LINE__, "%s", err.text);
        sg_engine_close(s->engine);
        return false;
    }
    s->port = (int)strtol(strrchr(sg_server_url(s->server), ':') + 1, NULL, 10);
    pthread_create(&s->thread, NULL, run_server, s);
    return true;
}

static void site_close(site *s)
{
    sg_server_stop(s->server, true);
    pthread_join(s->thread, NULL);
    sg_server_close(s->server);
    sg_engine_close(s->engine);
}

static int dial(const site *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const char *bytes, size_t n)
{
    for (ssize_t k; n > 0 && (k = send(fd, bytes, n, MSG_NOSIGNAL)) > 0; n -= (size_t)k)
        bytes += k;
}

enum { PATIENCE = 60000 }; /* ms for what must come: a machine may be slow, a test may not depend on it */

/* Everything until the peer closes or `ms` pass without a byte after the first.  *closed may be NULL. */
static size_t hear(int fd, char *out, size_t cap, int ms, bool *closed)
{
    size_t n = 0;
    if (closed)
        *closed = false;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (n < cap - 1 && poll(&p, 1, n ? ms : PATIENCE) > 0) {
        ssize_t k = recv(fd, out + n, cap - 1 - n, 0);
        if (k <= 0) {
            if (closed)
                *closed = true;
            break;
        }
        n += (size_t)k;
    }
    out[n] = 0;
    return n;
}

static char reply[1 << 20];

/* Send raw bytes, collect the answer; returns its status, 0 for none. */
static int raw(const site *s, const char *bytes, size_t n, bool *closed)
{
    int fd = dial(s);
    if (fd < 0)
        return -1;
    say(fd, bytes, n);
    hear(fd, reply, sizeof reply, PATIENCE, closed);
    close(fd);
    return strncmp(reply, "HTTP/1.1 ", 9) == 0 ? (int)strtol(reply + 9, NULL, 10) : 0;
}

static size_t request(char *out, size_t cap, const char *method, const char *path, const char *headers, const char *body)
{
    return (size_t)snprintf(out, cap,
                            "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
                            "%zu\r\nConnection: close\r\n%s\r\n%s",
                            method, path, strlen(body), headers, body);
}

static int post(const site *s, const char *path, const char *body)
{
    static char bytes[1 << 18];
    return raw(s, bytes, request(bytes, sizeof bytes, "POST", path, "", body), NULL);
}

static int get(const site *s, const char *path, const char *headers)
{
    char bytes[2048];
    int n = snprintf(bytes, sizeof bytes, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", path, headers);
    return raw(s, bytes, (size_t)n, NULL);
}

static const char *body_of_reply(void)
{
    const char *b = strstr(reply, "\r\n\r\n");
    return b ? b + 4 : "";
}

/* The reply's body as JSON; the caller decrefs. */
static json_t *json_reply(void)
{
    json_t *v = NULL;
    sg_json_parse(&v, body_of_reply(), strlen(body_of_reply()), "the reply", &err);
    return v;
}

TEST(small_answers)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    CHECK_INT(get(&s, "/health", ""), 200);
    CHECK_INT(get(&s, "/ready", ""), 200);
    CHECK_INT(get(&s, "/v1/models", ""), 200);
    CHECK(strstr(reply, "\"id\":\"fake\""));
    CHECK_INT(get(&s, "/v1/models/fake", ""), 200);
    CHECK_INT(get(&s, "/v1/models/f%61ke", ""), 200);
    CHECK_INT(get(&s, "/v1/models/nope", ""), 404);
    CHECK_INT(get(&s, "/v1/models/x%00.gguf", ""), 404);
    CHECK_INT(get(&s, "/v1/chat/completions", ""), 405);
    CHECK(strstr(reply, "Allow: POST"));
    CHECK_INT(get(&s, "/nothing", ""), 404);
    CHECK_INT(get(&s, "//v1/models", ""), 404);
    CHECK_INT(get(&s, "/metrics", ""), 200);
    CHECK(strstr(reply, "segue_requests_running{model=\"fake\"} 0"));
    CHECK(strstr(reply, "segue_step_seconds_bucket{model=\"fake\",phase=\"decode\",le=\"+Inf\"} 0"));
    site_close(&s);
    CHECK_INT(s.status, SG_OK);
}

/* Whether docs/metrics.md has a row that begins so: "| `NAME` | TYPE |". */
static bool documented(const char *doc, const char *name, const char *kind)
{
    char row[160];
    snprintf(row, sizeof row, "\n| `%s` | %s |", name, kind);
    return strstr(doc, row) != NULL;
}

static char *read_text(const char *path)
{
    static char text[1 << 16];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    return text;
}

TEST(metrics_are_those_of_the_documentation)
{
    site s;
    char path[512], name[96], kind[16];
    int exported = 0, rows = 0;
    snprintf(path, sizeof path, "%s/docs/metrics.md", tap_source());
    const char *doc = read_text(path);
    CHECK(*doc);
    CHECK(site_open(&s, NULL, NULL));
    s.fake->script = "abcabcabcabcabcabcabcabc";
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":24}"), 200);
    CHECK_INT(get(&s, "/metrics", ""), 200);
    for (const char *p = reply; (p = strstr(p, "# TYPE segue_")); exported++, p++) {
        CHECK_INT(sscanf(p, "# TYPE segue_%95[a-z_] %15[a-z]", name, kind), 2);
        if (!documented(doc, name, kind))
            tap_fail(__FILE__, __LINE__, "%s (%s) is not in docs/metrics.md", name, kind);
    }
    for (const char *p = doc; (p = strstr(p, "\n| `")); p++) {
        if (sscanf(p, "\n| `%95[a-z_]` | %15[a-z] |", name, kind) != 2 || (strcmp(kind, "counter") != 0 && strcmp(kind, "gauge") != 0 &&
                                                                         strcmp(kind, "histogram") != 0))
            continue; /* a row of another table */
        rows++;
        char line[160];
        snprintf(line, sizeof line, "# TYPE segue_%s %s\n", name, kind);
        if (!strstr(reply, line))
            tap_fail(__FILE__, __LINE__, "%s (%s) is in docs/metrics.md and not exported", name, kind);
    }
    CHECK_INT(rows, exported);
    CHECK(rows > 30);
    tap_note("%d metrics", rows);
    static const char *const sources[] = {"tree", "lookup_long", "lookup_short", "model"};
    char line[128];
    for (int i = 0; i < 8; i++) {
        snprintf(line, sizeof line, "segue_%s_tokens_total{model=\"fake\",source=\"%s\"} ", i % 2 ? "accepted" : "drafted", sources[i / 2]);
        CHECK(strstr(reply, line));
    }
    sg_memory_pool pool[16];
    size_t n = sg_engine_memory(s.engine, pool, 16);
    for (size_t i = 0; i < n; i++) { /* the ledger's rows, all of them */
        snprintf(line, sizeof line, "segue_memory_bytes{model=\"fake\",pool=\"%s\"} ", pool[i].name);
        CHECK(strstr(reply, line));
        CHECK(strstr(doc, pool[i].name));
    }
    site_close(&s);
}

TEST(chat_and_completion_answers)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->script = "Hello w\xc3\xb6rld \"quoted\"\n";
    CHECK_INT(post(&s, "/v1/chat/completions", "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"), 200);
    json_t *v = json_reply();
    CHECK(v != NULL);
    CHECK_STR(json_string_value(json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0),
                                                                "message"), "content")), s.fake->script);
    CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "finish_reason")), "stop");
    CHECK(json_is_null(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs")));
    CHECK_INT(json_integer_value(json_object_get(json_object_get(v, "usage"), "completion_tokens")), strlen(s.fake->script));
    json_decref(v);
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"n\":2,\"max_tokens\":3,\"logprobs\":2,\"echo\":false}"), 200);
    v = json_reply();
    CHECK_INT(json_array_size(json_object_get(v, "choices")), 4);
    for (size_t i = 0; i < 4; i++) {
        json_t *c = json_array_get(json_object_get(v, "choices"), i);
        CHECK_INT(json_integer_value(json_object_get(c, "index")), i);
        CHECK_STR(json_string_value(json_object_get(c, "text")), "Hel");
        CHECK_STR(json_string_value(json_object_get(c, "finish_reason")), "length");
        CHECK_INT(json_array_size(json_object_get(json_object_get(c, "logprobs"), "token_logprobs")), 3);
        CHECK_INT(json_integer_value(json_array_get(json_object_get(json_object_get(c, "logprobs"), "text_offset"), 2)), 2);
    }
    json_decref(v);
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":[104,105],\"max_tokens\":5,\"stop\":\"l\",\"echo\":true,\"best_of\":3}"), 200);
    v = json_reply();
    CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "text")), "hiHe");
    json_decref(v);
    site_close(&s);
}

/* The SSE data lines of the reply, one JSON each; `text` gets all deltas.  Returns how many, -1 for a bad one. */
static int sse(const char *field, char *text, size_t cap, bool *done)
{
    static char plain[sizeof reply];
    size_t n = 0;
    for (const char *p = body_of_reply(); *p;) { /* undo the chunked coding */
        char *end;
        size_t k = strtoul(p, &end, 16);
        if (end == p || !k)
            break;
        memcpy(plain + n, end + 2, k);
        n += k;
        p = end + 2 + k + 2;
    }
    plain[n] = 0;
    int lines = 0;
    *done = false;
    text[0] = 0;
    for (char *p = plain; *p;) {
        char *end = strstr(p, "\n\n");
        if (!end || strncmp(p, "data: ", 6) != 0)
            return -1;
        *end = 0;
        if (strcmp(p + 6, "[DONE]") == 0)
            *done = true;
        else {
            json_t *v;
            if (sg_json_parse(&v, p + 6, strlen(p + 6), "chunk", &err) != SG_OK)
                return -1;
            json_t *c = json_array_get(json_object_get(v, "choices"), 0), *d = json_object_get(c, "delta");
            const char *t = json_string_value(json_object_get(d ? d : c, field));
            snprintf(text + strlen(text), cap - strlen(text), "%s", t ? t : "");
            json_decref(v);
            lines++;
        }
        p = end + 2;
    }
    return lines;
}

/* What a completion without a seed, or with this one, says. */
static void complete(const site *s, const char *more, char out[64])
{
    char body[128];
    snprintf(body, sizeof body, "{\"prompt\":\"x\",\"max_tokens\":24,\"ignore_eos\":true%s}", more);
    CHECK_INT(post(s, "/v1/completions", body), 200);
    json_t *v = json_reply();
    const char *text = json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "text"));
    snprintf(out, 64, "%s", text ? text : "none");
    json_decref(v);
}

TEST(requests_without_a_seed_take_the_servers)
{
    site s;
    uint64_t seed = 77;
    sg_server_options o = {.seed = &seed};
    char first[64], again[64], named[64], other[64];
    CHECK(site_open(&s, &o, NULL));
    complete(&s, "", first);
    complete(&s, "", again);
    complete(&s, ",\"seed\":77", named);
    complete(&s, ",\"seed\":78", other);
    CHECK_STR(again, first);
    CHECK_STR(named, first);
    CHECK(strcmp(other, first) != 0);
    site_close(&s);
    CHECK(site_open(&s, NULL, NULL));
    complete(&s, "", first);
    complete(&s, "", again);
    CHECK(strcmp(again, first) != 0);
    site_close(&s);
}

TEST(streams_say_the_same)
{
    site s;
    char text[4096];
    bool done;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->script = "gr\xc3\xbc\xc3\x9f dich, stop here";
    CHECK_INT(post(&s, "/v1/chat/completions",
                   "{\"model\":\"fake\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                   "\"stop\":[\"here\"],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"), 200);
    CHECK(strstr(reply, "Content-Type: text/event-stream"));
    CHECK(sse("content", text, sizeof text, &done) > 10);
    CHECK(done);
    CHECK_STR(text, "gr\xc3\xbc\xc3\x9f dich, stop ");
    CHECK(strstr(reply, "\"usage\":{\"prompt_tokens\""));
    CHECK(strstr(reply, "\"finish_reason\":\"stop\""));
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":\"x\",\"stream\":true,\"max_tokens\":4,\"echo\":true}"), 200);
    CHECK(sse("text", text, sizeof text, &done) > 3);
    CHECK_STR(text, "xgr\xc3\xbc");
    site_close(&s);
}

static int requests_running(const site *s)
{
    sg_engine_stats st;
    sg_engine_stats_get(s->engine, &st);
    return (int)(st.nrunning + st.nwaiting);
}

static bool becomes(const site *s, int want)
{
    for (int ms = PATIENCE; ms > 0 && requests_running(s) != want; ms--)
        usleep(1000);
    return requests_running(s) == want;
}

TEST(a_client_that_leaves_is_dropped)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->row_us = 2000; /* a prompt of 400 tokens takes 0.8 s in silence, in steps of a quarter */
    static char body[1024], bytes[4096];
    for (int kind = 0; kind < 4; kind++) { /* in prefill by FIN and RST, in decode, in a stream */
        memset(body, 0, sizeof body);
        snprintf(body, sizeof body, "{\"prompt\":\"%.*s\",\"max_tokens\":100,\"ignore_eos\":true%s}", kind < 2 ? 400 : 4,
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                 kind == 3 ? ",\"stream\":true" : "");
        int fd = dial(&s);
        CHECK(fd >= 0);
        say(fd, bytes, request(bytes, sizeof bytes, "POST", "/v1/completions", "", body));
        CHECK(becomes(&s, 1));
        usleep(20000);
        if (kind == 1) {
            struct linger l = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
        }
        close(fd);
        CHECK(becomes(&s, 0));
    }
    sg_engine_stats st;
    sg_engine_stats_get(s.engine, &st);
    CHECK_INT(st.finished[SG_FINISH_CANCELLED], 4);
    CHECK(st.prompt_tokens < 700);
    site_close(&s);
}

TEST(bad_requests_are_named)
{
    static const struct {
        const char *path, *body;
        int status;
        const char *part;
    } cases[] = {
        {"/v1/chat/completions", "", 400, "empty"},
        {"/v1/chat/completions", "{\"model\":", 400, "not JSON"},
        {"/v1/chat/completions", "{\"model\":\"fake\",\"model\":\"fake\"}", 400, "duplicate"},
        {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 400,
         "\"param\":\"model\",\"code\":\"missing_required_parameter\""},
        {"/v1/chat/completions", "{\"model\":\"none\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 404,
         "\"code\":\"model_not_found\""},
        {"/v1/chat/completions", "{\"model\":\"fake\",\"messages\":[]}", 400, "\"param\":\"messages\",\"code\":\"empty_array\""},
        {"/v1/chat/completions",
         "{\"model\":\"fake\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"smell\"}]}]}", 400,
             "messages[0].content[0].type"},
        {"/v1/completions", "{\"prompt\":\"x\",\"temperature\":-1}", 400, "\"param\":\"temperature\",\"code\":\"decimal_below_min_value\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"n\":1.5}", 400, "\"param\":\"n\",\"code\":\"invalid_type\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"frobnicate\":1}", 400, "\"param\":\"frobnicate\",\"code\":\"unknown_parameter\""},
        {"/v1/completions", "{\"prompt\":[258]}", 400, "\"param\":\"prompt\""},
        {"/v1/completions", "{\"prompt\":[4294967297]}", 400, "\"param\":\"prompt\""},
        {"/v1/completions", "{\"prompt\":[1,\"a\"]}", 400, "\"param\":\"prompt\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}", 400,
         "\"param\":\"stop\",\"code\":\"array_above_max_length\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"logit_bias\":{\"9999\":1}}", 400, "\"param\":\"logit_bias\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"logprobs\":6}", 400, "\"param\":\"logprobs\",\"code\":\"integer_above_max_value\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"suffix\":\"y\"}", 400, "\"param\":\"suffix\""},
        {"/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":null,\"stop\":null}", 200, "choices"},
    };
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->script = "ok";
    uint64_t steps = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_engine_stats st;
        sg_engine_stats_get(s.engine, &st);
        CHECK_INT(st.steps, steps); /* what is refused has cost no step */
        int status = post(&s, cases[i].path, cases[i].body);
        if (status != cases[i].status || !strstr(reply, cases[i].part)) {
            tap_fail(__FILE__, __LINE__, "%s: %d %s", cases[i].body, status, body_of_reply());
            break;
        }
    }
    static char body[4096], letters[1024];
    memset(letters, 'a', 600);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\"}", letters);
    CHECK_INT(post(&s, "/v1/completions", body), 400);
    CHECK(strstr(reply, "context_length_exceeded"));
    CHECK(strstr(reply, "512 tokens") && strstr(reply, "601 tokens"));
    site_close(&s);
}

TEST(malformed_http_is_refused)
{
    static const struct {
        const char *bytes;
        int status;
        bool closes;
    } cases[] = {
        {"GET /health HTTP/1.1\r\n\r\n", 400, true},
        {"GET /health HTTP/1.0\r\n\r\n", 200, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n", 400, true},
        {"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, false},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403, false},
        {"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", 505, true},
        {"GET /health\r\n\r\n", 400, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: a\rX-B: b\r\n\r\n", 400, true},
        {"GET /health HTTP/1.1\nHost: localhost\n\n", 400, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length : 1\r\n\r\nx", 400, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n", 400, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx", 400, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551617\r\n\r\nx", 413, true},
        {"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true},
        {"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
         "chunked\r\n\r\nzz\r\n", 400, true},
        {"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: "
         "chunked\r\n\r\n5\r\nhelloX\r\n", 400, true},
        {"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, true},
        {"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 501, false},
        {"DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD", 400, true},
        {"\x16\x03\x01\x02", 400, true},
    };
    site s;
    CHECK(site_open(&s, NULL, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool closed = false;
        int fd = dial(&s);
        say(fd, cases[i].bytes, strlen(cases[i].bytes));
        hear(fd, reply, sizeof reply, cases[i].closes ? PATIENCE : 100, &closed);
        close(fd);
        int status = strncmp(reply, "HTTP/1.1 ", 9) == 0 ? (int)strtol(reply + 9, NULL, 10) : 0;
        if (status != cases[i].status || (cases[i].closes && !closed))
            tap_fail(__FILE__, __LINE__, "case %zu: status %d, closed %d", i, status, closed);
    }
    CHECK_INT(get(&s, "/health", ""), 200);
    site_close(&s);
}

TEST(connections_are_kept_and_pipelined)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->script = "ok";
    int fd = dial(&s);
    const char *one = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char bytes[1024];
    size_t n = (size_t)snprintf(bytes, sizeof bytes,
                                "%sPOST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                "application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "4;x=y\r\n{\"pr\r\nb\r\nompt\":\"hi\"}\r\n0\r\nX-T: 1\r\n\r\n%s", one, one);
    for (size_t i = 0; i < n; i++) /* byte by byte */
        say(fd, bytes + i, 1);
    size_t have = 0;
    int answers = 0;
    for (size_t k = 1; answers < 3 && k > 0; have += k) {
        k = hear(fd, reply + have, sizeof reply - have, 50, NULL);
        answers = 0;
        for (const char *p = reply; (p = strstr(p, "HTTP/1.1 200 OK")); p++)
            answers++;
    }
    close(fd);
    CHECK_INT(answers, 3);
    CHECK(strstr(reply, "\"text\":\"ok\""));
    site_close(&s);
}

TEST(keys_and_origins)
{
    const char *path = tap_scratch("keys");
    FILE *f = fopen(path, "w");
    fprintf(f, "# keys\nfirst-key\r\nsecond-key\n");
    fclose(f);
    static const char *const origins[] = {"https://good.example"};
    sg_server_options o = {.api_key_file = path, .origins = origins, .norigin = 1};
    site s;
    CHECK(site_open(&s, &o, NULL));
    CHECK_INT(get(&s, "/v1/models", ""), 401);
    CHECK_INT(get(&s, "/v1/models", "Authorization: Bearer second-key\r\n"), 200);
    CHECK_INT(get(&s, "/v1/models", "x-api-key: first-key\r\n"), 200);
    CHECK_INT(get(&s, "/v1/models", "Authorization: Bearer second-ke\r\n"), 401);
    CHECK(strstr(reply, "invalid_api_key"));
    CHECK_INT(get(&s, "/v1/models", "Authorization: Bearer second-keys\r\n"), 401);
    CHECK_INT(get(&s, "/v1/models", "Authorization: Bearer\r\n"), 401);
    CHECK_INT(get(&s, "/v1/models", "Authorization: Bearer x\r\nAuthorization: Bearer first-key\r\n"), 401);
    CHECK_INT(get(&s, "/v1/nothing", ""), 401);
    CHECK_INT(get(&s, "/health", ""), 200);
    CHECK_INT(get(&s, "/health", "Origin: https://good.example\r\n"), 200);
    CHECK(strstr(reply, "Access-Control-Allow-Origin: https://good.example"));
    CHECK_INT(get(&s, "/health", "Origin: https://evil.example\r\n"), 403);
    CHECK(!strstr(reply, "Access-Control"));
    site_close(&s);
}

TEST(a_full_queue_says_when_to_come_back)
{
    site s;
    sg_engine_options eo = {.max_running = 1, .max_waiting = 1};
    CHECK(site_open(&s, NULL, &eo));
    s.fake->step_us = 20000;
    char bytes[1024];
    size_t n = request(bytes, sizeof bytes, "POST", "/v1/completions", "", "{\"prompt\":\"x\",\"ignore_eos\":true,\"max_tokens\":200}");
    int a = dial(&s), b = dial(&s);
    say(a, bytes, n);
    CHECK(becomes(&s, 1));
    usleep(50000);
    say(b, bytes, n);
    CHECK(becomes(&s, 2));
    CHECK_INT(raw(&s, bytes, n, NULL), 429);
    CHECK(strstr(reply, "Retry-After: "));
    close(a);
    close(b);
    CHECK(becomes(&s, 0));
    site_close(&s);
}

TEST(a_slow_reader_is_bounded)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->step_us = 200; /* or the first of the choices could end before the last is submitted */
    char bytes[1024];
    int fd = dial(&s), small = 128 << 10; /* less than a packet of loopback would crawl by window probes */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    say(fd, bytes, request(bytes, sizeof bytes, "POST", "/v1/completions", "",
                           "{\"prompt\":\"x\",\"ignore_eos\":true,\"stream\":true,\"n\":60,\"max_tokens\":500,\"logprobs\":5}"));
    CHECK(becomes(&s, 60));
    usleep(400000);
    CHECK(requests_running(&s) > 0); /* paused, not finished: about 10 MB would have been sent */
    CHECK_INT(get(&s, "/health", ""), 200);
    size_t total = 0;
    for (size_t k; (k = hear(fd, reply, sizeof reply, PATIENCE, NULL)) > 0;)
        total += k;
    CHECK(total > 3000000);
    CHECK(becomes(&s, 0));
    close(fd);
    site_close(&s);
}

TEST(draining_finishes_what_runs)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->step_us = 10000;
    char bytes[1024];
    int fd = dial(&s);
    say(fd, bytes, request(bytes, sizeof bytes, "POST", "/v1/completions", "", "{\"prompt\":\"x\",\"ignore_eos\":true,\"max_tokens\":50}"));
    CHECK(becomes(&s, 1));
    sg_server_stop(s.server, false);
    usleep(50000);
    static char other[65536];
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":\"y\"}"), 503);
    CHECK_INT(get(&s, "/ready", ""), 503);
    hear(fd, other, sizeof other, PATIENCE, NULL);
    close(fd);
    CHECK(strstr(other, "200 OK") && strstr(other, "\"finish_reason\":\"length\""));
    pthread_join(s.thread, NULL);
    CHECK_INT(s.status, SG_OK);
    sg_server_close(s.server);
    sg_engine_close(s.engine);
}

TEST(a_failed_step_is_an_error_and_no_half_answer)
{
    site s;
    CHECK(site_open(&s, NULL, NULL));
    s.fake->fail = true;
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":\"x\"}"), 500);
    s.fake->fail = true;
    CHECK_INT(post(&s, "/v1/completions", "{\"prompt\":\"x\",\"stream\":true}"), 200);
    CHECK(strstr(reply, "data: {\"error\":{"));
    CHECK(!strstr(reply, "[DONE]"));
    site_close(&s);
}

static int serve_forever(const char *port)
{
    site s;
    sg_lm lm;
    sg_engine_options eo = {.name = "fake"};
    if (fake_lm_open(&lm, &s.fake, 2048, 4096, &err) != SG_OK || sg_engine_open_lm(&s.engine, &lm, &eo, &err) != SG_OK)
        return 1;
    sg_server_options o = {.engines = &s.engine, .nengine = 1, .port = (int)strtol(port, NULL, 10), .signals = true,
                           .api_key_file = getenv("KEYS")};
    if (sg_server_open(&s.server, &o, &err) != SG_OK)
        return 1;
    fprintf(stderr, "segue: listening on %s\n", sg_server_url(s.server));
    sg_status st = sg_server_run(s.server, &err);
    sg_server_close(s.server);
    sg_engine_close(s.engine);
    return st != SG_OK;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--serve") == 0)
        return serve_forever(argv[2]);
    return tap_main(argc, argv);
}
