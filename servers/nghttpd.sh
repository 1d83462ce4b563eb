#!/bin/sh
# nghttpd, the HTTP/2 server of nghttp2, for tests.
#   servers/nghttpd.sh path      print where the program is; as root, with apt-get, install it if it is missing
set -eu
[ "${1:-}" = path ] || { echo "usage: servers/nghttpd.sh path" >&2; exit 2; }
if ! command -v nghttpd >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing nghttp2-server" >&2
    { apt-get update && apt-get install -y --no-install-recommends nghttp2-server; } >/dev/null 2>&1 || :
fi
command -v nghttpd || {
    echo "servers/nghttpd.sh: nghttpd is needed on the PATH (Debian, Ubuntu: apt-get install nghttp2-server)" >&2
    exit 1
}
