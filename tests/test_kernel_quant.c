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

static double rms_difference(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)n);
}

/* Rows compared, and types whose bytes are the reference's. */
typedef struct encode_tally {
    size_t nrow, nbyte_equal;
} encode_tally;

static void check_encode(const golden *g, const json_t *t, encode_tally *tally)
{
    sg_dtype type;
    CHECK(sg_dtype_parse(json_string_value(json_object_get(t, "type")), &type));
    if (!sg_quant_can_encode(type))
        return;
    const json_t *reference = json_object_get(t, "reference"), *rms = json_object_get(reference, "rms_error");
    size_t ncol = 512, nrow = g->nsource / sizeof(float) / ncol, bytes = sg_dtype_row_bytes(type, ncol);
    uint8_t *blocks = sg_alloc(nrow * bytes);
    float *back = sg_alloc(g->nsource);
    sg_quant_encode(type, blocks, g->source, nrow, ncol, NULL);
    sg_quant_decode(type, back, blocks, nrow * ncol);
    double worst = 0, product = 1;
    for (size_t r = 0; r < nrow; r++) {
        double have = rms_difference(back + r * ncol, g->source + r * ncol, ncol);
        double want = rms ? json_real_value(json_array_get(rms, r)) : 0;
        if (!(have <= want * 1.001))
            tap_fail(__FILE__, __LINE__, "%s row %zu: error %.6g, reference %.6g", sg_dtype_name(type), r, have, want);
        double ratio = want > 0 ? have / want : 1;
        worst = ratio > worst ? ratio : worst;
        product *= ratio;
        tally->nrow++;
    }
    const char *equal = json_string_value(json_object_get(t, "numpy_quantiser_blocks_equal"));
    if (equal || type == SG_F16 || type == SG_BF16 || type == SG_F32) {
        size_t n;
        uint8_t *want = read_shared(json_string_value(json_object_get(t, "blocks")), &n);
        if (!want || n < nrow * bytes || memcmp(want, blocks, nrow * bytes) != 0)
            tap_fail(__FILE__, __LINE__, "%s: bytes differ from the reference quantiser's", sg_dtype_name(type));
        tally->nbyte_equal++;
        sg_free(want);
    } else {
        tap_note("%-8s error over the reference's: %.3f on average, at most %.3f", sg_dtype_name(type),
                 pow(product, 1.0 / (double)nrow), worst);
    }
    sg_free(back);
    sg_free(blocks);
}

TEST(encoding_is_no_worse_than_the_reference_quantiser)
{
    golden g;
    if (!golden_open(&g))
        return;
    size_t i;
    json_t *t;
    encode_tally tally = {0};
    json_array_foreach(json_object_get(g.index, "types"), i, t) check_encode(&g, t, &tally);
    tap_note("%zu rows within the reference error, %zu types equal byte for byte", tally.nrow, tally.nbyte_equal);
    golden_close(&g);
}

enum { NCOL = 512, NROW = 6 };

static float gauss(void)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += sg_rng_unit(tap_rng());
    return (float)(sum - 6);
}

static double weighted_error(const float *a, const float *b, const float *w, size_t nrow, size_t ncol)
{
    double sum = 0;
    for (size_t i = 0; i < nrow * ncol; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]) * w[i % ncol];
    return sum;
}

/* With importance data the error that counts is smaller than without. */
TEST(importance_lowers_the_weighted_error)
{
    static float x[NROW * NCOL], plain[NROW * NCOL], weighted[NROW * NCOL], w[NCOL];
    static uint8_t blocks[NROW * NCOL * 4];
    static const sg_dtype types[] = {SG_Q4_0, SG_Q4_1, SG_Q5_0, SG_Q5_1,  SG_Q2_K,  SG_Q3_K,
                                     SG_Q4_K, SG_Q5_K, SG_Q6_K, SG_IQ4_NL, SG_IQ4_XS};
    for (size_t i = 0; i < NROW * NCOL; i++)
        x[i] = 0.05f * gauss();
    for (size_t i = 0; i < NCOL; i++)
        w[i] = expf(2 * gauss()) * (i % 64 != 0);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        sg_quant_encode(types[t], blocks, x, NROW, NCOL, NULL);
        sg_quant_decode(types[t], plain, blocks, NROW * NCOL);
        sg_quant_encode(types[t], blocks, x, NROW, NCOL, w);
        sg_quant_decode(types[t], weighted, blocks, NROW * NCOL);
        double without = weighted_error(plain, x, w, NROW, NCOL), with = weighted_error(weighted, x, w, NROW, NCOL);
        tap_note("%-8s weighted squared error %.3f of that without importance", sg_dtype_name(types[t]), with / without);
        CHECK(with < 0.95 * without);
        for (size_t i = 0; i < NROW * NCOL; i++)
            CHECK(fabsf(weighted[i] - x[i]) < 0.2f); /* unseen columns are not arbitrary */
    }
}

/* What a format can say exactly survives: decoding, encoding and decoding again gives the same values. */
TEST(values_of_the_format_survive_a_round_trip)
{
    static float x[NCOL], back[NCOL];
    static uint8_t blocks[NCOL * 4];
    static const sg_dtype types[] = {SG_F32, SG_F16, SG_BF16, SG_Q4_0, SG_Q5_0, SG_Q8_0, SG_MXFP4, SG_TQ1_0, SG_TQ2_0};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (size_t i = 0; i < NCOL; i++)
            x[i] = 0.25f * (float)sg_rng_below(tap_rng(), 2); /* 0 and 1/4: exact in all but Q8_0 */
        sg_quant_encode(types[t], blocks, x, 1, NCOL, NULL);
        sg_quant_decode(types[t], back, blocks, NCOL);
        for (size_t i = 0; i < NCOL; i++)
            CHECK_NEAR(back[i], x[i], types[t] == SG_Q8_0 ? 1e-4 : 0);
        for (int again = 0; again < 2; again++) { /* any values: the second coding changes nothing */
            for (size_t i = 0; i < NCOL; i++)
                x[i] = again ? back[i] : gauss();
            sg_quant_encode(types[t], blocks, x, 1, NCOL, NULL);
            sg_quant_decode(types[t], back, blocks, NCOL);
        }
        for (size_t i = 0; i < NCOL; i++)
            CHECK_NEAR(back[i], x[i], types[t] == SG_Q8_0 ? 1e-3 : 0);
    }
}

/* Rows at the edges of float32, NaN and infinity among them, for every encoder: no fault (sanitizers), and
 * finite blocks unless the type is a float itself. */
TEST(edge_values_encode_to_valid_blocks)
{
    static float x[NCOL], w[NCOL], back[NCOL];
    static uint8_t blocks[NCOL * 4];
    static const float edges[] = {0, -0.0f, 1e-45f, -1e-40f, 1e-38f, 6e-8f, 1, -1, 65504, -65504, 65520, 1e6f, 3.4e38f,
                                  -3.4e38f, INFINITY, -INFINITY, NAN};
    size_t nedge = sizeof edges / sizeof *edges, ntype = 0;
    for (unsigned t = 0; t < SG_DTYPE_END; t++) {
        if (!sg_dtype_find(t) || !sg_quant_can_encode((sg_dtype)t))
            continue;
        ntype++;
        for (size_t kind = 0; kind < 4 * nedge; kind++) {
            for (size_t i = 0; i < NCOL; i++) {
                x[i] = kind < nedge ? edges[kind] : edges[sg_rng_below(tap_rng(), kind < 3 * nedge ? nedge : 6)];
                w[i] = edges[sg_rng_below(tap_rng(), nedge)];
            }
            sg_quant_encode((sg_dtype)t, blocks, x, 1, NCOL, kind % 2 ? w : NULL);
            sg_quant_decode((sg_dtype)t, back, blocks, NCOL);
            for (size_t i = 0; i < NCOL; i++)
                CHECK(isfinite(back[i]) || sg_dtype_find(t)->block == 1);
        }
    }
    tap_note("%zu types", ntype);
}

/* No bytes lead a decoder out of its tables. */
TEST(random_blocks_decode)
{
    static float back[NCOL];
    static uint8_t blocks[NCOL * 4];
    for (unsigned t = 0; t < SG_DTYPE_END; t++)
        for (int rep = 0; rep < 50 && sg_dtype_find(t) && sg_quant_can_decode((sg_dtype)t); rep++) {
            for (size_t i = 0; i < sizeof blocks; i++)
                blocks[i] = (uint8_t)sg_rng_u64(tap_rng());
            sg_quant_decode((sg_dtype)t, back, blocks, NCOL);
        }
    CHECK(!sg_quant_can_decode((sg_dtype)4) && !sg_quant_can_encode(SG_Q8_K));
}

TAP_MAIN
