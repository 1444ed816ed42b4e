"""findRerankingProviders: refused, as where the reference has the feature off."""

from tests.contract.api import Api, error_code


def test_reranking_is_not_offered(api: Api) -> None:
    assert error_code(api.at_database("findRerankingProviders")) == "RERANKING_FEATURE_NOT_ENABLED"
    unknown = api.at_database("findRerankingProviders", options={"filterModelStatus": "x"})
    assert error_code(unknown) == "COMMAND_FIELD_VALUE_INVALID"
