#!/bin/sh
# test.sh [STAGE...]: everything that must be green, in stages; the last line is "N passed, N failed".
#
#   style    tools/check_style.sh and tools/check_layers.sh
#   gcc      release build with gcc, all tests on the best instruction set of this machine
#   isa      the same program and tests on every lesser instruction set, down to plain C
#   clang    release build with clang, all tests
#   asan     AddressSanitizer and UndefinedBehaviorSanitizer (clang), all tests
#   tsan     ThreadSanitizer (clang), the tests that use threads
#
# A stage's build folder is build-STAGE (gcc: build).  Warnings are errors everywhere.
set -u
cd "$(dirname "$0")/.." || exit 1
stages=${*:-style gcc isa clang asan tsan}
passed=0 failed=0 skipped=0
# Leak checking needs ptrace rights only where they are restricted; report leaks by default.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}

# with COMPILER: the compiler, through ccache where that is installed
with() { if command -v ccache >/dev/null 2>&1; then echo "ccache $1"; else echo "$1"; fi; }
gcc=$(with gcc) clang=$(with clang)

say() { printf '\n== %s\n' "$*"; }

# one CHECK...: a check that is one command
one() {
	if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $*"; fi
}

# setup DIR OPTIONS...: configure once, then build
setup() {
	dir=$1
	shift
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$dir" --werror "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; rm -f "$dir.log"; return 1; }
		rm -f "$dir.log"
	fi
	ninja -C "$dir" >"$dir/build.log" 2>&1 || { grep -E 'error|FAILED|warning' "$dir/build.log" | head -40; return 1; }
}

# suite DIR [MESON TEST OPTIONS...]: run the tests of a build and count every TAP point
suite() {
	dir=$1
	shift
	meson test -C "$dir" --no-rebuild --print-errorlogs --timeout-multiplier 4 "$@" >"$dir/test.log" 2>&1
	status=$?
	counts=$(grep -o '<testsuite name="[^"]*" tests="[0-9]*" errors="[0-9]*" failures="[0-9]*" skipped="[0-9]*"' \
		"$dir/meson-logs/testlog.junit.xml" | tr -d '"' | awk -F '[= ]' '
		{for (i = 1; i < NF; i++) {if ($i == "tests") t += $(i + 1); if ($i == "errors" || $i == "failures") f += $(i + 1)
		 if ($i == "skipped") s += $(i + 1)}} END {print t + 0, f + 0, s + 0}')
	# shellcheck disable=SC2086
	set -- $counts
	if [ $status -ne 0 ]; then
		sed -n '/not ok\|^# .*:[0-9]*:\|ERROR\|FAIL\|TIMEOUT\|Sanitizer/p' "$dir/test.log" | head -60
		[ "$2" -gt 0 ] || set -- "$1" 1 "$3"
	fi
	echo "$dir: $(($1 - $2 - $3)) passed, $2 failed, $3 skipped"
	grep -h '^ok .*# SKIP' "$dir/meson-logs/testlog.txt" | sort -u | head -20
	passed=$((passed + $1 - $2 - $3)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

for stage in $stages; do
	say "$stage"
	case $stage in
	style)
		one tools/check_style.sh
		one tools/check_layers.sh
		;;
	gcc)
		if CC=$gcc setup build; then suite build; else one false build with gcc; fi
		;;
	isa)
		if CC=$gcc setup build; then
			for isa in c avx2 avx512; do
				if SEGUE_ISA=$isa build/segue info >/dev/null 2>&1; then
					echo "SEGUE_ISA=$isa"
					SEGUE_ISA=$isa suite build --suite isa
				else
					echo "SEGUE_ISA=$isa: this machine cannot run it, skipped"
				fi
			done
		else
			one false build with gcc
		fi
		;;
	clang)
		if CC=$clang setup build-clang; then suite build-clang; else one false build with clang; fi
		;;
	asan)
		if CC=$clang setup build-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1; then
			suite build-asan --timeout-multiplier 6
		else
			one false build with sanitizers
		fi
		;;
	tsan)
		if CC=$clang setup build-tsan -Db_sanitize=thread -Db_lundef=false -Doptimization=1; then
			suite build-tsan --suite threads --timeout-multiplier 10
		else
			one false build with the thread sanitizer
		fi
		;;
	*)
		echo "test.sh: unknown stage '$stage'" >&2
		exit 2
		;;
	esac
done
echo
[ "$skipped" -eq 0 ] || echo "$skipped skipped (what they need is not here; the lines above say what)"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
