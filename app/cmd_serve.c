/* app/cmd_serve.c - segue serve: OpenAI's HTTP interface over one or more models.
 *
 * A config file has the same names as the long options, one "name = value" a line; it is read as if its lines stood
 * before the arguments, so that a flag wins.
 */
#include "config_file.h"
#include "memory_table.h"
#include "model_flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS_MAX = 16 };

static const char *host = "127.0.0.1", *key_file, *policy, *config, *access_log;
static int64_t port = 8080, max_queue, parallel, step_tokens, max_connections;
static uint64_t max_body;
static double slo_tbt;
static string_list origins, config_models;

static const option options[] = {
    {NULL, "--host", OPT_STR, &host, "ADDRESS", "address to listen on; default 127.0.0.1"},
    {NULL, "--port", OPT_INT, &port, "N", "port to listen on, 0: a free one; default 8080"},
    {NULL, "--api-key-file", OPT_STR, &key_file, "F", "ask for one of the keys in this file, one a line"},
    {NULL, "--slo-tbt", OPT_F64, &slo_tbt, "MS",
     "wanted bound on the time between tokens; default: the policy finds one from the measured step"},
    {NULL, "--policy", OPT_STR, &policy, "NAME",
     "scheduling policy: slo (default), static:N, chunked:N, hybrid, prefill-first, orca, request"},
    {NULL, "--max-queue", OPT_INT, &max_queue, "N", "requests that may wait, one more is answered 429; default 256"},
    {NULL, "--parallel", OPT_INT, &parallel, "N", "requests that run at once; default 32"},
    {NULL, "--step-tokens", OPT_INT, &step_tokens, "N",
     "tokens of a step for static and chunked without :N, and for slo until steps are measured; default 64"},
    {NULL, "--max-body", OPT_SIZE, &max_body, "SIZE", "largest request body; default 16MiB"},
    {NULL, "--max-connections", OPT_INT, &max_connections, "N", "open connections; default 4096"},
    {NULL, "--origin", OPT_LIST, &origins, "URL",
     "web origin that may call (https://host), again for more; default none"},
    {NULL, "--access-log", OPT_STR, &access_log, "F", "a line of JSON for each request (-: standard error)"},
    {NULL, "--config", OPT_STR, &config, "F",
     "read options from a file, name = value a line; model = PATH adds a model"},
    {0}};
static const option *const tables[] = {options, model_flag_options, engine_flag_options, NULL};

/* ---- config file ---- */

static config_file file;
static char **arguments; /* the command line as it was */
static int narguments;

static const char *config_path(void)
{
    const char *path = NULL;
    for (int i = 1; i < narguments; i++) {
        if (strncmp(arguments[i], "--config=", 9) == 0)
            path = arguments[i] + 9;
        else if (strcmp(arguments[i], "--config") == 0 && i + 1 < narguments)
            path = arguments[i + 1];
    }
    return path;
}

/* The arguments with those of the config file before them; they live as long as the program. */
static char **with_config(const command *c, int *argc)
{
    static char *all_texts[CONFIG_LINES];
    static char **all;
    if (!config_path())
        return arguments;
    if (!config_read(&file, config_path(), tables, "model"))
        options_usage(c, "%s", file.why);
    int n = 1;
    if (!(all = calloc((size_t)narguments + CONFIG_LINES + 1, sizeof *all)))
        options_usage(c, "%s: out of memory", config_path());
    all[0] = arguments[0];
    for (int i = 0; i < file.n; i++) {
        const config_line *l = &file.line[i];
        if (strcmp(l->name, "model") == 0) {
            if (config_models.n == MODELS_MAX || !l->value)
                options_usage(c, "%s: line %d: up to %d lines of model = PATH", config_path(), l->number, MODELS_MAX);
            config_models.items[config_models.n++] = l->value;
        } else if (asprintf(&all_texts[i], l->value ? "--%s=%s" : "--%s", l->name, l->value) < 0) {
            options_usage(c, "%s: out of memory", config_path());
        } else {
            all[n++] = all_texts[i];
        }
    }
    memcpy(all + n, arguments + 1, (size_t)(narguments - 1) * sizeof *all);
    *argc = narguments + n - 1;
    return all;
}

/* ---- SIGHUP ---- */

static bool on_command_line(const char *name)
{
    size_t n = strlen(name);
    for (int i = 1; i < narguments; i++)
        if (strncmp(arguments[i], "--", 2) == 0 && strncmp(arguments[i] + 2, name, n) == 0 &&
            (arguments[i][n + 2] == 0 || arguments[i][n + 2] == '='))
            return true;
    return false;
}

static const char *value_of(const config_file *f, const char *name)
{
    const char *v = NULL;
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->line[i].name, name) == 0)
            v = f->line[i].value;
    return v;
}

/* Options that differ from those the server runs with, but for the three that are taken anew. */
static void tell_what_waits(const config_file *fresh)
{
    static const char *const taken[] = {"api-key-file", "access-log", "origin", "model"};
    for (int i = 0; i < fresh->n; i++) {
        const char *name = fresh->line[i].name, *now = fresh->line[i].value, *old = value_of(&file, name);
        bool skip = on_command_line(name);
        for (size_t k = 0; k < sizeof taken / sizeof *taken; k++)
            skip = skip || strcmp(name, taken[k]) == 0;
        if (!skip && (!old != !now || (old && strcmp(old, now) != 0)))
            fprintf(stderr, "segue: serve: SIGHUP: '%s' is taken at the next start\n", name);
    }
}

/* The config file and what it names again: keys, log, origins.  A flag wins over the file, as at the start. */
static void hangup(void *arg, sg_server *server)
{
    static config_file fresh;
    sg_server_options o = *(const sg_server_options *)arg;
    const char *list[CONFIG_LINES];
    sg_error err;
    fresh.n = 0;
    if (config_path() && !config_read(&fresh, config_path(), tables, "model")) {
        fprintf(stderr, "segue: serve: SIGHUP: %s; nothing has changed\n", fresh.why);
        return;
    }
    if (config_path() && !on_command_line("api-key-file"))
        o.api_key_file = value_of(&fresh, "api-key-file");
    if (config_path() && !on_command_line("access-log"))
        o.access_log = value_of(&fresh, "access-log");
    if (config_path() && !on_command_line("origin")) {
        o.origins = list;
        o.norigin = 0;
        for (int i = 0; i < fresh.n; i++)
            if (strcmp(fresh.line[i].name, "origin") == 0 && fresh.line[i].value)
                list[o.norigin++] = fresh.line[i].value;
    }
    if (sg_server_reload(server, &o, &err) != SG_OK)
        fprintf(stderr, "segue: serve: SIGHUP: %s; nothing has changed\n", err.text);
    else
        tell_what_waits(&fresh);
    config_free(&fresh);
}

/* ---- running ---- */

static void loaded(void *arg, const sg_engine *engine)
{
    (void)arg;
    if (!model_flag.quiet)
        memory_table_print(stderr, engine);
}

static void check_numbers(const command *c)
{
    if (port < 0 || port > 65535)
        options_usage(c, "--port: from 0 to 65535");
    if (max_queue < 0 || max_queue > 1 << 20 || parallel < 0 || parallel > 1024)
        options_usage(c, "--max-queue: up to %d; --parallel: up to 1024", 1 << 20);
    if (step_tokens < 0 || step_tokens > 1 << 20 || max_connections < 0 || max_connections > 1 << 20)
        options_usage(c, "--step-tokens and --max-connections: from 1 to %d", 1 << 20);
    if (!(slo_tbt >= 0 && slo_tbt <= 1e6))
        options_usage(c, "--slo-tbt: milliseconds, from 0 to 1000000");
}

static int run(const command *c, int argc, char **argv)
{
    arguments = argv;
    narguments = argc;
    argv = with_config(c, &argc);
    int n = options_parse(c, argc, argv, MODELS_MAX);
    check_numbers(c);
    sg_engine_options models[MODELS_MAX];
    int nmodel = n ? n : config_models.n ? (int)config_models.n : 1;
    for (int i = 0; i < nmodel; i++) {
        models[i] = model_flags_engine(c, n ? argv[i] : config_models.n ? config_models.items[i] : NULL);
        models[i].policy = policy;
        models[i].max_waiting = (int)max_queue;
        models[i].max_running = (int)parallel;
        models[i].step_tokens = (int)step_tokens;
        models[i].slo_tbt_ms = slo_tbt;
    }
    sg_server_options o = {.host = host, .port = (int)port, .models = models, .nmodel = (size_t)nmodel, .api_key_file = key_file,
                           .access_log = access_log, .origins = origins.items, .norigin = origins.n, .body_max_bytes = max_body,
                           .max_connections = (int)max_connections, .signals = true,
                           .seed = model_flag.seed == SEED_NONE ? NULL : &model_flag.seed, .loaded = loaded, .hangup = hangup};
    o.arg = &o;
    sg_server *server;
    sg_error err;
    if (sg_server_open(&server, &o, &err) != SG_OK)
        return command_failed(c, &err);
    fprintf(stderr, "segue: listening on %s\n", sg_server_url(server));
    sg_status st = sg_server_run(server, &err);
    sg_server_close(server);
    return st == SG_OK ? 0 : command_failed(c, &err);
}

const command cmd_serve = {
    .name = "serve",
    .synopsis = "[MODEL]... [--host ADDRESS] [--port N] [options]",
    .summary = "Answer OpenAI's HTTP requests: chat and text completions, streamed or not",
    .text = "Without a MODEL the embedded default is served.  Several models may be served; the first is the default, others are\n"
            "asked for by name.  SIGTERM lets what runs finish, a second one stops at once; SIGHUP reads the config file again and\n"
            "takes new API keys, origins and access log, which is opened anew.\n"
            "\n"
            "POST /v1/chat/completions, POST /v1/completions, GET /v1/models, /health (the process lives), /ready (503 until the\n"
            "models are loaded), /metrics (Prometheus).",
    .tables = tables,
    .run = run,
};
