/* base/protobuf.h - walking a protobuf message, for reading files that come in that form.
 *
 * A message is a row of (field << 3 | wire type) and value.  That is all that is needed of the format, so it is
 * read by hand, in place; fields that the caller does not know are simply not looked at.
 */
#ifndef SG_BASE_PROTOBUF_H
#define SG_BASE_PROTOBUF_H

#include "base/error.h"

#include <stdint.h>

typedef struct sg_protobuf {
    const unsigned char *p, *end; /* what is left of the message; borrowed bytes */
} sg_protobuf;

typedef struct sg_protobuf_field {
    uint32_t number;
    uint64_t value;   /* varint, fixed32, fixed64; 0 for others */
    sg_protobuf body; /* length-delimited: a message, a string, bytes; empty for others */
} sg_protobuf_field;

/* Take the next field off *m, which must not be at its end.  `what` names the file's form in errors.
 * SG_E_FORMAT when a number or a field is cut off; *m is then anywhere in its bytes. */
sg_status sg_protobuf_next(sg_protobuf *m, sg_protobuf_field *f, const char *what, sg_error *err);

#endif
