/* Errors, UTF-8, buffers, dictionaries, files and the thread pool. */
#include "tap.h"

#include "base/buf.h"
#include "base/dict.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/utf8.h"

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

TEST(dtype_rows)
{
    sg_dtype t;
    CHECK(sg_dtype_parse("Q4_K", &t) && t == SG_Q4_K);
    CHECK(!sg_dtype_parse("q9", &t));
    CHECK_INT(sg_dtype_row_bytes(SG_Q4_K, 512), 288);
    CHECK_INT(sg_dtype_row_bytes(SG_Q4_0, 33), 0);
    CHECK(sg_dtype_find(4) == NULL && sg_dtype_find(1u << 30) == NULL);
}

TAP_MAIN
