/* app/commands.h - the subcommands.  Each lives in app/cmd_<name>.c and has one row in main.c's table. */
#ifndef SG_APP_COMMANDS_H
#define SG_APP_COMMANDS_H

#include "options.h"
#include "segue.h"

extern const command cmd_convert, cmd_info;
extern const command cmd_quantize;
extern const command cmd_run, cmd_chat, cmd_serve;

/* Print "segue: COMMAND: TEXT" as one line on standard error; returns the exit status 1 (130 when cancelled). */
int command_failed(const command *c, const sg_error *err);

/* Progress and notices go here: standard error, only when it is a terminal and --quiet is not given. */
bool command_quiet(bool quiet_flag);

extern const command cmd_bench;
extern const command cmd_embed;
extern const command cmd_eval;
extern const command cmd_rank;
extern const command cmd_template;
extern const command cmd_tokenize, cmd_bench_tokenize, cmd_bench_serve;

#endif
