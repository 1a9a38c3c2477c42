/* base/pool.c - persistent worker threads.
 *
 * A run is one word and a counter for each worker:
 *
 *     epoch    even: idle, odd: a run is open; workers wait for a change
 *     next[w]  how many of worker w's units are taken; fetch_add takes one, whoever does it
 *     inside   workers that have joined the run and may still touch it
 *
 * Which unit is the i-th of worker w is a formula over the ranked table (base/tasks.h), so nothing is dealt in
 * memory.  A worker takes its own units first, heaviest first, then goes round the others and takes what is left of
 * theirs in the same way: stealing is the same fetch_add, and a unit cannot be taken twice or lost.  The owner of a
 * list and a thief both take its heaviest unit that is left, as list scheduling does; of a table in runs, the one
 * that its owner would read next.
 *
 * The caller opens the run, works itself until every list is used up, closes it and then waits for
 * `inside` to fall to zero.  A worker that wakes late finds the run closed and goes back to waiting:
 * nobody waits for a thread that has taken no work.  That is the difference from a spinning barrier,
 * where every step waits for every thread, even one that the system has descheduled (llama.cpp falls to
 * 1-50 % of one thread's speed beside a busy neighbour for that reason).
 *
 * A worker that shares its CPU with a busy neighbour may cost more in waiting than its work is worth.  The pool keeps
 * account: what the others did, in the caller's own time for as much, against what the caller waited for them.  When
 * over some milliseconds the waiting is more, fewer workers are used for a while (longer each time that happens again),
 * down to the caller alone; then all are tried again.
 *
 * Workers are not pinned: beside a busy neighbour the system may move a free worker to the free CPU, and a
 * pinned one would have to share.
 *
 * Waiting: spin for about 50 us (the gap between two ops of one step is a few microseconds), then
 * yield, then sleep on a futex.  A sleeping worker costs the caller one system call at the next run.
 */
#include "base/pool.h"

#include "base/clock.h"
#include "base/heap.h"

#include <errno.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    WORKERS_MAX = 256,
    SPIN_NS = 50000,
    YIELD_NS = 200000,
    WINDOW_NS = 12000000, /* what the others are worth is decided that often */
    GRACE_NS = 500000,    /* waiting that is forgiven in a window */
    HOLD_NS = 25000000,   /* how long fewer workers are used the first time, and at most */
    HOLD_NS_MAX = 800000000,
};

/* Is it worth to share?  All of the caller's. */
typedef struct account {
    int active;                   /* workers that runs are dealt to */
    int64_t start, saved, waited; /* of this window; what the others' work would have taken the caller */
    int64_t hold, until;          /* how long and until when active stays below nworker; 0: it does not */
} account;

typedef struct worker {
    _Alignas(64) _Atomic int next; /* units of this worker's list that are taken */
    int first, end;                /* its run, of a table in runs */
    int64_t busy;                  /* in this run, while somebody watches; the caller reads it when nobody is inside */
    sg_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct sg_pool {
    int nworker, nstarted;
    worker *workers;
    sg_task_fn *fn;
    void *arg;
    const sg_tasks *tasks; /* NULL: equal loads, unit = rank */
    int ntask, ndeal; /* units; workers that they are dealt to */
    account account;
    sg_pool_times *times; /* NULL: nobody watches */
    _Alignas(64) _Atomic uint32_t epoch;
    _Atomic int sleeping;
    _Atomic bool quit;
    _Alignas(64) _Atomic uint32_t inside;
    _Atomic bool caller_sleeps;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
}

/* The rank of the i-th unit of a worker's list; at or above ntask: there is none. */
static int64_t rank_of(const sg_pool *p, int owner, int i)
{
    const worker *w = &p->workers[owner];
    if (!p->tasks || !p->tasks->runs)
        return sg_tasks_dealt(p->ndeal, owner, i);
    return i < w->end - w->first ? w->first + i : p->ntask;
}

/* What is left of the list of worker `owner`, done by worker `index`; returns how many units it did. */
static int work_list(sg_pool *p, int owner, int index)
{
    worker *w = &p->workers[owner];
    for (int done = 0;; done++) {
        int i = atomic_load_explicit(&w->next, memory_order_relaxed);
        if (rank_of(p, owner, i) >= p->ntask) /* looking first keeps the counter small and its line shared */
            return done;
        i = atomic_fetch_add_explicit(&w->next, 1, memory_order_acq_rel);
        int64_t rank = rank_of(p, owner, i);
        if (rank >= p->ntask)
            return done;
        p->fn(p->arg, p->tasks ? sg_tasks_unit(p->tasks, (int)rank) : (int)rank, index);
    }
}

static int work(sg_pool *p, int index)
{
    int done = 0;
    int64_t t = p->times ? sg_clock_ns() : 0;
    for (int i = 0, owner = index; i < p->ndeal && owner < p->ndeal; i++) {
        done += work_list(p, owner, index);
        owner = owner + 1 < p->ndeal ? owner + 1 : 0;
    }
    if (p->times)
        p->workers[index].busy = sg_clock_ns() - t;
    return done;
}

/* Wait until the epoch differs from `seen`; returns the new one. */
static uint32_t wait_epoch(sg_pool *p, uint32_t seen)
{
    int64_t start = 0;
    for (unsigned i = 0;; i++) {
        uint32_t now = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (now != seen || atomic_load_explicit(&p->quit, memory_order_relaxed))
            return now;
        _mm_pause();
        if (i % 64 != 63)
            continue;
        int64_t t = sg_clock_ns();
        if (!start)
            start = t;
        if (t - start < SPIN_NS)
            continue;
        if (t - start < YIELD_NS) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&p->sleeping, 1);
        if (atomic_load(&p->epoch) == seen && !atomic_load(&p->quit))
            futex_wait(&p->epoch, seen);
        atomic_fetch_sub(&p->sleeping, 1);
        start = 0;
    }
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    sg_pool *p = w->pool;
    uint32_t seen = 0;
    for (;;) {
        seen = wait_epoch(p, seen);
        if (atomic_load_explicit(&p->quit, memory_order_acquire))
            return NULL;
        if (!(seen & 1))
            continue;
        atomic_fetch_add(&p->inside, 1);
        if (atomic_load(&p->epoch) == seen)
            work(p, w->index);
        if (atomic_fetch_sub(&p->inside, 1) == 1 && atomic_load(&p->caller_sleeps))
            futex_wake(&p->inside);
    }
}

sg_status sg_pool_open(sg_pool **out, int nworker, sg_error *err)
{
    if (nworker < 1 || nworker > WORKERS_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "%d threads: from 1 to %d", nworker, WORKERS_MAX);
    sg_pool *p = sg_alloc_aligned(64, sizeof *p);
    if (!p)
        return sg_fail_nomem(err, "a thread pool");
    p->nworker = nworker;
    p->account = (account){.active = nworker, .hold = HOLD_NS};
    p->workers = sg_alloc_aligned(64, (size_t)nworker * sizeof *p->workers);
    if (!p->workers) {
        sg_pool_close(p);
        return sg_fail_nomem(err, "a thread pool");
    }
    p->nstarted = 1;
    for (int i = 1; i < nworker; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
        int sys = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (sys) {
            sg_pool_close(p);
            return sg_fail_sys(err, sys, "cannot start thread %d of %d", i + 1, nworker);
        }
        p->nstarted = i + 1;
    }
    *out = p;
    return SG_OK;
}

void sg_pool_close(sg_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    atomic_fetch_add(&p->epoch, 2);
    futex_wake(&p->epoch);
    for (int i = 1; i < p->nstarted; i++)
        pthread_join(p->workers[i].thread, NULL);
    if (p->workers)
        sg_free_aligned(p->workers, (size_t)p->nworker * sizeof *p->workers);
    sg_free_aligned(p, sizeof *p);
}

int sg_pool_nworker(const sg_pool *p) { return p->nworker; }

/* Wait until no worker is inside: spin for a while, then sleep. */
static void wait_inside(sg_pool *p)
{
    int64_t start = 0;
    for (unsigned i = 0;; i++) {
        uint32_t n = atomic_load_explicit(&p->inside, memory_order_acquire);
        if (n == 0)
            return;
        _mm_pause();
        if (i % 64 != 63)
            continue;
        int64_t t = sg_clock_ns();
        if (!start)
            start = t;
        if (t - start < SPIN_NS)
            continue;
        atomic_store(&p->caller_sleeps, true);
        n = atomic_load(&p->inside);
        if (n > 0)
            futex_wait(&p->inside, n);
        atomic_store(&p->caller_sleeps, false);
    }
}

/* The end of a window: fewer workers when the others were not worth the waiting, all again when they have been few for
 * long enough. */
static void settle(sg_pool *p, int64_t now)
{
    account *a = &p->account;
    if (a->waited > a->saved + GRACE_NS) {
        a->active -= a->active > 4 ? a->active / 4 : 1;
        a->until = now + a->hold;
        a->hold = 2 * a->hold < HOLD_NS_MAX ? 2 * a->hold : HOLD_NS_MAX;
    } else if (a->active == p->nworker && a->hold > HOLD_NS) {
        a->hold -= a->hold / 8;
    }
    a->start = now;
    a->saved = a->waited = 0;
}

/* The caller did `mine` of `ntask` units from t0 to t1, then waited until t2. */
static void keep_account(sg_pool *p, int mine, int ntask, int64_t t0, int64_t t1, int64_t t2)
{
    account *a = &p->account;
    a->saved += (t1 - t0) * (ntask - mine) / (mine > 0 ? mine : 1);
    a->waited += t2 - t1;
    if (t2 - a->start > WINDOW_NS)
        settle(p, t2);
}

/* Workers for the next run. */
static int workers_now(sg_pool *p, int64_t now)
{
    account *a = &p->account;
    if (a->active < p->nworker && now >= a->until) {
        a->active = p->nworker;
        a->start = now;
        a->saved = a->waited = 0;
    }
    return a->active;
}

void sg_pool_watch(sg_pool *p, sg_pool_times *times) { p->times = times; }

static void run_units(sg_pool *p, sg_task_fn *fn, void *arg, int ntask, const sg_tasks *tasks)
{
    int64_t t0 = p->nworker > 1 && ntask > 1 ? sg_clock_ns() : 0;
    int ndeal = t0 ? workers_now(p, t0) : 1;
    if (ndeal == 1) {
        int64_t t = p->times ? sg_clock_ns() : 0;
        for (int i = 0; i < ntask; i++)
            fn(arg, tasks ? sg_tasks_unit(tasks, i) : i, 0);
        p->workers[0].busy = p->times ? sg_clock_ns() - t : 0;
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->tasks = tasks;
    p->ntask = ntask;
    p->ndeal = ndeal;
    int first[WORKERS_MAX + 1] = {0};
    if (tasks && tasks->runs)
        sg_tasks_cut(tasks, ndeal, first);
    for (int w = 0; w < ndeal; w++) {
        p->workers[w].first = first[w];
        p->workers[w].end = first[w + 1];
        atomic_store_explicit(&p->workers[w].next, 0, memory_order_relaxed);
    }
    atomic_fetch_add(&p->epoch, 1); /* open */
    if (atomic_load(&p->sleeping) > 0)
        futex_wake(&p->epoch);
    int mine = work(p, 0);
    int64_t t1 = sg_clock_ns();
    atomic_fetch_add(&p->epoch, 1); /* close: late workers stay out */
    wait_inside(p);
    keep_account(p, mine, ntask, t0, t1, sg_clock_ns());
}

static void run(sg_pool *p, sg_task_fn *fn, void *arg, int ntask, const sg_tasks *tasks)
{
    if (!p->times) {
        run_units(p, fn, arg, ntask, tasks);
        return;
    }
    for (int w = 0; w < p->nworker; w++)
        p->workers[w].busy = 0;
    int64_t t = sg_clock_ns();
    run_units(p, fn, arg, ntask, tasks);
    p->times->wall_ns += sg_clock_ns() - t;
    p->times->runs++;
    for (int w = 0; w < p->nworker; w++)
        p->times->busy_ns += p->workers[w].busy;
}

void sg_pool_run(sg_pool *p, sg_task_fn *fn, void *arg, int ntask) { run(p, fn, arg, ntask, NULL); }

void sg_pool_run_tasks(sg_pool *p, sg_task_fn *fn, void *arg, sg_tasks *tasks)
{
    if (!tasks->runs)
        sg_tasks_rank(tasks);
    run(p, fn, arg, tasks->n, tasks);
}
