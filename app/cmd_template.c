/* app/cmd_template.c - `segue template`: conversations as the text that a model sees.
 *
 * The template comes from a model or from a file; the conversation from files, or, with --jsonl, one case a
 * line from standard input, all with the one compiled template.
 */
#include "commands.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *template_file, *template_name, *bos, *eos, *messages_file, *tools_file, *documents_file, *now;
static bool no_prompt, jsonl;
static string_list variables;

static const option options[] = {
    {NULL, "--template", OPT_STR, &template_file, "F", "the template itself, instead of a model's"},
    {NULL, "--name", OPT_STR, &template_name, "NAME", "which of the model's templates, when it has several"},
    {NULL, "--bos", OPT_STR, &bos, "S", "the text of bos_token"},
    {NULL, "--eos", OPT_STR, &eos, "S", "the text of eos_token"},
    {NULL, "--messages", OPT_STR, &messages_file, "F", "JSON array of messages; - reads standard input"},
    {NULL, "--tools", OPT_STR, &tools_file, "F", "JSON array of tools"},
    {NULL, "--documents", OPT_STR, &documents_file, "F", "JSON array of documents"},
    {NULL, "--no-generation-prompt", OPT_FLAG, &no_prompt, NULL, "do not begin the assistant's turn"},
    {NULL, "--option", OPT_LIST, &variables, "NAME=JSON", "one more variable for the template; may be repeated"},
    {NULL, "--now", OPT_STR, &now, "TIME", "what the template takes for the time, as 2026-01-02T03:04:05"},
    {NULL, "--jsonl", OPT_FLAG, &jsonl, NULL, "read a JSON object a line from standard input, write one a line"},
    {0},
};

static bool wrong(sg_error *err, sg_status status, const char *what, const char *why)
{
    *err = (sg_error){.status = status};
    snprintf(err->text, sizeof err->text, "%.160s: %.80s", what, why);
    return false;
}

/* A whole file, NUL-terminated (free). */
static char *slurp(const char *path, size_t *n, sg_error *err)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    size_t cap = 1 << 16, len = 0;
    char *data = f ? malloc(cap) : NULL;
    while (data) {
        len += fread(data + len, 1, cap - len - 1, f);
        if (len + 1 < cap)
            break;
        char *wider = cap < (size_t)1 << 30 ? realloc(data, cap *= 2) : NULL;
        if (!wider)
            free(data);
        data = wider;
    }
    if (!data || ferror(f)) {
        wrong(err, SG_E_IO, path, f ? "cannot be read" : strerror(errno));
        free(data);
        data = NULL;
    } else {
        data[len] = '\0';
        *n = len;
    }
    if (f && f != stdin)
        fclose(f);
    return data;
}

/* The --option flags as a JSON object, dumped (free). */
static char *options_json(const command *self)
{
    json_t *all = json_object();
    for (size_t i = 0; i < variables.n; i++) {
        const char *eq = strchr(variables.items[i], '=');
        json_t *v = eq ? json_loads(eq + 1, JSON_DECODE_ANY, NULL) : NULL;
        char name[128];
        if (!v || eq - variables.items[i] >= (ptrdiff_t)sizeof name)
            options_usage(self, "--option: '%s' is not NAME=JSON", variables.items[i]);
        snprintf(name, sizeof name, "%.*s", (int)(eq - variables.items[i]), variables.items[i]);
        json_object_set_new(all, name, v);
    }
    char *text = json_dumps(all, 0);
    json_decref(all);
    return text;
}

/* ---- one case from files ------------------------------------------------------------- */

static bool read_input(const char *path, char **text, sg_error *err)
{
    size_t n;
    if (!path)
        return true;
    *text = slurp(path, &n, err);
    if (*text && strlen(*text) != n) {
        free(*text);
        *text = NULL;
        return wrong(err, SG_E_FORMAT, path, "has a NUL byte");
    }
    return *text != NULL;
}

static bool render_files(const command *self, const sg_template *t, sg_error *err)
{
    char *m = NULL, *tools = NULL, *documents = NULL, *vars = options_json(self), *text, *raised = NULL;
    size_t n;
    bool ok = read_input(messages_file, &m, err) && read_input(tools_file, &tools, err) && read_input(documents_file, &documents, err);
    sg_template_input in = {m, tools, documents, vars, bos, eos, now, !no_prompt, false};
    ok = ok && sg_template_render(t, &in, &text, &n, &raised, err) == SG_OK;
    if (ok) {
        fwrite(text, 1, n, stdout);
        sg_memory_free(text);
    }
    sg_memory_free(raised);
    free(m);
    free(tools);
    free(documents);
    free(vars);
    return ok;
}

/* ---- lines ------------------------------------------------------------------------------ */

/* A member as JSON text (free); NULL when it is absent or null. */
static char *member(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);
    return v && !json_is_null(v) ? json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) : NULL;
}

static json_t *render_case(const sg_template *t, const json_t *line)
{
    char *m = member(line, "messages"), *tools = member(line, "tools");
    char *documents = member(line, "documents"), *vars = member(line, "options");
    const char *at = json_string_value(json_object_get(line, "now"));
    const char *begin = json_string_value(json_object_get(line, "bos")), *end = json_string_value(json_object_get(line, "eos"));
    sg_template_input in = {m, tools, documents, vars, begin ? begin : bos, end ? end : eos, at ? at : now, -1, false};
    char *text, *raised = NULL;
    size_t n;
    sg_error err;
    json_t *answer = json_object();
    if (sg_template_render(t, &in, &text, &n, &raised, &err) == SG_OK) {
        json_object_set_new(answer, "text", json_stringn(text, n));
        sg_memory_free(text);
    } else {
        json_object_set_new(answer, "error", json_string(raised ? raised : err.text));
    }
    sg_memory_free(raised);
    free(m);
    free(tools);
    free(documents);
    free(vars);
    return answer;
}

static void render_lines(const sg_template *t)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_error_t e;
        json_t *input = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &e), *answer;
        if (input)
            answer = render_case(t, input);
        else
            answer = json_pack("{s:s}", "error", e.text);
        json_dumpf(answer, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(answer);
        json_decref(input);
    }
    free(line);
}

static int run(const command *self, int argc, char **argv)
{
    int npos = options_parse(self, argc, argv, 1);
    if (npos && template_file)
        options_usage(self, "give a model or --template, not both");
    if (!jsonl && !messages_file)
        options_usage(self, "--messages is missing");
    sg_error err;
    sg_template *t = NULL;
    if (template_file) {
        size_t n = 0;
        char *text = slurp(template_file, &n, &err);
        if (text)
            sg_template_new(&t, text, n, &err);
        free(text);
    } else {
        sg_template_open(&t, npos ? argv[0] : NULL, template_name, &err);
    }
    if (!t)
        return command_failed(self, &err);
    bool ok = true;
    if (jsonl)
        render_lines(t);
    else
        ok = render_files(self, t, &err);
    sg_template_free(t);
    return ok ? 0 : command_failed(self, &err);
}

static const option *const tables[] = {options, NULL};
const command cmd_template = {
    .name = "template",
    .synopsis = "[MODEL | --template F] --messages F [options]",
    .summary = "a conversation as the text that a model sees",
    .text = "The rendered text goes to standard output, byte for byte. What the template raises is the error.\n"
            "With --jsonl each line has messages, tools, documents, options, bos, eos and now, and is answered by text or error.",
    .tables = tables,
    .run = run,
};
