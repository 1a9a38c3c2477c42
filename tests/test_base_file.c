/* Memory that is given back: pages of a mapped file that were repacked, and what the C library keeps of freed blocks. */
#include "tap.h"

#include "base/file.h"
#include "base/heap.h"
#include "format/weights.h"
#include "tiny_model.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { MIB = 1 << 20 };

static sg_error err;

TEST(what_is_dropped)
{
    size_t from = 7, to = 7;
    CHECK(!sg_file_drop_range(100, 101, 0, &from, &to) && !sg_file_drop_range(100, 50, 51, &from, &to));
    CHECK(!sg_file_drop_range(100, 1, SIZE_MAX, &from, &to) && !sg_file_drop_range(100, SIZE_MAX, 1, &from, &to));
    CHECK(from == 7 && to == 7);
    CHECK(sg_file_drop_range(0, 0, 0, &from, &to) && from == 0 && to == 0);
    CHECK(sg_file_drop_range(100, 0, 100, &from, &to) && from == 0 && to == 100);
    CHECK(sg_file_drop_range(100 * MIB, 50 * MIB, MIB, &from, &to) && from == 48 * MIB && to == 53 * MIB);
    CHECK(sg_file_drop_range(100 * MIB, 51 * MIB - 1, 1, &from, &to) && from == 48 * MIB && to == 53 * MIB);
    CHECK(sg_file_drop_range(SIZE_MAX, SIZE_MAX - 1, 1, &from, &to) && to == SIZE_MAX && from < to);
    sg_rng *g = tap_rng();
    for (int i = 0; i < 20000; i++) {
        size_t size = (size_t)sg_rng_below(g, 64 * MIB), at = (size_t)sg_rng_below(g, size + 1), n = (size_t)sg_rng_below(g, size - at + 1);
        CHECK(sg_file_drop_range(size, at, n, &from, &to));
        CHECK(from <= at && to >= at + n && to <= size && from % (2 * MIB) == 0);
        CHECK(at - from < 4 * MIB && to - at - n <= 2 * MIB);
    }
}

/* ---- with a file ---- */

/* Pages of [data, data + n) that are in this process's resident set; -1 when the system does not say. */
static long present(const unsigned char *data, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), first = (size_t)(uintptr_t)data / page, count = (n + page - 1) / page;
    long sum = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    for (size_t i = 0; i < count && sum >= 0; i++) {
        uint64_t entry;
        sum = pread(fd, &entry, sizeof entry, (off_t)((first + i) * sizeof entry)) == sizeof entry ? sum + (long)(entry >> 63) : -1;
    }
    close(fd);
    return sum;
}

static uint64_t sum_of(const unsigned char *p, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i += 8)
        sum = sum * 31 + p[i];
    return sum;
}

TEST(what_was_dropped_is_not_resident_and_reads_as_before)
{
    enum { SIZE = 16 * MIB + 12345, AT = 7 * MIB + 3, N = MIB };
    char path[64];
    snprintf(path, sizeof path, "/tmp/segue-drop-%d", (int)getpid());
    static unsigned char bytes[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 24);
    sg_file_writer *w;
    sg_file f;
    CHECK_OK(sg_file_create(&w, path, &err));
    CHECK_OK(sg_file_write(w, bytes, SIZE, &err));
    CHECK_OK(sg_file_commit(w, &err));
    CHECK_OK(sg_file_open(&f, path, &err));
    uint64_t sum = sum_of(f.data, SIZE);
    size_t from, to;
    CHECK(sg_file_drop_range(SIZE, AT, N, &from, &to));
    long before = present(f.data + from, to - from);
    if (before <= 0)
        tap_skip("no /proc/self/pagemap");
    else {
        sg_file_drop(&f, AT, N);
        CHECK_INT(present(f.data + from, to - from), 0);
        CHECK(present(f.data, SIZE) > 0); /* what lies farther away is left */
        CHECK(sum_of(f.data, SIZE) == sum);
        sg_file_drop(&f, 0, SIZE + 1); /* not within the file: nothing */
        CHECK(present(f.data, SIZE) > 0);
        sg_file_drop(&f, 0, SIZE);
        CHECK_INT(present(f.data, SIZE), 0);
        CHECK(sum_of(f.data, SIZE) == sum);
    }
    sg_file_close(&f);
    sg_file_drop(&f, 0, 0); /* closed: nothing */
    remove(path);
}

/* Resident KiB of this process's mappings of a file; -1 when the system does not say. */
static long resident_of(const char *path)
{
    char line[1024];
    long sum = 0, kib = 0;
    bool in = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof line, f)) {
        if (strstr(line, path))
            in = true;
        else if (in && sscanf(line, "Rss: %ld", &kib) == 1) {
            sum += kib;
            in = false;
        }
    }
    fclose(f);
    return sum;
}

/* An opened model has copied what it needs of names and vocabularies: no page of the file stays. */
TEST(an_opened_model_leaves_no_page_of_its_file)
{
    char path[64];
    sg_weights *w;
    snprintf(path, sizeof path, "/tmp/segue-open-%d.gguf", (int)getpid());
    CHECK_OK(tiny_model_write(path, "llama", tap_rng(), &err));
    CHECK_OK(sg_weights_open(&w, path, &err));
    if (resident_of("/proc/no such mapping") < 0)
        tap_skip("no /proc/self/smaps");
    else
        CHECK_INT(resident_of(path), 0);
    sg_weights_close(w);
    remove(path);
}

/* ---- the heap ---- */

#ifndef SANITIZED
static long resident_kib(void)
{
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return -1;
    int n = fscanf(f, "%ld %ld", &size, &pages);
    fclose(f);
    return n == 2 ? pages * (sysconf(_SC_PAGESIZE) / 1024) : -1;
}
#endif

/* Blocks that are too small for mappings of their own, freed below one that stays: the C library keeps their pages until it is asked. */
TEST(trimming_gives_freed_memory_back)
{
    enum { N = 1024, BYTES = 64 * 1024 };
#ifdef SANITIZED
    tap_skip("the sanitizer has its own heap");
#else
    static void *block[N];
    if (resident_kib() < 0) {
        tap_skip("no /proc/self/statm");
        return;
    }
    for (int i = 0; i < N; i++) {
        CHECK((block[i] = sg_alloc(BYTES)));
        memset(block[i], 1 + i % 7, BYTES);
    }
    for (int i = 0; i < N - 1; i++)
        sg_free(block[i]);
    long before = resident_kib();
    sg_heap_trim();
    long given = before - resident_kib();
    tap_note("%ld of %d KiB", given, N * BYTES / 1024);
    CHECK(given > N * BYTES / 1024 / 2);
    sg_free(block[N - 1]);
#endif
}

TAP_MAIN
