"""A node of a cluster, as much of one as pods notice: run in the namespace that every pod is connected to.

It does for its pods what kubelet, the controller of endpoints, the cluster's DNS and kube-proxy do: it probes them,
keeps who is ready, answers names with those addresses, and passes connections to a service that has an address of its
own on to one of them. It is told what to do by a JSON object a line on standard input, and answers each with one on
standard output:

    {"serve": SERVICE, "address": IP, "port": PORT, "target": NAME}    a service with an address of its own
    {"start": POD, "address": IP, "service": NAME, "ports": {NAME: PORT}, "probes": {"startupProbe": {...}, ...}}
    {"leave": POD}      the pod is about to stop: its address is taken out of its service, a moment later
    {"gone": POD}       the pod has stopped
    {"status": true}    answers {"ready": [POD, ...]}
"""

import asyncio
import functools
import itertools
import json
import random
import ssl
import struct
import sys
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

#: kubelet asks a starting container every few seconds; here it is asked sooner, to wait less.
STARTUP_PERIOD_SECONDS = 0.25
#: How long other nodes may go on sending to a pod that has been told to stop, in seconds.
PROPAGATION_SECONDS = 1.0
DNS_SECONDS = 1
A_RECORD, INTERNET = 1, 1
NO_ERROR, NO_SUCH_NAME = 0, 3


@dataclass
class Pod:
    """A pod and what is known of it."""

    name: str
    address: str
    service: str
    ports: dict[str, int]
    probes: dict[str, Any]
    ready: bool = False
    leaving: bool = False
    watching: asyncio.Task[None] | None = field(default=None, repr=False)


class Node:
    """The pods, by name, and what is derived from them."""

    def __init__(self, domain: str) -> None:
        self.pods: dict[str, Pod] = {}
        self._domain = domain
        self._addresses: dict[str, str] = {}
        self._servers: list[asyncio.Server] = []
        self._turns = itertools.count()
        self._later: set[asyncio.Task[None]] = set()

    def endpoints(self, service: str) -> list[Pod]:
        """Return the pods that a service's name stands for."""
        return [pod for pod in self.pods.values() if pod.service == service and pod.ready and not pod.leaving]

    async def act(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a line asks for and return the answer."""
        if name := command.get("serve"):
            self._addresses[name] = command["address"]
            passed_on = functools.partial(self.forward, name, command["target"])
            self._servers.append(await asyncio.start_server(passed_on, command["address"], command["port"]))
        elif name := command.get("start"):
            pod = Pod(name, command["address"], command["service"], command["ports"], command["probes"])
            self.pods[name] = pod
            pod.watching = asyncio.create_task(watch(pod))
        elif name := command.get("leave"):
            task = asyncio.create_task(self._leave(self.pods[name]))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        elif name := command.get("gone"):
            pod = self.pods.pop(name)
            if pod.watching is not None:
                pod.watching.cancel()
        return {"ready": [pod.name for pod in self.pods.values() if pod.ready and not pod.leaving]}

    async def _leave(self, pod: Pod) -> None:
        await asyncio.sleep(PROPAGATION_SECONDS)
        pod.leaving = True

    # --- DNS ---

    def answer(self, query: bytes) -> bytes:
        """Return the answer to a DNS query: addresses for a service's name, short or with the cluster's domain."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        kind, _ = struct.unpack_from("!HH", query, at + 1)
        question = query[12 : at + 5]
        service = ".".join(labels).removesuffix(f".{self._domain}")
        own = self._addresses.get(service)
        addresses = [own] if own else [pod.address for pod in self.endpoints(service)]
        random.shuffle(addresses)
        code = NO_ERROR if addresses else NO_SUCH_NAME
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", A_RECORD, INTERNET, DNS_SECONDS, 4) + bytes(map(int, address.split(".")))
            for address in addresses
            if kind == A_RECORD
        ]
        # Response, recursion as asked for and available.
        flags = 0x8080 | (struct.unpack_from("!H", query, 2)[0] & 0x0100) | code
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question + b"".join(records)

    # --- a service's own address ---

    async def forward(
        self, service: str, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass a connection on to the next pod of a service, for as long as it lasts."""
        pods = self.endpoints(service)
        if not pods:
            writer.transport.abort()
            return
        pod = pods[next(self._turns) % len(pods)]
        try:
            there, here = await asyncio.open_connection(pod.address, pod.ports[port])
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, here), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


class Names(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._transport.sendto(self._node.answer(data), address)


# --- probes -----------------------------------------------------------------


async def watch(pod: Pod) -> None:
    """Probe a pod as kubelet does: until it has started, then for readiness, in its own time."""
    while not await passes(pod, pod.probes["startupProbe"]):  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(STARTUP_PERIOD_SECONDS)
    probe = pod.probes["readinessProbe"]
    failures = 0
    while True:
        if await passes(pod, probe):
            pod.ready, failures = True, 0
        else:
            failures += 1
            if failures >= probe.get("failureThreshold", 3):
                pod.ready = False
        await asyncio.sleep(probe.get("periodSeconds", 10) if pod.ready else STARTUP_PERIOD_SECONDS)


async def passes(pod: Pod, probe: dict[str, Any]) -> bool:
    """Make one probe."""
    asked = _http(pod, probe["httpGet"]) if "httpGet" in probe else _grpc(pod, probe["grpc"]["port"])
    try:
        return await asyncio.wait_for(asked, probe.get("timeoutSeconds", 1))
    except (OSError, TimeoutError, grpc.aio.AioRpcError, asyncio.IncompleteReadError):
        return False


async def _http(pod: Pod, ask: dict[str, Any]) -> bool:
    context = None
    if ask.get("scheme") == "HTTPS":
        # kubelet does not look at certificates either.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(pod.address, pod.ports[ask["port"]], ssl=context)
    try:
        writer.write(f"GET {ask['path']} HTTP/1.1\r\nHost: {pod.address}\r\nConnection: close\r\n\r\n".encode())
        status = (await reader.readuntil(b"\r\n")).split()[1]
    finally:
        writer.transport.abort()
    return 200 <= int(status) < 400


async def _grpc(pod: Pod, port: int) -> bool:
    async with grpc.aio.insecure_channel(f"{pod.address}:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest())
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def main(address: str, domain: str) -> None:
    """Answer names at an address, and do as standard input says."""
    node = Node(domain)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Names(node), local_addr=(address, 53))
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await node.act(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
