/* app/generate.c - sampling flags, one generation, Ctrl-C.
 *
 * A generation is read in slices of 50 ms, so that Ctrl-C (a flag that the signal sets) cancels it also while the prompt is
 * being computed and nothing comes.  A second Ctrl-C ends the program at once.
 */
#include "generate.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { GRAMMAR_MAX = 4 << 20 };

static double temperature = 0.8, top_p = 0.95, min_p, typical_p = 1, repeat_penalty = 1, frequency_penalty, presence_penalty;
static int64_t ntoken_max, top_k = 40, repeat_last_n = 64;
static string_list stops;
static bool ignore_eos;
static const char *json_schema, *grammar_file;
static sg_grammar *grammar; /* made of either; the process keeps it */

const option sample_flag_options[] = {
    {"-n", "--max-tokens", OPT_INT, &ntoken_max, "N", "tokens to write at most; default: until the context is full"},
    {NULL, "--temp", OPT_F64, &temperature, "T", "temperature, 0: always the likeliest token; default 0.8"},
    {NULL, "--top-k", OPT_INT, &top_k, "K", "sample from the K likeliest tokens, 0: all; default 40"},
    {NULL, "--top-p", OPT_F64, &top_p, "P", "sample from the likeliest tokens with this probability together; default 0.95"},
    {NULL, "--min-p", OPT_F64, &min_p, "P", "leave out what is less likely than P times the likeliest; default 0"},
    {NULL, "--typical-p", OPT_F64, &typical_p, "P", "locally typical sampling, 1: off; default 1"},
    {NULL, "--repeat-penalty", OPT_F64, &repeat_penalty, "R", "weaken tokens that have occurred, 1: off; default 1"},
    {NULL, "--repeat-last-n", OPT_INT, &repeat_last_n, "N", "newest tokens that count for it, -1: all; default 64"},
    {NULL, "--frequency-penalty", OPT_F64, &frequency_penalty, "X", "OpenAI's frequency penalty; default 0"},
    {NULL, "--presence-penalty", OPT_F64, &presence_penalty, "X", "OpenAI's presence penalty; default 0"},
    {NULL, "--stop", OPT_LIST, &stops, "S", "end before this text; may be given again"},
    {NULL, "--ignore-eos", OPT_FLAG, &ignore_eos, NULL, "go on after the end of the text"},
    {NULL, "--json-schema", OPT_STR, &json_schema, "F", "the answer is JSON that this JSON Schema file allows"},
    {NULL, "--grammar", OPT_STR, &grammar_file, "F", "the answer is what this GBNF grammar file allows"},
    {0}};

static void check_flags(const command *c)
{
    if (json_schema && grammar_file)
        options_usage(c, "--json-schema or --grammar, not both");
    if (!(temperature >= 0) || !(top_p >= 0 && top_p <= 1) || !(min_p >= 0 && min_p <= 1) || !(typical_p >= 0 && typical_p <= 1))
        options_usage(c, "--temp is at least 0; --top-p, --min-p and --typical-p are from 0 to 1");
    if (!(repeat_penalty > 0))
        options_usage(c, "--repeat-penalty is above 0");
    if (ntoken_max < 0 || ntoken_max > INT32_MAX || top_k > INT32_MAX || repeat_last_n > INT32_MAX)
        options_usage(c, "-n, --top-k and --repeat-last-n are below 2^31, -n is at least 1");
}

/* Make the grammar that the flags ask for; ends the program when it is wrong. */
static void read_grammar(const command *c)
{
    const char *path = json_schema ? json_schema : grammar_file;
    FILE *f = path && !grammar ? fopen(path, "rb") : NULL;
    if (!path || grammar)
        return;
    size_t n = 0;
    char *text = malloc(GRAMMAR_MAX + 1);
    if (f && text)
        n = fread(text, 1, GRAMMAR_MAX + 1, f);
    if (!f || !text || ferror(f) || n > GRAMMAR_MAX) {
        fprintf(stderr, "segue: %s: %s: %s\n", c->name, path,
                !f ? strerror(errno) : n > GRAMMAR_MAX ? "longer than 4 MiB" : "cannot be read");
        exit(1);
    }
    fclose(f);
    sg_error err;
    sg_status st = json_schema ? sg_grammar_from_schema(&grammar, text, n, 0, &err) : sg_grammar_parse(&grammar, text, n, &err);
    free(text);
    if (st != SG_OK) {
        fprintf(stderr, "segue: %s: %s: %s\n", c->name, path, err.text);
        exit(1);
    }
}

uint64_t sample_flags_fill(const command *c, sg_request_options *o)
{
    check_flags(c);
    read_grammar(c);
    uint64_t seed = model_flag.seed;
    if (seed == SEED_NONE && getrandom(&seed, sizeof seed, 0) == sizeof seed)
        seed >>= 11; /* so that every JSON reader can hold it */
    *o = sg_request_defaults();
    o->sampling = (sg_sampling){.temperature = (float)temperature,
                                .top_k = (int32_t)top_k,
                                .top_p = (float)top_p,
                                .min_p = (float)min_p,
                                .typical_p = (float)typical_p,
                                .repeat_penalty = (float)repeat_penalty,
                                .frequency_penalty = (float)frequency_penalty,
                                .presence_penalty = (float)presence_penalty,
                                .repeat_last_n = (int32_t)repeat_last_n,
                                .seed = seed};
    o->stop = stops.items;
    o->nstop = stops.n;
    o->max_tokens = ntoken_max;
    o->ignore_eos = ignore_eos;
    o->grammar = grammar;
    return seed;
}

/* ---- interrupts ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    if (interrupted)
        _exit(EXIT_INTERRUPTED); /* the second one does not wait for anything */
    interrupted = 1;
}

void interrupt_watch(void)
{
    struct sigaction a = {.sa_handler = on_interrupt};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
}

bool interrupt_take(void)
{
    bool was = interrupted;
    interrupted = 0;
    return was;
}

/* ---- generating ---- */

static bool grow(void **p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return true;
    size_t more = need + need / 2 + 256;
    void *q = reallocarray(*p, more, size);
    if (!q)
        return false;
    *p = q;
    *cap = more;
    return true;
}

static bool take(generation *g, const sg_event *ev)
{
    if (g->echo) {
        fwrite(ev->text, 1, ev->ntext, stdout);
        if (ev->ntext && (isatty(1) || ev->end))
            fflush(stdout);
    }
    if (!g->keep)
        return true;
    if (!grow((void **)&g->text, &g->captext, g->ntext + ev->ntext + 1, 1) ||
        !grow((void **)&g->token, &g->captoken, g->ntoken + 1, sizeof *g->token))
        return false;
    memcpy(g->text + g->ntext, ev->text, ev->ntext);
    g->ntext += ev->ntext;
    g->text[g->ntext] = 0;
    if (!ev->end)
        g->token[g->ntoken++] = ev->token;
    return true;
}

sg_status generate(generation *g, sg_engine *engine, const sg_request_options *o, sg_error *err)
{
    sg_request *r;
    sg_status st = sg_request_submit(&r, engine, o, err);
    if (st != SG_OK)
        return st;
    sg_event ev = {0};
    bool ok = true;
    while (!ev.end) {
        if (interrupted)
            sg_request_cancel(r);
        if (!sg_request_next(r, &ev, 50))
            continue;
        if (!take(g, &ev) && ok) {
            ok = false;
            sg_request_cancel(r);
        }
    }
    g->end = ev;
    if (ev.error)
        g->error = *ev.error;
    g->end.error = NULL;
    g->end.text = "";
    sg_request_free(r);
    if (ok)
        return SG_OK;
    *err = (sg_error){.status = SG_E_NOMEM, .text = "out of memory for the answer"};
    return SG_E_NOMEM;
}

void generation_fini(generation *g)
{
    free(g->text);
    free(g->token);
    *g = (generation){0};
}

sg_status chat_tokens(const sg_engine *engine, const json_t *messages, int32_t **ids, size_t *nid, sg_error *err)
{
    char *json = json_dumps(messages, JSON_COMPACT), *text;
    size_t n;
    if (!json) {
        *err = (sg_error){.status = SG_E_NOMEM, .text = "out of memory for the conversation"};
        return SG_E_NOMEM;
    }
    sg_chat chat = {.messages = json};
    sg_status st = sg_engine_render(engine, &chat, &text, &n, err);
    sg_memory_free(json); /* jansson allocates as the library does */
    if (st != SG_OK)
        return st;
    st = sg_engine_tokenize(engine, text, n, true, false, ids, nid, err);
    sg_memory_free(text);
    return st;
}

char *read_standard_input(size_t *n)
{
    size_t cap = 65536, len = 0;
    char *text = malloc(cap);
    while (text && len < (size_t)INPUT_MAX_MIB << 20) {
        size_t k = fread(text + len, 1, cap - len - 1, stdin);
        len += k;
        if (k == 0)
            break;
        if (cap - len < 4096) {
            char *more = realloc(text, cap *= 2);
            if (!more)
                break;
            text = more;
        }
    }
    if (!text || ferror(stdin) || !feof(stdin)) {
        free(text);
        return NULL;
    }
    text[len] = 0;
    *n = len;
    return text;
}
