#!/bin/sh
# check_layers.sh: every #include "module/..." in src/ and app/ must be allowed by tools/layers.txt.
cd "$(dirname "$0")/.." || exit 1
git ls-files 'src/*.[ch]' 'app/*.[ch]' 2>/dev/null | grep . >/dev/null || { echo "check_layers.sh: no sources found"; exit 1; }
git ls-files 'src/*.[chS]' 'app/*.[ch]' | xargs awk '
	BEGIN {
		while ((getline line < "tools/layers.txt") > 0) {
			if (line ~ /^#/ || line !~ /:/) continue
			split(line, part, ":")
			known[part[1]] = 1
			n = split(part[2], below, " ")
			for (i = 1; i <= n; i++) allowed[part[1], below[i]] = 1
		}
	}
	FNR == 1 {
		split(FILENAME, path, "/")
		module = path[1] == "app" ? "app" : path[2]
		if (!(module in known)) { printf "%s: module %s is not in tools/layers.txt\n", FILENAME, module; bad = 1 }
	}
	/^[ \t]*#[ \t]*include[ \t]+"/ {
		split($0, quoted, "\"")
		if (split(quoted[2], inc, "/") < 2) next
		if (inc[1] != module && !((module, inc[1]) in allowed)) {
			printf "%s:%d: module %s may not include \"%s\"\n", FILENAME, FNR, module, quoted[2]
			bad = 1
		}
	}
	END { exit bad }'
