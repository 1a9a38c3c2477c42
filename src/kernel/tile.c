/* kernel/tile.c - packing stored rows into tiles (the layout: tile.h).
 *
 * Runs once for each weight at load, in parallel over tiles, so it is plain C: groups are taken apart by
 * sg_block_read and their codes put into the planes bit by bit of the layout.
 */
#include "kernel/tile.h"

#include "kernel/quant_layout.h"

#include <string.h>

/* The 2-bit plane of code bits 2*shift.., or the 1-bit plane. */
static void put_pairs(uint8_t *plane, const uint8_t code[32], int j, int shift)
{
    for (int i = 0; i < 32; i++)
        plane[i / 16 * 64 + j * 4 + i % 4] |= (uint8_t)((code[i] >> shift & 3) << 2 * (i / 4 % 4));
}

static void put_bits(uint8_t *plane, const uint8_t code[32], int j, int shift)
{
    for (int i = 0; i < 32; i++)
        plane[j * 4 + i % 4] |= (uint8_t)((code[i] >> shift & 1) << i / 4);
}

static void put_codes(uint8_t *plane, int bits, const uint8_t code[32], int j)
{
    if (bits == 8) {
        for (int i = 0; i < 32; i++)
            plane[i / 4 * 64 + j * 4 + i % 4] = code[i];
        return;
    }
    if (bits < 4) {
        put_pairs(plane, code, j, 0);
        if (bits == 3)
            put_bits(plane + 128, code, j, 2);
        return;
    }
    for (int i = 0; i < 16; i++)
        plane[i / 4 * 64 + j * 4 + i % 4] = (uint8_t)((code[i] & 15) | (code[i + 16] & 15) << 4);
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
