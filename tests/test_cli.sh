#!/bin/sh
# test_cli.sh SEGUE - run, chat and serve on the embedded model, as a user would call them.  TAP on standard output.
segue=$1
tmp=$(mktemp -d) || exit 1
server=
trap '[ -n "$server" ] && kill -9 "$server" 2>/dev/null; rm -rf "$tmp"' EXIT
n=0
ok() { # ok NAME: the status of the last command decides
	s=$?
	n=$((n + 1))
	if [ $s -eq 0 ]; then echo "ok $n - $1"; else
		echo "not ok $n - $1"
		sed 's/^/# /' "$tmp/err" | head -5
		failed=1
	fi
}
failed=0
is() { [ "$1" = "$2" ] || { echo "# '$1' is not '$2'"; return 1; }; }
status() { "$@" >"$tmp/out" 2>"$tmp/err"; echo $?; }

# ---- run ----
is "$(status "$segue" run -p 'Once upon a time' --raw -n 8 --temp 0)" 0 && [ "$(wc -c <"$tmp/out")" -gt 9 ]
ok "run continues a text"
"$segue" run -p 'Who are you?' -n 12 --seed 5 --json >"$tmp/a" 2>"$tmp/err"
"$segue" run -p 'Who are you?' -n 12 --seed 5 --json --threads 1 >"$tmp/b" 2>>"$tmp/err"
is "$(wc -l <"$tmp/a")" 1 && grep -q '"prefill_tps":' "$tmp/a" && grep -q '"memory":{' "$tmp/a" && grep -q '"seed":5' "$tmp/a"
ok "run --json is one object with timings and memory"
is "$(sed 's/,"prompt_tokens.*//' "$tmp/a")" "$(sed 's/,"prompt_tokens.*//' "$tmp/b")"
ok "the same seed gives the same tokens with another number of threads"
printf 'Who are you?' | "$segue" run -p - -n 12 --seed 5 --json >"$tmp/b" 2>"$tmp/err"
is "$(sed 's/,"prompt_tokens.*//' "$tmp/a")" "$(sed 's/,"prompt_tokens.*//' "$tmp/b")"
ok "run -p - reads standard input"
"$segue" run -p 'Once upon a time' --raw -n 60 --temp 0 --stop ' the' --json >"$tmp/a" 2>"$tmp/err"
! grep -q '"text":"[^"]* the' "$tmp/a"
ok "a stop string does not appear"
is "$(status "$segue" run)" 2 && is "$(status "$segue" run -p x --nonsense)" 2 && is "$(status "$segue" run -p x --temp hot)" 2
ok "wrong usage is status 2"
strange=
for c in eval embed 'rank m' 'bench m' 'bench kernel' 'tokenize m' info; do
	for o in '--warm-tokens 5' '--spec off' --no-prefix-cache '--draft m'; do
		case "$c $o" in bench*--draft*) continue ;; esac
		"$segue" $c $o >"$tmp/out" 2>"$tmp/err" </dev/null
		[ $? -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -q "unknown option ${o%% *}" "$tmp/err" && [ ! -s "$tmp/out" ] || strange="$strange $c $o;"
	done
	"$segue" $c --help >"$tmp/out" 2>"$tmp/err"
	grep -q -e '--warm-tokens' -e '--spec ' -e '--no-prefix-cache' "$tmp/out" && strange="$strange $c --help;"
done
is "$strange" ""
ok "options of an engine are refused, and not listed, where none runs"
strange=
for c in run chat serve eval embed rank bench 'bench serve'; do
	"$segue" $c --help >"$tmp/out" 2>"$tmp/err"
	for o in --threads --ctx --memory --kv-type --seed --exact; do
		grep -q -e "^  $o " "$tmp/out" || strange="$strange $c $o;"
	done
	case $c in run | chat | serve | 'bench serve')
		for o in --spec --draft --no-prefix-cache --warm-tokens; do
			grep -q -e "^  $o" "$tmp/out" || strange="$strange $c $o;"
		done ;;
	esac
done
is "$strange" ""
ok "the options that are the same everywhere are everywhere"
strange=
for o in 'kernel --profile' 'kernel --engine' 'kernel --mixed' 'm --only q4_0' 'm --shape 1x2x3' 'm --draft d' 'm --pp 0 --tg 0 --profile' 'm --tg 0 --engine' \
	'm --reps 0' 'm --batch 0' 'm --batch 1,' 'kernel --shape 1x2x3x4'; do
	[ "$(status "$segue" bench $o)" = 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] || strange="$strange $o;"
done
is "$strange" ""
ok "bench refuses options that would change nothing"
is "$(status "$segue" run "$tmp/none.gguf" -p x)" 1 && grep -q '^segue: run: ' "$tmp/err" && is "$(wc -l <"$tmp/err")" 1
ok "a model that is not there is status 1 and one line"
long=$(printf 'word %.0s' $(seq 3000))
is "$(status "$segue" run -p "$long")" 1 && grep -q 'the context holds' "$tmp/err"
ok "a prompt that is too long is refused with both numbers"
"$segue" run -p 'Tell a story' -n 100000 --ignore-eos --ctx 1000000 --threads 1 >"$tmp/out" 2>"$tmp/err" &
p=$!
sleep 2
kill -INT $p 2>/dev/null
wait $p
is $? 130
ok "Ctrl-C ends run with status 130"

# ---- chat ----
printf 'Hello!\n/system You are kind.\nHow are you?\n/save %s\n/reset\n/load %s\n/quit\n' "$tmp/c" "$tmp/c" |
	HOME=$tmp "$segue" chat -n 8 --temp 0 >"$tmp/out" 2>"$tmp/err"
is $? 0 && grep -q 'saved 5 messages' "$tmp/out" && grep -q 'loaded 5 messages' "$tmp/out" && grep -q '"You are kind."' "$tmp/c"
ok "chat reads a conversation from a pipe"

# ---- eval, embed, rank ----
"$segue" eval --tokens 1,2,3 --logits 1 --greedy 4 --json >"$tmp/a" 2>"$tmp/err"
"$segue" eval --tokens 1,2,3 --logits 1 --greedy 4 --json --threads 1 >"$tmp/b" 2>>"$tmp/err"
is "$(wc -l <"$tmp/a")" 1 && grep -q '"logprobs":\[null,-' "$tmp/a" && grep -q '"greedy":\[' "$tmp/a" && cmp -s "$tmp/a" "$tmp/b"
ok "eval --json is one object, the same with another number of threads"
printf '{"tokens":[1,2,3],"greedy":2}\n[]\n{"tokens":[999999]}\n' | "$segue" eval --jsonl >"$tmp/a" 2>"$tmp/err"
is $? 1 && is "$(wc -l <"$tmp/a")" 3 && is "$(grep -c '"error":' "$tmp/a")" 2
ok "eval --jsonl answers every line, wrong ones with an error"
is "$(status "$segue" eval)" 2 && is "$(status "$segue" eval --tokens 1,x)" 1 && is "$(status "$segue" embed --text a --file b)" 2
ok "wrong usage of eval and embed"
is "$(status "$segue" embed --text 'a sentence')" 0 && grep -q '^{"embedding":\[.*\],"tokens":[0-9]*}$' "$tmp/out"
ok "embed prints a vector"
for t in 'a boat' 'once upon a time there was a girl' x 'a boat' 'The end.'; do
	"$segue" embed --text "$t" >>"$tmp/one" 2>>"$tmp/err"
	printf '"%s"\n' "$t" >>"$tmp/lines"
done
"$segue" embed --jsonl <"$tmp/lines" >"$tmp/a" 2>"$tmp/err"
is $? 0 && cmp -s "$tmp/a" "$tmp/one"
ok "embed --jsonl gives the vectors of one text at a time, in order"
{ printf '"a boat"\n\n{"text":"x"}\n[1]\n"no end\n""\n'; awk 'BEGIN{printf "\""; for(i=0;i<9000;i++) printf "word "; print "\""}'; printf '"The end."'; } |
	"$segue" embed --jsonl >"$tmp/a" 2>"$tmp/err"
is $? 1 && is "$(wc -l <"$tmp/a")" 7 && is "$(cut -c1-8 "$tmp/a" | tr -d '\n')" '{"embedd{"embedd{"error"{"error"{"embedd{"error"{"embedd' &&
	is "$(sed -n 1p "$tmp/a")" "$(sed -n 1p "$tmp/one")" && is "$(sed -n 7p "$tmp/a")" "$(sed -n 5p "$tmp/one")" &&
	sed -n 6p "$tmp/a" | grep -q 'the context has'
ok "embed --jsonl answers every line in its place, wrong ones with an error"
rm -f "$tmp/a"
{
	printf '"x"\n'
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		[ -s "$tmp/a" ] && break
		sleep 0.5
	done
	wc -l <"$tmp/a" >"$tmp/b"
	printf '"y"\n'
} | "$segue" embed --jsonl >"$tmp/a" 2>"$tmp/err"
is "$(cat "$tmp/b")" 1 && is "$(wc -l <"$tmp/a")" 2
ok "embed --jsonl does not wait for lines that have not come"
printf '"a"\n' >"$tmp/doc"
"$segue" rank "$(dirname "$0")/../models/segue-default.gguf" --query q --jsonl <"$tmp/doc" >"$tmp/out" 2>"$tmp/err"
is $? 1 && is "$(wc -l <"$tmp/err")" 1 && grep -q 'no classifier' "$tmp/err"
ok "rank wants a cross-encoder"

# ---- memory, bench serve ----
"$segue" run -v -p hi -n 2 >"$tmp/a" 2>"$tmp/err"
is $? 0 && grep -q 'memory of default, MiB (of' "$tmp/err" && grep -q '^  kv ' "$tmp/err" && grep -q '^  requests ' "$tmp/err"
ok "run -v prints the memory ledger"
"$segue" run -p hi -n 2 --memory 3MiB >"$tmp/a" 2>"$tmp/err"
is $? 1 && is "$(wc -l <"$tmp/err")" 1 && grep -q 'needs [0-9]* MiB of memory (.*), there are [0-9]* of 3 MiB (--memory)' "$tmp/err"
ok "a model that cannot fit is refused in one line with the numbers"
"$segue" bench serve --simulate --trace mix --capacity --requests 24 --policy slo,static:64 --json >"$tmp/a" 2>"$tmp/err"
is $? 0 && is "$(wc -l <"$tmp/a")" 4 && is "$(grep -c '"slo": "strict"' "$tmp/a")" 2 && ! grep -q '"capacity_qps": null' "$tmp/a"
ok "bench serve --capacity gives strict and relaxed for each policy"
"$segue" bench serve --simulate --trace agents --requests 64 --qps 100 --json >"$tmp/a" 2>"$tmp/err" &&
	"$segue" bench serve --simulate --trace agents --requests 64 --qps 100 --no-prefix-cache --json >"$tmp/b" 2>>"$tmp/err"
is $? 0 && ! grep -q '"cached_share": 0.0[,}]' "$tmp/a" && grep -q '"cached_share": 0.0[,}]' "$tmp/b"
ok "bench serve reuses the prefixes of a load, unless it is told not to"
"$segue" bench serve --simulate --trace mix --requests 8 --qps 1 --svg /dev/null >"$tmp/a" 2>"$tmp/err"
is $? 1 && grep -q '/dev/null: is a device, only regular files are written' "$tmp/err"
ok "an output never takes the place of a device"
"$segue" bench serve --trace mix --capacity --qps 1 >"$tmp/a" 2>"$tmp/err"
is $? 2
ok "bench serve --capacity with a rate is wrong usage"

# ---- serve ----
printf '# keys\nsecret-one\n' >"$tmp/keys"
printf '# options\nport = 0\nmax-queue = 7\naccess-log = %s\napi-key-file = %s\n' "$tmp/log" "$tmp/keys" >"$tmp/conf"
is "$(status "$segue" serve --config "$tmp/none")" 2
ok "a config file that is not there is wrong usage"
echo 'frob = 1' >"$tmp/bad"
is "$(status "$segue" serve --config "$tmp/bad")" 2 && grep -q 'line 1' "$tmp/err"
ok "a bad config line is named"
"$segue" serve --config "$tmp/conf" 2>"$tmp/err" &
server=$!
for i in $(seq 600); do
	url=$(sed -n 's/^segue: listening on //p' "$tmp/err")
	[ -n "$url" ] && break
	sleep 0.1
done
[ -n "$url" ]
ok "serve says where it listens"
if ! command -v curl >/dev/null; then
	echo "ok $((n + 1)) - # SKIP no curl"
	n=$((n + 1))
else
	get() { curl -s -o "$tmp/out" -w '%{http_code}' -H "Authorization: Bearer $key" "$@"; }
	key=wrong
	is "$(get "$url/health")" 200
	ok "health needs no key"
	for i in $(seq 600); do [ "$(get "$url/ready")" = 200 ] && break; sleep 0.1; done
	is "$(get "$url/ready")" 200
	ok "it becomes ready"
	is "$(get "$url/v1/models")" 401
	ok "a wrong key is refused"
	key=secret-one
	is "$(get "$url/v1/chat/completions" -H 'Content-Type: application/json' \
		-d '{"model":"default","max_tokens":4,"messages":[{"role":"user","content":"hi"}]}')" 200 && grep -q '"role":"assistant"' "$tmp/out"
	ok "a chat is answered"
	printf 'secret-two\n' >"$tmp/keys"
	kill -HUP $server
	for i in $(seq 600); do [ "$(get "$url/v1/models")" = 401 ] && break; sleep 0.1; done
	is "$(get "$url/v1/models")" 401
	old=$?
	key=secret-two
	[ $old = 0 ] && is "$(get "$url/v1/models")" 200
	ok "SIGHUP reads the keys again"
	grep -q '"method":"POST","path":"/v1/chat/completions","status":200' "$tmp/log"
	ok "the access log has the requests"
	mv "$tmp/log" "$tmp/log.1"
	printf 'port = 0\nmax-queue = 9\norigin = https://good.example\naccess-log = %s\napi-key-file = %s\n' "$tmp/log" "$tmp/keys" >"$tmp/conf"
	kill -HUP $server
	for i in $(seq 600); do [ -f "$tmp/log" ] && break; sleep 0.1; done
	is "$(get "$url/v1/models" -H 'Origin: https://good.example')" 200 && grep -q '"path":"/v1/models","status":200' "$tmp/log" &&
		grep -q "'max-queue' is taken at the next start" "$tmp/err"
	ok "SIGHUP takes new origins, opens the log anew and says what must wait"
	echo 'frob = 1' >"$tmp/conf"
	kill -HUP $server
	for i in $(seq 600); do grep -q 'nothing has changed' "$tmp/err" && break; sleep 0.1; done
	is "$(get "$url/v1/models" -H 'Origin: https://good.example')" 200 && grep -q "conf: line 1: unknown option 'frob'" "$tmp/err"
	ok "a bad config file changes nothing"
fi
kill -TERM $server
wait $server
is $? 0
ok "SIGTERM ends it with status 0"
server=
echo "1..$n"
exit $failed
