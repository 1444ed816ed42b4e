"""The embedder's settings: a file, variables over it, and mistakes by name."""

from pathlib import Path

import pytest

from services.embedder.settings import Budget, RateLimit, Settings, load_settings
from services.runtime.errors import ConfigurationError


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings({}) == Settings()


def test_a_file_and_variables_over_it(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(
        "flow: {first_window: 2, last_window: 4}\n"
        "cache: {bytes: 1000, mode: 'off'}\n"
        "limits: [{provider: openai, requests: 60}]\n"
        "budgets: [{provider: openai, period: month, money: 5}]\n"
    )
    settings = load_settings(
        {
            "ORRERY_EMBEDDER_CONFIG": str(tmp_path / "e.yaml"),
            "ORRERY_EMBEDDER_CACHE_MODE": "on",
            "ORRERY_EMBEDDER_CACHE_SHARED": "true",
            "ORRERY_EMBEDDER_REQUESTS_READ_SECONDS": "2.5",
        }
    )

    assert (settings.flow.first_window, settings.flow.last_window) == (2, 4)
    assert (settings.cache.bytes, settings.cache.mode, settings.cache.shared) == (1000, "on", True)
    assert settings.requests.read_seconds == 2.5
    assert settings.limits == (RateLimit("openai", requests=60),)
    assert settings.budgets == (Budget("openai", "month", money=5.0),)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("flow: {frist_window: 2}", "frist_window"),
        ("flow: {first_window: 0}", "first_window"),
        ("budgets: [{provider: openai, period: year, tokens: 1}]", "year"),
        ("budgets: [{provider: openai, period: day}]", "either"),
        ("- 1", "sections"),
        ("{", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "e.yaml").write_text(text)

    with pytest.raises(ConfigurationError, match=named) as caught:
        load_settings({"ORRERY_EMBEDDER_CONFIG": str(tmp_path / "e.yaml")})
    assert "e.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ORRERY_EMBEDDER_CACHE_MODE", "maybe"), ("ORRERY_EMBEDDER_REQUESTS_ATTEMPTS", "many")],
)
def test_a_mistake_in_a_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} is '{value}'"):
        load_settings({variable: value})


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml"):
        load_settings({"ORRERY_EMBEDDER_CONFIG": "nowhere.yaml"})


@pytest.mark.parametrize("section", ["requests", "flow", "breaker", "cache"])
def test_every_setting_is_documented_with_its_default(section: str) -> None:
    lines = (Path(__file__).parents[3] / "docs" / "embedder.md").read_text().splitlines()
    defaults = getattr(Settings(), section)
    for name in defaults.__struct_fields__:
        value = getattr(defaults, name)
        shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
        shown = shown.removesuffix(".0")
        assert any(line.startswith(f"| `{section}.{name}` | {shown} | ") for line in lines), name
