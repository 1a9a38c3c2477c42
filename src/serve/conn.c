/* serve/conn.c - one connection: bytes in, requests, answers, bytes out.
 *
 * Reading never stops while an answer is prepared, so that a client that leaves is noticed at once, also in a
 * silent prefill (that is why this is a bufferevent with a parser of our own and not evhttp).  What comes of
 * further requests meanwhile stays in the input buffer, up to a limit.  A half-closed connection counts as left.
 *
 *     READING --head--> check --body--> run --> ANSWERING --end--> READING
 *        | time, bad request              \-- close --> LINGERING (sent; reads and drops) --> free
 *        \--> answer 4xx, close
 *
 * Times: a head within 10 s, a body above 1 KiB/s after 10 s, 75 s between requests, 30 s for the client to
 * take bytes.
 */
#include "serve/internal.h"

#include "base/clock.h"
#include "base/heap.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {{200, "OK"}, {204, "No Content"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
                   {405, "Method Not Allowed"}, {408, "Request Timeout"}, {413, "Content Too Large"}, {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"}, {421, "Misdirected Request"}, {429, "Too Many Requests"},
                       {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"}, {501, "Not Implemented"}, {503, "Service Unavailable"},
                   {505, "HTTP Version Not Supported"}, {507, "Insufficient Storage"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}

static void arm(sg_conn *c, double seconds)
{
    struct timeval t = {.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    event_add(c->timer, &t);
}

static void feed(sg_conn *c);

/* ---- answers ---- */

static void log_access(sg_conn *c)
{
    sg_server *s = c->server;
    s->answers[c->status / 100 <= 5 ? c->status / 100 : 5]++;
    if (s->access.log < 0)
        return;
    char line[1024], path[600];
    size_t n = 0; /* methods and targets are printable ASCII; quotes and backslashes are escaped */
    for (const char *p = c->http.path; *p && n < sizeof path - 2; p++) {
        if (*p == '"' || *p == '\\')
            path[n++] = '\\';
        path[n++] = *p;
    }
    path[n] = 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int len = snprintf(line, sizeof line, "{\"time\":%lld.%03ld,\"peer\":\"%s\",\"method\":\"%s\","
                       "\"path\":\"%s\",\"status\":%d,\"bytes\":%llu,\"ms\":%.1f}\n",
                       (long long)now.tv_sec, now.tv_nsec / 1000000, c->peer, c->http.method, path, c->status,
                       (unsigned long long)c->sent_bytes, (double)(sg_clock_us() - c->begin_us) / 1e3);
    if (len > 0 && write(s->access.log, line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1) < 0)
        return; /* a log that cannot be written stops nothing */
}

static void write_out(sg_conn *c, const char *bytes, size_t n)
{
    c->sent_bytes += n;
    bufferevent_write(c->bev, bytes, n);
}

static void send_head(sg_conn *c, int status, const char *type, const char *length, const char *extra)
{
    sg_buf b = SG_BUF_INIT;
    sg_buf_addf(&b, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
    if (type)
        sg_buf_addf(&b, "Content-Type: %s\r\n", type);
    sg_buf_adds(&b, length);
    if (c->origin[0])
        sg_buf_addf(&b, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n", c->origin);
    sg_buf_adds(&b, extra);
    sg_buf_adds(&b, "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n");
    sg_buf_adds(&b, c->closing ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n");
    c->status = status;
    if (sg_buf_ok(&b))
        write_out(c, sg_buf_str(&b), b.len);
    else
        c->closing = true;
    sg_buf_fini(&b);
}

/* The answer is complete in the output buffer. */
static void finish(sg_conn *c)
{
    log_access(c);
    c->answering = false;
    c->exchange = NULL;
    c->origin[0] = 0;
    if (c->closing) {
        if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
            bufferevent_trigger(c->bev, EV_WRITE, BEV_OPT_DEFER_CALLBACKS);
        return;
    }
    sg_http_next(&c->http);
    arm(c, SG_IDLE_SECONDS);
    if (evbuffer_get_length(bufferevent_get_input(c->bev)))
        bufferevent_trigger(c->bev, EV_READ, BEV_OPT_DEFER_CALLBACKS);
}

void sg_conn_answer(sg_conn *c, int status, const char *type, const char *extra, const char *body, size_t n)
{
    char length[48];
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", n);
    if (!c->http.keep_alive || c->server->draining || c->http.state != SG_HTTP_DONE)
        c->closing = true; /* also when the body was not read: its bytes must not be taken for a request */
    send_head(c, status, type, status == 204 ? "" : length, extra);
    if (n && strcmp(c->http.method, "HEAD") != 0)
        write_out(c, body, n);
    finish(c);
}

void sg_conn_error(sg_conn *c, const sg_api_error *e)
{
    sg_buf b = SG_BUF_INIT;
    sg_api_error_write(&b, e);
    const char *extra = e->status == 429 || e->status == 503 ? "Retry-After: 1\r\n"
                        : e->status == 401                       ? "WWW-Authenticate: Bearer\r\n"
                                                                 : "";
    sg_conn_answer(c, e->status, "application/json", extra, sg_buf_str(&b), b.len);
    sg_buf_fini(&b);
}

void sg_conn_stream_begin(sg_conn *c, const char *type)
{
    c->chunked = c->http.minor == 1;
    if (!c->chunked || !c->http.keep_alive)
        c->closing = true;
    send_head(c, 200, type, c->chunked ? "Transfer-Encoding: chunked\r\n" : "", "");
}

void sg_conn_stream(sg_conn *c, const char *bytes, size_t n)
{
    if (!n)
        return;
    char size[24];
    if (c->chunked)
        write_out(c, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    write_out(c, bytes, n);
    if (c->chunked)
        write_out(c, "\r\n", 2);
}

void sg_conn_stream_end(sg_conn *c, bool whole)
{
    if (!whole || c->server->draining)
        c->closing = true;
    if (c->chunked && whole)
        write_out(c, "0\r\n\r\n", 5);
    finish(c);
}

bool sg_conn_full(const sg_conn *c) { return evbuffer_get_length(bufferevent_get_output(c->bev)) > SG_OUTPUT_HIGH; }

/* ---- requests ---- */

static void refuse(sg_conn *c, int status, const char *message)
{
    sg_api_error e;
    sg_api_fail(&e, status, status == 408 ? "timeout" : NULL, NULL, "%s", message);
    c->answering = true;
    c->closing = true;
    sg_conn_error(c, &e);
}

static void on_state(sg_conn *c)
{
    switch (c->http.state) {
    case SG_HTTP_HEAD:
        if (c->http.expect_continue && sg_route_check(c)) {
            bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        } else if (!c->http.expect_continue)
            sg_route_check(c);
        c->body_begin_us = sg_clock_us();
        if (!c->answering)
            arm(c, SG_BODY_GRACE_SECONDS);
        break;
    case SG_HTTP_DONE:
        event_del(c->timer);
        c->answering = true;
        sg_route_run(c);
        break;
    case SG_HTTP_BAD:
        refuse(c, c->http.status, c->http.reason);
        break;
    default:
        break;
    }
}

static void feed(sg_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    if (c->lingering || c->closing) { /* nothing more is read as a request */
        evbuffer_drain(in, evbuffer_get_length(in));
        return;
    }
    while (!c->answering && !c->closing) {
        size_t n = evbuffer_get_contiguous_space(in);
        const char *bytes = n ? (const char *)evbuffer_pullup(in, (ev_ssize_t)n) : NULL;
        bool begun = sg_http_begun(&c->http);
        sg_http_state before = c->http.state;
        size_t used = sg_http_feed(&c->http, bytes, n);
        evbuffer_drain(in, used);
        if (!begun && sg_http_begun(&c->http)) {
            c->begin_us = sg_clock_us();
            c->sent_bytes = 0;
            arm(c, SG_HEAD_SECONDS);
        }
        if (c->http.state != before)
            on_state(c);
        else if (used == 0)
            break;
    }
    if (c->answering && !c->closing && evbuffer_get_length(in) > SG_PIPELINE_MAX)
        sg_conn_free(c); /* floods instead of waiting for its answer */
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    feed(arg);
}

/* The output has fallen to the low mark. */
static void on_write(struct bufferevent *bev, void *arg)
{
    sg_conn *c = arg;
    if (c->exchange) {
        sg_exchange_pump(c->exchange);
        return;
    }
    if (!c->closing || c->lingering || c->answering || evbuffer_get_length(bufferevent_get_output(bev)))
        return;
    if (c->eof) {
        sg_conn_free(c);
        return;
    }
    c->lingering = true; /* let the client read the answer before a reset for unread bytes could take it away */
    shutdown(bufferevent_getfd(bev), SHUT_WR);
    arm(c, SG_LINGER_SECONDS);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    sg_conn *c = arg;
    if (what & BEV_EVENT_EOF && !c->exchange && !c->lingering) { /* the client said all it had to say, and may still read */
        if (!c->answering && !c->closing && sg_http_begun(&c->http))
            refuse(c, 400, "The request ended before it was whole.");
        c->eof = c->closing = true;
        if (evbuffer_get_length(bufferevent_get_output(c->bev)))
            return;
    }
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
        sg_conn_free(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    sg_conn *c = arg;
    if (c->answering && !c->lingering)
        return;
    if (c->lingering || c->closing || (c->http.state == SG_HTTP_IN_HEAD && !sg_http_begun(&c->http))) {
        sg_conn_free(c);
        return;
    }
    if (c->http.state == SG_HTTP_IN_HEAD) {
        refuse(c, 408, "The head of the request did not come in time.");
        return;
    }
    double elapsed = (double)(sg_clock_us() - c->body_begin_us) * 1e-6 - SG_BODY_GRACE_SECONDS;
    if ((double)c->http.body.len < elapsed * SG_BODY_FLOOR)
        refuse(c, 408, "The body of the request came too slowly.");
    else
        arm(c, 1);
}

/* ---- life ---- */

void sg_conn_new(sg_server *s, evutil_socket_t fd, const struct sockaddr *peer)
{
    sg_conn *c = sg_calloc(1, sizeof *c);
    if (!c) {
        evutil_closesocket(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->server = s;
    sg_http_init(&c->http, s->body_max);
    if (peer->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, c->peer, sizeof c->peer);
    else if (peer->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, c->peer, sizeof c->peer);
    c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    c->timer = evtimer_new(s->base, on_timer, c);
    if (!c->bev || !c->timer) {
        if (!c->bev)
            evutil_closesocket(fd);
        else
            bufferevent_free(c->bev);
        if (c->timer)
            event_free(c->timer);
        sg_free(c);
        return;
    }
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->nconn++;
    struct timeval stall = {.tv_sec = SG_WRITE_SECONDS};
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_set_timeouts(c->bev, NULL, &stall);
    bufferevent_setwatermark(c->bev, EV_WRITE, SG_OUTPUT_LOW, 0);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    arm(c, SG_HEAD_SECONDS);
}

void sg_conn_free(sg_conn *c)
{
    sg_server *s = c->server;
    if (c->exchange) {
        c->status = c->status ? c->status : 499; /* the client left */
        log_access(c);
        sg_exchange_abandon(c->exchange);
    }
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->nconn--;
    event_free(c->timer);
    bufferevent_free(c->bev);
    sg_http_fini(&c->http);
    sg_free(c);
}
