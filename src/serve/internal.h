/* serve/internal.h - the objects of the server and who touches them.
 *
 *     I/O thread     the event loop: connections, exchanges, everything but what follows
 *     worker threads one job at a time: parse, check, render, tokenise, submit (prepare.c)
 *     step loops     call sg_exchange's notify: put it on the ready list and wake the I/O thread
 *     loader thread  opens the models one after the other
 *
 * An exchange is one generation request with its choices.  It lives until its job is done and every one of its
 * requests has given its end event, whether or not the client is still there; the connection only
 * borrows it.
 */
#ifndef SG_SERVE_INTERNAL_H
#define SG_SERVE_INTERNAL_H

#include "segue.h"
#include "serve/api.h"
#include "serve/http.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    SG_HEAD_SECONDS = 10,       /* a head must be whole */
    SG_BODY_GRACE_SECONDS = 10, /* before the floor on the body's rate counts */
    SG_BODY_FLOOR = 1024,       /* bytes a second */
    SG_IDLE_SECONDS = 75,       /* between requests */
    SG_WRITE_SECONDS = 30,      /* without the client reading */
    SG_LINGER_SECONDS = 2,      /* for the client to read a last answer */
    SG_OUTPUT_HIGH = 256 << 10, /* unsent bytes that pause an answer */
    SG_OUTPUT_LOW = 64 << 10,
    SG_PIPELINE_MAX = 64 << 10, /* bytes of further requests while one is answered */
};

typedef struct sg_conn sg_conn;
typedef struct sg_exchange sg_exchange;

/* ---- keys.c ---- */

typedef struct sg_api_keys {
    size_t n;
    char **key;
} sg_api_keys;

/* SG_E_IO, SG_E_FORMAT (line number), SG_E_NOMEM.  *keys is replaced on success only. */
sg_status sg_api_keys_read(sg_api_keys *keys, const char *path, sg_error *err);
void sg_api_keys_fini(sg_api_keys *keys);
/* Constant time in the candidate and in which key it is. */
bool sg_api_keys_have(const sg_api_keys *keys, const char *candidate);
/* A number that stands for a text within this process and tells nothing of it. */
uint64_t sg_api_number_of(uint64_t secret, const char *text);

/* ---- access.c ---- */

typedef struct sg_access {
    char *key_file, *log_file; /* NULL: no keys are asked for, nothing is logged */
    sg_api_keys keys;
    char **origin; /* [norigin] */
    size_t norigin;
    int log; /* file descriptor, or -1 */
} sg_access;

void sg_access_init(sg_access *a);
void sg_access_close(sg_access *a);
/* Fill anew from names, or from the names it has; on failure *a stays as it was.  The names are copied first: they may be *a's own. */
sg_status sg_access_read(sg_access *a, const char *key_file, const char *log_file, const char *const *origins, size_t norigin,
                         sg_error *err);
sg_status sg_access_reread(sg_access *a, sg_error *err);

/* ---- models ---- */

typedef struct sg_served {
    char *name; /* known from the start */
    sg_engine *_Atomic engine; /* NULL while loading */
    bool borrowed;
    sg_engine_options options; /* strings owned by the server */
} sg_served;

/* ---- exchange ---- */

typedef struct sg_choice_out {
    sg_request *request; /* NULL before submit and after its end */
    int index;           /* in the answer */
    bool begun, ended;
    sg_finish finish;
    sg_buf text;                    /* whole answer, when not streamed or echoed; streamed with tools: what may be a call */
    bool has_content;               /* streamed with tools: some was given out */
    sg_buf tokens, values, tops, offsets; /* log-probability lists as JSON fragments */
    size_t ntoken;
    size_t ntext; /* bytes given out */
    double sum_logprob;
} sg_choice_out;

struct sg_exchange {
    sg_server *server;
    sg_conn *conn; /* NULL: the client is gone */
    sg_exchange *next_ready, *next_job, *prev, *next; /* ready list; job queue; all exchanges */
    bool ready;    /* under server.lock: on the ready list */
    bool job_over; /* under server.lock: the worker is through with it */
    int route;
    char *body; /* the request's, until the job is done */
    size_t nbody;
    json_t *json; /* params points into it */
    sg_api_params params;
    sg_served *model;
    bool failed, head_sent, finished;
    _Atomic bool abandoned; /* the client left: the job need not go on */
    sg_api_error error; /* failed */
    char id[40];
    uint64_t tenant; /* which key it came with */
    int64_t created, begin_us;
    size_t nchoice, nprompt, per_prompt;
    sg_choice_out *choice;
    char **echo; /* [nprompt] texts, when echo */
    int64_t prompt_tokens; /* of all prompts */
    sg_error engine_error; /* of a choice that ended so */
    sg_usage usage;
    sg_timings timings; /* of the first choice */
    sg_buf out;
};

/* prepare.c, worker thread: body to submitted requests, or e->failed. */
void sg_exchange_prepare(sg_exchange *e);
/* Step loop: events have come; worker: the job is over. */
void sg_exchange_notify(void *exchange);
void sg_exchange_job_over(sg_exchange *e);
/* exchange.c, I/O thread: move events to the connection.  The exchange may be gone afterwards. */
void sg_exchange_pump(sg_exchange *e);
void sg_exchange_abandon(sg_exchange *e);
bool sg_exchange_over(const sg_exchange *e); /* nothing will touch it any more */
void sg_exchange_free(sg_exchange *e);

/* ---- connection (conn.c) ---- */

struct sg_conn {
    sg_server *server;
    sg_conn *prev, *next;
    struct bufferevent *bev;
    struct event *timer;
    sg_http http;
    sg_exchange *exchange;
    bool answering; /* a request is being answered: what comes is kept for later */
    bool closing;   /* close once everything is sent */
    bool eof;       /* the client has closed its side */
    bool lingering; /* all sent, waiting for the client to close */
    bool chunked;
    char origin[128];  /* allowed web origin of the request, or "" */
    char peer[64];
    int64_t begin_us, body_begin_us;
    int status;
    uint64_t sent_bytes;
};

void sg_conn_new(sg_server *s, evutil_socket_t fd, const struct sockaddr *peer);
void sg_conn_free(sg_conn *c);
/* A whole answer.  `type` NULL: no body.  `extra` are further header lines, or "". */
void sg_conn_answer(sg_conn *c, int status, const char *type, const char *extra, const char *body, size_t n);
void sg_conn_error(sg_conn *c, const sg_api_error *e);
/* A streamed answer: head, pieces, end. */
void sg_conn_stream_begin(sg_conn *c, const char *type);
void sg_conn_stream(sg_conn *c, const char *bytes, size_t n);
void sg_conn_stream_end(sg_conn *c, bool whole);
bool sg_conn_full(const sg_conn *c);

/* ---- routes (route.c) ---- */

/* The head has come: refuse what can be refused without the body.  False when an answer was given. */
bool sg_route_check(sg_conn *c);
/* The request is whole. */
void sg_route_run(sg_conn *c);
void sg_metrics_write(sg_server *s, sg_buf *b);
sg_served *sg_server_find(sg_server *s, const char *name); /* NULL name: the default */

/* ---- server ---- */

struct sg_server {
    char *host, *url;
    sg_access access;
    void (*on_loaded)(void *arg, const sg_engine *engine);
    void (*hangup)(void *arg, sg_server *server);
    void *hangup_arg;
    bool loopback;
    size_t body_max;
    int max_connections;
    bool signals;
    bool seeded;   /* requests that name no seed take this one */
    uint64_t seed;
    sg_served *model;
    size_t nmodel;

    struct event_base *base;
    struct evconnlistener *listener;
    struct event *wake, *sigterm, *sigint, *sighup, *drain_timer;
    int wake_fd;
    sg_conn *conns;
    int nconn;
    sg_exchange *exchanges;
    int nexchange;
    int draining; /* 1: finish what runs, 2: stop */
    sg_error error; /* why a model could not be loaded */
    bool failed;

    pthread_t loader, worker[2];
    int nworker;
    bool loading;
    uint64_t answers[6]; /* by status / 100 */
    int64_t begin_us;
    uint64_t next_id;
    uint64_t secret; /* of this process: keys the numbers that stand for keys and salts */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more;
    sg_exchange *ready, *jobs, **jobs_end;
    bool quit, load_failed, loaded;
    int stop; /* asked for by sg_server_stop */
};

void sg_server_wake(sg_server *s);
/* I/O thread: hand an exchange to the workers. */
void sg_server_submit(sg_server *s, sg_exchange *e);
void sg_server_drop_exchange(sg_server *s, sg_exchange *e); /* unlink and free */

#endif
