/* Linear layers over the pool: jobs that share activations, bias, residual, exact path, odd sizes. */
#include "kernel/quant.h"
#include "op/op.h"
#include "tap.h"

enum { K = 512, NROW = 300 };

typedef struct setup {
    sg_ops *ops;
    sg_linear w[4];
    unsigned char *stored[4];
    float *x, *out[4], bias[700];
} setup;

static const int width[4] = {700, 33, 16, 65};
static const sg_dtype kind[4] = {SG_Q4_K, SG_F16, SG_Q8_0, SG_BF16};

static bool refined; /* layers see their activations in two terms */

static bool open_setup(setup *s, bool exact, int nthread, sg_isa isa)
{
    sg_ops_options o = {.nthread = nthread, .exact = exact, .isa = isa};
    sg_rng rng = {7};
    memset(s, 0, sizeof *s);
    if (sg_ops_open(&s->ops, &o, NULL) != SG_OK || sg_ops_reserve(s->ops, NROW, K, NULL) != SG_OK)
        return false;
    s->x = sg_alloc(sizeof(float) * NROW * K);
    if (!s->x)
        return false;
    for (int i = 0; i < NROW * K; i++)
        s->x[i] = (float)(sg_rng_unit(&rng) - 0.5);
    for (int j = 0; j < 700; j++)
        s->bias[j] = (float)j * 0.01f;
    for (int i = 0; i < 4; i++) {
        size_t count = (size_t)width[i] * K;
        float *value = sg_alloc(count * sizeof *value);
        s->stored[i] = sg_alloc(sg_dtype_row_bytes(kind[i], K) * (size_t)width[i]);
        s->out[i] = sg_calloc((size_t)NROW * 701, sizeof(float));
        if (value && s->stored[i]) {
            for (size_t c = 0; c < count; c++)
                value[c] = (float)(sg_rng_unit(&rng) - 0.5);
            sg_quant_encode(kind[i], s->stored[i], value, (size_t)width[i], K, NULL);
        }
        bool ok = value && s->stored[i] && s->out[i];
        sg_free(value);
        if (!ok || sg_linear_init(&s->w[i], s->ops, kind[i], width[i], K, s->stored[i], i == 1 ? NULL : s->bias, NULL) != SG_OK)
            return false;
        if (refined)
            sg_linear_refine(&s->w[i]);
    }
    return true;
}

static void close_setup(setup *s)
{
    for (int i = 0; i < 4; i++) {
        sg_linear_fini(&s->w[i]);
        sg_free(s->stored[i]);
        sg_free(s->out[i]);
    }
    sg_free(s->x);
    sg_ops_close(s->ops);
}

/* Job 2 adds to what is there. */
static void run(setup *s, int row0, int row1)
{
    sg_linear_job jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = (sg_linear_job){&s->w[i], s->out[i] + (size_t)row0 * 701, 701, i == 2};
    sg_op_linear(s->ops, s->x + (size_t)row0 * K, K, row1 - row0, jobs, 4);
}

TEST(results_do_not_depend_on_batch_and_threads)
{
    for (int form = 0; form < 3; form++)
        for (int isa = 0; isa < SG_ISA_END; isa++) {
            bool exact = form == 1;
            refined = form == 2;
            if (!sg_isa_available((sg_isa)isa))
                continue;
            setup a, b;
            CHECK(open_setup(&a, exact, 3, (sg_isa)isa) && open_setup(&b, exact, 1, (sg_isa)isa));
            run(&a, 0, NROW);
            uint64_t calls = sg_heap_calls();
            for (int r = 0; r < NROW;) {
                int next = r + 1 + r % 9;
                run(&b, r, next < NROW ? next : NROW);
                r = next;
            }
            CHECK(calls == sg_heap_calls());
            for (int i = 0; i < 4; i++)
                CHECK(memcmp(a.out[i], b.out[i], sizeof(float) * NROW * 701) == 0);
            close_setup(&a);
            close_setup(&b);
        }
}

/* One layer of 140 tiles and another of one, few rows, any number of workers: every column is written, with the bits of one worker. */
TEST(shares_of_few_rows_cover_every_column)
{
    enum { WIDE = 2235, DEPTH = 256, ROWS = 15 };
    static float x[ROWS * DEPTH], want[ROWS][WIDE + 1], have[ROWS][WIDE + 1];
    sg_rng rng = {11};
    unsigned char *stored = sg_alloc(sg_dtype_row_bytes(SG_Q6_K, DEPTH) * WIDE);
    float *value = sg_alloc(sizeof(float) * WIDE * DEPTH);
    CHECK(stored && value);
    for (int i = 0; i < WIDE * DEPTH; i++)
        value[i] = (float)(sg_rng_unit(&rng) - 0.5);
    for (int i = 0; i < ROWS * DEPTH; i++)
        x[i] = (float)(sg_rng_unit(&rng) - 0.5);
    sg_quant_encode(SG_Q6_K, stored, value, WIDE, DEPTH, NULL);
    for (int isa = 0; isa < SG_ISA_END; isa++)
        for (int nthread = 1; sg_isa_available((sg_isa)isa) && nthread <= 9; nthread++) {
            sg_ops_options o = {.nthread = nthread, .isa = (sg_isa)isa};
            sg_ops *ops = NULL;
            sg_linear wide, narrow;
            CHECK(sg_ops_open(&ops, &o, NULL) == SG_OK && sg_ops_reserve(ops, ROWS, DEPTH, NULL) == SG_OK);
            CHECK(sg_linear_init(&wide, ops, SG_Q6_K, WIDE - 5, DEPTH, stored, NULL, NULL) == SG_OK);
            CHECK(sg_linear_init(&narrow, ops, SG_Q6_K, 5, DEPTH, stored, NULL, NULL) == SG_OK);
            for (int nrow = nthread == 1 ? ROWS : 1; nrow <= ROWS; nrow += 7) {
                float (*out)[WIDE + 1] = nthread == 1 ? want : have;
                sg_linear_job jobs[] = {{&wide, out[0], WIDE + 1, false}, {&narrow, out[0] + WIDE - 5, WIDE + 1, false}};
                memset(out, 0xff, sizeof want);
                sg_op_linear(ops, x, DEPTH, nrow, jobs, 2);
                for (int m = 0; m < nrow; m++)
                    CHECK(memcmp(out[m], want[m], WIDE * sizeof(float)) == 0);
                CHECK(out[0][WIDE - 1] == out[0][WIDE - 1]); /* 0xff is no number */
            }
            sg_linear_fini(&wide);
            sg_linear_fini(&narrow);
            sg_ops_close(ops);
        }
    sg_free(value);
    sg_free(stored);
}

TEST(fast_path_agrees_with_exact_path)
{
    for (int c = 0; c < 2 * SG_ISA_END; c++) {
        int isa = c / 2;
        refined = c % 2;
        if (!sg_isa_available((sg_isa)isa))
            continue;
        setup a, b;
        CHECK(open_setup(&a, true, 2, (sg_isa)isa) && open_setup(&b, false, 2, (sg_isa)isa));
        for (int r = 0; r < NROW * 701; r++)
            a.out[2][r] = b.out[2][r] = 3;
        run(&a, 0, NROW);
        run(&b, 0, NROW);
        for (int i = 0; i < 4; i++) {
            double diff = 0, size = 0;
            for (int r = 0; r < NROW; r++)
                for (int j = 0; j < width[i]; j++) {
                    double want = a.out[i][r * 701 + j], have = b.out[i][r * 701 + j];
                    double base = (i == 1 ? 0 : j * (double)0.01f) + (i == 2 ? 3 : 0);
                    diff += (have - want) * (have - want);
                    size += (want - base) * (want - base);
                }
            tap_note("%s %s%s: relative error %.2e", sg_isa_name((sg_isa)isa), sg_dtype_name(kind[i]),
                     refined ? " refined" : "", sqrt(diff / size));
            CHECK(sqrt(diff / size) < (refined ? 5e-5 : 0.01));
        }
        close_setup(&a);
        close_setup(&b);
    }
}

/* A head is a refined layer near the largest logit of a row, the plain one far below it, and each row alone. */
TEST(a_head_is_sharp_near_its_largest_logit)
{
    static float plain[NROW * 701], sharp[NROW * 701], head[NROW * 701], alone[701];
    for (int isa = 0; isa < SG_ISA_END; isa++) {
        setup s;
        refined = false;
        if (!sg_isa_available((sg_isa)isa))
            continue;
        CHECK(open_setup(&s, false, 3, (sg_isa)isa));
        for (int i = 0; i < 4; i++) {
            const float *bias = s.w[i].bias;
            int n = width[i], near = 0, far = 0;
            s.w[i].bias = NULL;
            sg_op_linear(s.ops, s.x, K, NROW, &(sg_linear_job){&s.w[i], plain, 701, false}, 1);
            sg_linear_refine(&s.w[i]);
            sg_op_linear(s.ops, s.x, K, NROW, &(sg_linear_job){&s.w[i], sharp, 701, false}, 1);
            uint64_t calls = sg_heap_calls();
            float window = fabsf(plain[0]);
            sg_op_head(s.ops, &s.w[i], head, 701, s.x, K, NROW, window);
            for (int r = 0; r < NROW; r += NROW / 8) {
                float most = -INFINITY;
                for (int j = 0; j < n; j++)
                    most = fmaxf(most, plain[r * 701 + j]);
                sg_op_head(s.ops, &s.w[i], alone, 701, s.x + (size_t)r * K, K, 1, window);
                CHECK(memcmp(alone, head + (size_t)r * 701, (size_t)n * sizeof *alone) == 0);
                for (int j0 = 0; j0 < n; j0 += 16) {
                    float here = -INFINITY;
                    int end = j0 + 16 < n ? j0 + 16 : n;
                    size_t bytes = (size_t)(end - j0) * sizeof *alone;
                    for (int j = j0; j < end; j++)
                        here = fmaxf(here, plain[r * 701 + j]);
                    bool as_sharp = memcmp(alone + j0, sharp + r * 701 + j0, bytes) == 0;
                    bool as_plain = memcmp(alone + j0, plain + r * 701 + j0, bytes) == 0;
                    near += as_sharp, far += as_plain;
                    CHECK(as_sharp || as_plain);
                    CHECK(as_sharp || here < most);
                    CHECK(as_plain || here >= most - window);
                }
            }
            CHECK(calls == sg_heap_calls());
            CHECK(near > 0 && (far > 0 || n <= SG_TILE));
            s.w[i].bias = bias;
        }
        close_setup(&s);
    }
}

TEST(shapes_are_refused)
{
    sg_ops_options o = {.nthread = 1};
    sg_ops *ops;
    sg_error err = {0};
    sg_linear w = {0};
    CHECK_OK(sg_ops_open(&ops, &o, &err));
    CHECK_FAILS(sg_linear_init(&w, ops, SG_Q4_0, 4, 48, "", NULL, &err), SG_E_FORMAT, "whole blocks");
    CHECK_FAILS(sg_linear_init(&w, ops, SG_Q4_0, 0, 32, "", NULL, &err), SG_E_FORMAT, "0 x 32");
    CHECK_FAILS(sg_linear_init(&w, ops, SG_I32, 4, 32, "", NULL, &err), SG_E_UNSUPPORTED, "i32");
    CHECK(!w.packed);
    sg_ops_close(ops);
}

static bool open_and_close(void *arg)
{
    (void)arg;
    setup s;
    bool ok = open_setup(&s, false, 2, SG_ISA_C);
    close_setup(&s);
    return ok;
}

TEST(allocation_failures_are_clean) { CHECK_ALLOC_LOOP(open_and_close, NULL); }

TAP_MAIN
