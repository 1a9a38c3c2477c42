/* app/cmd_embed.c - `segue embed`: a vector for a text. */
#include "commands.h"
#include "lines.h"
#include "model_flags.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text, *file, *pooling;
static int normalize = 1;
static bool as_jsonl, as_json;

static const option options[] = {
    {NULL, "--text", OPT_STR, &text, "T", "the text"},
    {NULL, "--file", OPT_STR, &file, "F", "a file with the text; - is standard input"},
    {NULL, "--jsonl", OPT_FLAG, &as_jsonl, NULL, "a JSON string a line on standard input, one result a line out"},
    {NULL, "--pooling", OPT_STR, &pooling, "mean|cls|last|none",
     "how tokens become one vector; default: what the model says; none: one vector a token"},
    {NULL, "--normalize", OPT_YESNO, &normalize, NULL, "scale to length 1; default: yes"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "the output is JSON in any case"},
    {0}};

static sg_pool_kind pool_kind(const command *self)
{
    static const char *const names[] = {"none", "mean", "cls", "last"};
    if (!pooling)
        return SG_POOL_MODEL;
    for (int i = 0; i < 4; i++)
        if (strcmp(pooling, names[i]) == 0)
            return (sg_pool_kind)i;
    options_usage(self, "--pooling is '%s': mean, cls, last or none", pooling);
}

static json_t *row_json(const float *x, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(a, isfinite(x[i]) ? json_real((double)x[i]) : json_null());
    return a;
}

static bool embed(sg_eval *e, const char *s, size_t len, sg_pool_kind kind, sg_error *err)
{
    int32_t *ids = NULL, *types = NULL;
    int n = 0, dim = sg_eval_dim(e);
    if (sg_eval_tokenize(e, s, len, NULL, 0, &ids, &types, &n, err) != SG_OK)
        return false;
    int rows = kind == SG_POOL_NONE ? n : 1;
    float *x = calloc((size_t)rows * (size_t)dim + 1, sizeof *x);
    bool ok = x && sg_eval_embed(e, ids, types, n, kind, normalize != 0, x, err) == SG_OK;
    if (!x)
        *err = (sg_error){.status = SG_E_NOMEM, .text = "out of memory"};
    if (ok) {
        json_t *v = kind == SG_POOL_NONE ? json_array() : row_json(x, dim);
        for (int r = 0; r < rows && kind == SG_POOL_NONE; r++)
            json_array_append_new(v, row_json(x + (size_t)r * (size_t)dim, dim));
        lines_print(json_pack("{s:o, s:i}", "embedding", v, "tokens", n));
    }
    free(x);
    sg_eval_free_ids(ids);
    sg_eval_free_ids(types);
    return ok;
}

typedef struct line_arg {
    sg_eval *eval;
    sg_pool_kind kind;
} line_arg;

static bool embed_line(void *arg, const char *s, size_t n, sg_error *err)
{
    const line_arg *a = arg;
    return embed(a->eval, s, n, a->kind, err);
}

static bool embed_file(sg_eval *e, sg_pool_kind kind, sg_error *err)
{
    size_t n;
    char *data = lines_read_file(file, &n, err);
    bool ok = data && embed(e, data, n, kind, err);
    free(data);
    return ok;
}

static int run(const command *self, int argc, char **argv)
{
    const char *model = options_parse(self, argc, argv, 1) ? argv[0] : NULL; /* NULL: the embedded default */
    if ((text != NULL) + (file != NULL) + as_jsonl != 1)
        options_usage(self, "one of --text, --file and --jsonl is needed");
    sg_pool_kind kind = pool_kind(self);
    sg_eval_options o = model_flags_eval(self, model);
    sg_eval *e = NULL;
    sg_error err = {0};
    if (sg_eval_open(&e, &o, &err) != SG_OK)
        return command_failed(self, &err);
    int status = 0;
    if (as_jsonl)
        status = lines_run(embed_line, &(line_arg){e, kind});
    else if (!(text ? embed(e, text, strlen(text), kind, &err) : embed_file(e, kind, &err)))
        status = command_failed(self, &err);
    sg_eval_close(e);
    return status;
}

static const option *const tables[] = {options, model_flag_options, NULL};

const command cmd_embed = {
    .name = "embed",
    .synopsis = "[MODEL] --text T | --file F | --jsonl [options]",
    .summary = "a vector for a text",
    .text = "Prints {\"embedding\":[...],\"tokens\":N}.",
    .tables = tables,
    .run = run,
};
