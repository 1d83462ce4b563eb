"""`python -m msgxc.gateway`: the gateway with the settings of its environment, as `msgxc serve`."""

from __future__ import annotations

import sys

from msgxc.errors import MsgxcError, of_disk
from msgxc.gateway.serving import main
from msgxc.settings import read_settings

if __name__ == "__main__":
    try:
        main(read_settings())
    except MsgxcError as error:
        print(f"msgxc: {error.code}: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"msgxc: disk: {of_disk(error)}", file=sys.stderr)
        sys.exit(1)
