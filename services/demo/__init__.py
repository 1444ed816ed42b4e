"""The demonstration: the solar system, loaded and searched by text. `solar_system.jsonl` is the data set."""
