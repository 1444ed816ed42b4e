"""The reference's embedding-gateway interface as facts, and stubs made of nothing else.

The table was copied by hand from the interface and knows nothing of `protos/stargate`, so that a mistake there shows.
A message's entry has a line for each field: number, name, kind, type. Types are scalars or names in this package.
"""

from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

PACKAGE = "stargate"

SERVICES = {
    "EmbeddingService": {
        "Embed": ("ProviderEmbedRequest", "EmbeddingResponse"),
        "GetSupportedProviders": ("GetSupportedProvidersRequest", "GetSupportedProvidersResponse"),
        "ValidateCredential": ("ValidateCredentialRequest", "ValidateCredentialResponse"),
    },
    "RerankingService": {
        "Rerank": ("ProviderRerankingRequest", "RerankingResponse"),
        "GetSupportedRerankingProviders": (
            "GetSupportedRerankingProvidersRequest",
            "GetSupportedRerankingProvidersResponse",
        ),
    },
}
METHODS = {name: (service, *types) for service, methods in SERVICES.items() for name, types in methods.items()}

_ERROR = """
    1 error_code one string
    2 error_title one string
    3 error_body one string
"""

_RERANKER = "GetSupportedRerankingProvidersResponse.ProviderConfig"
MESSAGES = {
    "ProviderEmbedRequest": """
        1 provider_context one ProviderEmbedRequest.ProviderContext
        2 embedding_request one ProviderEmbedRequest.EmbeddingRequest
    """,
    "ProviderEmbedRequest.ProviderContext": """
        1 provider_name one string
        2 tenant_id one string
        3 auth_tokens map string
    """,
    "ProviderEmbedRequest.EmbeddingRequest": """
        1 model_name one string
        2 dimensions optional int32
        3 parameters map ProviderEmbedRequest.EmbeddingRequest.ParameterValue
        4 input_type one ProviderEmbedRequest.EmbeddingRequest.InputType
        5 inputs many string
        6 command_name one string
    """,
    "ProviderEmbedRequest.EmbeddingRequest.ParameterValue": """
        1 str_value ParameterValueOneOf string
        2 int_value ParameterValueOneOf int32
        3 float_value ParameterValueOneOf float
        4 bool_value ParameterValueOneOf bool
    """,
    "EmbeddingResponse": """
        1 modelUsage one ModelUsage
        2 embeddings many EmbeddingResponse.FloatEmbedding
        3 error one EmbeddingResponse.ErrorResponse
    """,
    "EmbeddingResponse.FloatEmbedding": """
        1 index one int32
        2 embedding many float
    """,
    "EmbeddingResponse.ErrorResponse": _ERROR,
    "GetSupportedProvidersRequest": "",
    "GetSupportedProvidersResponse": """
        1 supportedProviders map GetSupportedProvidersResponse.ProviderConfig
        2 error one GetSupportedProvidersResponse.ErrorResponse
    """,
    "GetSupportedProvidersResponse.ProviderConfig": """
        1 displayName one string
        2 enabled one bool
        3 url optional string
        4 supported_authentications map GetSupportedProvidersResponse.ProviderConfig.AuthenticationConfig
        5 parameters many GetSupportedProvidersResponse.ProviderConfig.ParameterConfig
        6 properties one GetSupportedProvidersResponse.ProviderConfig.RequestProperties
        7 models many GetSupportedProvidersResponse.ProviderConfig.ModelConfig
        8 authTokenPassThroughForNoneAuth one bool
    """,
    "GetSupportedProvidersResponse.ProviderConfig.AuthenticationConfig": """
        1 enabled one bool
        2 tokens many GetSupportedProvidersResponse.ProviderConfig.AuthenticationConfig.TokenConfig
    """,
    "GetSupportedProvidersResponse.ProviderConfig.AuthenticationConfig.TokenConfig": """
        1 accepted one string
        2 forwarded one string
    """,
    "GetSupportedProvidersResponse.ProviderConfig.ParameterConfig": """
        1 name one string
        2 type one GetSupportedProvidersResponse.ProviderConfig.ParameterConfig.ParameterType
        3 required one bool
        4 default_value one string
        5 validation map GetSupportedProvidersResponse.ProviderConfig.ParameterConfig.IntList
        6 help one string
        7 display_name one string
        8 hint one string
    """,
    "GetSupportedProvidersResponse.ProviderConfig.ParameterConfig.IntList": """
        1 values many int32
    """,
    "GetSupportedProvidersResponse.ProviderConfig.RequestProperties": """
        1 at_most_retries one int32
        2 initial_back_off_millis one int32
        3 read_timeout_millis one int32
        4 max_back_off_millis one int32
        5 jitter one double
        6 max_input_length one string
        7 task_type_store one string
        8 task_type_read one string
        9 max_batch_size one int32
    """,
    "GetSupportedProvidersResponse.ProviderConfig.ModelConfig": """
        1 name one string
        2 vector_dimension optional int32
        3 parameters many GetSupportedProvidersResponse.ProviderConfig.ParameterConfig
        4 properties map string
        5 service_url_override optional string
        6 apiModelSupport one ApiModelSupport
    """,
    "GetSupportedProvidersResponse.ErrorResponse": _ERROR,
    "ValidateCredentialRequest": """
        1 provider_name one string
        2 tenant_id one string
        3 token one string
        4 credential one string
    """,
    "ValidateCredentialResponse": """
        1 validity one bool
        2 error one ValidateCredentialResponse.Error
    """,
    "ValidateCredentialResponse.Error": _ERROR,
    "ApiModelSupport": """
        1 status one string
        2 message optional string
    """,
    "ModelUsage": """
        1 model_provider one string
        2 model_type one ModelUsage.ModelType
        3 model_name one string
        4 tenant_id one string
        5 input_type one ModelUsage.InputType
        6 prompt_tokens one int32
        7 total_tokens one int32
        8 request_bytes one int32
        9 response_bytes one int32
        10 call_duration_nanos one int64
    """,
    "ProviderRerankingRequest": """
        1 provider_context one ProviderRerankingRequest.ProviderContext
        2 reranking_request one ProviderRerankingRequest.RerankingRequest
    """,
    "ProviderRerankingRequest.ProviderContext": """
        1 provider_name one string
        2 tenant_id one string
        3 auth_tokens map string
    """,
    "ProviderRerankingRequest.RerankingRequest": """
        1 model_name one string
        2 query one string
        3 passages many string
        4 command_name one string
    """,
    "RerankingResponse": """
        1 modelUsage one ModelUsage
        2 ranks many RerankingResponse.Rank
        3 error one RerankingResponse.ErrorResponse
    """,
    "RerankingResponse.Rank": """
        1 index one int32
        2 score one float
    """,
    "RerankingResponse.ErrorResponse": _ERROR,
    "GetSupportedRerankingProvidersRequest": "",
    "GetSupportedRerankingProvidersResponse": """
        1 supportedProviders map GetSupportedRerankingProvidersResponse.ProviderConfig
        2 error one GetSupportedRerankingProvidersResponse.ErrorResponse
    """,
    f"{_RERANKER}": f"""
        1 isDefault one bool
        2 displayName one string
        3 enabled one bool
        4 supported_authentications map {_RERANKER}.AuthenticationConfig
        5 models many {_RERANKER}.ModelConfig
    """,
    f"{_RERANKER}.AuthenticationConfig": f"""
        1 enabled one bool
        2 tokens many {_RERANKER}.AuthenticationConfig.TokenConfig
    """,
    f"{_RERANKER}.AuthenticationConfig.TokenConfig": """
        1 accepted one string
        2 forwarded one string
    """,
    f"{_RERANKER}.ModelConfig": f"""
        1 name one string
        2 apiModelSupport one ApiModelSupport
        3 isDefault one bool
        4 url one string
        5 properties one {_RERANKER}.ModelConfig.RequestProperties
    """,
    f"{_RERANKER}.ModelConfig.RequestProperties": """
        1 at_most_retries one int32
        2 initial_back_off_millis one int32
        3 read_timeout_millis one int32
        4 max_back_off_millis one int32
        5 jitter one double
        6 max_batch_size one int32
    """,
    "GetSupportedRerankingProvidersResponse.ErrorResponse": _ERROR,
}

_PARAMETER = "GetSupportedProvidersResponse.ProviderConfig.ParameterConfig"
ENUMS = {
    "ProviderEmbedRequest.EmbeddingRequest.InputType": ("INDEX", "SEARCH"),
    f"{_PARAMETER}.ParameterType": ("STRING", "NUMBER", "BOOLEAN"),
    f"{_PARAMETER}.ValidationType": ("NUMERIC_RANGE", "OPTIONS"),
    "ModelUsage.InputType": ("INPUT_TYPE_UNSPECIFIED", "INDEX", "SEARCH"),
    "ModelUsage.ModelType": ("MODEL_TYPE_UNSPECIFIED", "EMBEDDING", "RERANKING"),
}


def described() -> FileDescriptorProto:
    """Return the table as a file of descriptors."""
    file = FileDescriptorProto(name="facts.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for path, lines in MESSAGES.items():
        parent, _, name = path.rpartition(".")
        message = made[path] = (made[parent].nested_type if parent else file.message_type).add(name=name)
        for number, field, kind, type_name in (line.split() for line in lines.strip().splitlines()):
            _add_field(message, path, int(number), field, kind, type_name)
        # The oneofs that the compiler makes for `optional` come after those with names.
        for field in message.field:
            if field.proto3_optional:
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
    for path, values in ENUMS.items():
        parent, _, name = path.rpartition(".")
        enum = made[parent].enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for service_name, methods in SERVICES.items():
        service = file.service.add(name=service_name)
        for name, (given, returned) in methods.items():
            service.method.add(name=name, input_type=f".{PACKAGE}.{given}", output_type=f".{PACKAGE}.{returned}")
    return file


def _add_field(message: DescriptorProto, path: str, number: int, name: str, kind: str, type_name: str) -> None:
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind == "map":
        entry = message.nested_type.add(name="".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _set_type(entry.field.add(name="key", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL), "string")
        _set_type(entry.field.add(name="value", number=2, label=FieldDescriptorProto.LABEL_OPTIONAL), type_name)
        field.label, field.type = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{path}.{entry.name}"
        return
    _set_type(field, type_name)
    if kind == "many":
        field.label = FieldDescriptorProto.LABEL_REPEATED
    elif kind == "optional":
        field.proto3_optional = True
    elif kind != "one":
        if kind not in [oneof.name for oneof in message.oneof_decl]:
            message.oneof_decl.add(name=kind)
        field.oneof_index = [oneof.name for oneof in message.oneof_decl].index(kind)


def _set_type(field: FieldDescriptorProto, type_name: str) -> None:
    if type_name in MESSAGES:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{type_name}"
    elif type_name in ENUMS:
        field.type, field.type_name = FieldDescriptorProto.TYPE_ENUM, f".{PACKAGE}.{type_name}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{type_name.upper()}")


def facts(file: FileDescriptorProto) -> set[str]:
    """Return everything that matters on the wire, in JSON or to a compiler of stubs, a line each."""
    said = set()
    for service in file.service:
        for method in service.method:
            streams = (method.client_streaming, method.server_streaming)
            said.add(f"{file.package}.{service.name}.{method.name} {method.input_type} {method.output_type} {streams}")
    for message in file.message_type:
        said |= _message_facts(message, f"{file.package}.{message.name}")
    for enum in file.enum_type:
        said |= {f"{file.package}.{enum.name}.{value.name} = {value.number}" for value in enum.value}
    return said


def _message_facts(message: DescriptorProto, path: str) -> set[str]:
    said = {f"{path} {'entry' if message.options.map_entry else 'message'}"}
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        kind = f"{FieldDescriptorProto.Label.Name(field.label)} {oneof} {field.proto3_optional}"
        type_name = field.type_name or FieldDescriptorProto.Type.Name(field.type)
        said.add(f"{path}.{field.name} = {field.number} {kind} {type_name}")
    for enum in message.enum_type:
        said |= {f"{path}.{enum.name}.{value.name} = {value.number}" for value in enum.value}
    for nested in message.nested_type:
        said |= _message_facts(nested, f"{path}.{nested.name}")
    return said


class Stub:
    """A client of the interface: `messages` are its classes by path, and a method takes a request as keywords."""

    def __init__(self, channel: grpc.Channel) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(described())
        self.messages: dict[str, Any] = {
            path: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{path}")) for path in MESSAGES
        }
        self._methods = {
            name: channel.unary_unary(
                f"/{PACKAGE}.{service}/{name}",
                request_serializer=self.messages[given].SerializeToString,
                response_deserializer=self.messages[returned].FromString,
            )
            for name, (service, given, returned) in METHODS.items()
        }

    def call(self, name: str, timeout: float | None = 30, **request: Any) -> Any:
        """Return the response to a request. Raises `grpc.RpcError`."""
        return self._methods[name](self.messages[METHODS[name][1]](**request), timeout=timeout)
