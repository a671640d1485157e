"""Where the pieces of a search run: in this process, in local processes, or on the workers of a Dask cluster.

A crew has `submit(work, *arguments)`, which gives a `concurrent.futures.Future`, and `close`. `work` is a function of a
module and its arguments are plain data, since both travel; what it makes it leaves in the journal, a folder that all
workers reach. Every piece runs on one thread wherever it runs, so that the bits of what it makes do not depend on
where.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from flow.errors import FlowError
from flow.sim.kernel import end_tools

Made = TypeVar("Made")
RETRIES = 3
"""How often a piece of work is given to another worker after its own has died."""
CONNECT_SECONDS = 10
DIED = (
    "flow select: found a worker that died {0} times at one piece of work; expected it to live; it was probably killed "
    "for memory: take fewer --jobs, or a machine with more"
)
NO_DASK = (
    "--scheduler: found no package `distributed`; expected it for a Dask cluster; install it with "
    "`pip install 'flow-hls[dask]'`, or leave the option out"
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Crew(Protocol):
    """Who does the work."""

    @property
    def size(self) -> int:
        """Pieces of work that run at a time."""

    def submit(self, work: Callable[..., Made], *arguments: Any) -> Future[Made]:
        """Have `work(*arguments)` done."""

    def close(self) -> None:
        """End at once; work that is not done is dropped."""


class Alone:
    """This process: a piece of work is done when it is given."""

    size = 1

    def submit(self, work: Callable[..., Made], *arguments: Any) -> Future[Made]:
        """The future, done."""
        future: Future[Made] = Future()
        try:
            future.set_result(single_threaded(work, *arguments))
        except Exception as error:  # the caller gets it where he asks for the result
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is left running."""


class Processes:
    """Local processes. What a process that died had at work is given to others, `RETRIES` times.

    A worker ends when this process closes the crew or dies, whatever it is at, and with it the tools that it runs.
    """

    def __init__(self, jobs: int) -> None:
        self.size = jobs
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._leash: Connection | None = None
        self._closed = False

    def submit(self, work: Callable[..., Made], *arguments: Any) -> Future[Made]:
        """The future; processes start with the first."""
        future: Future[Made] = Future()
        self._give(future, 0, work, arguments)
        return future

    def close(self) -> None:
        """End all workers, and drop what waits."""
        with self._lock:
            self._closed = True
            self._drop()

    def _give(
        self, future: Future[Made], deaths: int, work: Callable[..., Made], arguments: tuple[Any, ...]
    ) -> None:
        pool = None
        try:
            with self._lock:
                if self._closed:
                    future.cancel()
                    return
                pool = self._pool or self._start()
                inner = pool.submit(single_threaded, work, *arguments)
        except BrokenProcessPool as error:
            # Between a worker's death and the news of it, the pool refuses work that never ran.
            self._again(pool, future, deaths, work, arguments, error)
            return

        def done(inner: Future[Made]) -> None:
            if inner.cancelled():
                future.cancel()
                return
            error = inner.exception()
            if isinstance(error, BrokenProcessPool):
                self._again(pool, future, deaths, work, arguments, error)
            elif error is not None:
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, inner.result())

        inner.add_done_callback(done)

    def _again(
        self,
        pool: ProcessPoolExecutor | None,
        future: Future[Made],
        deaths: int,
        work: Callable[..., Made],
        arguments: tuple[Any, ...],
        error: BrokenProcessPool,
    ) -> None:
        with self._lock:
            if self._closed:
                future.cancel()
                return
            if self._pool is pool:
                self._drop()
        if deaths >= RETRIES:
            failure = FlowError(DIED.format(deaths + 1))
            failure.__cause__ = error
            _settle(future.set_exception, failure)
        else:
            self._give(future, deaths + 1, work, arguments)

    def _start(self) -> ProcessPoolExecutor:
        held, self._leash = self._context.Pipe(duplex=False)
        with _single_threaded_children():
            self._pool = ProcessPoolExecutor(
                self.size, mp_context=self._context, initializer=_on_leash, initargs=(held,)
            )
            # Processes start with the first work, and take the environment of that moment.
            self._pool.submit(int).result()
        return self._pool

    def _drop(self) -> None:
        if self._leash is not None:
            self._leash.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._leash = None


class Dask:
    """The workers of a Dask cluster that is there already. Its scheduler gives the work of a dead worker to others.

    Raises:
        FlowError: the package is missing, or nothing answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError as error:
            raise FlowError(NO_DASK) from error
        try:
            self._client: Any = distributed.Client(  # type: ignore[no-untyped-call]
                address, timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError, TypeError) as error:
            raise FlowError(
                f"--scheduler {address}: found no Dask scheduler that answers within {CONNECT_SECONDS} s; expected one "
                "at an address such as tcp://host:8786; start it with `dask scheduler`, and workers with `dask worker "
                "ADDRESS --nthreads 1`"
            ) from error
        self._executor = self._client.get_executor(pure=False, retries=RETRIES)  # type: ignore[no-untyped-call]

    @property
    def size(self) -> int:
        """Threads of all workers that are there now, one at least."""
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def submit(self, work: Callable[..., Made], *arguments: Any) -> Future[Made]:
        """The future."""
        future: Future[Made] = self._executor.submit(single_threaded, work, *arguments)
        return future

    def close(self) -> None:
        """Cancel what waits and part from the cluster, which goes on."""
        self._executor.shutdown(wait=False)
        self._client.close()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def crew_of(jobs: int, scheduler: str | None) -> Crew:
    """Dask where a scheduler is named, else so many processes; one is this process itself.

    Raises:
        FlowError: no such scheduler, or fewer than one job.
    """
    if scheduler is not None:
        return Dask(scheduler)
    if jobs < 1:
        raise FlowError(f"--jobs: found {jobs}; expected at least 1")
    return Alone() if jobs == 1 else Processes(jobs)


def single_threaded(work: Callable[..., Made], *arguments: Any) -> Made:
    """`work(*arguments)` with torch and the linear algebra behind numpy on one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return work(*arguments)
    finally:
        torch.set_num_threads(before)


def _settle(what: Callable[[Any], None], value: Any) -> None:
    # A future that its owner has cancelled takes no result.
    with contextlib.suppress(InvalidStateError):
        what(value)


def _on_leash(held: Connection) -> None:
    """Let this worker die when the other end of the pipe is closed, by `close` or by the death of its parent."""
    # Ctrl-C reaches the whole group; the parent decides what it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            held.recv_bytes()
        end_tools()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Libraries that read their number of threads when they are loaded find 1 in new processes."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
