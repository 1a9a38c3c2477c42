/* format/gguf.h - facts of the GGUF format (docs of ggml: "gguf.md"), shared by reader and writer. */
#ifndef SG_FORMAT_GGUF_H
#define SG_FORMAT_GGUF_H

#include <stdint.h>

/* Types of metadata values. */
enum {
    SG_GGUF_U8, SG_GGUF_I8, SG_GGUF_U16, SG_GGUF_I16, SG_GGUF_U32, SG_GGUF_I32, SG_GGUF_F32, SG_GGUF_BOOL,
    SG_GGUF_STRING, SG_GGUF_ARRAY, SG_GGUF_U64, SG_GGUF_I64, SG_GGUF_F64, SG_GGUF_TYPE_END,
};

enum {
    SG_GGUF_ALIGNMENT = 32,         /* unless general.alignment says otherwise */
    SG_GGUF_ALIGNMENT_MAX = 1 << 20,
    SG_GGUF_MAX_KEYS = 16384,       /* real files have under 100 */
    SG_GGUF_MAX_TENSORS = 1 << 20,  /* real files have under 10,000 */
    SG_GGUF_MAX_NAME = 1024,        /* bytes of a key or a tensor's name */
    SG_GGUF_MAX_META = 128 << 20,   /* bytes of the metadata section; vocabularies of 262,144 tokens take 15 MB */
};

#endif
