/* engine/request.c - one request: its memory, its way out of the loop, its reader.
 *
 * The ring holds one entry for each sampled token.  Entries that might turn out to be a part of a stop
 * string are in it already, but not published:
 *
 *        head            published      produced
 *          v                 v             v
 *     -----[ for the reader ][ held back   ]-----------
 *
 * When a stop string completes, the held entries from its first byte on are dropped; the entry that
 * it began inside of loses its end.  So stop strings leak neither as text nor as tokens and
 * log-probabilities.  The number of entries exceeds the bytes of the longest stop string, so that
 * the held part alone cannot fill the ring.
 *
 * A full ring pauses the request: the loop marks it stalled and plans nothing for it until the reader
 * has emptied half.  All memory is taken at submit, in the submitter's thread; the loop takes none.  It is reserved in
 * the ledger before it is taken, from what is known of its size, and the reservation then made to agree with what was taken.
 */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/heap.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { ENTRIES_MIN = 64, DECODER = 4096, MATCHER = 1 << 20 };

const char *sg_finish_name(sg_finish finish)
{
    static const char *const names[] = {"stop", "length", "cancelled", "error"};
    return (unsigned)finish < 4 ? names[finish] : "error";
}

sg_request_options sg_request_defaults(void)
{
    return (sg_request_options){.sampling = sg_sampling_default(), .logprobs = -1, .priority = SG_PRIORITY_NORMAL};
}

static void destroy(sg_request *r)
{
    sg_ledger *ledger = r->ledger;
    uint64_t reserved = r->reserved;
    sg_stop_fini(&r->stop);
    sg_constraint_free(r->constraint);
    sg_free(r->bias);
    sg_free(r->token);
    sg_drafter_free(r->drafter);
    sg_kv_seq_free(r->seq);
    sg_kv_seq_free(r->draft_seq); /* neither is there any more once the loop has had the request */
    if (r->decoder_free)
        r->decoder_free(r->decoder);
    sg_free(r->entry);
    sg_free(r->text);
    sg_free(r->top);
    pthread_cond_destroy(&r->come);
    pthread_mutex_destroy(&r->lock);
    sg_free(r);
    if (ledger)
        sg_ledger_give(ledger, reserved);
    sg_ledger_unref(ledger);
}

void sg_request_unref(sg_request *r)
{
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        destroy(r);
}

static sg_status check(const sg_engine *e, const sg_request_options *o, sg_error *err)
{
    if (o->nprompt == 0)
        return sg_fail(err, SG_E_ARGUMENT, "the prompt has no tokens");
    if (o->nprompt >= (size_t)e->lm.ctx)
        return sg_fail(err, SG_E_LIMIT, "the prompt has %zu tokens, the context holds %d with room for one answer token at least",
                       o->nprompt, e->lm.ctx);
    for (size_t i = 0; i < o->nprompt; i++)
        if (o->prompt[i] < 0 || o->prompt[i] >= e->lm.nvocab)
            return sg_fail(err, SG_E_ARGUMENT, "prompt token %zu is %d, the vocabulary has %d", i, (int)o->prompt[i], e->lm.nvocab);
    if (o->logprobs > SG_LOGPROBS_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "%d log-probabilities, at most %d", o->logprobs, SG_LOGPROBS_MAX);
    if (o->priority < SG_PRIORITY_INTERACTIVE || o->priority > SG_PRIORITY_BATCH)
        return sg_fail(err, SG_E_ARGUMENT, "priority %d: 0 (interactive), 1 (normal) or 2 (batch)", o->priority);
    for (size_t i = 0; i < o->sampling.nbias; i++)
        if (o->sampling.bias[i].id < 0 || o->sampling.bias[i].id >= e->lm.nvocab)
            return sg_fail(err, SG_E_ARGUMENT, "logit bias for token %d, the vocabulary has %d", (int)o->sampling.bias[i].id, e->lm.nvocab);
    return SG_OK;
}

/* All memory that the request will ever use. */
static sg_status build(sg_request *r, sg_engine *e, const sg_request_options *o, sg_error *err)
{
    uint32_t longest = 0;
    if (o->nstop)
        SG_TRY(sg_stop_init(&r->stop, o->stop, o->nstop, err));
    for (size_t i = 0; i < r->stop.nstring; i++)
        longest = r->stop.len[i] > longest ? r->stop.len[i] : longest;
    r->nentry = ENTRIES_MIN + (int)longest;
    r->entry_bytes = e->lm.piece_bytes_max + 1;
    SG_TRY(sg_kv_seq_new(&r->seq, e->lm.pool, r->limit, err));
    r->token = sg_calloc((size_t)r->limit, sizeof *r->token);
    r->entry = sg_calloc((size_t)r->nentry, sizeof *r->entry);
    r->text = sg_calloc((size_t)r->nentry, r->entry_bytes);
    if (r->ntop > 0)
        r->top = sg_calloc((size_t)r->nentry * (size_t)r->ntop, sizeof *r->top);
    if (o->sampling.nbias)
        r->bias = sg_calloc(o->sampling.nbias, sizeof *r->bias);
    if (!r->token || !r->entry || !r->text || (r->ntop > 0 && !r->top) || (o->sampling.nbias && !r->bias))
        return sg_fail_nomem(err, "a request");
    memcpy(r->token, o->prompt, o->nprompt * sizeof *r->token);
    if (r->bias)
        memcpy(r->bias, o->sampling.bias, o->sampling.nbias * sizeof *r->bias);
    r->sampling.bias = r->bias;
    if (e->speculate)
        SG_TRY(sg_drafter_new(&r->drafter, r->limit, err));
    SG_TRY(sg_request_join_draft(e, r, err));
    SG_TRY(sg_constraint_new(&r->constraint, e, o, err));
    r->decoder_free = e->lm.decoder_free;
    return e->lm.decoder_new(e->lm.self, &r->decoder, r->token, o->nprompt, err);
}

uint64_t sg_request_bytes(const sg_engine *e, int limit, int ntop, size_t stop_bytes, bool grammar)
{
    uint64_t entry = sizeof(sg_entry) + e->lm.piece_bytes_max + 1 + (ntop > 0 ? (uint64_t)ntop * sizeof(sg_logprob) : 0);
    uint64_t token = sizeof(int32_t) + (e->speculate ? 3 * sizeof(int32_t) : 0); /* and the drafter's tables */
    return sizeof(sg_request) + (uint64_t)limit * token + (ENTRIES_MIN + stop_bytes) * entry + DECODER + (grammar ? MATCHER : 0) +
           (uint64_t)sg_kv_blocks_for(limit, sg_kv_pool_block(e->lm.pool)) * sizeof(int32_t);
}

/* Reserve more, or give back, so that the ledger has what the request took, and what its grammar's automaton will grow to. */
static sg_status settle_account(sg_request *r, int64_t taken, sg_error *err)
{
    uint64_t bytes = (taken > 0 ? (uint64_t)taken : 0) + (r->constraint ? MATCHER : 0);
    if (bytes > r->reserved)
        SG_TRY(sg_ledger_take(r->ledger, bytes - r->reserved, err));
    else
        sg_ledger_give(r->ledger, r->reserved - bytes);
    r->reserved = bytes;
    return SG_OK;
}

static sg_status new_request(sg_request **out, sg_engine *e, const sg_request_options *o, sg_error *err)
{
    SG_TRY(check(e, o, err));
    if (o->grammar)
        SG_TRY(sg_vocabulary_need(e, err)); /* the engine's, not this request's */
    int64_t room = e->lm.ctx - (int)o->nprompt, before = sg_heap_thread();
    int limit = (int)o->nprompt + (int)(o->max_tokens > 0 && o->max_tokens < room ? o->max_tokens : room);
    uint64_t reserved = sg_request_bytes(e, limit, o->logprobs, 0, o->grammar);
    SG_TRY(sg_ledger_take(e->ledger, reserved, err));
    sg_request *r = sg_calloc(1, sizeof *r);
    if (!r) {
        sg_ledger_give(e->ledger, reserved);
        return sg_fail_nomem(err, "a request");
    }
    r->ledger = sg_ledger_ref(e->ledger);
    r->reserved = reserved;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->come, &attr);
    pthread_condattr_destroy(&attr);
    atomic_init(&r->refs, 2);
    r->engine = e;
    r->sampling = o->sampling;
    r->nprompt = r->known = (int)o->nprompt;
    r->limit = limit;
    r->ntop = o->logprobs;
    r->ignore_eos = o->ignore_eos;
    r->tenant = o->tenant;
    r->priority = (uint8_t)o->priority;
    r->space = o->space;
    r->looked_version = UINT64_MAX;
    r->notify = o->notify;
    r->arg = o->arg;
    r->usage.prompt_tokens = r->nprompt;
    sg_status st = build(r, e, o, err);
    if (st == SG_OK && sg_kv_blocks_for(r->limit, sg_kv_pool_block(e->lm.pool)) > sg_kv_pool_nblock(e->lm.pool))
        st = sg_fail(err, SG_E_LIMIT, "the request needs KV memory for %d tokens, there is memory for %lld", r->limit,
                     (long long)sg_kv_pool_nblock(e->lm.pool) * sg_kv_pool_block(e->lm.pool));
    if (st == SG_OK)
        st = settle_account(r, sg_heap_thread() - before, err);
    if (st != SG_OK) {
        destroy(r);
        return st;
    }
    *out = r;
    return SG_OK;
}

sg_status sg_request_submit(sg_request **request, sg_engine *e, const sg_request_options *o, sg_error *err)
{
    sg_request *r = NULL;
    sg_status st = new_request(&r, e, o, err);
    if (st == SG_E_BUSY) {
        pthread_mutex_lock(&e->lock);
        e->rejected_memory++;
        pthread_mutex_unlock(&e->lock);
    }
    SG_TRY(st);
    r->submit_us = sg_clock_us();
    pthread_mutex_lock(&e->lock);
    if (e->closing)
        st = sg_fail(err, SG_E_UNAVAILABLE, "the engine is shutting down");
    else if (e->nqueued >= e->max_waiting) {
        e->rejected++;
        st = sg_fail(err, SG_E_BUSY, "%d requests are waiting already; try again later", e->nqueued);
    } else {
        e->nqueued++;
        *e->inbox_end = r;
        e->inbox_end = &r->next;
        *request = r; /* before the loop can end it and call notify */
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
    if (st != SG_OK)
        destroy(r);
    return st;
}

void sg_request_cancel(sg_request *r)
{
    pthread_mutex_lock(&r->lock);
    if (r->engine && !atomic_exchange(&r->cancelled, true))
        sg_engine_nudge(r->engine);
    pthread_mutex_unlock(&r->lock);
}

void sg_request_free(sg_request *r)
{
    if (!r)
        return;
    sg_request_cancel(r);
    sg_request_unref(r);
}

/* ---- the loop's side ---- */

int sg_request_room(sg_request *r)
{
    pthread_mutex_lock(&r->lock);
    int room = r->nentry - (int)(r->produced - r->head);
    r->stalled = room <= 0;
    pthread_mutex_unlock(&r->lock);
    return room;
}

/* Publish what can no longer be part of a stop string; on a match drop what is.  Under lock. */
static bool settle(sg_request *r, const char *piece, size_t n)
{
    uint64_t start;
    if (sg_stop_feed(&r->stop, piece, n, &start)) {
        while (r->produced > r->published && r->entry[(r->produced - 1) % (uint64_t)r->nentry].start >= start)
            r->produced--;
        if (r->produced > r->published) {
            sg_entry *last = &r->entry[(r->produced - 1) % (uint64_t)r->nentry];
            if (last->start + last->ntext > start)
                last->ntext = (uint32_t)(start - last->start);
            r->text[(r->produced - 1) % (uint64_t)r->nentry * r->entry_bytes + last->ntext] = 0;
        }
        r->published = r->produced;
        return true;
    }
    uint64_t safe = r->fed - sg_stop_held(&r->stop);
    for (; r->published < r->produced; r->published++) {
        const sg_entry *e = &r->entry[r->published % (uint64_t)r->nentry];
        if (e->start + e->ntext > safe)
            break;
    }
    return false;
}

bool sg_request_push(sg_request *r, const sg_choice *choice, char *piece)
{
    const sg_lm *lm = &r->engine->lm;
    size_t n = lm->decode(r->decoder, choice->id, piece);
    SG_ASSERT(n < r->entry_bytes);
    pthread_mutex_lock(&r->lock);
    size_t slot = (size_t)(r->produced++ % (uint64_t)r->nentry);
    r->entry[slot] = (sg_entry){.token = choice->id, .ntext = (uint32_t)n, .start = r->fed, .logprob = choice->logprob};
    memcpy(r->text + slot * r->entry_bytes, piece, n);
    r->text[slot * r->entry_bytes + n] = 0;
    for (int i = 0; i < r->ntop; i++)
        r->top[slot * (size_t)r->ntop + (size_t)i] = (sg_logprob){.id = choice->top[i].id, .logprob = choice->top[i].logprob};
    r->fed += n;
    uint64_t before = r->published;
    bool matched = settle(r, piece, n);
    bool come = r->published > before;
    if (come)
        pthread_cond_signal(&r->come);
    pthread_mutex_unlock(&r->lock);
    if (come && !matched && r->notify)
        r->notify(r->arg);
    return matched;
}

void sg_request_end(sg_request *r, sg_finish finish, const sg_error *error)
{
    const sg_lm *lm = &r->engine->lm;
    pthread_mutex_lock(&r->lock);
    r->finish = finish;
    if (error)
        r->error = *error;
    r->timings.queue_us = (r->admit_us ? r->admit_us : sg_clock_us()) - r->submit_us;
    if (r->first_us) {
        r->timings.prefill_us = r->first_us - r->admit_us;
        r->timings.decode_us = r->last_us - r->first_us;
    }
    if (finish == SG_FINISH_LENGTH || (finish == SG_FINISH_STOP && r->published == r->produced && !sg_stop_held(&r->stop)))
        r->ntail = lm->decode_end(r->decoder, r->tail);
    if (finish != SG_FINISH_ERROR)
        r->published = r->produced;
    r->ended = true;
    r->engine = NULL;
    pthread_cond_signal(&r->come);
    if (r->notify)
        r->notify(r->arg); /* under lock: who has read the end event knows that notify will not be called again */
    pthread_mutex_unlock(&r->lock);
    sg_request_unref(r);
}

/* ---- the reader's side ---- */

static bool wait(sg_request *r, int timeout_ms, int64_t deadline_us)
{
    if (timeout_ms == 0)
        return false;
    if (timeout_ms < 0)
        return pthread_cond_wait(&r->come, &r->lock) == 0;
    struct timespec t = {.tv_sec = (time_t)(deadline_us / 1000000), .tv_nsec = (long)(deadline_us % 1000000) * 1000};
    return pthread_cond_timedwait(&r->come, &r->lock, &t) != ETIMEDOUT;
}

/* The entry that the reader had is free again. */
static void recycle(sg_request *r)
{
    if (!r->reading)
        return;
    r->reading = false;
    r->head++;
    if (r->stalled && r->engine && r->produced - r->head <= (uint64_t)r->nentry / 2) {
        r->stalled = false;
        sg_engine_nudge(r->engine);
    }
}

bool sg_request_next(sg_request *r, sg_event *event, int timeout_ms)
{
    int64_t deadline_us = timeout_ms > 0 ? sg_clock_us() + (int64_t)timeout_ms * 1000 : 0;
    bool got = false;
    pthread_mutex_lock(&r->lock);
    recycle(r);
    while (r->head == r->published && !r->ended && wait(r, timeout_ms, deadline_us))
        ;
    if (r->head < r->published) {
        size_t slot = (size_t)(r->head % (uint64_t)r->nentry);
        const sg_entry *e = &r->entry[slot];
        *event = (sg_event){.token = e->token, .text = r->text + slot * r->entry_bytes, .ntext = e->ntext, .logprob = e->logprob,
                            .top = r->ntop > 0 ? r->top + slot * (size_t)r->ntop : NULL, .ntop = r->ntop > 0 ? (size_t)r->ntop : 0};
        got = r->reading = true;
    } else if (r->ended && !r->end_read) {
        *event = (sg_event){.end = true, .token = -1, .text = r->tail, .ntext = r->ntail, .finish = r->finish,
                            .error = r->finish == SG_FINISH_ERROR ? &r->error : NULL, .usage = r->usage, .timings = r->timings};
        got = r->end_read = true;
    }
    pthread_mutex_unlock(&r->lock);
    return got;
}
