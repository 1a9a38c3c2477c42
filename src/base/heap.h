/* base/heap.h - the one door to the allocator.
 *
 * Everything in libsegue allocates here, so that three things hold for all of it: a cap can be set
 * (nothing passes --memory), the live bytes can be printed, and a test can make the n-th allocation
 * fail, for every n.  All functions are thread-safe.
 */
#ifndef SG_BASE_HEAP_H
#define SG_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL when the cap or the system says no.  Size 0 gives a unique pointer that may be freed. */
void *sg_alloc(size_t bytes);
void *sg_calloc(size_t count, size_t bytes); /* zeroed; NULL on overflow of the product too */
void *sg_realloc(void *p, size_t bytes);     /* on failure p stays valid */
void *sg_alloc_beyond(size_t bytes);         /* counted, but not held back by the cap: for libraries that do not survive failure, by
                                              * callers who have looked at sg_heap_left before */
void sg_free(void *p);
char *sg_strdup(const char *s);
char *sg_strndup(const char *s, size_t n);

/* Aligned to `align` (a power of two, 64 to 2 MiB); above 4 MiB the memory comes from its own mapping with huge
 * pages asked for.  Zeroed.  Give it back by sg_free_aligned with the same size. */
void *sg_alloc_aligned(size_t align, size_t bytes);
void sg_free_aligned(void *p, size_t bytes);

/* For blocks that stay as long as a model and are read from end to end (packed weights): zeroed, on a boundary of 64 bytes, and beside
 * others of their kind, so that small ones are in huge pages too.  Give it back by sg_free_lasting with the same size; the
 * system has its memory again when its neighbours (64 MiB) are given back as well. */
void *sg_alloc_lasting(size_t bytes);
void sg_free_lasting(void *p, size_t bytes);

/* Bytes that are allocated now, and the largest that it has been. */
size_t sg_heap_live(void);
size_t sg_heap_peak(void);

/* What this thread has taken and not given, in bytes: the difference of two calls is what happened between them. */
int64_t sg_heap_thread(void);

/* Number of allocation calls so far (tests that the step loop allocates nothing). */
uint64_t sg_heap_calls(void);

/* What may still be allocated below the cap; SIZE_MAX without one. */
size_t sg_heap_left(void);

/* Give memory that was freed back to the system now (it does so by itself later, or not): after work with large temporary blocks. */
void sg_heap_trim(void);

/* Refuse what would bring the live bytes above `bytes`; 0 removes the cap. */
void sg_heap_cap(size_t bytes);

/* Tests: let `n` more allocations of this thread succeed, then fail one (and every later one when
 * `sticky`).  Negative n turns it off.  sg_heap_failed() says whether a failure was injected since. */
void sg_heap_fail_after(long n, bool sticky);
bool sg_heap_failed(void);

#endif
