# The short way to everything.  Meson does the work; `make` alone builds build/segue.
#
#   make demo      install missing packages, build, let the embedded model answer a prompt
#   make test      install missing packages, then every check there is (tools/test.sh says which)
#   make check     only the release build's tests: the quick loop while writing code
#   make bench     the model benchmark on the embedded model
#   make install   into $(PREFIX), with man pages
#   make clean     remove all build folders
PREFIX ?= /usr/local
PROMPT ?= Tell me a story about a little boat.

all: build/build.ninja
	@ninja -C build

build/build.ninja:
	@meson setup build --werror --prefix $(PREFIX) >build.log 2>&1 || { cat build.log; rm -f build.log; exit 1; }
	@rm -f build.log

demo: deps
	@$(MAKE) -s build/build.ninja
	@ninja -C build segue
	@echo
	@echo '$$ segue run -p "$(PROMPT)"'
	@build/segue run -p "$(PROMPT)"

test: test-deps
	@tools/test.sh

check: all
	@meson test -C build --print-errorlogs

bench: all
	@build/segue bench

install: all
	@meson install -C build

clean:
	rm -rf build build-*

deps:
	@tools/install-packages.sh build

test-deps:
	@tools/install-packages.sh build test

.PHONY: all demo test check bench install clean deps test-deps
