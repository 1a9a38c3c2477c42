/* kernel/block.c - block-quantised weights as small integers.
 *
 * The layouts of the stored bytes stand in quant_decode.c.  Here a group of 32 values is taken apart
 * without arithmetic: codes, half-float scales and the small integers beside them, which is what the
 * packers rearrange.  Codes of Q8_0 are its bytes + 128, so that every code is unsigned.
 */
#include "kernel/block.h"

#include "kernel/quant_layout.h"

#include <string.h>

sg_block_form sg_block_form_of(sg_dtype type)
{
    switch (type) {
    case SG_Q4_0: return (sg_block_form){.bits = 4, .zero = 8, .group = 32};
    case SG_Q4_1: return (sg_block_form){.bits = 4, .group = 32, .min = true};
    case SG_Q5_0: return (sg_block_form){.bits = 5, .zero = 16, .group = 32};
    case SG_Q5_1: return (sg_block_form){.bits = 5, .group = 32, .min = true};
    case SG_Q8_0: return (sg_block_form){.bits = 8, .zero = 128, .group = 32};
    case SG_IQ4_NL: return (sg_block_form){.bits = 4, .group = 32, .table = sg_quant_iq4_values};
    case SG_MXFP4: return (sg_block_form){.bits = 4, .group = 32, .table = sg_quant_fp4_values};
    case SG_Q2_K: return (sg_block_form){.bits = 2, .group = 16, .min = true, .nested = true};
    case SG_Q3_K: return (sg_block_form){.bits = 3, .zero = 4, .group = 16, .nested = true};
    case SG_Q4_K: return (sg_block_form){.bits = 4, .group = 32, .min = true, .nested = true};
    case SG_Q5_K: return (sg_block_form){.bits = 5, .group = 32, .min = true, .nested = true};
    case SG_Q6_K: return (sg_block_form){.bits = 6, .zero = 32, .group = 16, .nested = true};
    case SG_IQ4_XS: return (sg_block_form){.bits = 4, .group = 32, .nested = true, .table = sg_quant_iq4_values};
    default: return (sg_block_form){0};
    }
}

/* Nibble pairs of the types with 32 values: byte j has values j and j + 16. */
static void nibbles_32(uint8_t code[32], const uint8_t *q)
{
    for (int j = 0; j < 16; j++) {
        code[j] = q[j] & 15;
        code[j + 16] = q[j] >> 4;
    }
}

/* Bit i of `high` is bit 4 of code i. */
static void fifth_bits(uint8_t code[32], uint32_t high)
{
    for (int i = 0; i < 32; i++)
        code[i] = (uint8_t)(code[i] | (high >> i & 1) << 4);
}

static void read_32(sg_block *o, sg_dtype type, const uint8_t *p)
{
    o->sc[0] = o->sc[1] = 1;
    o->d = sg_quant_u16(p);
    switch (type) {
    case SG_Q4_1:
    case SG_Q5_1: o->dmin = sg_quant_u16(p + 2), o->mn[0] = o->mn[1] = -1; break;
    case SG_MXFP4: o->d = p[0]; break;
    default: break;
    }
    switch (type) {
    case SG_Q4_0:
    case SG_IQ4_NL: nibbles_32(o->code, p + 2); break;
    case SG_Q4_1: nibbles_32(o->code, p + 4); break;
    case SG_MXFP4: nibbles_32(o->code, p + 1); break;
    case SG_Q5_0: nibbles_32(o->code, p + 6), fifth_bits(o->code, sg_quant_u32(p + 2)); break;
    case SG_Q5_1: nibbles_32(o->code, p + 8), fifth_bits(o->code, sg_quant_u32(p + 4)); break;
    default: /* Q8_0 */
        for (int i = 0; i < 32; i++)
            o->code[i] = p[2 + i] ^ 0x80;
    }
}

/* Group g (0 to 7) of a block of 256. */
static void read_256(sg_block *o, sg_dtype type, const uint8_t *p, int g)
{
    int sc, mn;
    uint8_t *c = o->code;
    switch (type) {
    case SG_Q2_K:
        o->d = sg_quant_u16(p + 80), o->dmin = sg_quant_u16(p + 82);
        for (int h = 0; h < 2; h++)
            o->sc[h] = p[2 * g + h] & 15, o->mn[h] = (int8_t)(p[2 * g + h] >> 4);
        for (int i = 0; i < 32; i++)
            c[i] = p[16 + g / 4 * 32 + i] >> 2 * (g % 4) & 3;
        break;
    case SG_Q3_K:
        o->d = sg_quant_u16(p + 108);
        for (int h = 0; h < 2; h++)
            o->sc[h] = (int8_t)sg_quant_q3_k_scale(p, 2 * g + h);
        for (int i = 0; i < 32; i++)
            c[i] = (uint8_t)((p[32 + g / 4 * 32 + i] >> 2 * (g % 4) & 3) | (p[i] >> g & 1) << 2);
        break;
    case SG_Q4_K:
    case SG_Q5_K:
        o->d = sg_quant_u16(p), o->dmin = sg_quant_u16(p + 2);
        sg_quant_k_scale(p + 4, g, &sc, &mn);
        o->sc[0] = o->sc[1] = (int8_t)sc, o->mn[0] = o->mn[1] = (int8_t)mn;
        for (int i = 0; i < 32; i++) {
            c[i] = p[(type == SG_Q4_K ? 16 : 48) + g / 2 * 32 + i] >> 4 * (g % 2) & 15;
            if (type == SG_Q5_K)
                c[i] = (uint8_t)(c[i] | (p[16 + i] >> g & 1) << 4);
        }
        break;
    case SG_Q6_K:
        o->d = sg_quant_u16(p + 208);
        for (int h = 0; h < 2; h++)
            o->sc[h] = (int8_t)p[192 + 2 * g + h];
        for (int i = 0; i < 32; i++) {
            uint8_t low = p[g / 4 * 64 + g % 2 * 32 + i] >> 4 * (g % 4 / 2) & 15;
            c[i] = (uint8_t)(low | (p[128 + g / 4 * 32 + i] >> 2 * (g % 4) & 3) << 4);
        }
        break;
    default: /* IQ4_XS */
        o->d = sg_quant_u16(p);
        sc = ((p[4 + g / 2] >> 4 * (g % 2) & 15) | (sg_quant_u16(p + 2) >> 2 * g & 3) << 4) - 32;
        o->sc[0] = o->sc[1] = (int8_t)sc;
        nibbles_32(c, p + 8 + g * 16);
    }
}

void sg_block_read(sg_block *out, sg_dtype type, const void *row, int b)
{
    const sg_dtype_info *info = sg_dtype_of(type);
    memset(out, 0, sizeof *out);
    if (info->block == 32)
        read_32(out, type, (const uint8_t *)row + (size_t)b * info->bytes);
    else
        read_256(out, type, (const uint8_t *)row + (size_t)(b / 8) * info->bytes, b % 8);
}

void sg_block_levels(int8_t level[32], float scale[2], float min[2], sg_dtype type, const void *row, int b)
{
    sg_block_form form = sg_block_form_of(type);
    sg_block block;
    sg_block_read(&block, type, row, b);
    for (int i = 0; i < 32; i++)
        level[i] = form.table ? form.table[block.code[i]] : (int8_t)(block.code[i] - form.zero);
    float d = type == SG_MXFP4 ? sg_quant_mxfp4_scale((uint8_t)block.d) : sg_f16_to_f32(block.d);
    float dmin = form.min ? sg_f16_to_f32(block.dmin) : 0;
    for (int h = 0; h < 2; h++) {
        scale[h] = d * (float)block.sc[h];
        min[h] = dmin * (float)block.mn[h];
    }
}
