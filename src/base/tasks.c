/* base/tasks.c - ranking of a task table.
 *
 * Most tables come sorted already: a linear layer's units weigh the same, a prompt's attention units are listed from
 * the last tile to the first.  So one pass looks whether there is anything to do.  Else heapsort: in place, no
 * allocation, no bad case; a few microseconds for a hundred units.
 */
#include "base/tasks.h"

#include "base/heap.h"

sg_status sg_tasks_init(sg_tasks *t, int max, sg_error *err)
{
    if (max < 1 || max > 1 << 24)
        return sg_fail(err, SG_E_ARGUMENT, "a task table of %d units", max);
    uint64_t *key = sg_alloc((size_t)max * sizeof *key);
    if (!key)
        return sg_fail_nomem(err, "a task table");
    *t = (sg_tasks){.max = max, .key = key};
    return SG_OK;
}

void sg_tasks_fini(sg_tasks *t)
{
    sg_free(t->key);
    *t = (sg_tasks){0};
}

/* key[at] sinks until no child of it in [0, n) is smaller: the smallest stands on top. */
static void sink(uint64_t *key, int at, int n)
{
    uint64_t x = key[at];
    for (int child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && key[child + 1] < key[child])
            child++;
        if (x <= key[child])
            break;
        key[at] = key[child];
    }
    key[at] = x;
}

void sg_tasks_rank(sg_tasks *t)
{
    int i = 1;
    while (i < t->n && t->key[i - 1] > t->key[i])
        i++;
    if (i >= t->n)
        return;
    for (i = t->n / 2 - 1; i >= 0; i--)
        sink(t->key, i, t->n);
    for (i = t->n - 1; i > 0; i--) {
        uint64_t least = t->key[0];
        t->key[0] = t->key[i];
        t->key[i] = least;
        sink(t->key, 0, i);
    }
}

void sg_tasks_cut(const sg_tasks *t, int nworker, int *first)
{
    uint64_t all = 0, sum = 0;
    for (int i = 0; i < t->n; i++)
        all += sg_tasks_load(t, i);
    int u = 0;
    first[0] = 0;
    for (int w = 1; w < nworker; w++) {
        const uint64_t share = all / (uint64_t)nworker * (uint64_t)w; /* a unit belongs to the run that its middle lies in */
        for (; u < t->n && sum + sg_tasks_load(t, u) / 2 < share; u++)
            sum += sg_tasks_load(t, u);
        first[w] = u;
    }
    first[nworker] = t->n;
}
