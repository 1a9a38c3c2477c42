/* All golden models of ../shared/data/golden/arch that are of a family we have: from the GGUF and from the Hugging Face
 * directory, on the exact and on the default path.  Families that we do not have must be refused in one line. */
#include "base/file.h"
#include "base/json.h"
#include "tap.h"

#include <dirent.h>
#include <stdlib.h>

static const char *const refused[] = {"bloom",      "cohere",     "falcon", "gpt2",       "gptneox",    "mamba",
                                      "modernbert", "nomic-bert", "phi2",   "starcoder2", "t5-encoder", "whisper"};

typedef struct golden {
    const char *name;
    json_t *expect;
    float *values;
    size_t nvalue;
    bool exact;
    double tolerance;
    bool flips; /* rounding may change an expert: compare log-probabilities on average */
} golden;

static bool is_refused(const char *name)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(refused[i], name) == 0)
            return true;
    return false;
}

/* The values that {"offset","shape"} names, and how many; NULL when there are none. */
static const float *values_of(const golden *g, const json_t *o, size_t *n)
{
    *n = 1;
    size_t i;
    json_t *s;
    json_array_foreach(json_object_get(o, "shape"), i, s) *n *= (size_t)json_integer_value(s);
    size_t offset = (size_t)json_integer_value(json_object_get(o, "offset"));
    return o && offset + *n <= g->nvalue ? g->values + offset : NULL;
}

static int32_t *ids_of(const json_t *a, int *n)
{
    *n = (int)json_array_size(a);
    int32_t *ids = sg_calloc((size_t)*n + 1, sizeof *ids);
    for (int i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(a, (size_t)i));
    return ids;
}

/* max |a - b| / rms(b) */
static double distance(const float *a, const float *b, size_t n)
{
    double worst = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        worst = !(d <= worst) ? d : worst;
        sum += (double)b[i] * (double)b[i];
    }
    return worst / sqrt(sum / (double)n);
}

static void check_decoder(const golden *g, sg_eval *e, const json_t *s)
{
    sg_error err = {0};
    int n, ngreedy = 0;
    size_t nlogit, nlp;
    const json_t *greedy = json_object_get(g->expect, "greedy");
    int32_t *ids = ids_of(json_object_get(s, "ids"), &n), *want = NULL;
    const float *logits = values_of(g, json_object_get(s, "logits"), &nlogit),
                *logprobs = values_of(g, json_object_get(s, "logprobs"), &nlp);
    if (strcmp(json_string_value(json_object_get(s, "name")), json_string_value(json_object_get(greedy, "prompt"))) ==
        0)
        want = ids_of(json_object_get(greedy, "ids"), &ngreedy);
    size_t V = (size_t)sg_eval_nvocab(e);
    double *lp = sg_calloc((size_t)n, sizeof *lp), worst = 0, sum = 0;
    float *got = sg_calloc(nlogit, sizeof *got);
    int32_t *next = sg_calloc((size_t)ngreedy + 1, sizeof *next);
    sg_status st = sg_eval_tokens(e, ids, n, lp, got, (int)(nlogit / V), next, ngreedy, &err);
    if (st != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s: %s", g->name, err.text);
    for (size_t i = 0; i < nlp; i++) {
        double d = fabs(lp[i + 1] - (double)logprobs[i]);
        worst = !(d <= worst) ? d : worst;
        sum += d;
    }
    double off = distance(got, logits, nlogit);
    if (!(off <= g->tolerance) && (g->exact || !g->flips))
        tap_fail(__FILE__, __LINE__, "%s, %d tokens: logits off by %.3g, tolerance %.3g", g->name, n, off,
                 g->tolerance);
    if (g->flips && !g->exact ? !(sum / (double)nlp <= 0.1) : !(worst <= 5 * g->tolerance))
        tap_fail(__FILE__, __LINE__, "%s, %d tokens: log-probabilities off by %.3g", g->name, n, worst);
    if (g->exact && want && memcmp(next, want, (size_t)ngreedy * sizeof *want) != 0)
        tap_fail(__FILE__, __LINE__, "%s: greedy tokens differ", g->name);
    sg_free(ids), sg_free(want), sg_free(lp), sg_free(got), sg_free(next);
}

static void check_vector(const golden *g, const char *what, const float *got, const json_t *o)
{
    size_t n;
    const float *want = values_of(g, o, &n);
    double off = want ? distance(got, want, n) : 0;
    if (!(off <= g->tolerance))
        tap_fail(__FILE__, __LINE__, "%s: %s off by %.3g, tolerance %.3g", g->name, what, off, g->tolerance);
}

static void check_encoder(const golden *g, sg_eval *e, const json_t *s)
{
    sg_error err = {0};
    int n;
    int32_t *ids = ids_of(json_object_get(s, "ids"), &n);
    size_t D = (size_t)sg_eval_dim(e);
    float *all = sg_calloc((size_t)n * D, sizeof *all), *one = sg_calloc(D, sizeof *one);
    if (sg_eval_embed(e, ids, NULL, n, SG_POOL_NONE, false, all, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s: %s", g->name, err.text);
    check_vector(g, "hidden states", all + (size_t)(n > 8 ? n - 8 : 0) * D, json_object_get(s, "tokens"));
    if (sg_eval_embed(e, ids, NULL, n, SG_POOL_MEAN, true, one, &err) == SG_OK)
        check_vector(g, "mean", one, json_object_get(s, "mean"));
    if (sg_eval_embed(e, ids, NULL, n, SG_POOL_CLS, true, one, &err) == SG_OK)
        check_vector(g, "cls", one, json_object_get(s, "cls"));
    sg_free(ids), sg_free(all), sg_free(one);
}

static void check_pair(const golden *g, sg_eval *e, const json_t *s)
{
    sg_error err = {0};
    int n, ntype;
    int32_t *ids = ids_of(json_object_get(s, "ids"), &n), *types = ids_of(json_object_get(s, "token_type_ids"), &ntype);
    float score = 0;
    if (sg_eval_rank(e, ids, types, n, &score, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s: %s", g->name, err.text);
    check_vector(g, "score", &score, json_object_get(s, "score"));
    sg_eval_rank(e, ids, NULL, n, &score, &err);
    check_vector(g, "score with types 0", &score, json_object_get(s, "score_all_types_zero"));
    sg_free(ids), sg_free(types);
}

static void check_model(golden *g, const char *path, bool exact)
{
    sg_error err = {0};
    sg_eval *e = NULL;
    double b16 = json_number_value(json_object_get(g->expect, "bfloat16_arithmetic_error"));
    double f32 = json_number_value(json_object_get(json_object_get(g->expect, "tolerance"), "float32_arithmetic"));
    const char *kind = json_string_value(json_object_get(g->expect, "kind"));
    g->exact = exact;
    g->flips = b16 > 0.3;
    g->tolerance = exact ? f32 : fmax(2e-3, 2 * b16);
    sg_eval_options o = {.model = path, .threads = 2, .exact = exact};
    if (sg_eval_open(&e, &o, &err) != SG_OK) {
        tap_fail(__FILE__, __LINE__, "%s: %s", path, err.text);
        return;
    }
    size_t i;
    json_t *s;
    json_array_foreach(json_object_get(g->expect, strcmp(kind, "reranker") == 0 ? "pairs" : "sequences"), i,
                       s) if (strcmp(kind, "decoder") == 0) check_decoder(g, e, s);
    else if (strcmp(kind, "encoder") == 0) check_encoder(g, e, s);
    else check_pair(g, e, s);
    sg_eval_close(e);
}

static bool load_golden(golden *g, const char *dir)
{
    sg_error err = {0};
    char path[1200], *data = NULL;
    size_t size;
    snprintf(path, sizeof path, "%s/expect.json", dir);
    if (sg_json_read(&g->expect, path, 64 << 20, &err) != SG_OK)
        return false;
    snprintf(path, sizeof path, "%s/expect.f32", dir);
    if (sg_file_read(path, 256 << 20, &data, &size, &err) != SG_OK)
        return false;
    g->values = (float *)data;
    g->nvalue = size / sizeof(float);
    return true;
}

static int run_golden(const char *dir, const char *name)
{
    golden g = {.name = name};
    char gguf[1200];
    int n = 0;
    snprintf(gguf, sizeof gguf, "%s/model.gguf", dir);
    if (!load_golden(&g, dir))
        tap_fail(__FILE__, __LINE__, "%s: cannot be read", name);
    for (int exact = 1; g.values && exact >= 0; exact--) {
        check_model(&g, dir, exact);
        n++;
        if (sg_path_exists(gguf)) {
            check_model(&g, gguf, exact);
            n++;
        }
    }
    json_decref(g.expect);
    sg_free(g.values);
    return n;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The golden models' names, sorted; NULL when there is no shared data. */
static char **list(char root[512], size_t *n)
{
    static char *names[256];
    if (!tap_shared())
        return NULL;
    snprintf(root, 512, "%s/data/golden/arch", tap_shared());
    DIR *d = opendir(root);
    struct dirent *entry;
    *n = 0;
    while (d && (entry = readdir(d)) && *n < 256)
        if (entry->d_name[0] != '.')
            names[(*n)++] = sg_strdup(entry->d_name);
    if (d)
        closedir(d);
    qsort(names, *n, sizeof *names, by_name);
    return d ? names : NULL;
}

TEST(golden_models_give_the_references_numbers)
{
    char root[512], dir[1024];
    size_t n, nmodel = 0, nrun = 0;
    char **names = list(root, &n);
    if (!names) {
        tap_skip("no shared data");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(dir, sizeof dir, "%s/%s", root, names[i]);
        if (!is_refused(names[i]) && sg_path_is_directory(dir)) {
            nrun += (size_t)run_golden(dir, names[i]);
            nmodel++;
        }
        sg_free(names[i]);
    }
    tap_note("%zu golden models, %zu runs", nmodel, nrun);
    CHECK(nmodel > 0);
}

TEST(families_that_are_not_there_are_refused)
{
    char root[512], path[1024];
    size_t n, count = 0;
    char **names = list(root, &n);
    if (!names) {
        tap_skip("no shared data");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (int gguf = 0; gguf < 2 && is_refused(names[i]); gguf++) {
            sg_error err = {0};
            sg_eval *e = NULL;
            snprintf(path, sizeof path, "%s/%s%s", root, names[i], gguf ? "/model.gguf" : "");
            if (!sg_path_exists(path))
                continue;
            sg_eval_options o = {.model = path, .threads = 1};
            if (sg_eval_open(&e, &o, &err) != SG_E_UNSUPPORTED)
                tap_fail(__FILE__, __LINE__, "%s: %s", path, err.text);
            sg_eval_close(e);
            count++;
        }
        sg_free(names[i]);
    }
    tap_note("%zu refused", count);
}

TAP_MAIN
