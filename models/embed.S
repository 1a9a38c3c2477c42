/* The default model as bytes of the program: the file named by SG_DEFAULT_MODEL_FILE (meson.build), put into read-only
 * data and mapped with the program, so starting costs no copy.  src/format/embedded.h declares what is defined here.
 * 64 bytes of alignment: a GGUF's tensor data is aligned relative to the start of the file, and vector loads want a
 * cache line.  The assembler's .incbin instead of a C array: a C array of 5 MB costs the compiler seconds and half a
 * gigabyte. */
    .section .rodata, "a"
    .balign 64
    .globl sg_default_model
    .hidden sg_default_model
    .type sg_default_model, @object
sg_default_model:
    .incbin SG_DEFAULT_MODEL_FILE
    .globl sg_default_model_end
    .hidden sg_default_model_end
    .type sg_default_model_end, @object
sg_default_model_end:
    .byte 0
    .size sg_default_model, sg_default_model_end - sg_default_model
    .size sg_default_model_end, 1
    .section .note.GNU-stack, "", %progbits
