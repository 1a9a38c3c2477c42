/* replay/record.c - growing a record, and the numbers that are taken from it.
 *
 * TBT pools the gaps between all neighbouring tokens of all requests, as Sarathi-Serve does: a P99 over requests' means
 * would hide the pauses.  Time to the first token counts from the arrival that was planned, not from when a slow client got
 * round to sending (no coordinated omission).
 */
#include "replay/record.h"

#include "base/file.h"
#include "base/heap.h"
#include "segue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sg_status sg_record_init(sg_record *r, size_t nrequest, sg_error *err)
{
    sg_record_request *request = sg_calloc(nrequest ? nrequest : 1, sizeof *request);
    if (!request)
        return sg_fail_nomem(err, "a record");
    *r = (sg_record){.request = request, .nrequest = nrequest};
    sg_record_clear(r);
    return SG_OK;
}

void sg_record_fini(sg_record *r)
{
    sg_free(r->request);
    sg_free(r->token);
    sg_free(r->step);
    *r = (sg_record){0};
}

void sg_record_clear(sg_record *r)
{
    for (size_t i = 0; i < r->nrequest; i++)
        r->request[i] = (sg_record_request){.admit_us = -1, .first_us = -1, .last_us = -1, .end_us = -1};
    r->ntoken = r->nstep = 0;
    r->end_us = 0;
}

static bool room(void **data, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return true;
    size_t want = *cap ? *cap * 2 : 4096;
    void *more = sg_realloc(*data, want * size);
    if (!more)
        return false;
    *data = more;
    *cap = want;
    return true;
}

void sg_record_add_token(sg_record *r, int i, int64_t at_us)
{
    sg_record_request *q = &r->request[i];
    float gap = q->first_us < 0 ? -1 : (float)(at_us - q->last_us);
    if (q->first_us < 0)
        q->first_us = at_us;
    q->last_us = at_us;
    q->output++;
    if (!room((void **)&r->token, &r->captoken, r->ntoken, sizeof *r->token)) {
        r->failed = true;
        return;
    }
    r->token[r->ntoken++] = (sg_record_token){at_us, i, gap};
}

void sg_record_add_step(sg_record *r, const sg_record_step *step)
{
    if (!room((void **)&r->step, &r->capstep, r->nstep, sizeof *r->step)) {
        r->failed = true;
        return;
    }
    r->step[r->nstep++] = *step;
}

/* ---- numbers ---- */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double sorted_at(const float *v, size_t n, double q)
{
    size_t at = n ? (size_t)ceil(q * (double)n) : 0;
    return n ? (double)v[at ? at - 1 : 0] : 0;
}

double sg_quantile(float *v, size_t n, double q)
{
    qsort(v, n, sizeof *v, by_value);
    return sorted_at(v, n, q);
}

static sg_quantiles quantiles_ms(float *us, size_t n)
{
    qsort(us, n, sizeof *us, by_value);
    return (sg_quantiles){sorted_at(us, n, 0.5) / 1e3, sorted_at(us, n, 0.9) / 1e3, sorted_at(us, n, 0.99) / 1e3,
                          sorted_at(us, n, 1) / 1e3};
}

static void over_requests(const sg_record *r, sg_summary *s, float *v)
{
    size_t n = 0;
    for (size_t i = 0; i < r->nrequest; i++)
        if (r->request[i].first_us >= 0)
            v[n++] = (float)(r->request[i].first_us - r->request[i].arrival_us);
    s->ttft = quantiles_ms(v, n);
    n = 0;
    double prompt = 0, cached = 0;
    for (size_t i = 0; i < r->nrequest; i++) {
        const sg_record_request *q = &r->request[i];
        if (q->admit_us >= 0)
            v[n++] = (float)(q->admit_us - q->arrival_us);
        s->finished += q->ended && q->finish <= SG_FINISH_LENGTH;
        s->failed += q->ended && !q->cut && q->finish > SG_FINISH_LENGTH;
        s->preemptions += q->npreempt;
        prompt += q->first_us >= 0 ? q->prompt : 0;
        cached += q->first_us >= 0 ? q->cached : 0;
    }
    s->cached_share = prompt > 0 ? cached / prompt : 0;
    s->queue = quantiles_ms(v, n);
    double seconds = (double)r->end_us * 1e-6;
    if (seconds > 0) {
        s->qps = (double)s->finished / seconds;
        s->output_tps = (double)r->ntoken / seconds;
        s->prompt_tps = prompt / seconds;
    }
}

static void over_steps(const sg_record *r, sg_summary *s, float *v)
{
    size_t n = 0;
    for (size_t i = 0; i < r->nstep; i++)
        if (r->step[i].decode)
            v[n++] = (float)(r->step[i].prompt + r->step[i].decode + r->step[i].draft);
    s->rows_p50 = sg_quantile(v, n, 0.5);
    s->rows_max = sorted_at(v, n, 1);
    n = 0;
    for (size_t i = r->nstep / 10; i < r->nstep; i++)
        if (r->step[i].predicted_us > 0 && r->step[i].us > 0)
            v[n++] = fabsf(r->step[i].predicted_us - r->step[i].us) / r->step[i].us;
    s->error_p90 = sg_quantile(v, n, 0.9);
    s->steps = (int64_t)r->nstep;
}

sg_status sg_record_summarise(const sg_record *r, sg_summary *s, sg_error *err)
{
    size_t most = r->ntoken > r->nstep ? r->ntoken : r->nstep;
    most = r->nrequest > most ? r->nrequest : most;
    float *v = sg_calloc(most + 1, sizeof *v);
    if (!v || r->failed) {
        sg_free(v);
        return sg_fail_nomem(err, "a record");
    }
    *s = (sg_summary){0};
    size_t n = 0;
    for (size_t i = 0; i < r->ntoken; i++)
        if (r->token[i].gap_us >= 0)
            v[n++] = r->token[i].gap_us;
    s->tbt = quantiles_ms(v, n);
    over_requests(r, s, v);
    for (size_t i = 0; i < r->nrequest; i++)
        s->window_us = fmax(s->window_us, (double)r->request[i].arrival_us);
    over_steps(r, s, v);
    sg_free(v);
    return SG_OK;
}

/* ---- writing ---- */

static double cut(double x) { return isfinite(x) ? round(x * 1000) / 1000 : 0; }

static json_t *quantiles_json(const sg_quantiles *q)
{
    return json_pack("{s:f,s:f,s:f,s:f}", "p50", cut(q->p50), "p90", cut(q->p90), "p99", cut(q->p99), "max", cut(q->max));
}

void sg_summary_json(json_t *o, const sg_summary *s)
{
    json_object_set_new(o, "qps", json_real(cut(s->qps)));
    json_object_set_new(o, "ttft_ms", quantiles_json(&s->ttft));
    json_object_set_new(o, "tbt_ms", quantiles_json(&s->tbt));
    json_object_set_new(o, "queue_ms", quantiles_json(&s->queue));
    json_object_set_new(o, "output_tps", json_real(cut(s->output_tps)));
    json_object_set_new(o, "prompt_tps", json_real(cut(s->prompt_tps)));
    json_object_set_new(o, "preemptions", json_integer((json_int_t)s->preemptions));
    json_object_set_new(o, "budget", json_pack("{s:f,s:f}", "median", s->rows_p50, "max", s->rows_max));
    json_object_set_new(o, "prediction_error_p90", json_real(cut(s->error_p90)));
    json_object_set_new(o, "steps", json_integer((json_int_t)s->steps));
    json_object_set_new(o, "finished", json_integer((json_int_t)s->finished));
    json_object_set_new(o, "failed", json_integer((json_int_t)s->failed));
    json_object_set_new(o, "cached_share", json_real(cut(s->cached_share)));
}

static sg_status write_whole(const char *path, const sg_buf *b, sg_error *err)
{
    sg_file_writer *w;
    if (!sg_buf_ok(b))
        return sg_fail_nomem(err, path);
    SG_TRY(sg_file_create(&w, path, err));
    sg_status st = sg_file_write(w, sg_buf_str(b), b->len, err);
    if (st != SG_OK) {
        sg_file_abort(w);
        return st;
    }
    return sg_file_commit(w, err);
}

static double seconds(int64_t us) { return us < 0 ? -1 : (double)us * 1e-6; }

sg_status sg_record_write_csv(const sg_record *r, const char *path, sg_error *err)
{
    sg_buf b = SG_BUF_INIT;
    float *gap_max = sg_calloc(r->nrequest + 1, sizeof *gap_max);
    if (!gap_max)
        return sg_fail_nomem(err, path);
    for (size_t i = 0; i < r->ntoken; i++)
        gap_max[r->token[i].request] = fmaxf(gap_max[r->token[i].request], r->token[i].gap_us);
    sg_buf_adds(&b, "request,arrival_s,queue_s,ttft_s,end_s,prompt_tokens,cached_tokens,output_tokens,tbt_mean_ms,tbt_"
                    "max_ms,preemptions,finish\n");
    for (size_t i = 0; i < r->nrequest; i++) {
        const sg_record_request *q = &r->request[i];
        double mean = q->output > 1 ? (double)(q->last_us - q->first_us) / 1e3 / (q->output - 1) : 0;
        sg_buf_addf(&b, "%zu,%.6f,%.6f,%.6f,%.6f,%d,%d,%d,%.3f,%.3f,%d,%s\n", i, seconds(q->arrival_us),
                    q->admit_us < 0 ? -1 : seconds(q->admit_us - q->arrival_us),
                    q->first_us < 0 ? -1 : seconds(q->first_us - q->arrival_us), seconds(q->end_us), (int)q->prompt,
                    (int)q->cached, (int)q->output, mean, (double)gap_max[i] / 1e3, (int)q->npreempt,
                    q->ended ? sg_finish_name((sg_finish)q->finish) : "running");
    }
    sg_free(gap_max);
    sg_status st = write_whole(path, &b, err);
    sg_buf_fini(&b);
    return st;
}

sg_status sg_record_write_steps(const sg_record *r, const char *path, sg_error *err)
{
    sg_buf b = SG_BUF_INIT;
    sg_buf_adds(&b, "start_s,ms,predicted_ms,prompt_rows,decode_rows,draft_rows,running,waiting,preempted\n");
    for (size_t i = 0; i < r->nstep; i++) {
        const sg_record_step *s = &r->step[i];
        sg_buf_addf(&b, "%.6f,%.3f,%.3f,%d,%d,%d,%d,%d,%d\n", seconds(s->start_us), (double)s->us / 1e3, (double)s->predicted_us / 1e3,
                    (int)s->prompt, (int)s->decode, (int)s->draft, (int)s->running, (int)s->waiting, (int)s->preempted);
    }
    sg_status st = write_whole(path, &b, err);
    sg_buf_fini(&b);
    return st;
}
