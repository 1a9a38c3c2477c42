/* The GGUF reader: directories of the golden models, verdicts on hostile headers, split sets. */
#include "tap.h"

#include "base/heap.h"
#include "format/gguf.h"
#include "format/weights.h"

#include <dirent.h>
#include <stdlib.h>

static bool open_close(void *arg)
{
    sg_weights *w = NULL;
    bool ok = sg_weights_open(&w, arg, NULL) == SG_OK;
    sg_weights_close(w);
    return ok;
}

TEST(golden_models_open)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char dir[512];
    snprintf(dir, sizeof dir, "%s/data/golden/arch", tap_shared());
    DIR *d = opendir(dir);
    CHECK(d);
    int nmodel = 0;
    size_t ntensor = 0, nkey = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s/model.gguf", dir, e->d_name);
        if (!sg_path_exists(path))
            continue;
        sg_error err;
        sg_weights *w;
        CHECK_OK(sg_weights_open(&w, path, &err));
        for (size_t i = 0; i < sg_weights_count(w); i++) {
            const sg_tensor *t = sg_weights_at(w, i);
            CHECK(sg_weights_find(w, t->name) == t);
            CHECK(t->data && t->bytes > 0);
            void *copy = malloc(t->bytes);
            CHECK_OK(sg_weights_read(w, t, copy, &err));
            CHECK(memcmp(copy, t->data, t->bytes) == 0);
            free(copy);
            sg_weights_drop(w, t);
        }
        CHECK(!sg_weights_find(w, "no.such.tensor"));
        CHECK(sg_weights_find(w, "token_embd.weight"));
        ntensor += sg_weights_count(w);
        nkey += sg_dict_count(sg_weights_meta(w));
        sg_weights_close(w);
        nmodel++;
    }
    closedir(d);
    CHECK(nmodel > 30);
    tap_note("%d models, %zu tensors, %zu keys", nmodel, ntensor, nkey);
}

TEST(every_allocation_can_fail)
{
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    char path[512];
    snprintf(path, sizeof path, "%s/data/hostile/gguf/valid-llama-spm.gguf", tap_shared());
    CHECK_ALLOC_LOOP(open_close, path);
    snprintf(path, sizeof path, "%s/data/hostile/gguf/tensor-name-duplicate.gguf", tap_shared());
    sg_error err;
    sg_weights *w = NULL;
    CHECK_FAILS(sg_weights_open(&w, path, &err), SG_E_FORMAT, "blk.0.attn_q.weight");
    CHECK(!w);
}

static sg_status copy_rows(void *arg, size_t tensor, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    const sg_weights *w = arg;
    return sg_weights_read_rows(w, sg_weights_at(w, tensor), row, nrow, dst, err);
}

static sg_status write_again(const sg_weights *w, const char *path, sg_error *err)
{
    size_t n = sg_weights_count(w);
    sg_gguf_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        const sg_tensor *s = sg_weights_at(w, i);
        t[i] = (sg_gguf_tensor){s->name, s->type, s->ndim, {s->ne[0], s->ne[1], s->ne[2], s->ne[3]}};
    }
    sg_status st = sg_gguf_write(path, sg_weights_meta(w), t, n, copy_rows, (void *)(uintptr_t)w, err);
    free(t);
    return st;
}

/* The golden files come from another writer; ours gives the same bytes for the same content. */
TEST(written_files_are_the_read_ones)
{
    static const char *const names[] = {"golden/arch/llama", "golden/arch/gpt-oss-mxfp4", "golden/arch/bert-mean",
                                        "golden/arch/olmo2"};
    if (!tap_shared()) {
        tap_skip("no shared data");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/data/%s/model.gguf", tap_shared(), names[i]);
        sg_error err;
        sg_weights *w;
        sg_file a = {0}, b = {0};
        CHECK_OK(sg_weights_open(&w, path, &err));
        const char *copy = tap_scratch("copy.gguf");
        CHECK_OK(write_again(w, copy, &err));
        sg_weights_close(w);
        CHECK_OK(sg_file_open(&a, path, &err));
        CHECK_OK(sg_file_open(&b, copy, &err));
        CHECK_INT(a.size, b.size);
        CHECK(memcmp(a.data, b.data, a.size) == 0);
        sg_file_close(&a);
        sg_file_close(&b);
    }
}

static sg_status one_value(void *arg, size_t tensor, uint64_t row, uint64_t nrow, void *dst, sg_error *err)
{
    (void)tensor, (void)row, (void)nrow, (void)err;
    memcpy(dst, arg, sizeof(float));
    return SG_OK;
}

/* Part `no` of a set of `count`, with one tensor of one value, at `path`. */
static sg_status write_part(const char *path, uint64_t no, uint64_t count, uint64_t total, const char *tensor,
                            sg_error *err)
{
    sg_gguf_tensor t = {tensor, SG_F32, 1, {1, 1, 1, 1}};
    sg_dict *d = sg_dict_new();
    sg_status st = sg_dict_set_str(d, "general.architecture", "llama", 5, err);
    if (st == SG_OK)
        st = sg_dict_set_u64(d, "split.no", no, err);
    if (st == SG_OK)
        st = sg_dict_set_u64(d, "split.count", count, err);
    if (st == SG_OK)
        st = sg_dict_set_u64(d, "split.tensors.count", total, err);
    float value = (float)no;
    if (st == SG_OK)
        st = sg_gguf_write(path, d, &t, 1, one_value, &value, err);
    sg_dict_free(d);
    return st;
}

TEST(split_sets)
{
    sg_error err;
    sg_weights *w = NULL;
    char a[512], b[512];
    snprintf(a, sizeof a, "%s", tap_scratch("set-00001-of-00002.gguf"));
    snprintf(b, sizeof b, "%s", tap_scratch("set-00002-of-00002.gguf"));
    CHECK_OK(write_part(a, 0, 2, 2, "a", &err));
    CHECK_FAILS(sg_weights_open(&w, a, &err), SG_E_IO, "part 2 of split.count 2");
    CHECK_OK(write_part(b, 1, 2, 2, "b", &err));
    CHECK_OK(sg_weights_open(&w, a, &err));
    CHECK_INT(sg_weights_count(w), 2);
    CHECK(*(const float *)sg_weights_find(w, "b")->data == 1.0f);
    CHECK(sg_weights_find(w, "b")->file != sg_weights_find(w, "a")->file);
    sg_weights_close(w);
    w = NULL;
    CHECK_ALLOC_LOOP(open_close, a);
    CHECK_FAILS(sg_weights_open(&w, b, &err), SG_E_ARGUMENT, "first part");
    CHECK_OK(write_part(b, 1, 2, 2, "a", &err));
    CHECK_FAILS(sg_weights_open(&w, a, &err), SG_E_FORMAT, "'a' stands twice");
    CHECK_OK(write_part(b, 0, 2, 2, "b", &err));
    CHECK_FAILS(sg_weights_open(&w, a, &err), SG_E_FORMAT, "split.no 0");
    CHECK_OK(write_part(a, 0, 2, 3, "a", &err));
    CHECK_OK(write_part(b, 1, 2, 3, "b", &err));
    CHECK_FAILS(sg_weights_open(&w, a, &err), SG_E_FORMAT, "split.tensors.count is 3");
}

TAP_MAIN
