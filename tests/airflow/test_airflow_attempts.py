"""Wrong passwords close a login; how many logins are remembered has a limit."""

from __future__ import annotations

import pytest

from subsidy.portal import login

pytestmark = pytest.mark.airflow


def test_five_wrong_passwords_close_a_login_until_the_right_one() -> None:
    attempts = login.Attempts()
    for _ in range(login.TRIES):
        assert not attempts.closed("甲")
        attempts.failed("甲")
    assert attempts.closed("甲") and not attempts.closed("乙")
    attempts.succeeded("甲")
    assert not attempts.closed("甲")


def test_invented_logins_push_out_the_one_that_failed_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "LOGINS", 100)
    attempts = login.Attempts()
    attempts.failed("乙")
    for _ in range(login.TRIES):
        attempts.failed("甲")
    for number in range(99):
        attempts.failed(f"没有这人{number}")
    assert attempts.closed("甲") and len(attempts._wrong) == 100 and "乙" not in attempts._wrong
    attempts.failed("又一个")
    assert not attempts.closed("甲") and len(attempts._wrong) == 100
