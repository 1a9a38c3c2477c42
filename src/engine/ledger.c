/* engine/ledger.c - who has how much, and how much there is.
 *
 *     house    one a process: cap, and what the engines have put into fixed rows and reserved for requests
 *     ledger   one an engine: rows with what is used and the most that it may be
 *
 * The cap is decided once, when the first engine opens, because what the machine has free afterwards includes what was
 * reserved and not yet touched: KV memory is reserved at once and touched as it is used.  A second engine gets what
 * the cap leaves.  Mapped weights are not in the heap, so the heap's own cap is what they leave.
 *
 * Requests outlive engines (their readers free them), so a ledger is counted.
 *
 * Rejected: asking the system anew at every reservation (slow, and a race with everybody else); overcommitting
 * and answering allocation failures, which under Linux never come: the process is killed instead.
 */
#include "engine/ledger.h"

#include "base/heap.h"
#include "base/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

struct sg_ledger {
    _Atomic int refs;
    _Atomic uint64_t used[SG_LEDGER_NROW], cap[SG_LEDGER_NROW];
};

static const char *const names[SG_LEDGER_NROW] = {"weights", "packed", "kv", "prefix", "scratch", "text", "draft", "requests"};

static struct {
    pthread_mutex_t lock;
    uint64_t cap, mapped; /* mapped: weights outside of the heap */
    const char *from;
    int nledger;
    _Atomic uint64_t held, promised; /* in the heap: fixed rows and requests; the same with the requests' caps */
} house = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Under lock. */
static void cap_heap(void) { sg_heap_cap(house.cap > house.mapped ? (size_t)(house.cap - house.mapped) : house.cap ? 1 : 0); }

sg_status sg_ledger_new(sg_ledger **out, uint64_t memory_bytes, sg_error *err)
{
    sg_ledger *l = sg_calloc(1, sizeof *l);
    if (!l)
        return sg_fail_nomem(err, "the memory ledger");
    atomic_init(&l->refs, 1);
    pthread_mutex_lock(&house.lock);
    if (memory_bytes) {
        house.cap = memory_bytes;
        house.from = "--memory";
    } else if (!house.nledger) {
        sg_limits m;
        sg_limits_read(&m, "");
        house.cap = m.memory_from ? sg_heap_live() + m.memory_bytes - m.memory_bytes / 16 : 0;
        house.from = m.memory_from;
    }
    house.nledger++;
    cap_heap();
    pthread_mutex_unlock(&house.lock);
    *out = l;
    return SG_OK;
}

sg_ledger *sg_ledger_ref(sg_ledger *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void sg_ledger_unref(sg_ledger *l)
{
    if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < SG_LEDGER_NROW; i++) {
        if (i != SG_LEDGER_WEIGHTS) {
            atomic_fetch_sub(&house.held, l->used[i]);
            atomic_fetch_sub(&house.promised, l->cap[i]);
        }
    }
    pthread_mutex_lock(&house.lock);
    house.mapped -= l->used[SG_LEDGER_WEIGHTS];
    if (!--house.nledger)
        house.cap = 0; /* the next engine asks the machine again */
    cap_heap();
    pthread_mutex_unlock(&house.lock);
    sg_free(l);
}

uint64_t sg_ledger_cap(const char **from)
{
    pthread_mutex_lock(&house.lock);
    uint64_t cap = house.cap;
    if (from)
        *from = house.from;
    pthread_mutex_unlock(&house.lock);
    return cap;
}

uint64_t sg_ledger_left(void)
{
    pthread_mutex_lock(&house.lock);
    uint64_t taken = house.mapped + sg_heap_live(), cap = house.cap ? house.cap : UINT64_MAX;
    pthread_mutex_unlock(&house.lock);
    return cap > taken ? cap - taken : 0;
}

sg_status sg_ledger_check(const char *what, uint64_t need, const char *parts, sg_error *err)
{
    const char *from;
    uint64_t left = sg_ledger_left(), cap = sg_ledger_cap(&from);
    if (need <= left)
        return SG_OK;
    return sg_fail(err, SG_E_NOMEM, "%s needs %.0f MiB of memory (%s), there are %.0f of %.0f MiB (%s)", what, (double)need / 0x1p20, parts,
                   (double)left / 0x1p20, (double)cap / 0x1p20, from ? from : "unknown");
}

void sg_ledger_hold(sg_ledger *l, sg_ledger_row row, uint64_t bytes)
{
    atomic_fetch_add(&l->used[row], bytes);
    atomic_fetch_add(&l->cap[row], bytes);
    if (row != SG_LEDGER_WEIGHTS) {
        atomic_fetch_add(&house.held, bytes);
        atomic_fetch_add(&house.promised, bytes);
        return;
    }
    pthread_mutex_lock(&house.lock);
    house.mapped += bytes;
    cap_heap();
    pthread_mutex_unlock(&house.lock);
}

void sg_ledger_limit(sg_ledger *l, uint64_t bytes)
{
    uint64_t old = atomic_exchange(&l->cap[SG_LEDGER_REQUESTS], bytes);
    atomic_fetch_add(&house.promised, bytes - old); /* wraps as it should */
}

sg_status sg_ledger_take(sg_ledger *l, uint64_t bytes, sg_error *err)
{
    uint64_t cap = l->cap[SG_LEDGER_REQUESTS], used = l->used[SG_LEDGER_REQUESTS];
    if (bytes > cap)
        return sg_fail(err, SG_E_LIMIT, "the request needs %.1f MiB of memory, all requests together may have %.1f MiB; see --memory",
                       (double)bytes / 0x1p20, (double)cap / 0x1p20);
    do
        if (bytes > cap - used || used > cap)
            return sg_fail(err, SG_E_BUSY, "requests hold %.1f of the %.1f MiB that they may have; try again later",
                           (double)used / 0x1p20, (double)cap / 0x1p20);
    while (!atomic_compare_exchange_weak(&l->used[SG_LEDGER_REQUESTS], &used, used + bytes));
    atomic_fetch_add(&house.held, bytes);
    return SG_OK;
}

void sg_ledger_give(sg_ledger *l, uint64_t bytes)
{
    atomic_fetch_sub(&l->used[SG_LEDGER_REQUESTS], bytes);
    atomic_fetch_sub(&house.held, bytes);
}

size_t sg_ledger_rows(const sg_ledger *l, sg_memory_pool *pools, size_t n)
{
    sg_memory_pool all[SG_LEDGER_NROW + 2];
    size_t k = 0;
    for (int i = 0; i < SG_LEDGER_NROW; i++)
        all[k++] = (sg_memory_pool){names[i], l->used[i], l->cap[i]};
    pthread_mutex_lock(&house.lock);
    uint64_t live = sg_heap_live(), cap = house.cap > house.mapped ? house.cap - house.mapped : house.cap;
    pthread_mutex_unlock(&house.lock);
    uint64_t held = house.held, promised = house.promised;
    all[k++] = (sg_memory_pool){"io", live > held ? live - held : 0, cap > promised ? cap - promised : 0};
    all[k++] = (sg_memory_pool){"heap", live, cap};
    for (size_t i = 0; i < k && i < n; i++)
        pools[i] = all[i];
    return k;
}
