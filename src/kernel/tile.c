/* kernel/tile.c - packing stored rows into tiles (the layout: tile.h).
 *
 * Runs once for each weight at load, in parallel over tiles, so it is plain C: groups are taken apart by
 * sg_block_read and their codes put into the planes bit by bit of the layout.
 */
#include "kernel/tile.h"

#include "kernel/quant_layout.h"

#include <string.h>

/* Four codes at a time: a vector of a plane has the codes of four columns side by side for each row. */
static uint32_t four(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void put_four(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }

/* The 2-bit plane of code bits 2*shift.., or the 1-bit plane. */
static void put_pairs(uint8_t *plane, const uint8_t code[32], int j, int shift)
{
    for (int h = 0; h < 2; h++) {
        uint32_t v = 0;
        for (int t = 0; t < 4; t++)
            v |= (four(code + 16 * h + 4 * t) >> shift & 0x03030303u) << 2 * t;
        put_four(plane + h * 64 + j * 4, v);
    }
}

static void put_bits(uint8_t *plane, const uint8_t code[32], int j, int shift)
{
    uint32_t v = 0;
    for (int t = 0; t < 8; t++)
        v |= (four(code + 4 * t) >> shift & 0x01010101u) << t;
    put_four(plane + j * 4, v);
}

static void put_codes(uint8_t *plane, int bits, const uint8_t code[32], int j)
{
    if (bits == 8) {
        for (int t = 0; t < 8; t++)
            put_four(plane + t * 64 + j * 4, four(code + 4 * t));
        return;
    }
    if (bits < 4) {
        put_pairs(plane, code, j, 0);
        if (bits == 3)
            put_bits(plane + 128, code, j, 2);
        return;
    }
    for (int t = 0; t < 4; t++)
        put_four(plane + t * 64 + j * 4, (four(code + 4 * t) & 0x0f0f0f0fu) | (four(code + 16 + 4 * t) & 0x0f0f0f0fu) << 4);
    if (bits == 6)
        put_pairs(plane + 256, code, j, 4);
    else if (bits == 5)
        put_bits(plane + 256, code, j, 4);
}

static void put_u16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }

static void put_meta(uint8_t *meta, sg_dtype type, const sg_tile_form *f, const sg_block *block, int b, int j)
{
    if (type == SG_MXFP4) {
        float d = sg_quant_mxfp4_scale((uint8_t)block->d);
        memcpy(meta + (size_t)b * 64 + (size_t)j * 4, &d, 4);
        return;
    }
    uint8_t *p = meta + (size_t)(f->nested ? b / 8 : b) * (size_t)f->meta_bytes;
    put_u16(p + j * 2, block->d);
    if (f->min)
        put_u16(p + 32 + j * 2, block->dmin);
    if (!f->nested)
        return;
    p += (f->min ? 64 : 32) + b % 8 * 16 * f->halves * (f->min ? 2 : 1);
    for (int h = 0; h < f->halves; h++) {
        p[h * 16 + j] = (uint8_t)block->sc[h];
        if (f->min)
            p[(f->halves + h) * 16 + j] = (uint8_t)block->mn[h];
    }
}

void sg_tile_pack(sg_dtype type, void *tile, const void *stored, int rows, int k)
{
    sg_tile_form f = sg_tile_form_of(type);
    size_t row_bytes = sg_dtype_row_bytes(type, (uint64_t)k), meta_bytes = sg_tile_meta_bytes(type, k);
    uint8_t *meta = tile, *planes = meta + meta_bytes;
    memset(tile, 0, sg_tile_bytes(type, k));
    for (int j = 0; j < rows; j++)
        for (int b = 0; b < k / 32; b++) {
            sg_block block;
            sg_block_read(&block, type, (const uint8_t *)stored + (size_t)j * row_bytes, b);
            put_codes(planes + (size_t)b * (size_t)f.plane_bytes, f.bits, block.code, j);
            put_meta(meta, type, &f, &block, b, j);
        }
}
