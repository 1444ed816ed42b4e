"""The embedder in front of a slow provider, beside direct calls and the LiteLLM proxy: `python -m benchmarks.embedder`.

A run starts a provider of its own (`provider`), the contenders (`contenders`) and, for each measurement, a process
that calls one of them in a closed loop (`load`). `cases` says what is called, `report` and `chart` show what came out.
"""
