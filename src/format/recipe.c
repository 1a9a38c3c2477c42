/* format/recipe.c - making a tensor from strided views of stored ones.
 *
 * The output is made in its flat order, run by run: a run is one innermost line of a view, cut to the rows
 * that were asked for.  Most lines are contiguous (whole rows that only moved), so the copying loops are
 * as fast as memory; transposed views walk with a stride and are only met when a model is loaded.
 */
#include "format/recipe.h"

#include "base/f16.h"
#include "base/heap.h"

#include <string.h>

void sg_recipe_free(sg_recipe *r) { sg_free(r); }

static uint64_t part_values(const sg_part *p) { return p->n[0] * p->n[1] * p->n[2] * p->n[3] * p->n[4]; }

bool sg_part_sound(const sg_part *p)
{
    /* The highest element that the view reaches, in 128 bits: extents and strides are below 2^63. */
    unsigned __int128 last = p->start, values = 1;
    for (int i = 0; i < SG_VIEW_DIMS; i++) {
        if (p->n[i] == 0 || p->stride[i] > INT64_MAX || values > INT64_MAX)
            return false;
        unsigned __int128 reach = (unsigned __int128)(p->n[i] - 1) * p->stride[i];
        if (reach > INT64_MAX)
            return false;
        last += reach;
        values *= p->n[i];
    }
    uint64_t stored = p->type == SG_MXFP4 ? p->bytes / 16 : p->bytes / sg_dtype_of(p->type)->bytes;
    return values <= INT64_MAX && last < stored && (p->type != SG_MXFP4 || last < p->scales_bytes);
}

/* ---- values ---------------------------------------------------------------- */

static float load(const unsigned char *p, sg_dtype type)
{
    uint16_t h;
    float f;
    if (type == SG_F32) {
        memcpy(&f, p, sizeof f);
        return f;
    }
    memcpy(&h, p, sizeof h);
    return type == SG_F16 ? sg_f16_to_f32(h) : sg_bf16_to_f32(h);
}

static void store(unsigned char *p, sg_dtype type, float f)
{
    if (type == SG_F32) {
        memcpy(p, &f, sizeof f);
        return;
    }
    uint16_t h = type == SG_F16 ? sg_f32_to_f16(f) : sg_f32_to_bf16(f);
    memcpy(p, &h, sizeof h);
}

/* n values from element `at` of the stored tensor on, `stride` elements apart. */
static void run_values(unsigned char *dst, sg_dtype type, const sg_part *p, uint64_t at, uint64_t n, sg_recipe_op op)
{
    size_t in = sg_dtype_of(p->type)->bytes, out = sg_dtype_of(type)->bytes, step = (size_t)p->stride[4] * in;
    const unsigned char *src = p->file->data + p->base + at * in;
    float add = op == SG_RECIPE_ADD_ONE ? 1.0f : 0.0f;
    if (type == p->type && op == SG_RECIPE_COPY) {
        if (step == in)
            memcpy(dst, src, n * in);
        else
            for (uint64_t i = 0; i < n; i++)
                memcpy(dst + i * out, src + i * step, in);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        float v = load(src + i * step, p->type);
        store(dst + i * out, type, op == SG_RECIPE_ADD_ONE ? v + add : v);
    }
}

/* n blocks of 32 from block `at` on.  Stored: byte i has elements 2i (low nibble) and 2i + 1; GGUF: the
 * exponent byte, then byte j has elements j (low) and j + 16. */
static void run_mxfp4(unsigned char *dst, const sg_part *p, uint64_t at, uint64_t n)
{
    for (uint64_t b = 0; b < n; b++, dst += 17) {
        uint64_t block = at + b * p->stride[4];
        const unsigned char *src = p->file->data + p->base + block * 16;
        dst[0] = p->file_scales->data[p->scales + block];
        for (int j = 0; j < 16; j += 2) {
            unsigned lo = src[j / 2], hi = src[8 + j / 2];
            dst[1 + j] = (unsigned char)((lo & 15) | (hi & 15) << 4);
            dst[2 + j] = (unsigned char)(lo >> 4 | (hi & 0xf0));
        }
    }
}

/* Elements (or blocks) [from, from + n) of a part. */
static void run_part(unsigned char *dst, sg_dtype type, size_t unit, const sg_part *p, uint64_t from, uint64_t n,
                     sg_recipe_op op)
{
    while (n) {
        uint64_t index = from, at = p->start, column = index % p->n[4];
        index /= p->n[4];
        at += column * p->stride[4];
        for (int d = SG_VIEW_DIMS - 2; d >= 0; d--) {
            at += index % p->n[d] * p->stride[d];
            index /= p->n[d];
        }
        uint64_t now = p->n[4] - column < n ? p->n[4] - column : n;
        if (op == SG_RECIPE_MXFP4)
            run_mxfp4(dst, p, at, now);
        else
            run_values(dst, type, p, at, now, op);
        dst += now * unit;
        from += now;
        n -= now;
    }
}

void sg_recipe_run(const sg_tensor *t, uint64_t row, uint64_t nrow, void *dst)
{
    const sg_recipe *r = t->recipe;
    const sg_dtype_info *info = sg_dtype_of(t->type);
    uint64_t width = t->ne[0] / info->block, from = row * width, n = nrow * width; /* in units of info->bytes */
    unsigned char *out = dst;
    for (size_t i = 0; i < r->npart && n; i++) {
        uint64_t have = part_values(&r->parts[i]);
        if (from >= have) {
            from -= have;
            continue;
        }
        uint64_t now = have - from < n ? have - from : n;
        run_part(out, t->type, info->bytes, &r->parts[i], from, now, r->op);
        out += now * info->bytes;
        n -= now;
        from = 0;
    }
}

void sg_recipe_drop(const sg_recipe *r)
{
    for (size_t i = 0; i < r->npart; i++)
        sg_file_drop(r->parts[i].file, r->parts[i].base, r->parts[i].bytes);
}
