/* base/heap.c - the door to the allocator: counts, caps, and fails on demand.
 *
 * The account is kept in what malloc really gave (malloc_usable_size), with relaxed atomics: the cap is
 * a guard for the machine, not a fence between threads, and may be passed by a race for the moment that
 * it takes to notice.  No header is put before the blocks, so a pointer from here can be given to a
 * library that takes malloc and free.
 *
 * Large aligned blocks (KV, scratch of steps) get mappings of their own on a 2 MiB boundary.  Blocks that last
 * (packed weights, most of them smaller than a huge page) lie one after another in chunks:
 *
 *     chunk, 64 MiB on a 64 MiB boundary    | head | block | block | ...        | not yet touched |
 *
 * so that all but the ends of a model are in huge pages.  A decode step streams the whole model: on 4 KiB pages neither
 * the processor's prefetcher nor its translations get far.  A block's chunk is found by its address; a chunk goes back when its
 * last block does, and nothing in it is used again before that.
 */
#include "base/heap.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAP_FROM = 4 << 20, HUGE_PAGE = 2 << 20, CHUNK = 64 << 20, CHUNK_MOST = 8 << 20 /* of a block in one */ };

typedef struct chunk {
    size_t used; /* bytes from its beginning */
    int blocks;
} chunk;

static _Atomic size_t live, peak, cap;
static _Atomic uint64_t calls;
static _Thread_local int64_t mine;
static _Thread_local long fail_in = -1;
static _Thread_local bool fail_sticky, fail_seen;

static bool injected(void)
{
    if (fail_in < 0)
        return false;
    if (fail_in > 0) {
        fail_in--;
        return false;
    }
    fail_seen = true;
    if (!fail_sticky)
        fail_in = -1;
    return true;
}

/* Count `bytes` in, unless that passes the cap and the cap counts. */
static bool reserve_below(size_t bytes, bool capped)
{
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (injected())
        return false;
    size_t now = atomic_fetch_add_explicit(&live, bytes, memory_order_relaxed) + bytes;
    size_t limit = atomic_load_explicit(&cap, memory_order_relaxed);
    if (capped && limit && now > limit) {
        atomic_fetch_sub_explicit(&live, bytes, memory_order_relaxed);
        return false;
    }
    mine += (int64_t)bytes;
    size_t high = atomic_load_explicit(&peak, memory_order_relaxed);
    while (now > high && !atomic_compare_exchange_weak_explicit(&peak, &high, now, memory_order_relaxed, memory_order_relaxed))
        ;
    return true;
}

static bool reserve(size_t bytes) { return reserve_below(bytes, true); }

static void release(size_t bytes)
{
    atomic_fetch_sub_explicit(&live, bytes, memory_order_relaxed);
    mine -= (int64_t)bytes;
}

/* malloc may round up: settle the account with what it really gave. */
static void *settle(void *p, size_t asked)
{
    if (!p) {
        release(asked);
        return NULL;
    }
    size_t more = malloc_usable_size(p) - asked;
    atomic_fetch_add_explicit(&live, more, memory_order_relaxed);
    mine += (int64_t)more;
    return p;
}

void *sg_alloc(size_t bytes)
{
    if (bytes == 0)
        bytes = 1;
    return reserve(bytes) ? settle(malloc(bytes), bytes) : NULL;
}

void *sg_alloc_beyond(size_t bytes)
{
    if (bytes == 0)
        bytes = 1;
    return reserve_below(bytes, false) ? settle(malloc(bytes), bytes) : NULL;
}

void *sg_calloc(size_t count, size_t bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total))
        return NULL;
    if (total == 0)
        total = 1;
    return reserve(total) ? settle(calloc(1, total), total) : NULL;
}

void *sg_realloc(void *p, size_t bytes)
{
    if (!p)
        return sg_alloc(bytes);
    if (bytes == 0)
        bytes = 1;
    size_t old = malloc_usable_size(p);
    if (!reserve(bytes))
        return NULL;
    void *q = realloc(p, bytes);
    if (!q) {
        release(bytes);
        return NULL;
    }
    release(old);
    return settle(q, bytes);
}

void sg_free(void *p)
{
    if (!p)
        return;
    release(malloc_usable_size(p));
    free(p);
}

char *sg_strndup(const char *s, size_t n)
{
    char *p = sg_alloc(n + 1);
    if (!p)
        return NULL;
    memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *sg_strdup(const char *s)
{
    return sg_strndup(s, strlen(s));
}

/* `bytes` of zeros on a boundary of `align`, with huge pages asked for: mapped with room to spare, then cut. */
static void *map_huge(size_t bytes, size_t align)
{
    size_t room = bytes + align;
    if (room < bytes)
        return NULL;
    char *m = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED)
        return NULL;
    size_t head = (size_t)(-(intptr_t)m) & (align - 1);
    size_t page = 4096, body = (bytes + page - 1) / page * page;
    if (head)
        munmap(m, head);
    if (room - head > body)
        munmap(m + head + body, room - head - body);
    madvise(m + head, body, MADV_HUGEPAGE);
    return m + head;
}

void *sg_alloc_aligned(size_t align, size_t bytes)
{
    if (bytes == 0)
        bytes = 1;
    if (!reserve(bytes))
        return NULL;
    void *p = NULL;
    if (bytes >= MAP_FROM) {
        p = map_huge(bytes, HUGE_PAGE);
        if (!p)
            release(bytes);
        return p;
    }
    if (posix_memalign(&p, align, bytes)) {
        release(bytes);
        return NULL;
    }
    memset(p, 0, bytes);
    return p;
}

void sg_free_aligned(void *p, size_t bytes)
{
    if (!p)
        return;
    if (bytes == 0)
        bytes = 1;
    release(bytes);
    if (bytes >= MAP_FROM)
        munmap(p, (bytes + 4095) / 4096 * 4096);
    else
        free(p);
}

static pthread_mutex_t chunk_lock = PTHREAD_MUTEX_INITIALIZER;
static chunk *chunk_open; /* where the next block goes; NULL: none */

static size_t lasting_size(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* `size` bytes, a multiple of 64 up to CHUNK_MOST. */
static void *take_in_chunk(size_t size)
{
    void *p = NULL;
    pthread_mutex_lock(&chunk_lock);
    if (!chunk_open || chunk_open->used + size > CHUNK) {
        chunk *c = map_huge(CHUNK, CHUNK);
        if (c) {
            c->used = lasting_size(sizeof *c);
            chunk_open = c;
        }
    }
    if (chunk_open && chunk_open->used + size <= CHUNK) {
        p = (char *)chunk_open + chunk_open->used;
        chunk_open->used += size;
        chunk_open->blocks++;
    }
    pthread_mutex_unlock(&chunk_lock);
    return p;
}

void *sg_alloc_lasting(size_t bytes)
{
    if (bytes > CHUNK_MOST)
        return sg_alloc_aligned(64, bytes);
    size_t size = lasting_size(bytes ? bytes : 1);
    if (!reserve(size))
        return NULL;
    void *p = take_in_chunk(size);
    if (!p)
        release(size);
    return p;
}

void sg_free_lasting(void *p, size_t bytes)
{
    if (!p)
        return;
    if (bytes > CHUNK_MOST) {
        sg_free_aligned(p, bytes);
        return;
    }
    release(lasting_size(bytes ? bytes : 1));
    chunk *c = (chunk *)(void *)((char *)p - ((uintptr_t)p & (CHUNK - 1)));
    pthread_mutex_lock(&chunk_lock);
    bool last = --c->blocks == 0;
    if (last && c == chunk_open)
        chunk_open = NULL;
    pthread_mutex_unlock(&chunk_lock);
    if (last)
        munmap(c, CHUNK);
}

size_t sg_heap_live(void) { return atomic_load_explicit(&live, memory_order_relaxed); }
size_t sg_heap_peak(void) { return atomic_load_explicit(&peak, memory_order_relaxed); }
int64_t sg_heap_thread(void) { return mine; }
uint64_t sg_heap_calls(void) { return atomic_load_explicit(&calls, memory_order_relaxed); }

size_t sg_heap_left(void)
{
    size_t now = sg_heap_live(), limit = atomic_load_explicit(&cap, memory_order_relaxed);
    return !limit ? SIZE_MAX : limit > now ? limit - now : 0;
}

void sg_heap_trim(void) { malloc_trim(0); }

void sg_heap_cap(size_t bytes) { atomic_store_explicit(&cap, bytes, memory_order_relaxed); }

void sg_heap_fail_after(long n, bool sticky)
{
    fail_in = n;
    fail_sticky = sticky;
    fail_seen = false;
}

bool sg_heap_failed(void) { return fail_seen; }
