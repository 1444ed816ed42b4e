"""Work beside the calls goes on whatever happens."""

import asyncio

from services.embedder.upkeep import every


def test_a_failure_does_not_end_the_work() -> None:
    done: list[int] = []

    async def run() -> None:
        loop, third = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            done.append(len(done))
            if len(done) == 1:
                raise RuntimeError("once")
            if len(done) == 3:
                loop.call_soon_threadsafe(third.set)

        task = asyncio.create_task(every(0.001, work))
        await asyncio.wait_for(third.wait(), 10)
        task.cancel()

    asyncio.run(run())
    assert done[:3] == [0, 1, 2]
