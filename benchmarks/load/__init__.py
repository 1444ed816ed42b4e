"""Load tests: Embed, search and insert by RPC with ghz, and commands by HTTP, by more and more callers.

`make load` installs ghz and runs them; docs/testing.md tells what they are and how to aim them at a deployment.
"""
