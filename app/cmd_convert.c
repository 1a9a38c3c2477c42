/* app/cmd_convert.c - segue convert: a model from another format into a GGUF file. */
#include "commands.h"
#include "progress.h"

#include <string.h>

static const char *type, *tokenizer;
static bool quiet;

static const option options[] = {
    {NULL, "--type", OPT_STR, &type, "T", "type of the matrices: f32, f16 or bf16 (default: as stored)"},
    {NULL, "--tokenizer", OPT_STR, &tokenizer, "FILE", "tokenizer.bin of a llama2.c model"},
    {NULL, "--quiet", OPT_FLAG, &quiet, NULL, "no progress"},
    {0}};

static int run(const command *self, int argc, char **argv)
{
    sg_error err;
    if (options_parse(self, argc, argv, 2) != 2)
        options_usage(self, "name the model and the file to write");
    if (type && strcmp(type, "f32") != 0 && strcmp(type, "f16") != 0 && strcmp(type, "bf16") != 0)
        options_usage(self, "--type is f32, f16 or bf16, not '%s'", type);
    progress_begin(command_quiet(quiet));
    sg_convert_options o = {.type = type, .tokenizer = tokenizer, .progress = progress_show};
    sg_status st = sg_convert(argv[0], argv[1], &o, &err);
    progress_end();
    return st == SG_OK ? 0 : command_failed(self, &err);
}

static const option *const tables[] = {options, NULL};

const command cmd_convert = {
    .name = "convert",
    .synopsis = "IN OUT.gguf [--type f32|f16|bf16] [--tokenizer FILE]",
    .summary = "write a model as a GGUF file",
    .text = "IN is a Hugging Face directory (config.json, *.safetensors, tokenizer.json or tokenizer.model), a llama2.c checkpoint or a "
            "GGUF file.  The file is written beside OUT, synced and renamed: a failed run leaves nothing behind.",
    .tables = tables,
    .run = run,
};
