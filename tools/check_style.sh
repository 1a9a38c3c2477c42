#!/bin/sh
# check_style.sh: the rules of CONTRIBUTING.md that a program can see.
cd "$(dirname "$0")/.." || exit 1
report() { # report MESSAGE: prints what stands on standard input, each line with the message
	while IFS= read -r l; do echo "$l: $1"; done
}
c=$(git ls-files '*.c' '*.h')
text=$(git ls-files '*.c' '*.h' '*.S' '*.sh' '*.py' '*.build' '*.md' Makefile)
lib=$(git ls-files 'src/*.c' 'src/*.h')
# shellcheck disable=SC2086
found=$({
	awk 'length($0) > 140 {print FILENAME ":" FNR}' $c | report "longer than 140 columns"
	grep -nP '\t' $c | cut -d: -f1,2 | report "a tab"
	grep -nE '[ 	]+$' $c | cut -d: -f1,2 | report "space at the end of the line"
	wc -l $c | awk '$2 != "total" && $1 > 1000 {print $2 ":" $1}' | report "over 1000 lines: split it"
	for f in $c; do
		[ "$(wc -l <"$f")" -le 50 ] || head -n 1 "$f" | grep -q '^/\*' || echo "$f:1"
	done | report "a file over 50 lines opens with an essay"
	grep -nwE 'TODO|FIXME|XXX|HACK' $text | grep -v '^tools/check_style.sh' | cut -d: -f1,2 | report "unfinished business"
	grep -nE '(^|[^_a-z.>])(malloc|calloc|realloc|free|strdup)\(' $lib | grep -v '^src/base/heap.c' | cut -d: -f1,2 | report "allocates around base/heap.h"
	grep -nE '(^|[^_a-zA-Z.>])(printf|puts|exit|perror)\(' $lib | grep -v '^src/base/error.c' | cut -d: -f1,2 | report "the library never prints and never exits"
	grep -nE '(^|[^_a-z])(strcpy|strcat|sprintf|gets|strtok|atoi|atof)\(' $c | cut -d: -f1,2 | report "a function that cannot say no"
	git ls-files 'src/*' 'app/*' | grep -E '(^|/|_)(util|utils|helper|helpers|common|misc|manager|ctx)(_|\.)' | report "the name says nothing"
})
[ -z "$found" ] || { echo "$found" | head -100; exit 1; }
