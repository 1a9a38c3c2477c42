/* Columns that are multiplied apart: they are found where they are, results come nearer, bits stay a row's own. */
#include "kernel/quant.h"
#include "op/op.h"
#include "tap.h"

enum { K = 512, N = 200, NROW = 70, NJOB = 3 };

static const sg_dtype kind[NJOB] = {SG_Q4_K, SG_Q8_0, SG_F16};
static const int32_t planted[3] = {37, 400, 250};

typedef struct setup {
    sg_ops *ops;
    sg_linear w[NJOB];
    unsigned char *stored[NJOB];
    float *x, *out[NJOB], bias[N];
} setup;

static bool open_setup(setup *s, bool exact, int nthread, sg_isa isa, int nplanted)
{
    sg_ops_options o = {.nthread = nthread, .exact = exact, .isa = isa};
    sg_rng rng = {11};
    memset(s, 0, sizeof *s);
    if (sg_ops_open(&s->ops, &o, NULL) != SG_OK || sg_ops_reserve(s->ops, NROW, K, NULL) != SG_OK)
        return false;
    s->x = sg_alloc(sizeof(float) * NROW * K);
    float *value = sg_alloc(sizeof(float) * N * K);
    bool ok = s->x && value;
    for (int i = 0; ok && i < NROW * K; i++)
        s->x[i] = (float)(sg_rng_unit(&rng) - 0.5);
    for (int r = 0; ok && r < NROW; r++)
        for (int i = 0; i < nplanted; i++)
            s->x[r * K + planted[i]] = 30 + s->x[r * K + planted[i]];
    for (int j = 0; j < N; j++)
        s->bias[j] = (float)j * 0.01f;
    for (int i = 0; ok && i < NJOB; i++) {
        s->stored[i] = sg_alloc(sg_dtype_row_bytes(kind[i], K) * N);
        s->out[i] = sg_calloc((size_t)NROW * N, sizeof(float));
        for (int c = 0; c < N * K; c++)
            value[c] = (float)(sg_rng_unit(&rng) - 0.5);
        ok = s->stored[i] && s->out[i];
        if (!ok)
            break;
        sg_quant_encode(kind[i], s->stored[i], value, N, K, NULL);
        ok = sg_linear_init(&s->w[i], s->ops, kind[i], N, K, s->stored[i], i == 1 ? s->bias : NULL, NULL) == SG_OK;
    }
    if (ok)
        sg_linear_refine(&s->w[1]);
    sg_free(value);
    return ok;
}

static void close_setup(setup *s)
{
    for (int i = 0; i < NJOB; i++) {
        sg_linear_fini(&s->w[i]);
        sg_free(s->stored[i]);
        sg_free(s->out[i]);
    }
    sg_free(s->x);
    sg_ops_close(s->ops);
}

static void run(setup *s, int row0, int row1)
{
    sg_linear_job jobs[NJOB];
    for (int i = 0; i < NJOB; i++)
        jobs[i] = (sg_linear_job){&s->w[i], s->out[i] + (size_t)row0 * N, N, false};
    sg_op_linear(s->ops, s->x + (size_t)row0 * K, K, row1 - row0, jobs, NJOB);
}

static sg_status survey(setup *s)
{
    sg_ops_survey_begin(s->ops);
    run(s, 0, 20);
    return sg_ops_survey_end(s->ops, NULL);
}

static double error_of(const float *have, const float *want)
{
    double diff = 0, size = 0;
    for (int i = 0; i < NROW * N; i++) {
        diff += ((double)have[i] - want[i]) * ((double)have[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    return sqrt(diff / size);
}

TEST(planted_columns_are_found_and_results_come_nearer)
{
    for (int isa = 0; isa < SG_ISA_END; isa++) {
        setup a, b;
        if (!sg_isa_available((sg_isa)isa))
            continue;
        CHECK(open_setup(&a, true, 1, (sg_isa)isa, 3) && open_setup(&b, false, 2, (sg_isa)isa, 3));
        run(&a, 0, NROW);
        run(&b, 0, NROW);
        double before = error_of(b.out[0], a.out[0]);
        CHECK(survey(&b) == SG_OK);
        CHECK(b.w[0].napart == 3 && b.w[1].napart == 3 && b.w[2].napart == 0);
        for (int i = 0; i < 3; i++)
            CHECK(b.w[0].apart[i] == planted[0] || b.w[0].apart[i] == planted[1] || b.w[0].apart[i] == planted[2]);
        run(&b, 0, NROW);
        double after = error_of(b.out[0], a.out[0]);
        tap_note("%s: relative error %.1e, then %.1e", sg_isa_name((sg_isa)isa), before, after);
        CHECK(after < before / 4);
        CHECK(error_of(b.out[1], a.out[1]) < 5e-5 && error_of(b.out[2], a.out[2]) < 5e-5);
        close_setup(&a);
        close_setup(&b);
    }
}

TEST(rows_without_large_columns_have_none)
{
    setup s;
    sg_isa isa;
    CHECK(sg_isa_choose(&isa, NULL) == SG_OK && open_setup(&s, false, 1, isa, 0));
    CHECK(survey(&s) == SG_OK && s.w[0].napart == 0 && !s.w[0].columns);
    close_setup(&s);
}

TEST(bits_do_not_depend_on_batch_and_threads)
{
    for (int isa = 0; isa < SG_ISA_END; isa++) {
        setup a, b;
        if (!sg_isa_available((sg_isa)isa))
            continue;
        CHECK(open_setup(&a, false, 3, (sg_isa)isa, 2) && open_setup(&b, false, 1, (sg_isa)isa, 2));
        CHECK(survey(&a) == SG_OK && survey(&b) == SG_OK && a.w[0].napart == 2);
        run(&a, 0, NROW);
        uint64_t calls = sg_heap_calls();
        for (int r = 0; r < NROW;) {
            int next = r + 1 + r % 9;
            run(&b, r, next < NROW ? next : NROW);
            r = next;
        }
        CHECK(calls == sg_heap_calls());
        for (int i = 0; i < NJOB; i++)
            CHECK(memcmp(a.out[i], b.out[i], sizeof(float) * NROW * N) == 0);
        close_setup(&a);
        close_setup(&b);
    }
}

/* A coarse layer that makes rows much larger is refined: the first that does so to most rows, any that does so to the first alone. */
TEST(layers_that_write_rows_anew_are_refined)
{
    for (int few = 0; few < 2; few++) {
        setup s;
        sg_isa isa;
        CHECK(sg_isa_choose(&isa, NULL) == SG_OK && open_setup(&s, false, 2, isa, 0));
        sg_linear_job other = {&s.w[1], s.out[1], N, true}, coarse = {&s.w[0], s.out[0], N, true}, once = {&s.w[0], s.out[2], N, true};
        s.w[1].precise = false;
        for (int i = 0; i < NROW * N; i++)
            s.out[0][i] = s.out[1][i] = s.out[2][i] = few && i >= N ? 100 : 1e-3f;
        sg_ops_survey_begin(s.ops);
        if (few)
            sg_op_linear(s.ops, s.x, K, NROW, &other, 1);
        sg_op_linear(s.ops, s.x, K, NROW, &coarse, 1);
        CHECK(s.w[0].precise && !s.w[1].precise);
        s.w[0].precise = false;
        sg_op_linear(s.ops, s.x, K, NROW, &once, 1);
        CHECK(s.w[0].precise == few && sg_ops_survey_end(s.ops, NULL) == SG_OK);
        close_setup(&s);
    }
}

/* Gate and up without their columns, which the op after them adds, are what they are with them. */
TEST(columns_are_added_before_the_activation)
{
    setup s;
    sg_isa isa;
    CHECK(sg_isa_choose(&isa, NULL) == SG_OK && open_setup(&s, false, 2, isa, 2) && survey(&s) == SG_OK);
    run(&s, 0, NROW);
    sg_op_glu(s.ops, s.out[0], N, s.out[0], N, s.out[1], N, NROW, N, SG_GLU_SILU);
    float *want = s.out[0], *gate = s.out[2], *up = sg_calloc((size_t)NROW * N, sizeof *up);
    CHECK(up);
    sg_linear_job jobs[2] = {{&s.w[0], gate, N, false}, {&s.w[1], up, N, false}};
    sg_op_linear_bare(s.ops, s.x, K, NROW, jobs, 2);
    sg_op_glu_of(s.ops, &s.w[0], &s.w[1], gate, up, N, s.x, K, NROW, SG_GLU_SILU);
    CHECK(error_of(gate, want) < 1e-6);
    sg_free(up);
    close_setup(&s);
}

static bool opened_and_shown(void *arg)
{
    setup s;
    bool ok = open_setup(&s, false, 1, *(sg_isa *)arg, 1) && survey(&s) == SG_OK;
    close_setup(&s);
    return ok;
}

TEST(a_survey_without_memory_fails)
{
    sg_isa isa;
    CHECK(sg_isa_choose(&isa, NULL) == SG_OK);
    CHECK_ALLOC_LOOP(opened_and_shown, &isa);
}

TAP_MAIN
