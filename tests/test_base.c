/* Errors, UTF-8, buffers, dictionaries, files and the thread pool. */
#include "tap.h"

#include "base/buf.h"
#include "base/dict.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/heap.h"
#include "base/pool.h"
#include "base/utf8.h"

#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <stdatomic.h>
#include <unistd.h>

TEST(error_is_one_printable_line)
{
    sg_error err;
    CHECK_INT(sg_fail(&err, SG_E_FORMAT, "name 'a\nb\x1b[2J\xff' caf\xc3\xa9"), SG_E_FORMAT);
    CHECK_STR(err.text, "name 'a\\x0ab\\x1b[2J\\xff' caf\xc3\xa9");
    CHECK_INT(sg_fail_at(&err, SG_E_IO, "tensor %d", 3), SG_E_FORMAT);
    CHECK_STR(err.text, "tensor 3: name 'a\\x0ab\\x1b[2J\\xff' caf\xc3\xa9");
    CHECK_INT(sg_fail(NULL, SG_E_NOMEM, "nobody listens"), SG_E_NOMEM);
    char big[1000];
    memset(big, 'x', sizeof big);
    big[999] = '\0';
    sg_fail(&err, SG_E_LIMIT, "%s", big);
    CHECK_INT(strlen(err.text), sizeof err.text - 1);
}

TEST(utf8_accepts_exactly_the_well_formed)
{
    static const struct {
        const char *s;
        uint32_t cp;
        size_t used;
    } cases[] = {
        {"A", 'A', 1}, {"\xc3\xa9", 0xe9, 2}, {"\xe2\x82\xac", 0x20ac, 3}, {"\xf0\x9f\x98\x80", 0x1f600, 4},
        {"\xc0\x80", 0xfffd, 0}, {"\xed\xa0\x80", 0xfffd, 0}, {"\xf4\x90\x80\x80", 0xfffd, 0}, {"\xe0\x80\x80", 0xfffd, 0},
        {"\x80", 0xfffd, 0}, {"\xe2\x82", 0xfffd, 0}, {"\xff", 0xfffd, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t cp;
        CHECK_INT(sg_utf8_decode(cases[i].s, strlen(cases[i].s), &cp), cases[i].used);
        CHECK_INT(cp, cases[i].cp);
    }
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char b[4];
        size_t n = sg_utf8_encode(b, cp);
        uint32_t back;
        if (cp >= 0xd800 && cp < 0xe000) {
            CHECK_INT(n, 0);
            continue;
        }
        CHECK_INT(sg_utf8_decode(b, n, &back), n);
        CHECK_INT(back, cp);
        for (size_t cut = 1; cut < n; cut++)
            CHECK_INT(sg_utf8_partial_suffix(b, cut), cut);
        CHECK_INT(sg_utf8_partial_suffix(b, n), 0);
    }
}

TEST(buffer_failure_sticks)
{
    sg_buf b = {.max = 10};
    sg_buf_adds(&b, "12345");
    sg_buf_addf(&b, "%d", 67890);
    CHECK(sg_buf_ok(&b));
    sg_buf_addc(&b, 'x');
    CHECK(!sg_buf_ok(&b));
    CHECK_STR(sg_buf_str(&b), "1234567890");
    sg_buf_fini(&b);
}

static bool fill_dict(void *arg)
{
    (void)arg;
    sg_error err;
    sg_dict *d = sg_dict_new();
    bool ok = d != NULL;
    sg_str words[] = {{"one", 3}, {"two", 3}};
    for (int i = 0; ok && i < 100; i++) {
        char key[32];
        snprintf(key, sizeof key, "key.%d", i % 70);
        ok = sg_dict_set_u64(d, key, (uint64_t)i, &err) == SG_OK;
    }
    ok = ok && sg_dict_set_array(d, "words", &(sg_array){SG_KIND_STR, 2, {.s = words}}, &err) == SG_OK;
    ok = ok && sg_dict_set_str(d, "key.3", "text", 4, &err) == SG_OK;
    sg_dict_free(d);
    return ok;
}

TEST(dict_survives_every_failed_allocation) { CHECK_ALLOC_LOOP(fill_dict, NULL); }

TEST(dict_keeps_order_and_kinds)
{
    sg_error err;
    sg_dict *d = sg_dict_new();
    CHECK_OK(sg_dict_set_u64(d, "a", 1, &err));
    CHECK_OK(sg_dict_set_i64(d, "b", -2, &err));
    CHECK_OK(sg_dict_set_str(d, "c", "x\0y", 3, &err));
    CHECK_OK(sg_dict_set_f64(d, "a", 2.5, &err));
    CHECK_INT(sg_dict_count(d), 3);
    CHECK_STR(sg_dict_key(d, 0), "a");
    uint64_t u;
    double f;
    sg_str s;
    CHECK_FAILS(sg_dict_u64(d, "b", 0, &u, &err), SG_E_FORMAT, "'b' is -2");
    CHECK_FAILS(sg_dict_u64(d, "a", 0, &u, &err), SG_E_FORMAT, "'a' is a float");
    CHECK_FAILS(sg_dict_need_u64(d, "zz", &u, &err), SG_E_FORMAT, "'zz' is missing");
    CHECK_OK(sg_dict_f64(d, "a", 0, &f, &err));
    CHECK_NEAR(f, 2.5, 0);
    CHECK_OK(sg_dict_str(d, "c", NULL, &s, &err));
    CHECK_INT(s.len, 3);
    sg_dict_remove(d, "b");
    CHECK_INT(sg_dict_count(d), 2);
    CHECK(sg_dict_find(d, "b") == NULL);
    CHECK(sg_dict_find(d, "c") != NULL);
    sg_dict_free(d);
}

TEST(file_is_written_whole_or_not_at_all)
{
    sg_error err;
    const char *path = tap_scratch("file");
    sg_file_writer *w;
    CHECK_OK(sg_file_create(&w, path, &err));
    CHECK_OK(sg_file_write(w, "hello", 5, &err));
    CHECK(!sg_path_exists(path));
    CHECK_OK(sg_file_commit(w, &err));
    char *data;
    size_t n;
    CHECK_OK(sg_file_read(path, 5, &data, &n, &err));
    CHECK_STR(data, "hello");
    sg_free(data);
    CHECK_FAILS(sg_file_read(path, 4, &data, &n, &err), SG_E_LIMIT, "longer than 4");
    sg_file f;
    CHECK_OK(sg_file_open(&f, path, &err));
    CHECK_INT(f.size, 5);
    sg_file_close(&f);
    CHECK_FAILS(sg_file_open(&f, "/nonexistent/x", &err), SG_E_IO, "No such file");
    CHECK_FAILS(sg_file_open(&f, "/", &err), SG_E_ARGUMENT, "not a regular file");
}

static sg_status write_hello(const char *path, sg_error *err)
{
    sg_file_writer *w;
    SG_TRY(sg_file_create(&w, path, err));
    SG_TRY(sg_file_write(w, "hello", 5, err));
    return sg_file_commit(w, err);
}

/* Renaming would put a file in the place of whatever stands there. */
TEST(only_regular_files_are_replaced)
{
    sg_error err;
    const char *fifo = tap_scratch("fifo"), *link = tap_scratch("link"), *target = tap_scratch("target"), *lost = tap_scratch("lost");
    struct stat st;
    char *data;
    size_t n;
    CHECK_FAILS(write_hello("/dev/null", &err), SG_E_ARGUMENT, "is a device, only regular files are written");
    CHECK_FAILS(write_hello("/tmp", &err), SG_E_ARGUMENT, "is a folder");
    CHECK(mkfifo(fifo, 0600) == 0);
    CHECK_FAILS(write_hello(fifo, &err), SG_E_ARGUMENT, "is a pipe");
    CHECK(lstat(fifo, &st) == 0 && S_ISFIFO(st.st_mode));
    CHECK(symlink(target, link) == 0 && symlink("/nonexistent/x", lost) == 0);
    CHECK_FAILS(write_hello(lost, &err), SG_E_IO, "leads nowhere");
    CHECK_FAILS(write_hello(link, &err), SG_E_IO, "leads nowhere");
    CHECK_OK(write_hello(target, &err));
    CHECK_OK(write_hello(link, &err));
    CHECK(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    CHECK_OK(sg_file_read(target, 100, &data, &n, &err));
    CHECK_STR(data, "hello");
    sg_free(data);
}

typedef struct tally {
    _Atomic int count[4096];
} tally;

static void tick(void *arg, int task, int worker)
{
    (void)worker;
    tally *t = arg;
    atomic_fetch_add(&t->count[task], 1);
}

TEST(pool_runs_every_task_once)
{
    sg_error err;
    static tally t;
    for (int nworker = 1; nworker <= 7; nworker += 2) {
        sg_pool *p;
        CHECK_OK(sg_pool_open(&p, nworker, &err));
        for (int round = 0; round < 2000; round++) {
            int ntask = (int)sg_rng_below(tap_rng(), 40);
            memset(&t, 0, sizeof t);
            sg_pool_run(p, tick, &t, ntask);
            for (int i = 0; i < 64; i++)
                CHECK_INT(t.count[i], i < ntask);
            if (round % 500 == 0)
                usleep(1000);
        }
        sg_pool_close(p);
    }
    sg_pool *p;
    CHECK_FAILS(sg_pool_open(&p, 0, &err), SG_E_ARGUMENT, "from 1 to 256");
}

/* Threads that spin beside the workers: units are done once, and everybody has his CPUs back at the end. */
static void *spin(void *arg)
{
    while (!atomic_load((_Atomic bool *)arg))
        ;
    return NULL;
}

static void dawdle(void *arg, int task, int worker)
{
    for (volatile int i = 0; i < 100000; i++)
        ;
    tick(arg, task, worker);
}

TEST(a_pool_beside_busy_neighbours)
{
    enum { BUSY = 3 };
    static tally t;
    pthread_t busy[BUSY];
    _Atomic bool quit = false;
    cpu_set_t before, after;
    CHECK_INT(pthread_getaffinity_np(pthread_self(), sizeof before, &before), 0);
    for (int i = 0; i < BUSY; i++)
        CHECK_INT(pthread_create(&busy[i], NULL, spin, &quit), 0);
    for (int nworker = 2; nworker <= 5; nworker++) {
        sg_pool *p;
        CHECK_INT(sg_pool_open(&p, nworker, NULL), SG_OK);
        for (int round = 0; round < 60; round++) {
            memset(&t, 0, sizeof t);
            sg_pool_run(p, dawdle, &t, 12);
            for (int i = 0; i < 14; i++)
                CHECK_INT(t.count[i], i < 12);
            CHECK_INT(pthread_getaffinity_np(pthread_self(), sizeof after, &after), 0);
            CHECK(CPU_EQUAL(&before, &after));
        }
        sg_pool_close(p);
    }
    atomic_store(&quit, true);
    for (int i = 0; i < BUSY; i++)
        CHECK_INT(pthread_join(busy[i], NULL), 0);
}

TEST(dtype_rows)
{
    sg_dtype t;
    CHECK(sg_dtype_parse("Q4_K", &t) && t == SG_Q4_K);
    CHECK(!sg_dtype_parse("q9", &t));
    CHECK_INT(sg_dtype_row_bytes(SG_Q4_K, 512), 288);
    CHECK_INT(sg_dtype_row_bytes(SG_Q4_0, 33), 0);
    CHECK(sg_dtype_find(4) == NULL && sg_dtype_find(1u << 30) == NULL);
}

/* Blocks that last lie side by side, are zeroed, are counted, and a chunk that nobody uses any more is gone. */
TEST(lasting_blocks_share_chunks)
{
    enum { N = 40, BYTES = 3000001 };
    unsigned char *p[N];
    size_t before = sg_heap_live();
    int beside = 0;
    for (int i = 0; i < N; i++) {
        p[i] = sg_alloc_lasting(BYTES);
        CHECK(p[i] && (uintptr_t)p[i] % 64 == 0);
        CHECK(p[i][0] == 0 && p[i][BYTES / 2] == 0 && p[i][BYTES - 1] == 0);
        memset(p[i], i + 1, BYTES);
        beside += i && p[i] == p[i - 1] + (BYTES + 63) / 64 * 64;
    }
    CHECK(beside >= N - 4); /* 120 MB in chunks of 64 MiB */
    CHECK(sg_heap_live() - before >= (size_t)N * BYTES);
    for (int i = 0; i < N; i++)
        CHECK(p[i][0] == i + 1 && p[i][BYTES - 1] == i + 1);
    for (int i = 0; i < N; i++)
        sg_free_lasting(p[(i * 7) % N], BYTES);
    CHECK_INT(sg_heap_live(), before);
    unsigned char *big = sg_alloc_lasting(9u << 20), *none = sg_alloc_lasting(0);
    CHECK(big && none && big[(9u << 20) - 1] == 0);
    sg_free_lasting(big, 9u << 20);
    sg_free_lasting(none, 0);
    sg_free_lasting(NULL, 5);
    CHECK_INT(sg_heap_live(), before);
    sg_heap_fail_after(0, false);
    CHECK(!sg_alloc_lasting(100));
    sg_heap_cap(before + 1000);
    CHECK(!sg_alloc_lasting(BYTES));
    sg_heap_cap(0);
    CHECK_INT(sg_heap_live(), before);
}

/* Somebody who watches a pool hears of every run: how many, how long, how long the workers worked. */
static void burn(void *arg, int task, int worker)
{
    (void)task;
    (void)worker;
    for (volatile int i = 0; i < 20000; i++)
        ;
    atomic_fetch_add((_Atomic int *)arg, 1);
}

TEST(a_watched_pool_counts_its_runs)
{
    sg_pool *p;
    sg_pool_times t = {0};
    _Atomic int done = 0;
    for (int nworker = 1; nworker <= 3; nworker += 2) {
        CHECK_INT(sg_pool_open(&p, nworker, NULL), SG_OK);
        t = (sg_pool_times){0};
        sg_pool_run(p, burn, &done, 8);
        CHECK_INT(t.runs, 0);
        sg_pool_watch(p, &t);
        sg_pool_run(p, burn, &done, 8);
        sg_pool_run(p, burn, &done, 1);
        sg_pool_watch(p, NULL);
        sg_pool_run(p, burn, &done, 8);
        CHECK_INT(t.runs, 2);
        CHECK(t.wall_ns > 0 && t.busy_ns > 0 && t.busy_ns <= nworker * t.wall_ns);
        sg_pool_close(p);
    }
    CHECK_INT(done, 50);
}

TAP_MAIN
