/* serve/server.c - opening, the event loop, signals, and the threads around it.
 *
 *     listener -> connections (conn.c) -> routes (route.c) -> exchange -> job queue -> worker (prepare.c)
 *                      ^                                                                   |
 *                      +---- pump (exchange.c) <---- ready list <---- step loops, workers -+
 *
 * Whoever puts something on the ready list of an empty server writes to an eventfd that the loop watches.  Draining
 * (SIGTERM) refuses new work and ends when the last exchange is over; a second signal ends at once.
 */
#include "serve/internal.h"

#include "base/clock.h"
#include "base/heap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BODY_MAX = 16 << 20, CONNECTIONS = 4096, WORKERS = 2 };

void sg_server_wake(sg_server *s)
{
    uint64_t one = 1;
    while (write(s->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

sg_served *sg_server_find(sg_server *s, const char *name)
{
    if (!name)
        return s->nmodel ? &s->model[0] : NULL;
    for (size_t i = 0; i < s->nmodel; i++)
        if (strcmp(s->model[i].name, name) == 0)
            return &s->model[i];
    return NULL;
}

/* ---- exchanges ---- */

void sg_server_submit(sg_server *s, sg_exchange *e)
{
    e->next = s->exchanges;
    if (e->next)
        e->next->prev = e;
    s->exchanges = e;
    s->nexchange++;
    pthread_mutex_lock(&s->lock);
    *s->jobs_end = e;
    s->jobs_end = &e->next_job;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
}

static void check_drained(sg_server *s)
{
    if (s->draining && !s->nexchange)
        event_base_loopexit(s->base, &(struct timeval){.tv_usec = 200000}); /* last answers are still being sent */
}

void sg_server_drop_exchange(sg_server *s, sg_exchange *e)
{
    pthread_mutex_lock(&s->lock);
    for (sg_exchange **p = &s->ready; e->ready && *p; p = &(*p)->next_ready)
        if (*p == e) {
            *p = e->next_ready;
            break;
        }
    pthread_mutex_unlock(&s->lock);
    if (e->prev)
        e->prev->next = e->next;
    else
        s->exchanges = e->next;
    if (e->next)
        e->next->prev = e->prev;
    s->nexchange--;
    sg_exchange_free(e);
    check_drained(s);
}

static void *worker_main(void *arg)
{
    sg_server *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->jobs && !s->quit)
            pthread_cond_wait(&s->more, &s->lock);
        sg_exchange *e = s->jobs;
        if (e) {
            s->jobs = e->next_job;
            if (!s->jobs)
                s->jobs_end = &s->jobs;
        }
        pthread_mutex_unlock(&s->lock);
        if (!e)
            return NULL;
        if (atomic_load(&e->abandoned)) {
            e->failed = true;
            sg_api_fail(&e->error, 503, "cancelled", NULL, "The client has left.");
        } else
            sg_exchange_prepare(e);
        sg_exchange_job_over(e);
    }
}

/* ---- models ---- */

static void *loader_main(void *arg)
{
    sg_server *s = arg;
    for (size_t i = 0; i < s->nmodel; i++) {
        sg_served *m = &s->model[i];
        sg_engine *engine = NULL;
        if (m->borrowed)
            continue;
        pthread_mutex_lock(&s->lock);
        bool quit = s->quit;
        pthread_mutex_unlock(&s->lock);
        if (quit)
            return NULL;
        sg_error err;
        if (sg_engine_open(&engine, &m->options, &err) != SG_OK) {
            pthread_mutex_lock(&s->lock);
            s->error = err;
            s->load_failed = true;
            pthread_mutex_unlock(&s->lock);
            sg_server_wake(s);
            return NULL;
        }
        if (s->on_loaded)
            s->on_loaded(s->hangup_arg, engine);
        atomic_store(&m->engine, engine);
    }
    return NULL;
}

/* ---- events ---- */

static void drain(sg_server *s)
{
    if (s->draining++) {
        event_base_loopbreak(s->base);
        return;
    }
    for (sg_conn *c = s->conns, *next; c; c = next) { /* who is between requests goes now */
        next = c->next;
        if (!c->answering && !sg_http_begun(&c->http))
            sg_conn_free(c);
    }
    check_drained(s);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    sg_server *s = arg;
    uint64_t n;
    if (read(fd, &n, sizeof n) < 0 && errno != EAGAIN && errno != EINTR)
        return;
    pthread_mutex_lock(&s->lock);
    bool failed = s->load_failed;
    int stop = s->stop;
    s->stop = 0;
    pthread_mutex_unlock(&s->lock);
    if (failed) {
        s->failed = true;
        event_base_loopbreak(s->base);
        return;
    }
    for (; stop > 0; stop--)
        drain(s);
    for (;;) {
        pthread_mutex_lock(&s->lock);
        sg_exchange *e = s->ready;
        if (e) {
            s->ready = e->next_ready;
            e->ready = false;
        }
        pthread_mutex_unlock(&s->lock);
        if (!e)
            return;
        sg_exchange_pump(e);
    }
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
    (void)l;
    (void)len;
    sg_server *s = arg;
    if (s->nconn >= s->max_connections) {
        evutil_closesocket(fd);
        return;
    }
    sg_conn_new(s, fd, peer);
}

static void on_relisten(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    evconnlistener_enable(((sg_server *)arg)->listener);
}

/* No file descriptor was left: rest for a moment instead of spinning. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
    sg_server *s = arg;
    evconnlistener_disable(l);
    event_base_once(s->base, -1, EV_TIMEOUT, on_relisten, s, &(struct timeval){.tv_usec = 100000});
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    drain(arg);
}

static void on_hup(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    sg_server *s = arg;
    sg_error err;
    if (s->hangup)
        s->hangup(s->hangup_arg, s);
    else
        sg_access_reread(&s->access, &err); /* a bad file leaves everything as it was */
}

sg_status sg_server_reload(sg_server *s, const sg_server_options *o, sg_error *err)
{
    if (s->access.key_file && !o->api_key_file)
        return sg_fail(err, SG_E_ARGUMENT, "api-key-file: keys cannot be given up while the server runs");
    return sg_access_read(&s->access, o->api_key_file, o->access_log, o->origins, o->norigin, err);
}

/* ---- opening ---- */

static sg_status listen_on(sg_server *s, const char *host, int port, sg_error *err)
{
    char service[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    snprintf(service, sizeof service, "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc)
        return sg_fail(err, SG_E_ARGUMENT, "cannot listen on %s: %s", host, gai_strerror(rc));
    s->listener = evconnlistener_new_bind(s->base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 1024,
                                          list->ai_addr, (int)list->ai_addrlen);
    int sys = errno;
    const struct sockaddr *a = list->ai_addr;
    s->loopback = a->sa_family == AF_INET ? (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127
                                          : IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
    freeaddrinfo(list);
    if (!s->listener)
        return sg_fail_sys(err, sys, "cannot listen on %s port %d", host, port);
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&bound, &len);
    int have = bound.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)(void *)&bound)->sin_port)
        : ntohs(((struct sockaddr_in6 *)(void *)&bound)->sin6_port);
    char url[300];
    snprintf(url, sizeof url, strchr(host, ':') ? "http://[%.255s]:%d" : "http://%.255s:%d", host, have);
    s->url = sg_strdup(url);
    return s->url ? SG_OK : sg_fail_nomem(err, "the server");
}

static sg_status copy(char **to, const char *from, sg_error *err)
{
    if (!from)
        return SG_OK;
    *to = sg_strdup(from);
    return *to ? SG_OK : sg_fail_nomem(err, "the server");
}

/* The name under which a model will be asked for is known before it is loaded. */
static sg_status add_model(sg_server *s, const sg_engine_options *o, sg_engine *engine, sg_error *err)
{
    sg_served *m = &s->model[s->nmodel++];
    if (engine) {
        sg_engine_info info;
        sg_engine_info_get(engine, &info);
        m->borrowed = true;
        atomic_store(&m->engine, engine);
        return copy(&m->name, info.name, err);
    }
    m->options = *o;
    m->options.model = m->options.tokenizer = m->options.kv_type = m->options.policy = m->options.spec = m->options.draft = NULL;
    SG_TRY(copy((char **)&m->options.model, o->model, err));
    SG_TRY(copy((char **)&m->options.tokenizer, o->tokenizer, err));
    SG_TRY(copy((char **)&m->options.kv_type, o->kv_type, err));
    SG_TRY(copy((char **)&m->options.policy, o->policy, err));
    SG_TRY(copy((char **)&m->options.spec, o->spec, err));
    SG_TRY(copy((char **)&m->options.draft, o->draft, err));
    m->name = sg_engine_name_of(o);
    m->options.name = m->name;
    return m->name ? SG_OK : sg_fail_nomem(err, "the server");
}

static sg_status copy_options(sg_server *s, const sg_server_options *o, sg_error *err)
{
    s->model = sg_calloc(o->nmodel + o->nengine + 1, sizeof *s->model);
    if (!s->model)
        return sg_fail_nomem(err, "the server");
    SG_TRY(copy(&s->host, o->host ? o->host : "127.0.0.1", err));
    for (size_t i = 0; i < o->nengine; i++)
        SG_TRY(add_model(s, NULL, o->engines[i], err));
    for (size_t i = 0; i < o->nmodel; i++)
        SG_TRY(add_model(s, &o->models[i], NULL, err));
    for (size_t i = 0; i < s->nmodel; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->model[i].name, s->model[k].name) == 0)
                return sg_fail(err, SG_E_ARGUMENT, "two models have the name '%.64s'", s->model[i].name);
    s->body_max = o->body_max_bytes ? o->body_max_bytes : BODY_MAX;
    s->max_connections = o->max_connections ? o->max_connections : CONNECTIONS;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < (rlim_t)s->max_connections + 64)
        s->max_connections = files.rlim_cur > 128 ? (int)files.rlim_cur - 64 : 64;
    s->signals = o->signals;
    s->seeded = o->seed != NULL;
    s->seed = o->seed ? *o->seed : 0;
    if (getrandom(&s->secret, sizeof s->secret, 0) != sizeof s->secret)
        return sg_fail_sys(err, errno, "no random numbers");
    s->on_loaded = o->loaded;
    s->hangup = o->hangup;
    s->hangup_arg = o->arg;
    return sg_access_read(&s->access, o->api_key_file, o->access_log, o->origins, o->norigin, err);
}

static sg_status set_up(sg_server *s, const sg_server_options *o, sg_error *err)
{
    SG_TRY(copy_options(s, o, err));
    evthread_use_pthreads();
    s->base = event_base_new();
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!s->base || s->wake_fd < 0)
        return sg_fail_sys(err, errno, "cannot make an event loop");
    s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    if (!s->wake || event_add(s->wake, NULL) != 0)
        return sg_fail_nomem(err, "the server");
    return listen_on(s, s->host, o->port, err);
}

sg_status sg_server_open(sg_server **server, const sg_server_options *o, sg_error *err)
{
    sg_server *s = sg_calloc(1, sizeof *s);
    if (!s)
        return sg_fail_nomem(err, "the server");
    s->wake_fd = -1;
    sg_access_init(&s->access);
    s->jobs_end = &s->jobs;
    s->begin_us = sg_clock_us();
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    sg_status st = set_up(s, o, err);
    if (st != SG_OK) {
        sg_server_close(s);
        return st;
    }
    *server = s;
    return SG_OK;
}

const char *sg_server_url(const sg_server *s) { return s->url; }

/* ---- running ---- */

static sg_status start_threads(sg_server *s, sg_error *err)
{
    int sys = 0;
    for (; s->nworker < WORKERS && !sys; s->nworker += !sys)
        sys = pthread_create(&s->worker[s->nworker], NULL, worker_main, s);
    if (!sys) {
        sys = pthread_create(&s->loader, NULL, loader_main, s);
        s->loading = !sys;
    }
    return sys ? sg_fail_sys(err, sys, "cannot start a thread of the server") : SG_OK;
}

static void watch_signals(sg_server *s)
{
    if (!s->signals)
        return;
    s->sigterm = evsignal_new(s->base, SIGTERM, on_term, s);
    s->sigint = evsignal_new(s->base, SIGINT, on_term, s);
    s->sighup = evsignal_new(s->base, SIGHUP, on_hup, s);
    struct event *all[] = {s->sigterm, s->sigint, s->sighup};
    for (int i = 0; i < 3; i++)
        if (all[i])
            event_add(all[i], NULL);
}

/* Nothing of the loop runs any more: let workers, loader, engines and exchanges come to their ends. */
static void wind_down(sg_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->quit = true;
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
    while (s->conns)
        sg_conn_free(s->conns);
    for (int i = 0; i < s->nworker; i++)
        pthread_join(s->worker[i], NULL);
    s->nworker = 0;
    if (s->loading)
        pthread_join(s->loader, NULL);
    s->loading = false;
    for (size_t i = 0; i < s->nmodel; i++)
        if (!s->model[i].borrowed && atomic_load(&s->model[i].engine)) {
            sg_engine *e = atomic_exchange(&s->model[i].engine, NULL);
            sg_engine_close(e); /* ends its requests */
        }
    while (s->exchanges) { /* requests of borrowed engines end within a step */
        for (sg_exchange *e = s->exchanges, *next; e; e = next) {
            next = e->next;
            sg_exchange_pump(e);
        }
        if (s->exchanges)
            usleep(1000);
    }
    evconnlistener_disable(s->listener);
    event_base_loop(s->base, EVLOOP_NONBLOCK); /* libevent frees what was closed in callbacks of the loop */
}

sg_status sg_server_run(sg_server *s, sg_error *err)
{
    signal(SIGPIPE, SIG_IGN);
    watch_signals(s);
    sg_status st = start_threads(s, err);
    if (st == SG_OK)
        event_base_dispatch(s->base);
    wind_down(s);
    if (st == SG_OK && s->failed) {
        if (err)
            *err = s->error;
        st = s->error.status;
    }
    return st;
}

void sg_server_stop(sg_server *s, bool now)
{
    pthread_mutex_lock(&s->lock);
    s->stop += now ? 2 : 1;
    pthread_mutex_unlock(&s->lock);
    sg_server_wake(s);
}

static void free_event(struct event *e)
{
    if (e)
        event_free(e);
}

void sg_server_close(sg_server *s)
{
    if (!s)
        return;
    free_event(s->wake);
    free_event(s->sigterm);
    free_event(s->sigint);
    free_event(s->sighup);
    if (s->listener)
        evconnlistener_free(s->listener);
    if (s->base)
        event_base_free(s->base);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    sg_access_close(&s->access);
    for (size_t i = 0; i < s->nmodel; i++) {
        sg_served *m = &s->model[i];
        sg_free(m->name);
        sg_free((char *)m->options.model);
        sg_free((char *)m->options.tokenizer);
        sg_free((char *)m->options.kv_type);
        sg_free((char *)m->options.policy);
        sg_free((char *)m->options.spec);
        sg_free((char *)m->options.draft);
    }
    sg_free(s->model);
    sg_free(s->host);
    sg_free(s->url);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    sg_free(s);
}
