/* The default model inside the program: a complete GGUF file (models/segue-default.gguf), put there by models/embed.S.
 *
 * The bytes are constant, aligned to 64 bytes, live as long as the program and belong to nobody.  Any thread.  What the
 * model is, and how it was trained: models/README.md. */
#ifndef SG_FORMAT_EMBEDDED_H
#define SG_FORMAT_EMBEDDED_H

#include <stddef.h>

extern const unsigned char sg_default_model[];
extern const unsigned char sg_default_model_end[]; /* one past the last byte of the file */

/* Size of the file in bytes. */
static inline size_t sg_default_model_bytes(void)
{
    return (size_t)(sg_default_model_end - sg_default_model);
}

#endif
