/* Block formats against the vectors in shared/data/golden/quant: decoding bit for bit, encoding with no
 * more error than the reference quantiser, byte for byte where that one has a closed form.  Beside them
 * properties that need no data. */
#include "kernel/quant.h"

#include "base/file.h"
#include "base/json.h"
#include "tap.h"

#include <stdlib.h>

typedef struct golden {
    json_t *index;
    float *source; /* [12][512] */
    size_t nsource;
} golden;

static void *read_shared(const char *name, size_t *n)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/data/golden/quant/%s", tap_shared(), name);
    char *data;
    sg_error err = {0};
    if (sg_file_read(path, 1 << 24, &data, n, &err) != SG_OK) {
        tap_fail(__FILE__, __LINE__, "%s", err.text);
        return NULL;
    }
    return data;
}

static void golden_close(golden *g)
{
    json_decref(g->index);
    sg_free(g->source);
}

/* False when the data is not there (the test is then marked skipped) or unreadable (failed). */
static bool golden_open(golden *g)
{
    *g = (golden){0};
    if (!tap_shared()) {
        tap_skip("no shared data");
        return false;
    }
    char path[1024];
    snprintf(path, sizeof path, "%s/data/golden/quant/index.json", tap_shared());
    sg_error err = {0};
    if (sg_json_read(&g->index, path, 1 << 24, &err) != SG_OK) {
        tap_fail(__FILE__, __LINE__, "%s", err.text);
        return false;
    }
    g->source = read_shared("rows.src.f32", &g->nsource);
    return g->source;
}

/* Values that differ in bits, +0 and -0 taken as equal. */
static size_t differing(const float *have, const float *want, size_t n)
{
    size_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += memcmp(&have[i], &want[i], sizeof *have) != 0 && !(have[i] == 0 && want[i] == 0);
    return bad;
}

static void check_decode(const json_t *t, size_t *nvalue)
{
    const char *name = json_string_value(json_object_get(t, "type"));
    sg_dtype type;
    CHECK(sg_dtype_parse(name, &type));
    CHECK_INT(type, json_integer_value(json_object_get(t, "id")));
    CHECK_INT(sg_dtype_of(type)->block, json_integer_value(json_object_get(t, "block_values")));
    CHECK_INT(sg_dtype_of(type)->bytes, json_integer_value(json_object_get(t, "block_bytes")));
    if (!sg_quant_can_decode(type)) {
        CHECK(!sg_dtype_of(type)->weight);
        tap_note("%s: not decoded", name);
        return;
    }
    size_t nblock, nwant;
    void *blocks = read_shared(json_string_value(json_object_get(t, "blocks")), &nblock);
    float *want = read_shared(json_string_value(json_object_get(t, "expected")), &nwant);
    size_t n = nwant / sizeof(float);
    float *have = sg_alloc(nwant);
    if (blocks && want && have && sg_dtype_row_bytes(type, n) == nblock) {
        sg_quant_decode(type, have, blocks, n);
        size_t bad = differing(have, want, n);
        if (bad)
            tap_fail(__FILE__, __LINE__, "%s: %zu of %zu values differ", name, bad, n);
        *nvalue += n;
    } else {
        tap_fail(__FILE__, __LINE__, "%s: sizes %zu and %zu", name, nblock, nwant);
    }
    sg_free(have);
    sg_free(want);
    sg_free(blocks);
}

TEST(decoding_equals_the_golden_values_bit_for_bit)
{
    golden g;
    if (!golden_open(&g))
        return;
    size_t i, nvalue = 0;
    json_t *t;
    json_array_foreach(json_object_get(g.index, "types"), i, t) check_decode(t, &nvalue);
    tap_note("%zu types, %zu values equal", i, nvalue);
    golden_close(&g);
}

TAP_MAIN
