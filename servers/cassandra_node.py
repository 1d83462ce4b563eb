#!/usr/bin/env python3
"""Cassandra 5.0.9 on this machine, without docker: fetched by Maven once, one node on 127.0.0.1, or three.

    servers/cassandra_node.py fetch                 fetch the program into the cache; print the folder
    servers/cassandra_node.py run DATA [--port N]   run a node in the foreground, its data in the folder DATA
    servers/cassandra_node.py ring DATA [--port N]  the same for a ring of three, on 127.0.0.1, .2 and .3

Needs `mvn` (once) and Java 17. MSGXC_CACHE: the cache folder; default ~/.cache/msgxc. Only the standard
library is used, so that it runs before anything is installed. The tests import this file and call `start` or
`start_ring`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION = "5.0.9"
FETCH = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

AGAIN_SECONDS = 2.0  # so often it is looked whether a node has ended

# The node's whole configuration. What is not here has the default of Cassandra's Config class, which is not
# always what its own example file says: so everything that we rely on stands here.
YAML = """\
cluster_name: msgxc
{tokens}
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch  # the data centre is called datacenter1
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{seeds}"}}]
listen_address: {address}
rpc_address: {address}
storage_port: {storage}
native_transport_port: {port}
start_native_transport: true
data_file_directories: ["{data}/data"]
commitlog_directory: "{data}/commitlog"
hints_directory: "{data}/hints"
saved_caches_directory: "{data}/saved_caches"
cdc_raw_directory: "{data}/cdc_raw"
{sync}
commitlog_segment_size: 16MiB
commitlog_total_space: {commitlog}MiB
storage_compatibility_mode: NONE  # Cassandra 5 only: no upgrade from 4 in place
memtable: {{configurations: {{trie: {{class_name: TrieMemtable}}, default: {{inherits: trie}}}}}}
memtable_heap_space: {memtable}MiB
memtable_offheap_space: {memtable}MiB
memtable_allocation_type: offheap_objects
sstable: {{selected_format: bti}}
concurrent_reads: 16
concurrent_writes: 16
concurrent_compactors: {compactors}
file_cache_size: {cache}MiB
key_cache_size: 32MiB
networking_cache_size: 64MiB
auto_snapshot: false
disk_failure_policy: stop
read_request_timeout: 10s  # longer than the defaults: one small machine stalls where three do not
range_request_timeout: 10s
write_request_timeout: 10s
cas_contention_timeout: 10s
batch_size_warn_threshold: 32KiB  # a window's results are one batch; the default warns at 5 KiB
{login}
user_defined_functions_enabled: false
materialized_views_enabled: false
"""

# Its superuser `cassandra` has that as its password too, until somebody changes it (`msgxc schema role`).
# What a role may do is looked up every ten seconds, not with each request.
LOGIN = """\
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
roles_validity: 10s
permissions_validity: 10s"""
OPEN = "authenticator: AllowAllAuthenticator\nauthorizer: AllowAllAuthorizer"

# A write is on disk before it is answered: one node has no replica that also has it. Of three, two have it.
ALONE = "num_tokens: 16", "commitlog_sync: batch"
IN_RING = (
    "num_tokens: 1\ninitial_token: {token}\nauto_bootstrap: false  # all begin empty, at the same moment",
    "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms",
)

LOGBACK = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""

# Modules of the Java 17 runtime that Cassandra looks into: its own launcher opens the same ones.
EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/java.lang.ref",
    "java.sql/java.sql",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.attach/sun.tools.attach",
)
OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)


class CannotRun(Exception):
    """Something that the node needs is missing, or it did not start; the text is one line that says what."""


def fetch() -> Path:
    """The folder of Cassandra's jars (100 files, 67 MB), fetched by Maven if it is not there yet.

    Safe when two run at once, and when one is killed: a folder takes its place whole or not at all.
    """
    cache = Path(os.environ.get("MSGXC_CACHE") or Path.home() / ".cache" / "msgxc")
    jars = cache / f"cassandra-{VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotRun(f"mvn is missing: Maven is needed once, to fetch Cassandra {VERSION}")
    cache.mkdir(parents=True, exist_ok=True)
    print(f"fetching Cassandra {VERSION} (once)", file=sys.stderr)
    part = Path(tempfile.mkdtemp(prefix="cassandra-part.", dir=cache))
    try:
        _maven(maven, part / "jars")
        _place(part / "jars", jars)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return jars


def _maven(maven: str, into: Path) -> None:
    command = [maven, "-B", "-ntp", "-q", "-f", str(HERE / "pom.xml"), FETCH]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={into}"]
    done = subprocess.run(  # noqa: S603 - our own command line
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        raise CannotRun(f"mvn could not fetch Cassandra {VERSION}: {lines[0]}")


def _place(part: Path, jars: Path) -> None:
    try:
        part.rename(jars)
    except OSError:  # somebody else was quicker
        if not jars.is_dir():
            raise


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        raise CannotRun(f"java is missing: Cassandra {VERSION} runs on Java 17")
    return java


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now.

    Below those that the system gives to connections: a node takes its ports seconds after this.
    """
    ports: list[int] = []
    for port in random.sample(range(10_000, 32_000), 1000):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise CannotRun("no free ports on 127.0.0.1")


@dataclass(frozen=True)
class Place:
    """Where a node listens, and its part of the ring; `token` None: it is alone."""

    address: str
    port: int
    storage: int
    token: int | None = None


@dataclass
class Node:
    """One node: where it is, and its process while it runs."""

    folder: Path
    place: Place
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it takes clients."""
        return self.place.port

    @property
    def log(self) -> Path:
        """What the node says."""
        return self.folder / "cassandra.log"

    @property
    def ended(self) -> bool:
        """Whether its process is gone."""
        return self.process is None or self.process.poll() is not None

    def launch(self) -> None:
        """Start the process; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self, seconds: float = 120) -> None:
        """Return when it takes connections. Raises CannotRun when it ends before, or after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process is None or self.process.poll() is not None:
                raise CannotRun(f"Cassandra ended before it was ready; its log: {self.log}")
            try:
                socket.create_connection((self.place.address, self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise CannotRun(f"Cassandra was not ready after {seconds:.0f} s; its log: {self.log}")

    def stop(self, seconds: float = 30) -> None:
        """End it: asked first, killed when it does not listen; returns when it is gone."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def start(folder: Path, port: int = 0, *, small: bool = False, login: bool = False) -> Node:
    """Start a node with its data in `folder`; not ready yet. Port 0: a free one.

    `small`: 512 MiB of heap and the quick compiler alone, which starts in 5 s: for tests, not for measuring.
    `login`: it asks for one (LOGIN).
    """
    native, storage = free_ports(2)
    return _start(
        folder, Place("127.0.0.1", port or native, storage), "512m" if small else "1024m", small, login
    )


def start_ring(folder: Path, port: int = 0, *, small: bool = False) -> list[Node]:
    """Start three nodes, on 127.0.0.1 to 127.0.0.3 and one port, in `folder`/1 to 3; not ready yet.

    Ready is when each takes connections, and each has two rows in system.peers_v2: before that they do not
    see each other, and a keyspace that is made then is not known to all. `small`: as in `start`.
    """
    native, storage = free_ports(2)
    tokens = [-(2**63) + part * (2**64 // 3) for part in range(3)]
    places = [Place(f"127.0.0.{n + 1}", port or native, storage, token) for n, token in enumerate(tokens)]
    heap = "384m" if small else "512m"
    return [_start(folder / str(n), place, heap, small) for n, place in enumerate(places, 1)]


def _start(folder: Path, place: Place, heap: str, quick: bool, login: bool = False) -> Node:
    jars, java = fetch(), _java()
    folder = folder.resolve()
    os.umask(0o077)  # the node's files, too, are its owner's alone
    for name in ("conf", "data", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "conf" / "cassandra.yaml").write_text(_yaml(folder, place, quick, login), "utf-8")
    (folder / "conf" / "logback.xml").write_text(LOGBACK, "utf-8")
    node = Node(folder, place, [*_with_parent(), java, *_options(folder, jars, heap, quick)])
    node.launch()
    return node


def _yaml(folder: Path, place: Place, quick: bool, login: bool) -> str:
    alone = place.token is None
    tokens, sync = ALONE if alone else IN_RING
    return YAML.format(
        data=folder,
        address=place.address,
        port=place.port,
        storage=place.storage,
        # Each is a seed: none fails to start because another takes longer.
        seeds=",".join(f"127.0.0.{n}:{place.storage}" for n in ((1,) if alone else (1, 2, 3))),
        tokens=tokens.format(token=place.token),
        sync=sync,
        login=LOGIN if login else OPEN,
        memtable=64 if quick or not alone else 256,
        commitlog=1024 if alone else 256,
        cache=128 if alone else 64,
        compactors=2 if alone else 1,
    )


def _with_parent() -> list[str]:
    """On Linux the node ends with the process that started it, also when that one is killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _options(folder: Path, jars: Path, heap: str, quick: bool) -> list[str]:
    scratch = folder / "tmp"
    return [
        *(["-XX:TieredStopAtLevel=1"] if quick else []),
        *(f"-Xms{heap}", f"-Xmx{heap}", "-Xss256k", "-XX:+UseG1GC", "-XX:+ParallelRefProcEnabled"),
        *("-XX:MaxTenuringThreshold=1", "-XX:G1HeapRegionSize=4m", "-XX:MaxGCPauseMillis=300"),
        *("-XX:InitiatingHeapOccupancyPercent=70", "-XX:MaxDirectMemorySize=512m"),
        *("-XX:+ExitOnOutOfMemoryError", "-XX:+PerfDisableSharedMem"),
        *(f"--add-exports={module}=ALL-UNNAMED" for module in EXPORTS),
        *(f"--add-opens={module}=ALL-UNNAMED" for module in OPENS),
        f"-javaagent:{next(jars.glob('jamm-*.jar'))}",
        *("-Djava.net.preferIPv4Stack=true", "-Djdk.attach.allowAttachSelf=true"),
        *("-Dio.netty.tryReflectionSetAccessible=true", "-Dio.netty.allocator.useCacheForAllThreads=true"),
        f"-Dcassandra.config=file://{folder}/conf/cassandra.yaml",
        f"-Dlogback.configurationFile=file://{folder}/conf/logback.xml",
        *(f"-Dcassandra.storagedir={folder}", f"-Dcassandra.logdir={folder}", "-Dcassandra-foreground=yes"),
        # All run on one machine: nobody has to be waited for.
        "-Dcassandra.ring_delay_ms=1000",
        *("-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.superuser_setup_delay_ms=0"),
        *(f"-Djava.io.tmpdir={scratch}", f"-Djna.tmpdir={scratch}"),
        *("-cp", f"{folder}/conf:{jars}/*", "org.apache.cassandra.service.CassandraDaemon"),
    ]


def _interrupt(_number: int, _frame: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # A second one does not hurry it.
    raise KeyboardInterrupt


def run(nodes: list[Node]) -> int:
    """Run nodes until Ctrl-C or SIGTERM; says when they are ready.

    One that is alone ends this with it. Of a ring the others go on, and it is started again.
    """
    for number in (signal.SIGTERM, signal.SIGINT):  # set here: a shell's background job ignores SIGINT
        signal.signal(number, _interrupt)
    try:
        for node in nodes:
            node.wait_until_ready(600)
            where = f"{node.place.address}:{node.port}"
            print(f"Cassandra {VERSION} is ready on {where}; its log: {node.log}", flush=True)
        while len(nodes) > 1 or not nodes[0].ended:
            for node in [it for it in nodes if it.ended]:
                print(f"the node on {node.place.address} has ended; it is started again", file=sys.stderr)
                node.launch()
            time.sleep(AGAIN_SECONDS)
        print("Cassandra has ended", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for node in nodes:
            node.stop()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch the program into the cache")
    for name, what in (("run", "a node"), ("ring", "three nodes")):
        running = commands.add_parser(name, help=f"run {what} in the foreground")
        running.add_argument("data", type=Path, help="folder for the data; made if it is not there")
        running.add_argument("--port", type=int, default=9042, help="native transport port; 0: a free one")
        if name == "run":
            running.add_argument("--login", action="store_true", help="ask for a login")
        running.add_argument("--small", action="store_true", help="less memory, quick start: for trying out")
    given = parser.parse_args()
    try:
        if given.command == "run":
            return run([start(given.data, given.port, small=given.small, login=given.login)])
        if given.command == "ring":
            return run(start_ring(given.data, given.port, small=given.small))
        print(fetch())
    except CannotRun as error:
        print(f"servers/cassandra_node.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
