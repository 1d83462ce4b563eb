#!/bin/sh
# The NATS server, without docker: built once from source by Go, then kept in a cache folder.
#   servers/nats.sh path                 build it if it is missing; print where the program is
#   servers/nats.sh run PORT [ARG ...]   build it if it is missing; run it on 127.0.0.1:PORT in the foreground
# MSGXC_CACHE: the cache folder; default ~/.cache/msgxc. Needs Go 1.24 or newer, once.
set -eu
umask 077
version=v2.15.2
cache=${MSGXC_CACHE:-$HOME/.cache/msgxc}
program=$cache/nats-$version/nats-server

build() {
    [ -x "$program" ] && return 0
    command -v go >/dev/null || { echo "servers/nats.sh: Go is needed to build nats-server $version" >&2; exit 1; }
    mkdir -p "$cache"
    # Built beside its place and moved there whole: two builds at once, or one that is killed, do no harm.
    part=$(mktemp -d "$cache/nats-part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    echo "building nats-server $version (about a minute, once)" >&2
    GOBIN=$part GOFLAGS="${GOFLAGS:-} -trimpath" go install "github.com/nats-io/nats-server/v2@$version" >&2
    mkdir -p "$cache/nats-$version"
    mv -f "$part/nats-server" "$program"
}

case ${1:-} in
path)
    build
    echo "$program"
    ;;
run)
    [ $# -ge 2 ] || { echo "usage: servers/nats.sh run PORT [ARG ...]" >&2; exit 2; }
    port=$2
    shift 2
    build
    trap - EXIT
    exec "$program" --addr 127.0.0.1 --port "$port" --name msgxc "$@"
    ;;
*)
    echo "usage: servers/nats.sh path | run PORT [ARG ...]" >&2
    exit 2
    ;;
esac
