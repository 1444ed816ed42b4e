"""Orrery's store beside pgvector, Chroma and FAISS: `python -m benchmarks.store`.

A run makes the data (`dataset`, `corpus`, `synthetic`), starts the servers (`servers`) and processes that ask them in a
closed loop (`load`, `clients`). `phase` says what is measured in which order, `cases` what one measurement is told and
gives back, `answers` which answers are right. `report`, `targets` and `chart` show what came out.
"""
