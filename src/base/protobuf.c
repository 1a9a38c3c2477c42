/* base/protobuf.c - see protobuf.h. */
#include "base/protobuf.h"

#include <string.h>

static sg_status read_varint(sg_protobuf *m, uint64_t *v, const char *what, sg_error *err)
{
    uint64_t x = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (m->p == m->end)
            break;
        unsigned char b = *m->p++;
        if (shift < 64)
            x |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *v = x;
            return SG_OK;
        }
    }
    return sg_fail(err, SG_E_FORMAT, "%s: a number is cut off or too long", what);
}

sg_status sg_protobuf_next(sg_protobuf *m, sg_protobuf_field *f, const char *what, sg_error *err)
{
    uint64_t tag = 0, n = 0;
    SG_TRY(read_varint(m, &tag, what, err));
    *f = (sg_protobuf_field){.number = (uint32_t)(tag >> 3)};
    if (tag >> 3 == 0 || tag >> 3 > 536870911)
        return sg_fail(err, SG_E_FORMAT, "%s: field number %llu", what, (unsigned long long)(tag >> 3));
    size_t left = (size_t)(m->end - m->p);
    switch (tag & 7) {
    case 0:
        return read_varint(m, &f->value, what, err);
    case 1:
    case 5:
        n = (tag & 7) == 1 ? 8 : 4;
        if (left < n)
            break;
        memcpy(&f->value, m->p, n);
        m->p += n;
        return SG_OK;
    case 2:
        SG_TRY(read_varint(m, &n, what, err));
        if (n > (size_t)(m->end - m->p))
            break;
        f->body = (sg_protobuf){m->p, m->p + n};
        m->p += n;
        return SG_OK;
    default:
        return sg_fail(err, SG_E_FORMAT, "%s: field %u has wire type %u", what, f->number, (unsigned)(tag & 7));
    }
    return sg_fail(err, SG_E_FORMAT, "%s: field %u goes beyond its message", what, f->number);
}
