/* Embeddings of many texts in one step: the bits of one at a time, bounds, failures. */
#include "tap.h"

#include "tiny_model.h"
#include "segue.h"

#include <stdlib.h>
#include <unistd.h>

enum { NTEXT = 60, LONG = 90 };

static sg_error err;
static int32_t ids[NTEXT][LONG], types[NTEXT][LONG];
static float alone[NTEXT][LONG * TINY_DIM], together[NTEXT][LONG * TINY_DIM];

static void write_texts(sg_embed_text *x, int n, int longest, bool typed, sg_rng *g)
{
    for (int i = 0; i < n; i++) {
        x[i] = (sg_embed_text){.ids = ids[i], .types = typed && i % 2 ? types[i] : NULL, .n = 1 + (int)sg_rng_below(g, (uint64_t)longest),
                               .out = together[i]};
        for (int k = 0; k < x[i].n; k++) {
            ids[i][k] = (int32_t)sg_rng_below(g, TINY_VOCAB);
            types[i][k] = (int32_t)sg_rng_below(g, 2);
        }
    }
}

static void check_model(const char *path, const char *family, int threads, sg_rng *g)
{
    static const sg_pool_kind kinds[] = {SG_POOL_MODEL, SG_POOL_NONE, SG_POOL_MEAN, SG_POOL_CLS, SG_POOL_LAST};
    sg_eval_options o = {.model = path, .threads = threads};
    sg_eval *e;
    CHECK_OK(sg_eval_open(&e, &o, &err));
    for (int round = 0; round < 10 && !tap_failed(); round++) {
        sg_embed_text x[NTEXT];
        sg_pool_kind kind = kinds[round % 5];
        int n = 1 + (int)sg_rng_below(g, NTEXT);
        write_texts(x, n, round < 5 ? 20 : LONG, strcmp(family, "bert") == 0, g);
        for (int i = 0; i < n; i++)
            CHECK_OK(sg_eval_embed(e, x[i].ids, x[i].types, x[i].n, kind, round % 2, alone[i], &err));
        CHECK_OK(sg_eval_embed_many(e, x, n, kind, round % 2, &err));
        for (int i = 0; i < n; i++)
            CHECK(memcmp(alone[i], together[i], (size_t)(kind == SG_POOL_NONE ? x[i].n : 1) * TINY_DIM * sizeof(float)) == 0);
    }
    sg_eval_close(e);
}

static char path[64];

TEST(many_texts_have_the_bits_of_one_at_a_time)
{
    static const char *const families[] = {"bert", "llama", "gemma3", "qwen3moe"};
    sg_rng *g = tap_rng();
    snprintf(path, sizeof path, "/tmp/segue-embed-%d.gguf", (int)getpid());
    for (size_t f = 0; f < sizeof families / sizeof families[0] && !tap_failed(); f++) {
        CHECK_OK(tiny_model_write(path, families[f], g, &err));
        for (int threads = 1; threads < 3 && !tap_failed(); threads++)
            check_model(path, families[f], threads, g);
    }
    remove(path);
}

static bool embed_once(void *arg)
{
    (void)arg;
    sg_eval_options o = {.model = path, .threads = 1};
    sg_embed_text x[3];
    sg_rng g = {5};
    sg_eval *e;
    if (sg_eval_open(&e, &o, NULL) != SG_OK)
        return false;
    write_texts(x, 3, 20, true, &g);
    memset(together, 0, sizeof together);
    sg_status st = sg_eval_embed_many(e, x, 3, SG_POOL_MEAN, true, NULL);
    if (st != SG_OK && (together[0][0] != 0 || together[2][0] != 0))
        abort(); /* untouched on failure */
    sg_eval_close(e);
    return st == SG_OK;
}

TEST(bounds_and_failures)
{
    sg_eval_options o = {.model = path, .threads = 1, .ctx = 50};
    sg_embed_text x[3];
    sg_eval *e;
    CHECK_OK(tiny_model_write(path, "bert", tap_rng(), &err));
    CHECK_OK(sg_eval_open(&e, &o, &err));
    write_texts(x, 3, 20, false, tap_rng());
    CHECK_FAILS(sg_eval_embed_many(e, x, 0, SG_POOL_MEAN, true, &err), SG_E_ARGUMENT, "0 texts");
    CHECK_FAILS(sg_eval_embed_many(e, x, SG_EMBED_MAX + 1, SG_POOL_MEAN, true, &err), SG_E_ARGUMENT, "from 1 to");
    x[1].n = 0;
    CHECK_FAILS(sg_eval_embed_many(e, x, 3, SG_POOL_MEAN, true, &err), SG_E_ARGUMENT, "no tokens");
    x[1].n = 51;
    CHECK_FAILS(sg_eval_embed_many(e, x, 3, SG_POOL_MEAN, true, &err), SG_E_LIMIT, "51 tokens: the context has 50");
    x[1].n = 50;
    CHECK_OK(sg_eval_embed_many(e, x, 3, SG_POOL_MEAN, true, &err));
    sg_eval_close(e);
    CHECK_ALLOC_LOOP(embed_once, NULL);
    remove(path);
}

TAP_MAIN
