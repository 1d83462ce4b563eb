#!/bin/sh
# A PostgreSQL server, without docker: the one that is installed, else Debian's package in a cache folder.
#   servers/postgres.sh path           fetch it if it is missing; print where its programs are
#   servers/postgres.sh run DATA PORT  run it on 127.0.0.1:PORT in the foreground; DATA is made if it is not there
# MSGXC_POSTGRES_PASSWORD: the password of its only user, `prefect`, set when DATA is made. Nothing is installed.
# PostgreSQL refuses root: then it runs as user `postgres`, `daemon` or `nobody`, the first that there is, who must be
# able to reach DATA, and owns it.
# MSGXC_CACHE: the cache folder; default ~/.cache/msgxc, for root /var/cache/msgxc, which that user can reach.
set -eu
if [ "$(id -u)" = 0 ]; then home=/var/cache; else home=$HOME/.cache; fi
cache=${MSGXC_CACHE:-$home/msgxc}
fetched=$cache/postgres

fail() { echo "servers/postgres.sh: $*" >&2; exit 1; }

# Unpacked beside its place and moved there whole: two at once, or one that is killed, do no harm.
fetch() {
    for need in apt-cache apt-get dpkg; do
        command -v $need >/dev/null || fail "PostgreSQL is missing: install it"
    done
    umask 022
    mkdir -p "$cache"
    chmod 755 "$cache"
    part=$(mktemp -d "$cache/postgres-part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    echo "fetching PostgreSQL (once)" >&2
    (cd "$part" && { download || { apt-get -q update && download; }; }) >"$part/log" 2>&1 \
        || { tail -n 3 "$part/log" >&2; fail "PostgreSQL could not be fetched: install it"; }
    for package in "$part"/*.deb; do dpkg -x "$package" "$part/root"; done
    [ -d "$fetched" ] || mv -T "$part/root" "$fetched" 2>/dev/null || [ -d "$fetched" ] || fail "cannot write $fetched"
}

# The newest server that the distribution has, and the libraries that it asks for (but for its compiler's).
download() {
    server=$(apt-cache depends postgresql | sed -n 's/.*Depends: \(postgresql-[0-9]*\)$/\1/p' | head -n 1)
    [ -n "$server" ] || return 1
    apt-get -q download "$server" $(apt-cache depends "$server" | sed -n 's/.*Depends: \(lib[a-z0-9.+-]*\)$/\1/p' \
        | grep -v -E '^(libc6|libllvm|libgcc|libstdc)')
}

programs() {
    newest=
    for found in "$fetched"/usr/lib/postgresql/*/bin /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin; do
        [ -x "$found/initdb" ] && newest=$found
    done
    if [ -z "$newest" ] && command -v initdb >/dev/null; then newest=$(dirname "$(command -v initdb)"); fi
    [ -n "$newest" ] || { fetch; newest=$(echo "$fetched"/usr/lib/postgresql/*/bin); }
    echo "$newest"
}

# A command as the user who owns the data.
plainly() {
    if [ -n "$user" ]; then setpriv --reuid="$user" --clear-groups "$@"; else "$@"; fi
}

# Made beside its place and moved there whole.
make() {
    trap 'rm -rf "$data.new" "$data.secret"' EXIT
    rm -rf "$data.new"
    mkdir -p "$data.new"
    (umask 077 && printf %s "${MSGXC_POSTGRES_PASSWORD:?servers/postgres.sh: it is needed}" >"$data.secret")
    if [ -n "$user" ]; then
        chown "$user" "$data.new" "$data.secret"
        plainly test -x "$data.new" || fail "user $user cannot reach $data: choose a folder that is open to all"
    fi
    plainly "$bin/initdb" -D "$data.new" -U prefect --auth=scram-sha-256 --pwfile="$data.secret" \
        -E UTF8 --locale=C.UTF-8 || fail "initdb has failed"
    mv "$data.new" "$data"
    rm "$data.secret"
    trap - EXIT
}

case ${1:-} in
path)
    programs
    ;;
run)
    [ $# -eq 3 ] || { echo "usage: servers/postgres.sh run DATA PORT" >&2; exit 2; }
    bin=$(programs)
    case $bin in
    "$fetched"/*)
        LD_LIBRARY_PATH=$(echo "$fetched"/usr/lib/*-linux-gnu*)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
        export LD_LIBRARY_PATH
        ;;
    esac
    user=
    if [ "$(id -u)" = 0 ]; then
        command -v setpriv >/dev/null || fail "setpriv (util-linux) is missing: PostgreSQL does not run as root"
        user=$(id -un postgres 2>/dev/null || id -un daemon 2>/dev/null || echo nobody)
    fi
    mkdir -p "$(dirname "$2")"
    data=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
    port=$3
    cd /
    [ -s "$data/PG_VERSION" ] || make
    [ -z "$user" ] || [ "$(ls -ld "$data" | awk '{print $3}')" = "$user" ] || chown -R "$user" "$data"
    umask 077
    set -- "$bin/postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
        -c max_connections=200 -c shared_buffers=128MB -c jit=off
    [ -z "$user" ] || set -- setpriv --reuid="$user" --clear-groups "$@"
    exec "$@"
    ;;
*)
    echo "usage: servers/postgres.sh path | run DATA PORT" >&2
    exit 2
    ;;
esac
