/* app/main.c - the segue program: finds the subcommand and runs it. */
#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const command *const commands[] = {
    &cmd_run,
    &cmd_chat,
    &cmd_serve,
    &cmd_bench,
    &cmd_eval,
    &cmd_embed,
    &cmd_rank,
    &cmd_tokenize,
    &cmd_template,
    &cmd_info,
    &cmd_convert,
    &cmd_quantize,
    NULL,
};

int command_failed(const command *c, const sg_error *err)
{
    fprintf(stderr, "segue: %s: %s\n", c->name, err->text);
    return err->status == SG_E_CANCELLED ? EXIT_INTERRUPTED : 1;
}

bool command_quiet(bool quiet_flag) { return quiet_flag || !isatty(2); }

static void overview(FILE *f)
{
    fprintf(f, "usage: segue COMMAND ...\n\n");
    for (size_t i = 0; commands[i]; i++)
        fprintf(f, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(f, "\nsegue COMMAND --help says more.  segue --version prints the version.\n");
}

static void man(void)
{
    printf(".TH SEGUE 1 \"\" \"segue %s\" \"User Commands\"\n.SH NAME\nsegue \\- serve language models with low latency\n"
           ".SH SYNOPSIS\n.B segue\nCOMMAND ...\n.SH COMMANDS\n", SG_VERSION);
    for (size_t i = 0; commands[i]; i++)
        printf(".TP\n.BR segue\\-%s (1)\n%s\n", commands[i]->name, commands[i]->summary);
    printf(".SH ENVIRONMENT\n.TP\n.B SEGUE_ISA\nforce a kernel table: c, avx2, avx512, amx\n.TP\n.B SEGUE_THREADS\nworker threads\n"
           ".TP\n.B SEGUE_MODELS\nfolder in which models are looked up by name\n"
           ".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 130 interrupted.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        overview(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("segue %s\n", SG_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--man") == 0) {
        man();
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        overview(stdout);
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "bench") == 0 && strcmp(argv[2], "tokenize") == 0)
        return cmd_bench_tokenize.run(&cmd_bench_tokenize, argc - 2, argv + 2);
    if (argc > 2 && strcmp(argv[1], "bench") == 0 && strcmp(argv[2], "serve") == 0)
        return cmd_bench_serve.run(&cmd_bench_serve, argc - 2, argv + 2);
    for (size_t i = 0; commands[i]; i++)
        if (strcmp(argv[1], commands[i]->name) == 0) {
            int status = commands[i]->run(commands[i], argc - 1, argv + 1);
            if (fflush(stdout) || ferror(stdout)) {
                perror("segue: standard output");
                return status ? status : 1;
            }
            return status;
        }
    fprintf(stderr, "segue: unknown command '%s'; segue --help lists them\n", argv[1]);
    return EXIT_USAGE;
}
