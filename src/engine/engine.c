/* engine/engine.c - opening, closing and asking an engine.
 *
 * Opening fixes all sizes: KV blocks by the memory that there is, arrays of the loop by the number of
 * requests that may run, so that the loop (step.c) need not allocate.  A request is admitted when the blocks that it is
 * expected to need are free (admit.c); when that was too hopeful, one is thrown out and computed again.
 */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/json.h"

#include <string.h>

enum { RUNNING = 32, WAITING = 256, STEP_TOKENS = 64, STEP_US = 250000, SHOW = 256,
       RUNNING_MAX = 1024, WAITING_MAX = 1 << 20 };

const double sg_seconds_bound[SG_NBUCKET] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};
const double sg_tokens_bound[SG_NBUCKET] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};

void sg_memory_free(void *p) { sg_free(p); }

uint64_t sg_engine_loop_bytes(int nworker, int max_running, int max_logits, int nvocab)
{
    enum { SMALL = 1 << 20 };
    return SMALL + (uint64_t)max_logits * (uint64_t)nvocab * sizeof(float) + sg_drawers_bytes(nworker, max_running, max_logits, nvocab);
}

static sg_status allocate(sg_engine *e, sg_error *err)
{
    size_t run = (size_t)e->max_running, rows = (size_t)e->lm.max_rows;
    size_t queue = (size_t)e->max_waiting + run; /* preempted ones wait too */
    e->nshow_max = (int)(queue < SHOW ? queue : SHOW);
    e->waiting = sg_calloc(queue, sizeof *e->waiting);
    e->shown = sg_calloc((size_t)e->nshow_max, sizeof *e->shown);
    e->match_block = sg_calloc((size_t)sg_kv_blocks_for(e->lm.ctx, sg_kv_pool_block(e->lm.pool)), sizeof *e->match_block);
    e->work = sg_calloc(run, sizeof *e->work);
    e->running = sg_calloc(run, sizeof *e->running);
    e->gap_running = sg_calloc(run, sizeof *e->gap_running);
    e->gap_waiting = sg_calloc((size_t)e->nshow_max, sizeof *e->gap_waiting);
    e->row_token = sg_calloc(rows, sizeof *e->row_token);
    e->row_seq = sg_calloc(rows, sizeof *e->row_seq);
    e->row_pos = sg_calloc(rows, sizeof *e->row_pos);
    e->extent = sg_calloc(run, sizeof *e->extent);
    e->logit_row = sg_calloc((size_t)e->lm.max_logits, sizeof *e->logit_row);
    e->seqs = sg_calloc(run, sizeof *e->seqs);
    e->logits = sg_calloc((size_t)e->lm.max_logits * (size_t)e->lm.nvocab, sizeof *e->logits);
    e->piece = sg_calloc(1, e->lm.piece_bytes_max + 1);
    if (!e->shown || !e->match_block || !e->work || !e->waiting || !e->running || !e->gap_running || !e->gap_waiting || !e->row_token ||
        !e->row_seq || !e->row_pos || !e->extent || !e->logit_row || !e->seqs || !e->logits || !e->piece)
        return sg_fail_nomem(err, "the step loop");
    SG_TRY(sg_engine_open_drawers(e, err));
    return sg_plan_init(&e->plan, e->max_running, e->nshow_max, err);
}

/* Joins the loop and ends what is left, which gives all blocks back; accepts a half-built engine. */
static void destroy(sg_engine *e)
{
    if (e->started)
        pthread_join(e->thread, NULL);
    if (e->waiting && e->running) {
        sg_engine_gather(e, false);
        sg_engine_sweep(e, true);
    }
    sg_prefix_close(e->prefix);
    if (e->lm.close)
        e->lm.close(e->lm.self);
    sg_draft_model_free(e->draft); /* after the model, which has its workers */
    sg_vocabulary_trie_free(e->vocabulary);
    sg_ledger *ledger = e->ledger;
    sg_engine_close_drawers(e);
    sg_free(e->waiting);
    sg_free(e->shown);
    sg_free(e->match_block);
    sg_free(e->work);
    sg_free(e->running);
    sg_free(e->gap_running);
    sg_free(e->gap_waiting);
    sg_plan_fini(&e->plan);
    sg_free(e->row_token);
    sg_free(e->row_seq);
    sg_free(e->row_pos);
    sg_free(e->extent);
    sg_free(e->logit_row);
    sg_free(e->seqs);
    sg_free(e->logits);
    sg_free(e->piece);
    sg_free(e->name);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->stats_lock);
    pthread_mutex_destroy(&e->vocabulary_lock);
    sg_free(e);
    sg_ledger_unref(ledger);
}

char *sg_engine_name_of(const sg_engine_options *o)
{
    if (o->name)
        return sg_strdup(o->name);
    if (!o->model)
        return sg_strdup("default");
    size_t n = strlen(o->model);
    while (n > 1 && o->model[n - 1] == '/')
        n--;
    const char *start = memrchr(o->model, '/', n);
    start = start ? start + 1 : o->model;
    n -= (size_t)(start - o->model);
    static const char *const endings[] = {".gguf", ".bin", ".safetensors"};
    for (size_t i = 0; i < 3; i++) {
        size_t k = strlen(endings[i]);
        if (n > k && memcmp(start + n - k, endings[i], k) == 0)
            return sg_strndup(start, n - k);
    }
    return sg_strndup(start, n);
}

bool sg_engine_speculates(const sg_engine_options *o) { return !o->spec || strcmp(o->spec, "off") != 0; }

static sg_status check_options(sg_engine *e, const sg_engine_options *o, sg_error *err)
{
    if (o->max_running < 0 || o->max_running > RUNNING_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "%d running requests: from 1 to %d", o->max_running, RUNNING_MAX);
    if (o->max_waiting < 0 || o->max_waiting > WAITING_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "%d waiting requests: from 1 to %d", o->max_waiting, WAITING_MAX);
    if (o->warm_tokens < 0)
        return sg_fail(err, SG_E_ARGUMENT, "memory of %d tokens to touch: not negative", o->warm_tokens);
    if (!(o->slo_tbt_ms >= 0 && o->slo_tbt_ms <= 1e6))
        return sg_fail(err, SG_E_ARGUMENT, "%g milliseconds between tokens: from 0 to 1000000", o->slo_tbt_ms);
    e->on_step = o->on_step;
    e->on_step_arg = o->on_step_arg;
    e->slo_tbt_us = (int64_t)(o->slo_tbt_ms * 1e3);
    if (o->spec && strcmp(o->spec, "auto") != 0 && strcmp(o->spec, "lookup") != 0 && strcmp(o->spec, "off") != 0)
        return sg_fail(err, SG_E_ARGUMENT, "speculation '%.32s': one of auto, lookup, off", o->spec);
    if (o->draft && o->spec && strcmp(o->spec, "auto") != 0)
        return sg_fail(err, SG_E_ARGUMENT, "a draft model and speculation '%.32s': leave one out", o->spec);
    if (o->step_tokens < 0)
        return sg_fail(err, SG_E_ARGUMENT, "%d tokens a step: at least 1", o->step_tokens);
    e->max_running = o->max_running ? o->max_running : RUNNING;
    e->max_waiting = o->max_waiting ? o->max_waiting : WAITING;
    if (e->max_running > e->lm.max_logits)
        e->max_running = e->lm.max_logits;
    e->sched = (sg_sched_options){.step_tokens = o->step_tokens ? o->step_tokens : STEP_TOKENS, .step_tokens_max = e->lm.max_rows,
                                  .step_us_max = STEP_US, .tbt_us = e->slo_tbt_us, .preempt = true};
    e->ndraft_max = e->lm.max_logits - e->max_running;
    e->speculate = sg_engine_speculates(o) && e->ndraft_max > 0;
    return sg_policy_find(&e->sched, o->policy, err);
}

/* Requests may take three quarters of what is left, or what all that can be there at once take at most; the rest is for
 * connections and bodies. */
static void limit_requests(sg_engine *e)
{
    enum { STOP_BYTES = 256 };
    uint64_t each = sg_request_bytes(e, e->lm.ctx, SG_LOGPROBS_MAX, STOP_BYTES, true) * 5 / 4;
    uint64_t most = each * ((uint64_t)e->max_running + (uint64_t)e->max_waiting), left = sg_ledger_left();
    sg_ledger_limit(e->ledger, most < left / 4 * 3 ? most : left / 4 * 3);
}

static sg_status set_up(sg_engine *e, const sg_engine_options *o, sg_error *err)
{
    SG_TRY(check_options(e, o, err));
    int64_t at = sg_heap_thread();
    SG_TRY(allocate(e, err));
    sg_ledger_hold(e->ledger, SG_LEDGER_SCRATCH, (uint64_t)(sg_heap_thread() - at));
    at = sg_heap_thread();
    if (!o->no_prefix_cache)
        SG_TRY(sg_prefix_open(&e->prefix, e->lm.pool, err));
    sg_ledger_hold(e->ledger, SG_LEDGER_PREFIX, (uint64_t)(sg_heap_thread() - at));
    limit_requests(e);
    sg_expect_init(&e->expect);
    sg_engine_expect_guesses(e);
    sg_latency_init(&e->latency);
    if (o->warm_tokens > 0)
        while (sg_kv_pool_warm(e->lm.pool, sg_kv_blocks_for(o->warm_tokens, sg_kv_pool_block(e->lm.pool))))
            ;
    if (e->lm.probe && e->max_running > 1) /* one request alone has no neighbour to be late for */
        sg_engine_probe(e);
    if (!(e->name = sg_engine_name_of(o)))
        return sg_fail_nomem(err, "an engine");
    e->stats.kv_block = (uint64_t)sg_kv_pool_nblock(e->lm.pool);
    return SG_OK;
}

static sg_status start_thread(sg_engine *e, sg_error *err)
{
    int sys = pthread_create(&e->thread, NULL, sg_engine_loop, e);
    if (sys)
        return sg_fail_sys(err, sys, "cannot start the step loop");
    e->started = true;
    return SG_OK;
}

sg_status sg_engine_make_lm(sg_engine **engine, sg_lm *lm, const sg_engine_options *o, sg_error *err)
{
    sg_engine *e = sg_calloc(1, sizeof *e);
    if (!e) {
        lm->close(lm->self);
        sg_ledger_unref(lm->ledger);
        return sg_fail_nomem(err, "an engine");
    }
    e->lm = *lm;
    e->ledger = lm->ledger;
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->stats_lock, NULL);
    pthread_mutex_init(&e->vocabulary_lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    e->inbox_end = &e->inbox;
    sg_status st = e->ledger ? SG_OK : sg_ledger_new(&e->ledger, o->memory_bytes, err);
    if (st == SG_OK)
        st = set_up(e, o, err);
    if (st != SG_OK) {
        destroy(e);
        return st;
    }
    *engine = e;
    return SG_OK;
}

sg_status sg_engine_open_lm(sg_engine **engine, sg_lm *lm, const sg_engine_options *o, sg_error *err)
{
    sg_engine *e;
    SG_TRY(sg_engine_make_lm(&e, lm, o, err));
    sg_status st = start_thread(e, err);
    if (st != SG_OK) {
        destroy(e);
        return st;
    }
    *engine = e;
    return SG_OK;
}

sg_status sg_engine_open(sg_engine **engine, const sg_engine_options *o, sg_error *err)
{
    int64_t begin = sg_clock_us();
    sg_json_init(); /* programs that make JSON texts for sg_chat free them by sg_memory_free */
    sg_lm lm, draft;
    sg_engine *e = NULL;
    if (o->draft) /* first: the model itself takes what is left, and the same workers: those of a second pool would be in their way */
        SG_TRY(sg_lm_open_draft(&draft, o, err));
    sg_status st = sg_lm_open(&lm, o, o->draft ? draft.workers : NULL, err);
    if (st == SG_OK)
        st = sg_engine_make_lm(&e, &lm, o, err);
    if (st == SG_OK && o->draft)
        st = sg_engine_take_draft(e, &draft, err);
    else if (o->draft) {
        draft.close(draft.self);
        sg_ledger_unref(draft.ledger);
    }
    if (st == SG_OK)
        st = start_thread(e, err);
    if (st != SG_OK) {
        if (e)
            destroy(e);
        return st;
    }
    e->load_us = sg_clock_us() - begin;
    *engine = e;
    return SG_OK;
}

void sg_engine_close(sg_engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    destroy(e);
}

void sg_engine_nudge(sg_engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->nudged = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void sg_engine_between(sg_engine *e, void (*run)(sg_engine *e, void *arg), void *arg)
{
    sg_errand errand = {.run = run, .arg = arg};
    if (!e->started) {
        run(e, arg);
        return;
    }
    pthread_cond_init(&errand.came_back, NULL);
    pthread_mutex_lock(&e->lock);
    e->errand = &errand;
    pthread_cond_signal(&e->wake);
    while (!errand.done)
        pthread_cond_wait(&errand.came_back, &e->lock);
    pthread_mutex_unlock(&e->lock);
    pthread_cond_destroy(&errand.came_back);
}

void sg_engine_info_get(const sg_engine *e, sg_engine_info *info)
{
    *info = (sg_engine_info){.name = e->name, .architecture = e->lm.architecture, .title = e->lm.title ? e->lm.title : "",
                             .parameters = e->lm.parameters, .file_bytes = e->lm.file_bytes, .ctx = e->lm.ctx,
                             .ctx_trained = e->lm.ctx_trained, .nvocab = e->lm.nvocab, .chat_template = e->lm.chat_template,
                             .load_us = e->load_us};
}

void sg_engine_stats_get(const sg_engine *engine, sg_engine_stats *stats)
{
    sg_engine *e = (sg_engine *)engine; /* the locks are not part of its value */
    pthread_mutex_lock(&e->stats_lock);
    *stats = e->stats;
    pthread_mutex_unlock(&e->stats_lock);
    pthread_mutex_lock(&e->lock);
    stats->rejected = e->rejected;
    stats->rejected_memory = e->rejected_memory;
    stats->nwaiting = (uint64_t)e->nqueued;
    pthread_mutex_unlock(&e->lock);
}

size_t sg_engine_memory(const sg_engine *e, sg_memory_pool *pools, size_t n) { return sg_ledger_rows(e->ledger, pools, n); }

uint64_t sg_memory_cap(const char **from) { return sg_ledger_cap(from); }

sg_status sg_engine_tokenize(const sg_engine *e, const char *text, size_t n, bool special, bool begin, int32_t **ids, size_t *nid,
                             sg_error *err)
{
    return e->lm.encode(e->lm.self, text, n, special, begin, ids, nid, err);
}

size_t sg_engine_token_bytes(const sg_engine *e, int32_t id, char *out, size_t cap)
{
    return id < 0 || id >= e->lm.nvocab ? 0 : e->lm.token_bytes(e->lm.self, id, out, cap);
}

sg_status sg_engine_render(const sg_engine *e, const sg_chat *chat, char **text, size_t *n, sg_error *err)
{
    if (!e->lm.chat_template)
        return sg_fail(err, SG_E_UNSUPPORTED, "the model '%s' has no chat template", e->name);
    return e->lm.render(e->lm.self, chat, text, n, err);
}
