"""A caller of the store's RPCs on whatever host it runs: prints the status of one call.

    python -m tests.k8s.caller HOST:PORT SERVER-NAME CA-FILE [CERTIFICATE-FOLDER]

Without a folder of `tls.crt` and `tls.key` it shows no certificate.
"""

import sys
from pathlib import Path
from typing import Any

import grpc
from orrery.store.v1 import store_pb2, store_pb2_grpc


def main(target: str, name: str, authority: str, certificate: str | None = None) -> None:
    """Ask for the keyspaces and print the status."""
    shown = (None, None) if certificate is None else (_read(certificate, "tls.key"), _read(certificate, "tls.crt"))
    credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes(), *shown)
    options = (("grpc.ssl_target_name_override", name),)
    with grpc.secure_channel(target, credentials, options=options) as channel:
        stub: Any = store_pb2_grpc.StoreServiceStub(channel)
        try:
            stub.ListKeyspaces(store_pb2.ListKeyspacesRequest(database="default"), timeout=10)
        except grpc.RpcError as failure:
            print(failure.code().name)
        else:
            print("OK")


def _read(folder: str, name: str) -> bytes:
    return (Path(folder) / name).read_bytes()


if __name__ == "__main__":
    main(*sys.argv[1:])
