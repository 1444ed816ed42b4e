"""The reference's reranking interface, answered so far that a Data API starts: nothing is reranked yet.

A Data API asks its gateway for reranking providers when it starts, and does not start without exactly one default
provider that has exactly one default model. It gets the one that it defaults to itself, switched off.
"""

from typing import Any

import grpc
from stargate import embedding_gateway_pb2 as pb
from stargate import embedding_gateway_pb2_grpc

from services.embedder.stargate import error_members
from services.runtime.errors import DataApiError

Context = grpc.aio.ServicerContext[Any, Any]
ProviderConfig = pb.GetSupportedRerankingProvidersResponse.ProviderConfig

PROVIDER, MODEL = "nvidia", "nvidia/llama-3.2-nv-rerankqa-1b-v2"


class StargateRerankingServicer(embedding_gateway_pb2_grpc.RerankingServiceServicer):
    """`stargate.RerankingService`: one provider, switched off."""

    async def GetSupportedRerankingProviders(  # noqa: N802
        self, request: pb.GetSupportedRerankingProvidersRequest, context: Context
    ) -> pb.GetSupportedRerankingProvidersResponse:
        """List the provider that the Data API defaults to."""
        model = ProviderConfig.ModelConfig(
            name=MODEL,
            apiModelSupport=pb.ApiModelSupport(status="SUPPORTED"),
            isDefault=True,
            properties=ProviderConfig.ModelConfig.RequestProperties(max_batch_size=1),
        )
        provider = ProviderConfig(
            isDefault=True,
            displayName="Nvidia",
            enabled=False,
            supported_authentications={"NONE": ProviderConfig.AuthenticationConfig(enabled=True)},
            models=[model],
        )
        return pb.GetSupportedRerankingProvidersResponse(supportedProviders={PROVIDER: provider})

    async def Rerank(  # noqa: N802
        self, request: pb.ProviderRerankingRequest, context: Context
    ) -> pb.RerankingResponse:
        """Refuse, in the message as the interface has it."""
        members = error_members(DataApiError("RERANKING_FEATURE_NOT_ENABLED"))
        return pb.RerankingResponse(error=pb.RerankingResponse.ErrorResponse(**members))
