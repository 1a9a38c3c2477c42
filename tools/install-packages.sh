#!/bin/sh
# install-packages.sh GROUP...: install the Debian packages that building (build) and testing (test) need.
# Installs as root or through sudo; otherwise says what is missing and fails.  Does nothing when all are there.
set -eu
build='gcc make meson ninja-build pkg-config libevent-dev libjansson-dev libutf8proc-dev libpcre2-dev libedit-dev'
test='clang libclang-rt-14-dev llvm-14 python3 curl'

missing=
for group in "$@"; do
	case $group in
	build) list=$build ;;
	test) list=$test ;;
	*) echo "install-packages.sh: unknown group '$group'" >&2; exit 2 ;;
	esac
	for p in $list; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
	done
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "segue needs these Debian packages or their like:$missing" >&2
	exit 1
fi
if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null 2>&1; then
	as_root=sudo
else
	echo "segue needs these packages; install them as root: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# The package lists of a fresh machine are empty or old: update when the first try fails.
# shellcheck disable=SC2086
$as_root apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 ||
	{ $as_root apt-get update >/dev/null && $as_root apt-get install -y --no-install-recommends $missing >/dev/null; }
