/* app/cmd_run.c - segue run: one prompt, one answer. */
#include "generate.h"
#include "memory_table.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *prompt, *system_text;
static bool raw, as_json, verbose;

static const option options[] = {
    {"-p", "--prompt", OPT_STR, &prompt, "TEXT", "the prompt; - reads standard input"},
    {NULL, "--system", OPT_STR, &system_text, "TEXT", "system message before the prompt"},
    {NULL, "--raw", OPT_FLAG, &raw, NULL, "continue the prompt as it stands, without the chat template"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object with text, tokens, timings and memory"},
    {"-v", "--verbose", OPT_FLAG, &verbose, NULL, "print what memory holds, and what it may hold, on standard error"},
    {0}};

static double per_second(int n, int64_t us) { return us > 0 && n > 0 ? n * 1e6 / (double)us : 0; }

static void print_json(const sg_engine *engine, const generation *g, uint64_t seed)
{
    sg_engine_info info;
    sg_engine_info_get(engine, &info);
    const sg_usage *u = &g->end.usage;
    const sg_timings *t = &g->end.timings;
    json_t *tokens = json_array();
    for (size_t i = 0; i < g->ntoken; i++)
        json_array_append_new(tokens, json_integer(g->token[i]));
    json_t *o = json_pack("{s:s, s:o, s:o, s:i, s:i, s:s, s:I, s:{s:f, s:f, s:f, s:f, s:f}, s:o}", "model", info.name, "text",
                          json_stringn(g->text ? g->text : "", g->ntext), "tokens", tokens, "prompt_tokens", u->prompt_tokens,
                          "completion_tokens", u->completion_tokens, "finish_reason", sg_finish_name(g->end.finish), "seed",
                          (json_int_t)seed, "timings", "load_ms", (double)info.load_us / 1e3, "prefill_ms",
                          (double)t->prefill_us / 1e3, "decode_ms", (double)t->decode_us / 1e3, "prefill_tps",
                          per_second(u->prompt_tokens, t->prefill_us), "decode_tps",
                          per_second(u->completion_tokens - 1, t->decode_us), "memory", memory_table_json(engine));
    json_object_set_new(o, "memory_caps", memory_caps_json(engine));
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(o);
}

/* The prompt's tokens: a user turn through the chat template, or the text as it stands. */
static sg_status tokens_of(const sg_engine *engine, const char *text, size_t n, int32_t **ids, size_t *nid, sg_error *err)
{
    sg_engine_info info;
    sg_engine_info_get(engine, &info);
    if (raw || !info.chat_template) {
        if (system_text && err) {
            *err = (sg_error){.status = SG_E_ARGUMENT};
            snprintf(err->text, sizeof err->text, "--system needs a chat template%s", raw ? ", not --raw" : "; the model has none");
            return SG_E_ARGUMENT;
        }
        return sg_engine_tokenize(engine, text, n, true, true, ids, nid, err);
    }
    json_t *messages = json_array();
    if (system_text)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system_text));
    json_t *content = json_stringn(text, n);
    if (!content) {
        json_decref(messages);
        *err = (sg_error){.status = SG_E_ARGUMENT, .text = "the prompt is not UTF-8 text"};
        return SG_E_ARGUMENT;
    }
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "user", "content", content));
    sg_status st = chat_tokens(engine, messages, ids, nid, err);
    json_decref(messages);
    return st;
}

static int answer(const command *c, sg_engine *engine, const char *text, size_t n)
{
    sg_error err;
    int32_t *ids;
    size_t nid;
    if (tokens_of(engine, text, n, &ids, &nid, &err) != SG_OK)
        return command_failed(c, &err);
    sg_request_options o;
    uint64_t seed = sample_flags_fill(c, &o);
    o.prompt = ids;
    o.nprompt = nid;
    generation g = {.echo = !as_json, .keep = as_json};
    sg_status st = generate(&g, engine, &o, &err);
    sg_memory_free(ids);
    if (st == SG_OK && g.end.finish == SG_FINISH_ERROR)
        st = (err = g.error).status;
    int status = st != SG_OK ? command_failed(c, &err) : g.end.finish == SG_FINISH_CANCELLED ? EXIT_INTERRUPTED : 0;
    if (st == SG_OK && as_json)
        print_json(engine, &g, seed);
    else if (st == SG_OK)
        putchar('\n');
    generation_fini(&g);
    return status;
}

static const option *const tables[] = {options, sample_flag_options, model_flag_options, engine_flag_options, NULL};

static int run(const command *c, int argc, char **argv)
{
    int n = options_parse(c, argc, argv, 1);
    if (!prompt)
        options_usage(c, "a prompt is needed: -p TEXT, or -p - for standard input");
    char *text = NULL;
    size_t ntext = 0;
    if (strcmp(prompt, "-") == 0 && !(text = read_standard_input(&ntext))) {
        fprintf(stderr, "segue: run: standard input: cannot be read, or is longer than %d MiB\n", INPUT_MAX_MIB);
        return 1;
    }
    sg_engine_options o = model_flags_engine(c, n ? argv[0] : NULL);
    o.max_running = 1;
    sg_engine *engine;
    sg_error err;
    if (sg_engine_open(&engine, &o, &err) != SG_OK) {
        free(text);
        return command_failed(c, &err);
    }
    if (verbose)
        memory_table_print(stderr, engine);
    interrupt_watch();
    int status = answer(c, engine, text ? text : prompt, text ? ntext : strlen(prompt));
    sg_engine_close(engine);
    free(text);
    return status;
}

const command cmd_run = {
    .name = "run",
    .synopsis = "[MODEL] -p PROMPT [options]",
    .summary = "Answer one prompt",
    .text = "With a chat template in the model the prompt is a user turn; --raw continues the text as it stands.  Without a MODEL the\n"
            "embedded default answers.  Ctrl-C stops the answer; the exit status is then 130.",
    .tables = tables,
    .run = run,
};
