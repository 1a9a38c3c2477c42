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

static void print_embedding(const float *x, int n, int dim, sg_pool_kind kind)
{
    json_t *v = kind == SG_POOL_NONE ? json_array() : row_json(x, dim);
    for (int r = 0; r < n && kind == SG_POOL_NONE; r++)
        json_array_append_new(v, row_json(x + (size_t)r * (size_t)dim, dim));
    lines_print(json_pack("{s:o, s:i}", "embedding", v, "tokens", n));
}

static float *new_values(int n, int dim, sg_pool_kind kind, sg_error *err)
{
    float *x = calloc((size_t)(kind == SG_POOL_NONE ? n : 1) * (size_t)dim + 1, sizeof *x);
    if (!x)
        *err = (sg_error){.status = SG_E_NOMEM, .text = "out of memory"};
    return x;
}

static bool embed(sg_eval *e, const char *s, size_t len, sg_pool_kind kind, sg_error *err)
{
    int32_t *ids = NULL, *types = NULL;
    int n = 0, dim = sg_eval_dim(e);
    if (sg_eval_tokenize(e, s, len, NULL, 0, &ids, &types, &n, err) != SG_OK)
        return false;
    float *x = new_values(n, dim, kind, err);
    bool ok = x && sg_eval_embed(e, ids, types, n, kind, normalize != 0, x, err) == SG_OK;
    if (ok)
        print_embedding(x, n, dim, kind);
    free(x);
    sg_eval_free_ids(ids);
    sg_eval_free_ids(types);
    return ok;
}

/* ---- lines ----
 *
 * Lines that have come already are embedded together, up to ROWS tokens a step; nobody waits for a line that has not come.  Each line
 * keeps its place, with its result or its error:
 *
 *     line 7  tokens ---.
 *     line 8  error     +--> one step --> results in order
 *     line 9  tokens ---'
 */

enum { ROWS = 2048 };

typedef struct slot {
    sg_embed_text text;
    bool good;
    sg_error error;
} slot;

typedef struct gathered {
    sg_eval *eval;
    sg_pool_kind kind;
    slot slot[SG_EMBED_MAX];
    int n, rows;
    bool failed;
} gathered;

static void read_slot(gathered *g, slot *x, const char *line, size_t len)
{
    json_t *o;
    const char *s;
    size_t n;
    int32_t *ids, *types;
    *x = (slot){0};
    if (len == SIZE_MAX) {
        x->error = (sg_error){.status = SG_E_LIMIT};
        snprintf(x->error.text, sizeof x->error.text, "the line has more than %d bytes", (int)LINES_MAX_BYTES);
        return;
    }
    if (!lines_text(line, len, &o, &s, &n, &x->error))
        return;
    if (sg_eval_tokenize(g->eval, s, n, NULL, 0, &ids, &types, &x->text.n, &x->error) == SG_OK) {
        x->text.ids = ids;
        x->text.types = types;
        x->text.out = new_values(x->text.n, sg_eval_dim(g->eval), g->kind, &x->error);
        x->good = x->text.out;
    }
    json_decref(o);
}

/* All texts in one step; when that fails, one by one, so that each has its own error. */
static void embed_slots(gathered *g)
{
    sg_embed_text list[SG_EMBED_MAX];
    sg_error err;
    int n = 0;
    for (int i = 0; i < g->n; i++)
        if (g->slot[i].good)
            list[n++] = g->slot[i].text;
    if (n && sg_eval_embed_many(g->eval, list, n, g->kind, normalize != 0, &err) == SG_OK)
        return;
    for (int i = 0; i < g->n; i++) {
        slot *x = &g->slot[i];
        if (x->good)
            x->good = sg_eval_embed_many(g->eval, &x->text, 1, g->kind, normalize != 0, &x->error) == SG_OK;
    }
}

static void flush_slots(gathered *g)
{
    embed_slots(g);
    for (int i = 0; i < g->n; i++) {
        slot *x = &g->slot[i];
        if (x->good)
            print_embedding(x->text.out, x->text.n, sg_eval_dim(g->eval), g->kind);
        else
            lines_print(json_pack("{s:s}", "error", x->error.text));
        g->failed = g->failed || !x->good;
        free(x->text.out);
        sg_eval_free_ids((int32_t *)x->text.ids);
        sg_eval_free_ids((int32_t *)x->text.types);
    }
    g->n = g->rows = 0;
}

static int embed_lines(sg_eval *e, sg_pool_kind kind)
{
    static gathered g;
    lines_reader r = {0};
    size_t n;
    char *line;
    g = (gathered){.eval = e, .kind = kind};
    for (;;) {
        line = lines_next(&r, g.n == 0, &n);
        if (!line && !g.n)
            break;
        if (!line) {
            flush_slots(&g);
            continue;
        }
        slot x;
        read_slot(&g, &x, line, n);
        if (g.n == SG_EMBED_MAX || (g.n && x.good && x.text.n > ROWS - g.rows))
            flush_slots(&g);
        g.slot[g.n++] = x;
        g.rows += x.good ? x.text.n : 0;
    }
    lines_fini(&r);
    return g.failed;
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
        status = embed_lines(e, kind);
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
