/* replay/point.c - a load through an engine, as a client sees it.
 *
 * One thread is all clients: it sleeps until the next arrival or until the loop has something for somebody, and
 * reads every request that was notified.  Arrivals do not wait for answers (an open loop), and times count from the
 * planned arrival.  Prompts are token ids drawn from (salt, request, place); where the trace has prefix numbers, ids are
 * drawn from (number, place in its block), so that equal numbers give equal tokens.  Answers ignore the end of text and
 * are as long as the trace says.
 */
#include "replay/point.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/rng.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { SIM_RUNNING = 256, SIM_BLOCK = 16, TRACE_RUNNING = 128 }; /* 128: as Sarathi-Serve has it */

typedef struct client client;

typedef struct clients {
    sg_place *place;
    const sg_trace *trace;
    sg_record *record;
    client *client; /* [trace.n] */
    int32_t *prompt; /* room for the longest */
    pthread_mutex_t lock;
    pthread_cond_t come;
    bool any;
    size_t next, nended;
    int nvocab;
} clients;

struct client {
    clients *all;
    sg_request *request;
    _Atomic bool ready;
};

static void notify(void *arg)
{
    client *c = arg;
    atomic_store(&c->ready, true);
    pthread_mutex_lock(&c->all->lock);
    c->all->any = true;
    pthread_cond_signal(&c->all->come);
    pthread_mutex_unlock(&c->all->lock);
}

static int64_t elapsed(const clients *a) { return sg_clock_us() - a->place->origin_us; }

static sg_status submit(clients *a, size_t i, sg_error *err)
{
    const sg_trace_request *t = &a->trace->request[i];
    sg_record_request *r = &a->record->request[i];
    client *c = &a->client[i];
    for (int k = 0; k < t->prompt; k++)
        a->prompt[k] = sg_trace_token(a->trace, i, k, a->place->o->scale_lengths, a->place->salt, a->nvocab);
    sg_request_options o = sg_request_defaults();
    o.prompt = a->prompt;
    o.nprompt = (size_t)t->prompt;
    o.max_tokens = t->output;
    o.ignore_eos = true;
    o.sampling.temperature = 0;
    o.notify = notify;
    o.arg = c;
    r->arrival_us = t->arrival_us;
    r->prompt = t->prompt;
    c->all = a;
    sg_error why;
    sg_status st = sg_request_submit(&c->request, a->place->engine, &o, &why);
    if (st == SG_E_LIMIT || st == SG_E_BUSY) { /* does not fit this machine: it counts as failed */
        r->ended = true;
        r->finish = SG_FINISH_ERROR;
        r->end_us = elapsed(a);
        a->nended++;
        return SG_OK;
    }
    return st == SG_OK ? SG_OK : sg_fail(err, st, "request %zu: %.200s", i, why.text);
}

static void ended(clients *a, size_t i, const sg_event *e, int64_t now)
{
    sg_record_request *r = &a->record->request[i];
    r->ended = true;
    r->finish = (uint8_t)e->finish;
    r->end_us = now;
    r->cached = e->usage.cached_tokens;
    r->admit_us = r->arrival_us + e->timings.queue_us;
    a->nended++;
}

/* Read what has come for request i. */
static void drain(clients *a, size_t i)
{
    client *c = &a->client[i];
    if (!c->request || !atomic_exchange(&c->ready, false))
        return;
    sg_event e;
    while (sg_request_next(c->request, &e, 0)) {
        int64_t now = elapsed(a);
        if (!e.end) {
            sg_record_add_token(a->record, (int)i, now);
            continue;
        }
        ended(a, i, &e, now);
        sg_request_free(c->request);
        c->request = NULL;
        return;
    }
}

/* Sleep until something has come or `until`. */
static void pause_until(clients *a, int64_t until)
{
    int64_t at = a->place->origin_us + until;
    struct timespec t = {.tv_sec = (time_t)(at / 1000000), .tv_nsec = (long)(at % 1000000) * 1000};
    pthread_mutex_lock(&a->lock);
    while (!a->any && pthread_cond_timedwait(&a->come, &a->lock, &t) == 0)
        ;
    a->any = false;
    pthread_mutex_unlock(&a->lock);
}

static sg_status serve(clients *a, int last, sg_error *err)
{
    const sg_bench_serve_options *o = a->place->o;
    size_t first = 0; /* all before it have ended */
    while (a->nended < a->trace->n) {
        while (a->next < a->trace->n && a->trace->request[a->next].arrival_us <= elapsed(a))
            SG_TRY(submit(a, a->next++, err));
        for (size_t i = first; i < a->next; i++)
            drain(a, i);
        while (first < a->next && a->record->request[first].ended)
            first++;
        if ((last >= 0 && a->record->request[last].ended) || (a->place->most_us > 0 && elapsed(a) > a->place->most_us))
            return SG_OK;
        if (o->stop && o->stop(o->arg))
            return sg_fail(err, SG_E_CANCELLED, "interrupted");
        int64_t until = elapsed(a) + 100000;
        if (a->next < a->trace->n && a->trace->request[a->next].arrival_us < until)
            until = a->trace->request[a->next].arrival_us;
        if (a->nended < a->trace->n)
            pause_until(a, until);
    }
    return SG_OK;
}

/* Cancel what is left and wait for its end, so that notify is not called again. */
static void finish(clients *a)
{
    for (size_t i = 0; a->client && i < a->next; i++)
        if (a->client[i].request) {
            a->record->request[i].cut = true;
            sg_request_cancel(a->client[i].request);
        }
    for (size_t i = 0; a->client && i < a->next; i++) {
        sg_event e = {0};
        while (a->client[i].request && !e.end)
            if (sg_request_next(a->client[i].request, &e, -1) && e.end)
                ended(a, i, &e, elapsed(a));
        sg_request_free(a->client[i].request);
    }
}

static sg_status run_real(sg_place *p, const sg_trace *trace, int last, sg_record *record, sg_error *err)
{
    clients a = {.place = p, .trace = trace, .record = record};
    sg_engine_info info;
    sg_engine_info_get(p->engine, &info);
    a.nvocab = info.nvocab;
    int longest = 1;
    for (size_t i = 0; i < trace->n; i++)
        longest = trace->request[i].prompt > longest ? trace->request[i].prompt : longest;
    a.client = sg_calloc(trace->n, sizeof *a.client);
    a.prompt = sg_calloc((size_t)longest, sizeof *a.prompt);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a.come, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&a.lock, NULL);
    p->salt = sg_rng_mix(p->salt + 1);
    p->origin_us = sg_clock_us();
    p->record = record;
    sg_status st = a.client && a.prompt ? serve(&a, last, err) : sg_fail_nomem(err, "the clients");
    finish(&a);
    record->end_us = elapsed(&a);
    p->record = NULL; /* the loop is idle: on_step is not called */
    sg_free(a.client);
    sg_free(a.prompt);
    pthread_cond_destroy(&a.come);
    pthread_mutex_destroy(&a.lock);
    return st;
}

/* ---- simulated ---- */

static sg_status run_simulated(sg_place *p, const sg_trace *trace, int last, sg_record *record, bool *beyond, sg_error *err)
{
    sg_sim_options o = {.machine = &p->machine, .max_running = p->max_running, .block = SIM_BLOCK, .seed = p->o->seed + 1,
                        .give_up_queue_us = p->give_up_queue_us, .last = last};
    SG_TRY(sg_policy_find(&o.sched, p->policy, err));
    o.sched.step_tokens = 64;
    o.sched.step_us_max = 250000;
    o.sched.tbt_us = (int64_t)p->slo_us;
    o.sched.preempt = true;
    bool reuse = trace->nhash && !(p->o->engine && p->o->engine->no_prefix_cache);
    o.reuse = !reuse ? SG_REUSE_OFF : p->o->reuse_blocks ? SG_REUSE_BLOCKS : SG_REUSE_TOKENS;
    o.scale_lengths = p->o->scale_lengths;
    sg_sim_report report;
    SG_TRY(sg_sim_run(&o, trace, record, &report, err));
    if (beyond)
        *beyond = report.gave_up;
    return SG_OK;
}

/* ---- both ---- */

static void on_step(void *arg, const sg_step_info *s)
{
    sg_place *p = arg;
    if (p->record)
        sg_record_add_step(p->record, &(sg_record_step){.start_us = s->start_us - p->origin_us, .us = (float)s->us,
                                                        .predicted_us = (float)s->predicted_us, .prompt = s->prompt_tokens,
                                                        .decode = s->decode_tokens, .draft = s->draft_tokens, .running = s->running,
                                                        .waiting = s->waiting, .preempted = s->preempted});
}

sg_status sg_place_open(sg_place *p, const char *policy, double slo_us, sg_error *err)
{
    p->policy = policy;
    p->slo_us = slo_us;
    if (p->simulate) {
        p->max_running = p->max_running ? p->max_running : SIM_RUNNING;
        sg_sched_options check;
        return sg_policy_find(&check, policy, err);
    }
    sg_engine_options o = *p->o->engine;
    o.policy = policy;
    o.slo_tbt_ms = slo_us / 1e3;
    o.max_waiting = 1 << 16;
    o.max_running = o.max_running ? o.max_running : p->o->trace ? TRACE_RUNNING : 0;
    o.ctx = o.ctx ? o.ctx : p->ctx;
    o.warm_tokens = p->warm_tokens;
    o.on_step = on_step;
    o.on_step_arg = p;
    return sg_engine_open(&p->engine, &o, err);
}

void sg_place_close(sg_place *p)
{
    sg_engine_close(p->engine);
    p->engine = NULL;
}

sg_status sg_place_run(sg_place *p, const sg_trace *trace, int last, sg_record *record, bool *beyond, sg_error *err)
{
    sg_record_clear(record);
    if (beyond)
        *beyond = false;
    sg_status st = p->simulate ? run_simulated(p, trace, last, record, beyond, err) : run_real(p, trace, last, record, err);
    if (st == SG_OK && record->failed)
        st = sg_fail_nomem(err, "the record");
    return st;
}
