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
 * The system takes a thread off a CPU that it shares for some milliseconds, in the middle of a unit.  Who waits for
 * it would wait as long, although he has a CPU.  So he looks whether the other one's CPU time moves.  If not, he
 * lets it run where he is himself (its affinity becomes that one CPU) and sleeps until the unit is done: tens of
 * microseconds.  It works both ways, the caller for a worker and a worker for the caller.  Afterwards workers are
 * kept off the caller's CPU for a while, since a waking one is put there easily and would stop the caller; then
 * everybody has the CPUs that he had.  Not with more workers than CPUs, which take turns anyway.  Beside one spinning
 * process two threads on two CPUs so do the work of 1.3 (prompts) to 1.5 (single rows), where they did that of 0.9 to 1.
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
    LATE_NS = 25000,     /* waited so long for somebody, look whether he is put aside */
    WATCH_NS = 20000,    /* look for so long */
    LONG_NS = 1000000,   /* spin for so long at most */
    NAP_NS = 300000,     /* then sleep, and look again */
    MOVED_NS = 50000000, /* how long those who were put aside are kept off the caller's CPU */
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
    pthread_t thread; /* of worker 0: the caller's, in a run */
    int index;
    _Atomic bool in;      /* it may be in a task */
    _Atomic bool fetched; /* to the waiting one's CPU, which it should leave soon */
    bool moved, here;     /* its CPUs are not `home`; they are one, for which it was fetched */
    cpu_set_t home;       /* the CPUs that it may use, as they were found; while `moved` */
} worker;

struct sg_pool {
    int nworker, nstarted;
    worker *workers;
    sg_task_fn *fn;
    void *arg;
    const sg_tasks *tasks; /* NULL: equal loads, unit = rank */
    int ntask, ndeal; /* units; workers that they are dealt to */
    account account;
    bool crowded; /* fewer CPUs than workers, when the pool was opened: they take turns, and nobody looks who is put aside */
    int kept_cpu; /* the caller's */
    int64_t moved_until; /* until then workers that were fetched are kept off the caller's CPU; 0: none are */
    sg_pool_times *times; /* NULL: nobody watches */
    _Alignas(64) _Atomic uint32_t epoch;
    _Atomic int sleeping;
    _Atomic bool quit;
    _Alignas(64) _Atomic uint32_t inside;
    _Atomic bool caller_sleeps, caller_fetched;
};

/* `ns`: at most about so long; 0: any time. */
static void futex_wait(_Atomic uint32_t *word, uint32_t seen, long ns)
{
    struct timespec t = {.tv_nsec = ns};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, ns ? &t : NULL, NULL, 0);
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

/* ---- one who is put aside ---------------------------------------------------------- */

static int64_t cpu_time(pthread_t thread)
{
    clockid_t clock;
    struct timespec t;
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return -1;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whether a thread has got next to nothing of the last WATCH_NS, while *word stayed as it was. */
static bool put_aside(pthread_t thread, _Atomic uint32_t *word)
{
    uint32_t seen = atomic_load(word);
    int64_t before = cpu_time(thread), start = sg_clock_ns();
    while (sg_clock_ns() - start < WATCH_NS) {
        for (int i = 0; i < 16; i++)
            _mm_pause();
        if (atomic_load_explicit(word, memory_order_acquire) != seen)
            return false;
    }
    int64_t after = cpu_time(thread);
    return before >= 0 && after >= 0 && after - before < WATCH_NS / 4;
}

/* Let a worker run here, where the calling thread is about to wait for it. */
static bool fetch(worker *w)
{
    const int cpu = sched_getcpu();
    cpu_set_t here;
    CPU_ZERO(&here);
    if (!w->moved && pthread_getaffinity_np(w->thread, sizeof w->home, &w->home) != 0)
        return false;
    if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET((size_t)cpu, &w->home) || CPU_COUNT(&w->home) < w->pool->nworker)
        return false;
    CPU_SET((size_t)cpu, &here);
    if (pthread_setaffinity_np(w->thread, sizeof here, &here) != 0)
        return false;
    w->moved = w->here = true;
    atomic_store(&w->fetched, true);
    return true;
}

/* A worker may use all of its CPUs but one (-1: all). */
static void keep_off(worker *w, int cpu)
{
    if (!w->moved && pthread_getaffinity_np(w->thread, sizeof w->home, &w->home) != 0)
        return;
    cpu_set_t set = w->home;
    if (cpu >= 0 && cpu < CPU_SETSIZE && CPU_COUNT(&set) >= w->pool->nworker)
        CPU_CLR((size_t)cpu, &set);
    pthread_setaffinity_np(w->thread, sizeof set, &set);
    w->moved = !CPU_EQUAL(&set, &w->home);
    w->here = false;
}

/* The caller, when somebody was fetched in a run that is over: it has its CPU for itself for a while. */
static void settle_places(sg_pool *p)
{
    const int cpu = sched_getcpu();
    if (p->workers[0].moved)
        keep_off(&p->workers[0], -1);
    for (int i = 1; i < p->nworker; i++)
        if (p->workers[i].here || !p->moved_until || cpu != p->kept_cpu)
            keep_off(&p->workers[i], cpu);
    p->kept_cpu = cpu;
    p->moved_until = sg_clock_ns() + MOVED_NS;
}

static void set_free(sg_pool *p)
{
    for (int i = 1; i < p->nworker; i++)
        if (p->workers[i].moved)
            keep_off(&p->workers[i], -1);
    p->moved_until = 0;
}

/* ---- waiting ------------------------------------------------------------------------ */

static void join(sg_pool *p, worker *w)
{
    atomic_fetch_add(&p->inside, 1);
    atomic_store_explicit(&w->in, true, memory_order_relaxed);
}

static void leave(sg_pool *p, worker *w)
{
    atomic_store_explicit(&w->in, false, memory_order_relaxed);
    if (atomic_fetch_sub(&p->inside, 1) == 1 && atomic_load(&p->caller_sleeps))
        futex_wake(&p->inside);
}

/* Worker w has found nothing to do in a run that is open for long: the caller may be put aside.  Whether it was fetched. */
static bool look_after_caller(sg_pool *p, worker *w, uint32_t seen)
{
    bool fetched = false;
    join(p, w); /* the caller cannot end the run while it is looked at */
    if (atomic_load(&p->epoch) == seen && put_aside(p->workers[0].thread, &p->epoch) && !atomic_exchange(&p->caller_fetched, true))
        fetched = fetch(&p->workers[0]);
    leave(p, w);
    return fetched;
}

/* Wait until the epoch differs from `seen`; returns the new one. */
static uint32_t wait_epoch(sg_pool *p, worker *w, uint32_t seen)
{
    int64_t start = 0;
    bool looked = false;
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
        bool go = atomic_exchange(&w->fetched, false);
        if (!go && seen & 1 && !looked && !p->crowded && t - start >= LATE_NS) {
            looked = true;
            go = look_after_caller(p, w, seen);
        }
        if (!go && t - start < SPIN_NS)
            continue;
        if (!go && t - start < YIELD_NS) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&p->sleeping, 1);
        if (atomic_load(&p->epoch) == seen && !atomic_load(&p->quit))
            futex_wait(&p->epoch, seen, 0);
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
        seen = wait_epoch(p, w, seen);
        if (atomic_load_explicit(&p->quit, memory_order_acquire))
            return NULL;
        if (!(seen & 1))
            continue;
        join(p, w);
        if (atomic_load(&p->epoch) == seen)
            work(p, w->index);
        leave(p, w);
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
    cpu_set_t set;
    p->crowded = sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < nworker;
    p->workers = sg_alloc_aligned(64, (size_t)nworker * sizeof *p->workers);
    if (!p->workers) {
        sg_pool_close(p);
        return sg_fail_nomem(err, "a thread pool");
    }
    for (int i = 0; i < nworker; i++)
        p->workers[i].pool = p;
    p->nstarted = 1;
    for (int i = 1; i < nworker; i++) {
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

/* The caller: workers that are in a task and put aside are fetched.  Whether one was put aside. */
static bool fetch_late(sg_pool *p, bool *fetched)
{
    bool any = false;
    for (int i = 1; i < p->nworker && atomic_load(&p->inside) > 0; i++)
        if (atomic_load(&p->workers[i].in) && put_aside(p->workers[i].thread, &p->inside)) {
            *fetched = fetch(&p->workers[i]) || *fetched;
            any = true;
        }
    return any;
}

static void nap(sg_pool *p)
{
    atomic_store(&p->caller_sleeps, true);
    uint32_t n = atomic_load(&p->inside);
    if (n > 0)
        futex_wait(&p->inside, n, NAP_NS);
    atomic_store(&p->caller_sleeps, false);
}

/* Wait until no worker is inside: spin while those who are do work, else let them have this CPU. */
static void wait_inside(sg_pool *p)
{
    int64_t start = 0, look = 0;
    bool fetched = false;
    for (unsigned i = 0; atomic_load_explicit(&p->inside, memory_order_acquire) > 0; i++) {
        _mm_pause();
        if (i % 64 != 63)
            continue;
        int64_t t = sg_clock_ns();
        if (!start) {
            start = t;
            look = t + (p->crowded ? SPIN_NS : LATE_NS);
        }
        if (t < look)
            continue;
        if (p->crowded || fetch_late(p, &fetched) || t - start > LONG_NS)
            nap(p);
        look = sg_clock_ns() + LATE_NS;
    }
    if (fetched || atomic_load_explicit(&p->caller_fetched, memory_order_relaxed))
        settle_places(p);
    atomic_store_explicit(&p->caller_fetched, false, memory_order_relaxed);
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
    if (p->moved_until && t0 > p->moved_until)
        set_free(p);
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
    p->workers[0].thread = pthread_self();
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
