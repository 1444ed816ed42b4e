"""The contracts keep the protobuf style guide, and everything in them is described."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTOS = Path(__file__).parents[2] / "protos"
BUNDLED = Path(protoc.__file__).parent / "_proto"
OWN = (
    "orrery/embedder/v1/embedder.proto",
    "orrery/store/v1/access.proto",
    "orrery/store/v1/operations.proto",
    "orrery/store/v1/store.proto",
)
#: Interfaces of others, which Orrery answers to. Their names and their package are not ours to choose, so that they are
#: only held to be described; tests of their own hold them to be the others' (tests/unit/embedder/test_stargate.py).
FOREIGN = ("stargate/embedding_gateway.proto",)

# Numbers of the fields of descriptors that a source location's path goes through (descriptor.proto).
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS = 2, 3, 4
VALUES, METHODS = 2, 2


def compiled(path: str) -> FileDescriptorProto:
    """Return a contract with its comments."""
    with tempfile.NamedTemporaryFile() as output:
        arguments = [f"-I{PROTOS}", f"-I{BUNDLED}", "--include_source_info", f"--descriptor_set_out={output.name}"]
        assert protoc.main(["protoc", *arguments, path]) == 0
        (file,) = FileDescriptorSet.FromString(Path(output.name).read_bytes()).file
    return file


@pytest.fixture(scope="module", params=OWN)
def contract(request: pytest.FixtureRequest) -> FileDescriptorProto:
    """One of our own contracts."""
    return compiled(request.param)


def things(contract: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the path of everything that is to be described."""
    for at, message in enumerate(contract.message_type):
        yield from of_message(message, (MESSAGES, at))
    for at, enum in enumerate(contract.enum_type):
        yield from of_enum(enum, (ENUMS, at))
    for at, service in enumerate(contract.service):
        yield service.name, (SERVICES, at)
        for number, method in enumerate(service.method):
            yield method.name, (SERVICES, at, METHODS, number)


def of_message(message: DescriptorProto, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield a message and what is in it; the entries of maps are made by the compiler."""
    if message.options.map_entry:
        return
    yield message.name, path
    for at, field in enumerate(message.field):
        yield f"{message.name}.{field.name}", (*path, FIELDS, at)
    for at, nested in enumerate(message.nested_type):
        yield from of_message(nested, (*path, NESTED, at))
    for at, enum in enumerate(message.enum_type):
        yield from of_enum(enum, (*path, NESTED_ENUMS, at))


def of_enum(enum: EnumDescriptorProto, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield an enum and its values."""
    yield enum.name, path
    for number, value in enumerate(enum.value):
        yield value.name, (*path, VALUES, number)


def test_every_contract_is_known_here() -> None:
    assert sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto")) == sorted(OWN + FOREIGN)


@pytest.mark.parametrize("path", OWN + FOREIGN)
def test_everything_is_described(path: str) -> None:
    contract = compiled(path)
    described = {tuple(place.path) for place in contract.source_code_info.location if place.leading_comments.strip()}

    assert [name for name, path in things(contract) if path not in described] == []


def test_the_package_is_the_folder_and_has_a_version(contract: FileDescriptorProto) -> None:
    assert contract.package == str(Path(contract.name).parent).replace("/", ".")
    assert re.search(r"\.v[0-9]+$", contract.package)


def test_names_have_the_case_of_their_kind(contract: FileDescriptorProto) -> None:
    for message in contract.message_type:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", message.name)
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", field.name) for field in message.field)


def test_enums_begin_unspecified_and_carry_their_name(contract: FileDescriptorProto) -> None:
    for enum in contract.enum_type:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
        assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}UNSPECIFIED", 0)
        assert all(value.name.startswith(prefix) for value in enum.value)


def test_services_and_their_messages_are_named_alike(contract: FileDescriptorProto) -> None:
    for service in contract.service:
        assert service.name.endswith("Service")
        for method in service.method:
            package = f".{contract.package}.{method.name}"
            assert (method.input_type, method.output_type) == (f"{package}Request", f"{package}Response")
