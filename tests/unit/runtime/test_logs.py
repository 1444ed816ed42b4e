"""Every line is a JSON object: the services' own, and what libraries log."""

import json
import subprocess
import sys

PROGRAM = """
import logging
import structlog
from services.runtime.logs import configure_logs
from services.runtime.request_context import REQUEST_ID
configure_logs("store", "info")
REQUEST_ID.set("mine")
structlog.get_logger("own").info("said", documents=3)
def fails(secret):
    raise ValueError("no")
try:
    fails("sk-" + "9" * 5)
except ValueError:
    structlog.get_logger("own").exception("failed")
    logging.getLogger("library").exception("went %s", "wrong")
logging.getLogger("library").info("not told")
"""


def test_all_lines_are_json_with_service_and_request() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert [line["event"] for line in lines] == ["said", "failed", "went wrong"]
    assert [line["level"] for line in lines] == ["info", "error", "error"]
    assert all((line["service"], line["request_id"]) == ("store", "mine") for line in lines)
    assert lines[2]["logger"] == "library"
    assert "sk-99999" not in done.stderr, "locals of frames are not shown"
