/* app/cmd_rank.c - `segue rank`: how well documents answer a query, by a cross-encoder. */
#include "commands.h"
#include "lines.h"
#include "model_flags.h"

#include <jansson.h>
#include <string.h>

static const char *query;
static bool as_jsonl;

static const option options[] = {{NULL, "--query", OPT_STR, &query, "Q", "the query"},
                                 {NULL, "--jsonl", OPT_FLAG, &as_jsonl, NULL,
                                  "a document (JSON string) a line on standard input, one score a line out"},
                                 {0}};

static bool rank_line(void *arg, const char *s, size_t n, sg_error *err)
{
    sg_eval *e = arg;
    int32_t *ids = NULL, *types = NULL;
    int count = 0;
    float score = 0;
    bool ok = sg_eval_tokenize(e, query, strlen(query), s, n, &ids, &types, &count, err) == SG_OK &&
              sg_eval_rank(e, ids, types, count, &score, err) == SG_OK;
    sg_eval_free_ids(ids);
    sg_eval_free_ids(types);
    if (ok)
        lines_print(json_pack("{s:f}", "score", (double)score));
    return ok;
}

static int run(const command *self, int argc, char **argv)
{
    if (options_parse(self, argc, argv, 1) != 1)
        options_usage(self, "a model is needed");
    if (!query || !as_jsonl)
        options_usage(self, "--query and --jsonl are needed");
    sg_eval_options o = model_flags_eval(self, argv[0]);
    sg_eval *e = NULL;
    sg_error err = {0};
    if (sg_eval_open(&e, &o, &err) != SG_OK)
        return command_failed(self, &err);
    int status = 0;
    if (sg_eval_kind_of(e) == SG_EVAL_RERANKER) {
        status = lines_run(rank_line, e);
    } else {
        err = (sg_error){.status = SG_E_UNSUPPORTED, .text = "this model has no classifier, so it cannot rank"};
        status = command_failed(self, &err);
    }
    sg_eval_close(e);
    return status;
}

static const option *const tables[] = {options, model_flag_options, NULL};

const command cmd_rank = {
    .name = "rank",
    .synopsis = "MODEL --query Q --jsonl [options]",
    .summary = "how well documents answer a query, by a cross-encoder",
    .text = "Prints {\"score\":x} for each document; larger is better.",
    .tables = tables,
    .run = run,
};
