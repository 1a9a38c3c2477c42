/* app/cmd_eval.c - `segue eval`: log-probabilities, logits and greedy continuations of given tokens.
 *
 *     --tokens, --tokens-file, --jsonl   tokens as they stand: nothing is added
 *     --text                             a file through the model's tokenizer, in overlapping windows
 *
 * JSON by jansson; numbers with nine digits, which float32 survives.
 */
#include "commands.h"
#include "lines.h"
#include "model_flags.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *tokens, *tokens_file, *text;
static int64_t nlogits, ngreedy;
static bool as_json, as_jsonl;

static const option options[] = {
    {NULL, "--tokens", OPT_STR, &tokens, "1,2,3", "the tokens"},
    {NULL, "--tokens-file", OPT_STR, &tokens_file, "F",
     "a file with the tokens: numbers between commas, blanks or brackets"},
    {NULL, "--text", OPT_STR, &text, "F",
     "a text file; windows of the context with half a window's stride, only second halves count"},
    {NULL, "--logits", OPT_INT, &nlogits, "N", "the logits of the last N positions"},
    {NULL, "--greedy", OPT_INT, &ngreedy, "N", "N tokens that follow, each the likeliest"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object on standard output"},
    {NULL, "--jsonl", OPT_FLAG, &as_jsonl, NULL, "a JSON object a line on standard input, one a line out"},
    {0}};

/* One evaluation's input and results. */
typedef struct job {
    int32_t *ids;
    int n, nlogits, ngreedy, nvocab;
    double *logprobs;
    float *logits;
    int32_t *greedy;
} job;

static void job_fini(job *j)
{
    free(j->ids);
    free(j->logprobs);
    free(j->logits);
    free(j->greedy);
    *j = (job){0};
}

static bool out_of_memory(sg_error *err)
{
    *err = (sg_error){.status = SG_E_NOMEM, .text = "out of memory"};
    return false;
}

static bool wrong(sg_error *err, const char *what)
{
    *err = (sg_error){.status = SG_E_ARGUMENT};
    snprintf(err->text, sizeof err->text, "%s", what);
    return false;
}

static bool run_job(sg_eval *e, job *j, sg_error *err)
{
    if (j->n < 1)
        return wrong(err, "no tokens");
    j->nvocab = sg_eval_nvocab(e);
    j->nlogits = j->nlogits < j->n ? j->nlogits : j->n;
    if (j->ngreedy > sg_eval_ctx(e))
        return wrong(err, "more greedy tokens than the context has");
    j->logprobs = calloc((size_t)j->n, sizeof *j->logprobs);
    j->logits = j->nlogits ? calloc((size_t)j->nlogits * (size_t)j->nvocab, sizeof *j->logits) : NULL;
    j->greedy = calloc((size_t)j->ngreedy + 1, sizeof *j->greedy);
    if (!j->logprobs || !j->greedy || (j->nlogits && !j->logits))
        return out_of_memory(err);
    return sg_eval_tokens(e, j->ids, j->n, j->logprobs, j->logits, j->nlogits, j->greedy, j->ngreedy, err) == SG_OK;
}

/* ---- output --------------------------------------------------------------------- */

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *ids_json(const int32_t *ids, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(a, json_integer(ids[i]));
    return a;
}

static json_t *logits_json(const job *j)
{
    json_t *a = json_array();
    for (int r = 0; r < j->nlogits; r++) {
        json_t *row = json_array();
        for (int i = 0; i < j->nvocab; i++)
            json_array_append_new(row, number((double)j->logits[(size_t)r * (size_t)j->nvocab + (size_t)i]));
        json_array_append_new(a, row);
    }
    return a;
}

static void set_nll(json_t *o, double sum, int64_t n)
{
    json_object_set_new(o, "nll", n ? number(sum / (double)n) : json_null());
    json_object_set_new(o, "perplexity", n ? number(exp(sum / (double)n)) : json_null());
}

static json_t *job_json(const job *j)
{
    json_t *o = json_object(), *lp = json_array();
    double sum = 0;
    for (int i = 0; i < j->n; i++) {
        json_array_append_new(lp, i ? number(j->logprobs[i]) : json_null());
        sum -= i ? j->logprobs[i] : 0;
    }
    json_object_set_new(o, "tokens", ids_json(j->ids, j->n));
    json_object_set_new(o, "logprobs", lp);
    if (j->nlogits)
        json_object_set_new(o, "logits", logits_json(j));
    if (j->ngreedy)
        json_object_set_new(o, "greedy", ids_json(j->greedy, j->ngreedy));
    set_nll(o, sum, j->n - 1);
    return o;
}

static void print_text(const job *j)
{
    double sum = 0;
    for (int i = 1; i < j->n; i++)
        sum -= j->logprobs[i];
    printf("%d tokens", j->n);
    if (j->n > 1)
        printf(", mean negative log-likelihood %.6f, perplexity %.4f", sum / (j->n - 1), exp(sum / (j->n - 1)));
    putchar('\n');
    for (int i = 0; i < j->ngreedy; i++)
        printf("%s%d%s", i ? "," : "greedy: ", j->greedy[i], i + 1 == j->ngreedy ? "\n" : "");
    for (int r = 0; r < j->nlogits; r++)
        for (int i = 0; i < j->nvocab; i++)
            printf("%.9g%c", (double)j->logits[(size_t)r * (size_t)j->nvocab + (size_t)i],
                   i + 1 == j->nvocab ? '\n' : ' ');
}

/* ---- input ------------------------------------------------------------------------ */

/* Numbers between anything that is blank, a comma or a bracket. */
static bool parse_ids(job *j, const char *s, sg_error *err)
{
    size_t cap = 0;
    for (;;) {
        while (isspace((unsigned char)*s) || *s == ',' || *s == '[' || *s == ']')
            s++;
        if (!*s)
            return true;
        char *end;
        errno = 0;
        long v = strtol(s, &end, 10);
        if (end == s || errno || v < 0 || v > INT32_MAX || j->n == INT32_MAX)
            return wrong(err, "tokens: numbers from 0 between commas are needed");
        if ((size_t)j->n == cap) {
            cap = cap ? 2 * cap : 64;
            int32_t *grown = realloc(j->ids, cap * sizeof *grown);
            if (!grown)
                return out_of_memory(err);
            j->ids = grown;
        }
        j->ids[j->n++] = (int32_t)v;
        s = end;
    }
}

static bool job_from_json(job *j, const char *line, sg_error *err)
{
    json_error_t je;
    json_t *o = json_loads(line, 0, &je);
    const json_t *a = json_object_get(o, "tokens");
    bool ok = json_is_array(a) && json_array_size(a) < INT32_MAX;
    if (!ok) {
        json_decref(o);
        return wrong(err, "a JSON object with an array \"tokens\" is needed");
    }
    j->n = (int)json_array_size(a);
    j->ids = calloc((size_t)j->n + 1, sizeof *j->ids);
    ok = j->ids != NULL;
    for (int i = 0; ok && i < j->n; i++) {
        const json_t *v = json_array_get(a, (size_t)i);
        ok = json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= INT32_MAX;
        j->ids[i] = ok ? (int32_t)json_integer_value(v) : 0;
    }
    json_int_t l = json_integer_value(json_object_get(o, "logits")),
               g = json_integer_value(json_object_get(o, "greedy"));
    ok = ok && l >= 0 && g >= 0 && g < INT32_MAX;
    j->nlogits = l > j->n ? j->n : (int)l;
    j->ngreedy = (int)g;
    json_decref(o);
    return ok || wrong(err, "\"tokens\" must be whole numbers from 0, \"logits\" and \"greedy\" counts");
}

/* ---- the three ways of running ------------------------------------------------------ */

static int run_lines(sg_eval *e)
{
    char *line = NULL;
    size_t cap = 0;
    int status = 0;
    while (getline(&line, &cap, stdin) > 0) {
        job j = {0};
        sg_error err = {0};
        if (line[strspn(line, " \t\r\n")] == 0)
            continue;
        if (job_from_json(&j, line, &err) && run_job(e, &j, &err)) {
            lines_print(job_json(&j));
        } else {
            lines_print(json_pack("{s:s}", "error", err.text));
            status = 1;
        }
        job_fini(&j);
    }
    free(line);
    return status;
}

static bool run_one(sg_eval *e, sg_error *err)
{
    job j = {.nlogits = (int)nlogits, .ngreedy = (int)ngreedy};
    size_t size;
    char *file = tokens_file ? lines_read_file(tokens_file, &size, err) : NULL;
    bool ok = (!tokens_file || file) && parse_ids(&j, file ? file : tokens, err) && run_job(e, &j, err);
    if (ok && as_json)
        lines_print(job_json(&j));
    else if (ok)
        print_text(&j);
    free(file);
    job_fini(&j);
    return ok;
}

/* Windows of the context that begin half a window apart; of each only the second half counts, so that every token has
 * at least half a window before it.  A text that fits one window counts as a whole.  Where the tokenizer puts a mark at
 * the beginning, each window has it. */
static bool run_windows(sg_eval *e, job *all, sg_error *err)
{
    int window = sg_eval_ctx(e), half = window / 2;
    double sum = 0;
    int64_t count = 0;
    bool mark = sg_eval_begin_token(e) >= 0 && all->n > 0 && all->ids[0] == sg_eval_begin_token(e);
    for (int at = 0; at == 0 || at + half < all->n; at += half) {
        int n = all->n - at < window ? all->n - at : window;
        job j = {.n = n, .ids = calloc((size_t)n + 1, sizeof *j.ids)};
        if (!j.ids)
            return out_of_memory(err);
        memcpy(j.ids, all->ids + at, (size_t)n * sizeof *j.ids);
        if (mark)
            j.ids[0] = all->ids[0];
        bool ok = run_job(e, &j, err);
        for (int i = all->n <= window ? 1 : half; ok && i < n; i++) {
            sum -= j.logprobs[i];
            count++;
        }
        job_fini(&j);
        if (!ok)
            return false;
        if (all->n <= window)
            break;
    }
    json_t *o = json_object();
    if (as_json) {
        json_object_set_new(o, "tokens", ids_json(all->ids, all->n));
        json_object_set_new(o, "counted", json_integer(count));
        set_nll(o, sum, count);
        lines_print(o);
        return true;
    }
    json_decref(o);
    printf("%d tokens, %lld counted, mean negative log-likelihood %.6f, perplexity %.4f\n", all->n, (long long)count,
           sum / (double)(count ? count : 1), exp(sum / (double)(count ? count : 1)));
    return true;
}

static bool run_text(sg_eval *e, sg_error *err)
{
    size_t size;
    char *file = lines_read_file(text, &size, err);
    job j = {.nlogits = (int)nlogits, .ngreedy = (int)ngreedy};
    int32_t *ids = NULL;
    bool ok = file && sg_eval_tokenize(e, file, size, NULL, 0, &ids, NULL, &j.n, err) == SG_OK;
    if (ok) {
        j.ids = calloc((size_t)j.n + 1, sizeof *j.ids);
        ok = j.ids || out_of_memory(err);
    }
    if (ok) {
        memcpy(j.ids, ids, (size_t)j.n * sizeof *ids);
        if (j.n + j.ngreedy <= sg_eval_ctx(e) && (ok = run_job(e, &j, err))) {
            if (as_json)
                lines_print(job_json(&j));
            else
                print_text(&j);
        } else if (ok) {
            ok = run_windows(e, &j, err);
        }
    }
    sg_eval_free_ids(ids);
    free(file);
    job_fini(&j);
    return ok;
}

static int run(const command *self, int argc, char **argv)
{
    const char *model = options_parse(self, argc, argv, 1) ? argv[0] : NULL; /* NULL: the embedded default */
    if ((tokens != NULL) + (tokens_file != NULL) + (text != NULL) + as_jsonl != 1)
        options_usage(self, "one of --tokens, --tokens-file, --text and --jsonl is needed");
    if (nlogits < 0 || nlogits > INT32_MAX || ngreedy < 0 || ngreedy > INT32_MAX)
        options_usage(self, "--logits and --greedy take counts");
    sg_eval_options o = model_flags_eval(self, model);
    sg_eval *e = NULL;
    sg_error err = {0};
    if (sg_eval_open(&e, &o, &err) != SG_OK)
        return command_failed(self, &err);
    int status = 0;
    if (as_jsonl)
        status = run_lines(e);
    else if (!(text ? run_text(e, &err) : run_one(e, &err)))
        status = command_failed(self, &err);
    sg_eval_close(e);
    return status;
}

static const option *const tables[] = {options, model_flag_options, NULL};

const command cmd_eval = {
    .name = "eval",
    .synopsis = "[MODEL] --tokens 1,2,3 | --tokens-file F | --text F | --jsonl [options]",
    .summary = "log-probabilities, logits and greedy continuations of given tokens",
    .text = "logprobs[i] is the natural logarithm of the probability of token i after the tokens before it.  With "
            "--jsonl, each line is\n"
            "{\"tokens\":[...],\"logits\":N,\"greedy\":N}.",
    .tables = tables,
    .run = run,
};
