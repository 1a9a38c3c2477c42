/* app/cmd_serve.c - segue serve: OpenAI's HTTP interface over one or more models.
 *
 * A config file has the same names as the long options, one "name = value" a line; it is read as if its lines stood
 * before the arguments, so that a flag wins.
 */
#include "model_flags.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS_MAX = 16, CONFIG_ARGS = 256, CONFIG_LINE = 4096 };

static const char *host = "127.0.0.1", *key_file, *policy, *config, *access_log;
static int64_t port = 8080, max_queue, parallel, step_tokens, max_connections;
static uint64_t max_body;
static double slo_tbt;
static string_list origins, config_models;

static const option options[] = {
    {NULL, "--host", OPT_STR, &host, "ADDRESS", "address to listen on; default 127.0.0.1"},
    {NULL, "--port", OPT_INT, &port, "N", "port to listen on, 0: a free one; default 8080"},
    {NULL, "--api-key-file", OPT_STR, &key_file, "F", "ask for one of the keys in this file, one a line"},
    {NULL, "--slo-tbt", OPT_F64, &slo_tbt, "MS", "wanted bound on the time between tokens; default: --step-tokens counts"},
    {NULL, "--policy", OPT_STR, &policy, "NAME", "scheduling policy: slo (default), static:N, chunked:N, hybrid, prefill-first, orca, request"},
    {NULL, "--max-queue", OPT_INT, &max_queue, "N", "requests that may wait, one more is answered 429; default 256"},
    {NULL, "--parallel", OPT_INT, &parallel, "N", "requests that run at once; default 32"},
    {NULL, "--step-tokens", OPT_INT, &step_tokens, "N", "tokens of a step while answers are being written; default 64"},
    {NULL, "--max-body", OPT_SIZE, &max_body, "SIZE", "largest request body; default 16MiB"},
    {NULL, "--max-connections", OPT_INT, &max_connections, "N", "open connections; default 4096"},
    {NULL, "--origin", OPT_LIST, &origins, "URL", "web origin that may call (https://host), again for more; default none"},
    {NULL, "--access-log", OPT_STR, &access_log, "F", "a line of JSON for each request (-: standard error)"},
    {NULL, "--config", OPT_STR, &config, "F", "read options from a file, name = value a line; model = PATH adds a model"},
    {0}};
static const option *const tables[] = {options, model_flag_options, NULL};

/* ---- config file ---- */

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    char *end = s + strlen(s);
    while (end > s && isspace((unsigned char)end[-1]))
        *--end = 0;
    return s;
}

static bool known(const char *name)
{
    for (size_t t = 0; tables[t]; t++)
        for (const option *o = tables[t]; o->short_name || o->long_name; o++)
            if (o->long_name && strcmp(o->long_name + 2, name) == 0 && o->value != (void *)&config)
                return true;
    return false;
}

/* What the config file became; it lives as long as the program, like the command line itself. */
static char **config_args, *config_texts[CONFIG_ARGS];
static int nconfig_text;

/* Turn a line into "--name=value", or just "--name" for a flag; the text lives as long as the program. */
static char *argument(const command *c, const char *path, int line, char *text)
{
    char *eq = strchr(text, '=');
    char *name = trim(text), *value = NULL;
    if (eq) {
        *eq = 0;
        name = trim(text);
        value = trim(eq + 1);
    }
    if (strcmp(name, "model") == 0 && value) {
        if (config_models.n == MODELS_MAX)
            options_usage(c, "%s: line %d: more than %d models", path, line, MODELS_MAX);
        config_models.items[config_models.n++] = strdup(value);
        return NULL;
    }
    if (!known(name))
        options_usage(c, "%s: line %d: unknown option '%.64s'", path, line, name);
    char *arg = NULL;
    if (asprintf(&arg, value ? "--%s=%s" : "--%s", name, value) < 0)
        exit(1);
    return config_texts[nconfig_text++] = arg;
}

/* The arguments with those of the config file before them. */
static char **with_config(const command *c, int *argc, char **argv)
{
    const char *path = NULL;
    for (int i = 1; i < *argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < *argc)
            path = argv[i + 1];
    }
    if (!path)
        return argv;
    FILE *f = fopen(path, "r");
    char **all = config_args = calloc((size_t)*argc + CONFIG_ARGS + 1, sizeof *all), line[CONFIG_LINE];
    if (!f || !all)
        options_usage(c, "%s: %s", path, strerror(errno));
    int n = 1;
    all[0] = argv[0];
    for (int number = 1; fgets(line, sizeof line, f); number++) {
        char *text = trim(line);
        if (!*text || *text == '#' || *text == ';' || *text == '[')
            continue;
        if (n == CONFIG_ARGS)
            options_usage(c, "%s: line %d: too many options", path, number);
        char *arg = argument(c, path, number, text);
        if (arg)
            all[n++] = arg;
    }
    fclose(f);
    memcpy(all + n, argv + 1, (size_t)(*argc - 1) * sizeof *all);
    *argc += n - 1;
    return all;
}

/* ---- running ---- */

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
    argv = with_config(c, &argc, argv);
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
                           .max_connections = (int)max_connections, .signals = true};
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
            "asked for by name.  SIGTERM lets what runs finish, a second one stops at once; SIGHUP reads the API keys again.\n"
            "\n"
            "POST /v1/chat/completions, POST /v1/completions, GET /v1/models, /health (the process lives), /ready (503 until the\n"
            "models are loaded), /metrics (Prometheus).",
    .tables = tables,
    .run = run,
};
