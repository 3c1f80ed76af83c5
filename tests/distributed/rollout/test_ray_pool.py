"""The rollout pool loses nothing, keeps order, and names what goes wrong."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ray

from distributed.rollout import ray_pool
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.pool import RolloutError
from distributed.rollout.ray_pool import RayPool
from distributed.rollout.types import PromptState, RolloutRequest, Rollouts
from tests.distributed.tiny_workers import DrawingWorker, StuckWorker

STATE = PromptState(version=5, prompts=np.zeros((3, 2, 4), dtype=np.float32))
SHARED = {"weights": np.ones(1000)}


def requests(n: int, **deeds: int) -> list[RolloutRequest]:
    """Requests 0..n-1; ``r3=HANG`` gives request 3 that seed."""
    return [RolloutRequest(index, deeds.get(f"r{index}", 100 + index), ((index % 3, 2),)) for index in range(n)]


def make_pool(n_workers: int = 2, *, kwargs: dict | None = None, **options: float) -> RayPool:
    """A pool of tiny workers, whose Ray actors take next to no CPU so that several tests can share two cores."""
    return RayPool(DrawingWorker, kwargs or {}, SHARED, n_workers=n_workers, cpus_per_worker=0.5, **options)  # type: ignore[arg-type]


def assert_answers(answers: list[Rollouts], asked: list[RolloutRequest]) -> None:
    """One answer a request, in order, with the tokens that its seed draws."""
    assert [answer.request_id for answer in answers] == [request.id for request in asked]
    for answer, request in zip(answers, asked, strict=True):
        expected = np.random.default_rng(abs(request.seed)).integers(0, 100, (request.size, 4))
        np.testing.assert_array_equal(answer.ids, expected)
        assert answer.version == STATE.version


def test_local_and_one_and_two_workers_give_the_same_rollouts(local_ray: None) -> None:
    asked = requests(7)
    assert_answers(LocalPool(DrawingWorker, {}, SHARED).run(asked, STATE), asked)
    for n_workers in (1, 2):
        with make_pool(n_workers) as pool:
            assert_answers(pool.run(asked, STATE), asked)
            assert pool.counters == {"losses": 0, "errors": 0, "replacements": 0}


def test_weights_are_shared_read_only_and_every_worker_works_in_its_threads(local_ray: None) -> None:
    with make_pool(2, kwargs={"seconds": 0.1}, threads=3) as pool:
        pool.wait_ready()
        programs = {answer.programs[0] for answer in pool.run(requests(6), STATE)}
        assert programs == {f"pid {pid} writeable False 3" for pid in pool.pids}


def when_it_hangs(mark: Path, deed: Callable[[int], object]) -> threading.Thread:
    """Does something to the process that hangs at a request, once it does, however long that takes."""

    def wait() -> None:
        while not mark.exists():
            time.sleep(0.02)
        deed(int(mark.read_text()))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_killed_workers_lose_no_request(local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = requests(12, r5=DrawingWorker.HANG)
    killed: list[int] = []
    with make_pool(2, kwargs={"deeds": str(tmp_path)}) as pool, caplog.at_level(logging.WARNING, "terraprompt"):
        pool.wait_ready()
        when_it_hangs(tmp_path / "5", lambda pid: killed.append(pid) or os.kill(pid, signal.SIGKILL))
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.losses >= 1 and pool.replacements == 1 and pool.errors == 0
        assert re.search(rf"worker \d \(pid {killed[0]}\) died and is replaced; requests taken back: ", caplog.text)
        pool.wait_ready()
        assert killed[0] not in pool.pids


@pytest.mark.parametrize("pause", [0.0, 2.5])
def test_worker_killed_while_idle_loses_no_request(local_ray: None, pause: float) -> None:
    asked = requests(4)
    with make_pool(1) as pool:
        pool.wait_ready()
        doomed = pool.pids[0]
        assert doomed is not None
        os.kill(doomed, signal.SIGKILL)
        time.sleep(pause)  # Ray may or may not have replaced it when the requests come
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.replacements == 1 and pool.errors == 0 and doomed not in pool.pids


def test_worker_killed_for_good_is_started_anew(local_ray: None, tmp_path: Path) -> None:
    asked = requests(8, r3=DrawingWorker.HANG)
    with make_pool(1, kwargs={"deeds": str(tmp_path)}) as pool:
        pool.wait_ready()
        actor = pool._handles[0].actor
        when_it_hangs(tmp_path / "3", lambda _: ray.kill(actor))
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.replacements == 1


def test_hung_worker_is_killed_at_its_deadline_and_replaced(
    local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests(6, r1=DrawingWorker.HANG)
    with make_pool(2, kwargs={"deeds": str(tmp_path)}, deadline_s=5.0) as pool:
        pool.wait_ready()
        assert_answers(pool.run(asked, STATE), asked)  # and not after the ten minutes that it hangs
        assert pool.losses >= 1 and pool.replacements == 1
        assert "overran its deadline of 5 s" in caplog.text


def test_waiting_behind_others_is_not_charged_to_the_deadline(local_ray: None) -> None:
    asked = requests(6)
    with make_pool(1, kwargs={"seconds": 1.0}, deadline_s=5.0, in_flight=6) as pool:
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.losses == 0


def test_request_that_raises_is_tried_again(local_ray: None, tmp_path: Path) -> None:
    asked = requests(5, r2=DrawingWorker.RAISE)
    with make_pool(2, kwargs={"deeds": str(tmp_path)}) as pool:
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.errors == 1 and pool.losses == 0 and pool.replacements == 0


def test_request_that_always_raises_is_named_in_one_line_and_the_pool_lives_on(local_ray: None) -> None:
    with make_pool(2, max_attempts=2) as pool:
        with pytest.raises(RolloutError) as caught:
            pool.run(requests(5, r3=DrawingWorker.RAISE), STATE)
        message = str(caught.value)
        assert message.startswith("request 3 (seed -1, terrains 0x2) failed 2 times; last: worker ")
        assert "KeyError: 'no such token" in message and "\n" not in message
        assert_answers(pool.run(requests(4), STATE), requests(4))


def test_a_world_that_cannot_go_on_is_one_line_and_asked_once(local_ray: None, tmp_path: Path) -> None:
    with RayPool(StuckWorker, {"deeds": str(tmp_path)}, SHARED, n_workers=1, cpus_per_worker=0.5, in_flight=1) as pool:
        with pytest.raises(RolloutError, match="^my_world.py:World: no answer from its server$"):
            pool.run(requests(3), STATE)
        assert pool.counters == {"losses": 0, "errors": 0, "replacements": 0}
        assert len(list(tmp_path.glob("asked-*"))) == 1


def test_request_that_kills_its_workers_ends_in_an_error_not_in_a_loop(local_ray: None) -> None:
    with make_pool(2, max_attempts=2) as pool:
        with pytest.raises(RolloutError, match=r"request 0 \(seed -3.*failed 2 times; last: worker \d died"):
            pool.run(requests(3, r0=DrawingWorker.EXIT), STATE)


def test_tickets_are_collected_in_any_order_and_results_are_shown_once(local_ray: None) -> None:
    first, second = requests(3), [RolloutRequest(index, 50 + index, ((0, 1),)) for index in range(3)]
    with make_pool(2) as pool:
        tickets = pool.submit(first, STATE), pool.submit(second, STATE)
        seen: list[int] = []
        assert_answers(pool.collect(tickets[1], lambda result: seen.append(result.request_id)), second)
        assert sorted(seen) == [0, 1, 2]
        seen.clear()
        assert_answers(pool.collect(tickets[0], lambda result: seen.append(result.request_id)), first)
        assert sorted(seen) == [0, 1, 2]


def test_workers_that_do_not_fit_are_an_error_that_says_what_was_asked(local_ray: None) -> None:
    pool = RayPool(DrawingWorker, {}, SHARED, n_workers=2, cpus_per_worker=64, start_deadline_s=1.0)
    with pytest.raises(
        RolloutError, match=r"0 of 2 rollout workers started within 1 s: each asks for 64 CPU; .* of 2 CPU"
    ):
        pool.run(requests(2), STATE)


def test_workers_that_do_not_come_up_are_a_warning_while_another_works_and_may_come_later(
    local_ray: None, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests(8)
    holder = RayPool(DrawingWorker, {}, SHARED, n_workers=1)
    holder.wait_ready()
    with RayPool(DrawingWorker, {"seconds": 0.2}, SHARED, n_workers=2) as pool:  # room for one
        assert_answers(pool.run(asked, STATE), asked)
        pool._start_deadline_s = 0.5
        assert_answers(pool.run(asked, STATE), asked)
        assert_answers(pool.run(asked, STATE), asked)
        [said] = [record.getMessage() for record in caplog.records if "rollout workers" in record.getMessage()]
        assert said.startswith("1 of 2 rollout workers started within 0.5 s: each asks for 1 CPU")
        assert said.endswith("the run goes on with those, and the rest may still come")
        holder.close()
        pool._start_deadline_s = 100.0
        pool.wait_ready()
        programs = {answer.programs[0].split()[1] for answer in pool.run(asked, STATE)}
        assert programs == {str(pid) for pid in pool.pids} and len(programs) == 2
        assert pool.counters == {"losses": 0, "errors": 0, "replacements": 0}


def test_worker_that_cannot_start_is_a_warning_while_another_works(
    local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests(6)
    with make_pool(2, kwargs={"seconds": 0.2, "deeds": str(tmp_path), "alone": True}) as pool:
        while "cannot start" not in caplog.text:
            assert_answers(pool.run(asked, STATE), asked)
        assert_answers(pool.run(asked, STATE), asked)
        assert pool.counters == {"losses": 0, "errors": 0, "replacements": 0}
    assert re.search(r"worker \d cannot start: ValueError: there is one already; the others go on", caplog.text)


def test_worker_whose_constructor_raises_is_an_error_with_its_message(local_ray: None) -> None:
    with pytest.raises(RolloutError, match=r"worker \d cannot start: ValueError: no model at /nowhere"):
        make_pool(2, kwargs={"broken": "no model at /nowhere"}).run(requests(2), STATE)


def test_closing_ends_the_workers(local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "CLOSING_S", 60.0)
    pool = make_pool(2, kwargs={"deeds": str(tmp_path)})
    pool.wait_ready()
    pids = [pid for pid in pool.pids if pid is not None]
    pool.close()
    pool.close()
    assert {path.name for path in tmp_path.iterdir()} == {f"closed-{pid}" for pid in pids}
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(RolloutError, match="closed"):
        pool.run(requests(1), STATE)


def test_local_pool_names_the_request_that_raises() -> None:
    with LocalPool(DrawingWorker, {}, SHARED) as pool:
        with pytest.raises(RolloutError, match=r"request 1 \(seed -1, terrains 1x2\) failed: KeyError"):
            pool.run(requests(2, r1=DrawingWorker.RAISE), STATE)


def test_ids_that_are_not_unique_are_refused() -> None:
    with pytest.raises(ValueError, match="ids that differ"):
        LocalPool(DrawingWorker, {}, SHARED).run(requests(1) * 2, STATE)
