/* Same bits alone or in a batch, with any chunking, on any number of threads: tiny random models of several families,
 * the rows of random plans compared with one sequence run by itself. */
#include "model/model.h"
#include "tap.h"
#include "tiny_model.h"

enum { LEN = 90, NSEQ = 5, BLOCK = 16 };

static int nplan; /* mixed steps so far */

static const char *const families[] = {"llama", "llama-window", "gemma3", "qwen3moe", "gpt-oss", "deepseek2"};

typedef struct engine {
    sg_weights *weights;
    sg_ops *ops;
    sg_model *model;
    sg_kv_pool *pool;
} engine;

static void engine_close(engine *e)
{
    sg_kv_pool_close(e->pool);
    sg_model_free(e->model);
    sg_ops_close(e->ops);
    sg_weights_close(e->weights);
    *e = (engine){0};
}

static sg_status engine_open(engine *e, const char *path, int nthread, bool exact, sg_error *err)
{
    sg_ops_options o = {.nthread = nthread, .exact = exact};
    *e = (engine){0};
    SG_TRY(sg_isa_choose(&o.isa, err));
    SG_TRY(sg_weights_open(&e->weights, path, err));
    SG_TRY(sg_ops_open(&e->ops, &o, err));
    SG_TRY(sg_model_load(&e->model, e->weights, e->ops, err));
    const sg_model_info *i = sg_model_info_of(e->model);
    return sg_kv_pool_open(&e->pool, i->kv, i->nlayer, i->kv_type, BLOCK, 2 * NSEQ * (LEN / BLOCK + 2), err);
}

/* Tokens of sequence s; all share their first 40, so that a block can be shared too. */
static int32_t token(int s, int pos)
{
    return (int32_t)((pos < 40 ? 7 * pos + 3 : 5 * pos * pos + 11 * s + pos) % TINY_VOCAB);
}

/* A step with rows [from[s], from[s] + n[s]) of each sequence, sequences in the order given; logits of row (s, pos) go
 * to out[s][pos]. */
static sg_status step(engine *e, sg_kv_seq **seqs, const int *order, const int *n, float *out, sg_error *err)
{
    static int32_t id[NSEQ * LEN], pos[NSEQ * LEN], seq[NSEQ * LEN], want[NSEQ * LEN];
    static float logits[NSEQ * LEN * TINY_VOCAB];
    int nrow = 0, number[NSEQ];
    for (int i = 0; i < NSEQ; i++) {
        int s = order[i], from = seqs[s]->len;
        number[i] = s;
        SG_TRY(sg_kv_seq_extend(seqs[s], n[s], err));
        for (int p = from; p < from + n[s]; p++, nrow++) {
            id[nrow] = token(s, p);
            pos[nrow] = p;
            seq[nrow] = s;
            want[nrow] = nrow;
        }
    }
    (void)number;
    if (!nrow)
        return SG_OK;
    /* The table names only the sequences that have rows. */
    sg_kv_seq *used[NSEQ];
    int nused = 0, map[NSEQ];
    for (int s = 0; s < NSEQ; s++)
        if (n[s]) {
            map[s] = nused;
            used[nused++] = seqs[s];
        }
    static int32_t seq_used[NSEQ * LEN];
    for (int r = 0; r < nrow; r++)
        seq_used[r] = map[seq[r]];
    sg_batch b = {.nrow = nrow,
                  .id = id,
                  .pos = pos,
                  .seq = seq_used,
                  .nseq = nused,
                  .seqs = used,
                  .nout = nrow,
                  .out = want,
                  .logits = logits,
                  .drawn = true};
    SG_TRY(sg_model_step(e->model, e->pool, &b, err));
    for (int r = 0; r < nrow; r++)
        memcpy(out + ((size_t)seq[r] * LEN + (size_t)pos[r]) * TINY_VOCAB, logits + (size_t)r * TINY_VOCAB,
               TINY_VOCAB * sizeof *out);
    return SG_OK;
}

static sg_status new_seqs(engine *e, sg_kv_seq **seqs, sg_error *err)
{
    for (int s = 0; s < NSEQ; s++)
        seqs[s] = NULL;
    for (int s = 0; s < NSEQ; s++)
        SG_TRY(sg_kv_seq_new(&seqs[s], e->pool, LEN, err));
    return SG_OK;
}

static void free_seqs(sg_kv_seq **seqs)
{
    for (int s = 0; s < NSEQ; s++)
        sg_kv_seq_free(seqs[s]);
}

/* Each sequence by itself, all at once or token by token. */
static sg_status run_alone(engine *e, int chunk, float *out, sg_error *err)
{
    sg_kv_seq *seqs[NSEQ];
    sg_status st = new_seqs(e, seqs, err);
    int order[NSEQ] = {0, 1, 2, 3, 4};
    for (int s = 0; s < NSEQ && st == SG_OK; s++)
        for (int at = 0; at < LEN && st == SG_OK; at += chunk) {
            int n[NSEQ] = {0};
            n[s] = LEN - at < chunk ? LEN - at : chunk;
            st = step(e, seqs, order, n, out, err);
        }
    free_seqs(seqs);
    return st;
}

/* Random steps over all sequences: chunks, single tokens, pauses, and now and then a sequence that forgets its end and
 * computes it again. */
static sg_status run_mixed(engine *e, float *out, sg_error *err)
{
    sg_kv_seq *seqs[NSEQ];
    sg_status st = new_seqs(e, seqs, err);
    int forget = 12;
    for (bool more = true; more && st == SG_OK;) {
        int order[NSEQ] = {0, 1, 2, 3, 4}, n[NSEQ] = {0};
        more = false;
        for (int i = NSEQ - 1; i > 0; i--) {
            int j = (int)(sg_rng_u64(tap_rng()) % (unsigned)(i + 1)), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (int s = 0; s < NSEQ; s++) {
            unsigned r = (unsigned)(sg_rng_u64(tap_rng()) % 100);
            int left = LEN - seqs[s]->len;
            if (r < 8 && seqs[s]->len > 3 && forget-- > 0)
                sg_kv_seq_truncate(seqs[s],
                                   seqs[s]->len - 1 - (int)(sg_rng_u64(tap_rng()) % (unsigned)(seqs[s]->len - 1)));
            else
                n[s] = r < 30 ? 0 : r < 70 ? 1 : (int)(sg_rng_u64(tap_rng()) % 40);
            left = LEN - seqs[s]->len;
            n[s] = n[s] < left ? n[s] : left;
            more = more || left > 0;
        }
        st = step(e, seqs, order, n, out, err);
        nplan++;
    }
    free_seqs(seqs);
    return st;
}

/* Sequence 0 first; the others begin with its first 40 positions (a whole number of blocks and a half), shared. */
static sg_status run_shared(engine *e, float *out, sg_error *err)
{
    sg_kv_seq *seqs[NSEQ];
    sg_status st = new_seqs(e, seqs, err);
    int order[NSEQ] = {0, 1, 2, 3, 4}, first[NSEQ] = {LEN}, rest[NSEQ] = {0, LEN - 40, LEN - 40, LEN - 40, LEN - 40};
    if (st == SG_OK)
        st = step(e, seqs, order, first, out, err);
    for (int s = 1; s < NSEQ && st == SG_OK; s++) {
        st = sg_kv_seq_share(seqs[s], seqs[0]->table, 40, err);
        memcpy(out + (size_t)s * LEN * TINY_VOCAB, out, 40 * TINY_VOCAB * sizeof *out);
    }
    if (st == SG_OK)
        st = step(e, seqs, order, rest, out, err);
    free_seqs(seqs);
    return st;
}

static size_t first_difference(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            return i;
    return n;
}

static void check_same(const char *family, const char *how, int nthread, const float *got, const float *want)
{
    size_t n = (size_t)NSEQ * LEN * TINY_VOCAB, i = first_difference(got, want, n);
    if (i < n)
        tap_fail(__FILE__, __LINE__, "%s, %s, %d threads: sequence %zu, position %zu, logit %zu is %.9g, alone %.9g",
                 family, how, nthread, i / TINY_VOCAB / LEN, i / TINY_VOCAB % LEN, i % TINY_VOCAB, (double)got[i],
                 (double)want[i]);
}

static void check_family(const char *family, bool exact)
{
    static float want[NSEQ * LEN * TINY_VOCAB], got[NSEQ * LEN * TINY_VOCAB];
    const char *path = tap_scratch("tiny.gguf");
    sg_error err = {0};
    engine e = {0};
    CHECK_OK(tiny_model_write(path, family, tap_rng(), &err));
    for (int nthread = 1; nthread <= 3; nthread++) {
        sg_status st = engine_open(&e, path, nthread, exact, &err);
        if (st == SG_OK && nthread == 1)
            st = run_alone(&e, LEN, want, &err);
        if (st == SG_OK && (st = run_alone(&e, nthread == 1 ? 1 : 7 * nthread, got, &err)) == SG_OK)
            check_same(family, "in chunks", nthread, got, want);
        for (int i = 0; i < 3 && st == SG_OK; i++)
            if ((st = run_mixed(&e, got, &err)) == SG_OK)
                check_same(family, "mixed", nthread, got, want);
        if (st == SG_OK && (st = run_shared(&e, got, &err)) == SG_OK)
            check_same(family, "shared", nthread, got, want);
        int nfree = e.pool ? sg_kv_pool_nfree(e.pool) : 0, nblock = e.pool ? sg_kv_pool_nblock(e.pool) : 0;
        engine_close(&e);
        CHECK_OK(st);
        CHECK_INT(nfree, nblock);
    }
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK(isfinite(want[i]));
}

TEST(a_row_does_not_depend_on_its_company)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        check_family(families[i], false);
    tap_note("%d random plans of prompts and answers mixed, bit for bit as alone", nplan);
    CHECK(nplan >= 1000);
}

TEST(nor_on_the_exact_path)
{
    check_family("llama", true);
    check_family("qwen3moe", true);
}

TEST(an_encoder_gives_the_same_alone_and_in_a_batch)
{
    enum { N = 37, M = 20 };
    sg_error err = {0};
    engine e = {0};
    const char *path = tap_scratch("bert.gguf");
    static float alone[N * TINY_DIM], both[(N + M) * TINY_DIM];
    int32_t id[N + M], pos[N + M], seq[N + M], out[N + M];
    CHECK_OK(tiny_model_write(path, "bert", tap_rng(), &err));
    CHECK_OK(engine_open(&e, path, 2, false, &err));
    for (int i = 0; i < N + M; i++) {
        id[i] = token(1, i);
        pos[i] = i < N ? i : i - N;
        seq[i] = i >= N;
        out[i] = i;
    }
    sg_kv_seq *seqs[2];
    CHECK_OK(sg_kv_seq_new(&seqs[0], e.pool, LEN, &err));
    CHECK_OK(sg_kv_seq_new(&seqs[1], e.pool, LEN, &err));
    CHECK_OK(sg_kv_seq_extend(seqs[0], N, &err));
    CHECK_OK(sg_kv_seq_extend(seqs[1], M, &err));
    sg_batch b = {
        .nrow = N, .id = id, .pos = pos, .seq = seq, .nseq = 1, .seqs = seqs, .nout = N, .out = out, .hidden = alone};
    CHECK_OK(sg_model_step(e.model, e.pool, &b, &err));
    b = (sg_batch){.nrow = N + M,
                   .id = id,
                   .pos = pos,
                   .seq = seq,
                   .nseq = 2,
                   .seqs = seqs,
                   .nout = N + M,
                   .out = out,
                   .hidden = both};
    CHECK_OK(sg_model_step(e.model, e.pool, &b, &err));
    CHECK_INT(first_difference(alone, both, N * TINY_DIM), N * TINY_DIM);
    sg_kv_seq_free(seqs[0]);
    sg_kv_seq_free(seqs[1]);
    engine_close(&e);
}

TEST(a_reserved_step_allocates_nothing)
{
    sg_error err = {0};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        engine e = {0};
        const char *path = tap_scratch("tiny.gguf");
        CHECK_OK(tiny_model_write(path, families[i], tap_rng(), &err));
        CHECK_OK(engine_open(&e, path, 2, false, &err));
        CHECK_OK(sg_model_reserve(e.model, LEN, 1, &err));
        sg_kv_seq *seq;
        static float logits[TINY_VOCAB];
        int32_t id[LEN], pos[LEN], number[LEN] = {0}, out = LEN - 1;
        CHECK_OK(sg_kv_seq_new(&seq, e.pool, LEN, &err));
        for (int p = 0; p < LEN; p++) {
            id[p] = token(0, p);
            pos[p] = p;
        }
        uint64_t calls = sg_heap_calls();
        sg_status st = sg_kv_seq_extend(seq, LEN, &err);
        sg_batch b = {.nrow = LEN,
                      .id = id,
                      .pos = pos,
                      .seq = number,
                      .nseq = 1,
                      .seqs = &seq,
                      .nout = 1,
                      .out = &out,
                      .logits = logits};
        if (st == SG_OK)
            st = sg_model_step(e.model, e.pool, &b, &err);
        calls = sg_heap_calls() - calls;
        sg_kv_seq_free(seq);
        engine_close(&e);
        CHECK_OK(st);
        CHECK_INT(calls, 0);
    }
}

TEST(a_wrong_token_table_is_refused)
{
    sg_error err = {0};
    engine e = {0};
    const char *path = tap_scratch("tiny.gguf");
    CHECK_OK(tiny_model_write(path, "llama", tap_rng(), &err));
    CHECK_OK(engine_open(&e, path, 1, false, &err));
    sg_kv_seq *seq;
    CHECK_OK(sg_kv_seq_new(&seq, e.pool, LEN, &err));
    CHECK_OK(sg_kv_seq_extend(seq, 2, &err));
    int32_t id[2] = {1, TINY_VOCAB}, pos[2] = {0, 1}, number[2] = {0, 0}, out = 1;
    sg_batch b = {.nrow = 2, .id = id, .pos = pos, .seq = number, .nseq = 1, .seqs = &seq, .nout = 0, .out = &out};
    CHECK_FAILS(sg_model_step(e.model, e.pool, &b, &err), SG_E_ARGUMENT, "token 1 is 96");
    id[1] = -1;
    CHECK_FAILS(sg_model_step(e.model, e.pool, &b, &err), SG_E_ARGUMENT, "token 1 is -1");
    id[1] = 1;
    pos[1] = 2;
    CHECK_FAILS(sg_model_step(e.model, e.pool, &b, &err), SG_E_ARGUMENT, "position 2");
    pos[1] = 1;
    number[1] = 1;
    CHECK_FAILS(sg_model_step(e.model, e.pool, &b, &err), SG_E_ARGUMENT, "sequence 1");
    number[1] = 0;
    b.nout = 1;
    out = 2;
    CHECK_FAILS(sg_model_step(e.model, e.pool, &b, &err), SG_E_ARGUMENT, "row 2");
    sg_kv_seq_free(seq);
    engine_close(&e);
}

static bool load_and_free(void *arg)
{
    engine e;
    sg_error err;
    bool ok = engine_open(&e, arg, 1, false, &err) == SG_OK && sg_model_reserve(e.model, 8, 2, &err) == SG_OK;
    engine_close(&e);
    return ok;
}

TEST(loading_survives_failed_allocations)
{
    sg_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s", tap_scratch("tiny.gguf"));
    CHECK_OK(tiny_model_write(path, "deepseek2", tap_rng(), &err));
    CHECK_ALLOC_LOOP(load_and_free, path);
}

TAP_MAIN
