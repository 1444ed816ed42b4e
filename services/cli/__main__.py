"""`python -m services.cli`: how the supervisor starts a service."""

from services.cli.main import main

main()
