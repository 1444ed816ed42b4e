"""For users' tests: a pytest plugin that runs Orrery and gives each test a database of its own (docs/testing.md).

A package of its own that imports nothing of the services: pytest loads it in every project of whoever has Orrery
installed, and some have a folder `services`.
"""
