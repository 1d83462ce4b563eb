#!/bin/sh
# A Redis server, without docker: the one on PATH, else Debian's package, unpacked into a cache folder.
#   servers/redis.sh path           fetch it if it is missing; print where the program is
#   servers/redis.sh run DATA PORT  run it on 127.0.0.1:PORT in the foreground; DATA is made if it is not there
# MSGXC_REDIS_PASSWORD: its password. MSGXC_CACHE: the cache folder; default ~/.cache/msgxc. Nothing is installed.
set -eu
umask 077
cache=${MSGXC_CACHE:-$HOME/.cache/msgxc}
fetched=$cache/redis
packages="redis-server redis-tools liblzf1 libjemalloc2 libatomic1"

fail() { echo "servers/redis.sh: $*" >&2; exit 1; }

# Unpacked beside its place and moved there whole: two at once, or one that is killed, do no harm.
fetch() {
    for need in apt-get dpkg; do
        command -v $need >/dev/null || fail "Redis is missing: install redis-server (or valkey-server)"
    done
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/redis-part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    echo "fetching Redis (once)" >&2
    # A machine whose lists of packages are old, or not there, gets new ones first; that takes root.
    (cd "$part" && { apt-get -q download $packages || { apt-get -q update && apt-get -q download $packages; }; }) \
        >"$part/log" 2>&1 || { tail -n 3 "$part/log" >&2; fail "Redis could not be fetched: install redis-server"; }
    for package in "$part"/*.deb; do dpkg -x "$package" "$part/root"; done
    [ -d "$fetched" ] || mv -T "$part/root" "$fetched" 2>/dev/null || [ -d "$fetched" ] || fail "cannot write $fetched"
}

program() {
    for name in redis-server valkey-server; do
        if command -v $name >/dev/null; then command -v $name; return; fi
    done
    [ -d "$fetched" ] || fetch
    echo "$fetched/usr/bin/redis-server"
}

case ${1:-} in
path)
    program
    ;;
run)
    [ $# -eq 3 ] || { echo "usage: servers/redis.sh run DATA PORT" >&2; exit 2; }
    server=$(program)
    case $server in
    "$fetched"/*) LD_LIBRARY_PATH=$(echo "$fetched"/usr/lib/*-linux-gnu*)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; export LD_LIBRARY_PATH ;;
    esac
    mkdir -p "$2"
    # The password is in a file: a command line can be read by everybody on the machine.
    printf 'requirepass %s\n' "${MSGXC_REDIS_PASSWORD:?servers/redis.sh: it is needed}" >"$2/redis.conf"
    exec "$server" "$2/redis.conf" --bind 127.0.0.1 --port "$3" --dir "$2" --appendonly yes --maxmemory 256mb
    ;;
*)
    echo "usage: servers/redis.sh path | run DATA PORT" >&2
    exit 2
    ;;
esac
