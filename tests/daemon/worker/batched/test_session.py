"""What a decoder's session is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.worker.backends.batched.session import open_session
from tests.daemon.worker.batched.opened import described


@pytest.mark.parametrize("is_spinning", [True, False])
def test_threads_that_wait_without_giving_up_their_cores_do_so_within_a_call_only(
    tiny_model: Path, is_spinning: bool
) -> None:
    options = open_session(
        described(tiny_model), {}, threads=2, is_spinning=is_spinning, library=None
    ).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(is_spinning))
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
