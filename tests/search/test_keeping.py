"""Which stored states are needed: two generations to go back to, and the best one."""

from __future__ import annotations

from cerebro_nas.hopper import Shard
from cerebro_nas.hopper import Unit
from cerebro_nas.search._keeping import Keeping
from cerebro_nas.search._keeping import KeepOnly
from cerebro_nas.search._keeping import MarkBest
from cerebro_nas.search._keeping import Remove


def _unit(epoch: int, attempt: int = 0) -> Unit:
    return Unit("t", "train", epoch, Shard("train", 0), attempt)


class Needed:
    """What the scheduler may go back to: the last two."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, trial: str) -> tuple[str, ...]:
        return tuple(self.names[-2:])


def _keeping() -> tuple[Keeping, Needed]:
    needed = Needed()
    return Keeping(needed), needed


def test_the_third_last_is_removed_but_not_the_best() -> None:
    keeping, needed = _keeping()
    changes = []
    for epoch in range(4):
        needed.names.append(f"n{epoch}")
        changes += keeping.stored(_unit(epoch), epoch + 1, f"n{epoch}")
        if epoch == 0:
            changes += keeping.best("t", _unit(0), 1, 0)
    assert changes == [MarkBest("t", "n0", 1, 0), Remove("t", ("n1",))]
    assert keeping.ended("t") == [KeepOnly("t", ("n0",))]


def test_a_best_state_that_comes_late_is_marked_when_it_comes() -> None:
    keeping, needed = _keeping()
    keeping.trained("w0", _unit(0))
    assert keeping.best("t", _unit(0), 1, 0) == []
    assert keeping.ended("t") == []
    assert keeping.pending == ("t",)
    needed.names.append("late")
    assert keeping.stored(_unit(0), 1, "late") == [MarkBest("t", "late", 1, 0), KeepOnly("t", ("late",))]
    assert not keeping.pending


def test_a_best_state_that_died_with_its_worker_leaves_the_one_before() -> None:
    keeping, needed = _keeping()
    needed.names.append("first")
    keeping.stored(_unit(0), 1, "first")
    keeping.best("t", _unit(0), 1, 0)
    keeping.trained("w1", _unit(1))
    keeping.best("t", _unit(1), 2, 1)
    keeping.ended("t")
    assert keeping.lost("w0") == ([], [])
    assert keeping.lost("w1") == ([KeepOnly("t", ("first",))], ["t"])
    assert keeping.everything() == [MarkBest("t", "first", 1, 0), KeepOnly("t", ("first",), sweep=True)]


def test_of_several_best_epochs_under_way_the_one_that_arrives_is_kept() -> None:
    keeping, _ = _keeping()
    for epoch in range(2):
        keeping.trained("w0", _unit(epoch))
        keeping.best("t", _unit(epoch), epoch + 1, epoch)
    assert keeping.stored(_unit(0), 1, "first") == [MarkBest("t", "first", 1, 0)]
    keeping.ended("t")
    assert keeping.pending == ("t",)
    assert keeping.lost("w0") == ([KeepOnly("t", ("first",))], ["t"])


def test_an_epoch_that_is_done_again_replaces_what_came_of_it() -> None:
    keeping, _ = _keeping()
    for epoch in range(3):
        keeping.best("t", _unit(epoch), epoch + 1, epoch)
    keeping.best("t", _unit(1, attempt=1), 2, 1)
    assert keeping.stored(_unit(2), 3, "abandoned") == []
    assert keeping.stored(_unit(1, attempt=1), 2, "again") == [MarkBest("t", "again", 2, 1)]


def test_a_state_of_an_abandoned_attempt_is_never_marked() -> None:
    keeping, _ = _keeping()
    keeping.best("t", _unit(0, attempt=1), 1, 0)
    assert keeping.stored(_unit(0, attempt=0), 1, "zombie") == []
    assert keeping.pending == ("t",)


def test_what_comes_after_the_end_is_removed() -> None:
    keeping, _ = _keeping()
    keeping.stored(_unit(0), 1, "n0")
    keeping.best("t", _unit(0), 1, 0)
    keeping.ended("t")
    assert keeping.stored(_unit(1), 2, "n1") == [KeepOnly("t", ("n0",))]


def test_everything_spares_what_a_live_trial_may_go_back_to() -> None:
    keeping, needed = _keeping()
    needed.names += ["a", "b"]
    keeping.stored(_unit(0), 1, "a")
    keeping.stored(_unit(1), 2, "b")
    assert keeping.everything() == [KeepOnly("t", ("a", "b"), sweep=True)]
