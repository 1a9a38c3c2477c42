/* The task table and the workers that run it: dealt in balance, every unit once, whoever is late. */
#include "tap.h"

#include "base/pool.h"
#include "base/tasks.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { UNITS = 3000 };

static void fill(sg_tasks *t, int n, int kind)
{
    sg_tasks_clear(t);
    for (int i = 0; i < n; i++) {
        uint64_t r = sg_rng_below(tap_rng(), 1000) + 1;
        sg_tasks_add(t, kind == 0 ? 7 : kind == 1 ? r : kind == 2 ? r * r * r : sg_rng_below(tap_rng(), 20) ? 1 : 100000);
    }
}

TEST(ranked_by_load_then_number)
{
    sg_error err;
    sg_tasks t;
    CHECK_OK(sg_tasks_init(&t, UNITS, &err));
    for (int round = 0; round < 200; round++) {
        int n = (int)sg_rng_below(tap_rng(), round % 2 ? 20 : UNITS), seen[UNITS] = {0};
        uint32_t load[UNITS];
        fill(&t, n, round % 4);
        for (int i = 0; i < n; i++)
            load[i] = sg_tasks_load(&t, i);
        sg_tasks_rank(&t);
        for (int i = 0; i < n; i++) {
            int u = sg_tasks_unit(&t, i);
            CHECK(u >= 0 && u < n);
            CHECK_INT(load[u], sg_tasks_load(&t, i));
            CHECK_INT(seen[u]++, 0);
            if (i > 0)
                CHECK(load[sg_tasks_unit(&t, i - 1)] >= load[u]);
            if (i > 0 && load[sg_tasks_unit(&t, i - 1)] == load[u])
                CHECK(sg_tasks_unit(&t, i - 1) < u);
        }
    }
    sg_tasks_clear(&t);
    sg_tasks_add(&t, UINT64_MAX);
    CHECK_INT(sg_tasks_load(&t, 0), UINT32_MAX);
    sg_tasks_fini(&t);
    CHECK_FAILS(sg_tasks_init(&t, 0, &err), SG_E_ARGUMENT, "task table");
}

/* Dealt in snake order the workers' sums differ by at most the heaviest unit, so the longest is at most that above the mean. */
TEST(dealing_is_balanced)
{
    sg_error err;
    sg_tasks t;
    double worst = 1;
    CHECK_OK(sg_tasks_init(&t, UNITS, &err));
    for (int round = 0; round < 400; round++) {
        int n = 1 + (int)sg_rng_below(tap_rng(), UNITS), nworker = 1 + (int)sg_rng_below(tap_rng(), 64), dealt = 0;
        fill(&t, n, round % 4);
        sg_tasks_rank(&t);
        uint64_t least = UINT64_MAX, most = 0, total = 0;
        for (int w = 0; w < nworker; w++) {
            uint64_t sum = 0;
            for (int i = 0; sg_tasks_dealt(nworker, w, i) < n; i++, dealt++)
                sum += sg_tasks_load(&t, (int)sg_tasks_dealt(nworker, w, i));
            least = sum < least ? sum : least;
            most = sum > most ? sum : most;
            total += sum;
        }
        CHECK_INT(dealt, n);
        CHECK(most - least <= sg_tasks_load(&t, 0));
        double bound = (double)total / nworker > sg_tasks_load(&t, 0) ? (double)total / nworker : sg_tasks_load(&t, 0);
        if (n >= 8 * nworker && round % 4 == 1)
            worst = (double)most / bound > worst ? (double)most / bound : worst;
    }
    tap_note("random loads, at least 8 units a worker, 1 to 64 workers: longest worker at most %.4f of the lower bound", worst);
    CHECK(worst < 1.05);
    sg_tasks_fini(&t);
}

/* Runs are neighbours, one after the other, every unit in one of them; no sum is more than the heaviest unit above the mean. */
TEST(runs_are_cut_evenly)
{
    sg_error err;
    sg_tasks t;
    CHECK_OK(sg_tasks_init(&t, UNITS, &err));
    for (int round = 0; round < 400; round++) {
        int n = (int)sg_rng_below(tap_rng(), round % 2 ? 20 : UNITS), nworker = 1 + (int)sg_rng_below(tap_rng(), 64), first[65];
        uint64_t total = 0, heaviest = 0;
        fill(&t, n, round % 4);
        for (int i = 0; i < n; i++) {
            total += sg_tasks_load(&t, i);
            heaviest = sg_tasks_load(&t, i) > heaviest ? sg_tasks_load(&t, i) : heaviest;
        }
        sg_tasks_cut(&t, nworker, first);
        CHECK_INT(first[0], 0);
        CHECK_INT(first[nworker], n);
        for (int w = 0; w < nworker; w++) {
            uint64_t sum = 0;
            CHECK(first[w] <= first[w + 1]);
            for (int i = first[w]; i < first[w + 1]; i++)
                sum += sg_tasks_load(&t, i);
            CHECK(sum <= total / (uint64_t)nworker + heaviest + (uint64_t)nworker);
        }
    }
    sg_tasks_fini(&t);
}

/* A prompt of 4096 rows beside 60 decoding sequences, 8 KV heads: the table that XY-Serve's case is about. */
TEST(makespan_of_a_mixed_step)
{
    sg_error err;
    sg_tasks t;
    CHECK_OK(sg_tasks_init(&t, UNITS, &err));
    for (int nworker = 8; nworker <= 64; nworker *= 2) {
        uint64_t total = 0, fifo[64] = {0}, snake = 0, listed = 0;
        sg_tasks_clear(&t);
        for (int u = 0; u < (4096 / 32 + 60) * 8; u++) {
            int tile = u / 8;
            uint64_t load = tile < 128 ? 32 * (uint64_t)(tile * 32 + 32) : (uint64_t)(tile * 977 % 8192);
            sg_tasks_add(&t, load);
            total += load;
            fifo[u * nworker / ((4096 / 32 + 60) * 8)] += load; /* equal numbers of units, in order */
        }
        sg_tasks_rank(&t);
        for (int w = 0; w < nworker; w++) {
            uint64_t sum = 0;
            for (int i = 0; sg_tasks_dealt(nworker, w, i) < t.n; i++)
                sum += sg_tasks_load(&t, (int)sg_tasks_dealt(nworker, w, i));
            snake = sum > snake ? sum : snake;
            listed = fifo[w] > listed ? fifo[w] : listed;
        }
        double bound = (double)total / nworker;
        tap_note("%d workers: snake order %.3f of the lower bound, equal split %.3f", nworker, (double)snake / bound,
                 (double)listed / bound);
        CHECK((double)snake / bound < 1.05);
    }
    sg_tasks_fini(&t);
}

typedef struct tally {
    _Atomic int count[UNITS];
    uint32_t delay[UNITS]; /* turns of a loop */
    int nworker;
    _Atomic int bad;
} tally;

static void tick(void *arg, int unit, int worker)
{
    tally *t = arg;
    if (worker < 0 || worker >= t->nworker)
        atomic_fetch_add(&t->bad, 1);
    for (volatile uint32_t i = 0; i < t->delay[unit]; i++)
        ;
    if (t->delay[unit] % 97 == 0)
        sched_yield();
    atomic_fetch_add(&t->count[unit], 1);
}

TEST(every_unit_runs_once_under_stealing)
{
    sg_error err;
    static tally t;
    sg_tasks tasks;
    CHECK_OK(sg_tasks_init(&tasks, UNITS, &err));
    for (int nworker = 1; nworker <= 9; nworker += nworker < 3 ? 1 : 3) {
        sg_pool *p;
        CHECK_OK(sg_pool_open(&p, nworker, &err));
        t.nworker = nworker;
        for (int round = 0; round < 150; round++) {
            int n = (int)sg_rng_below(tap_rng(), round % 3 ? 60 : UNITS);
            fill(&tasks, n, round % 4);
            tasks.runs = round % 7 > 3;
            memset(&t.count, 0, sizeof t.count);
            for (int i = 0; i < n; i++) /* the loads lie about some units: others must take their place */
                t.delay[i] = sg_rng_below(tap_rng(), 50) ? sg_tasks_load(&tasks, i) % 300 : 20000;
            if (round % 5 == 4)
                sg_pool_run(p, tick, &t, n);
            else
                sg_pool_run_tasks(p, tick, &t, &tasks);
            for (int i = 0; i < UNITS; i++)
                CHECK_INT(t.count[i], i < n);
            if (round % 50 == 0)
                usleep(2000); /* let the workers fall asleep */
        }
        CHECK_INT(t.bad, 0);
        sg_pool_close(p);
    }
    sg_tasks_fini(&tasks);
}

static bool make(void *arg)
{
    (void)arg;
    sg_error err;
    sg_tasks t = {0};
    bool ok = sg_tasks_init(&t, 100, &err) == SG_OK;
    sg_tasks_fini(&t);
    return ok;
}

TEST(no_memory) { CHECK_ALLOC_LOOP(make, NULL); }

TAP_MAIN
