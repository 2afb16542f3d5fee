"""The examples of docs/quotas.md work as they stand."""

from __future__ import annotations

import json
import re
import subprocess

from tests.support.bank import Bank
from tests.support.serving import ROOT, serve


def test_the_examples_of_the_page_do_what_they_say(sqlite_bank: Bank) -> None:
    """Run by a shell against a core, each request succeeds; the list shows the extra desk."""
    [script] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "quotas.md").read_text(), re.DOTALL)
    with serve(sqlite_bank.url) as served:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=served.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    decoder, answers, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        answers.append(answer)
        rest = rest[end:].lstrip()
    assert len(answers) == 7
    listed = answers[5]
    assert [q["limit_units"] for q in listed["quotas"]] == [40, 5]
    [period] = listed["periods"]
    assert (period["limit_units"], period["extra_units"], period["used_units"]) == (52, 12, 0)
    assert [one["temporary_id"] for one in listed["temporaries"]] == ["desk-2-b1"]
