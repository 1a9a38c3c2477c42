/* serve/out.h - writing JSON text, without building trees.  Failures to grow stick in the buffer. */
#ifndef SG_SERVE_OUT_H
#define SG_SERVE_OUT_H

#include "base/buf.h"

#include <stdint.h>

/* A JSON string with its quotes.  Bytes that are no UTF-8 become U+FFFD. */
void sg_out_string(sg_buf *b, const char *s, size_t n);

/* A number that JSON can hold: what is not finite becomes -9999, OpenAI's "no probability". */
void sg_out_number(sg_buf *b, double x);

/* A JSON array of the bytes as numbers. */
void sg_out_bytes(sg_buf *b, const char *s, size_t n);

#endif
