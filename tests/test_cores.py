"""How many cores there are to compute with."""

from streamlstm.system.process import n_cores


def test_a_container_may_use_as_many_cores_as_its_quota_says(tmp_path):
    quota = tmp_path / "cpu.max"
    n_unlimited = n_cores(quota)
    assert n_unlimited >= 1
    for text, n in (("max 100000\n", n_unlimited), ("150000 100000\n", 1), ("50000 100000\n", 1)):
        quota.write_text(text)
        assert n_cores(quota) == n
