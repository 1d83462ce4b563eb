#!/bin/sh
# Checks a compose file as docker compose does, without docker, and prints it as it is understood.
#   servers/compose.sh FILE        its variables are left as they are
# It is `docker compose config` where that is installed, else the library that docker compose is made of, built once
# by Go into a cache folder (MSGXC_CACHE; default ~/.cache/msgxc).
set -eu
version=v2.16.2
cache=${MSGXC_CACHE:-$HOME/.cache/msgxc}
program=$cache/compose-go-$version/cmd

[ $# -eq 1 ] || { echo "usage: servers/compose.sh FILE" >&2; exit 2; }
if docker compose version >/dev/null 2>&1; then exec docker compose -f "$1" config --no-interpolate; fi
if [ ! -x "$program" ]; then
    command -v go >/dev/null || { echo "servers/compose.sh: docker compose is missing, and so is Go" >&2; exit 1; }
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/compose-part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    GOBIN=$part go install "github.com/compose-spec/compose-go/v2/cmd@$version" >&2
    mkdir -p "$(dirname "$program")"
    mv -f "$part/cmd" "$program"
    rmdir "$part"
fi
exec "$program" -no-interpolation "$1"
