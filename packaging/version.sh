#!/bin/sh
# Prints the version that is built in: the nearest tag (v1.2.3 gives 1.2.3,
# later commits 1.2.3-4-gHASH), before the first tag 0.1.0-dev+gHASH, and
# 0.1.0-dev where there is no history at all, as in a source archive.
set -eu
cd "$(dirname "$0")/.."
if tag=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null); then
	echo "${tag#v}"
elif hash=$(git describe --always --dirty --exclude '*' 2>/dev/null); then
	echo "0.1.0-dev+g$hash"
else
	echo 0.1.0-dev
fi
