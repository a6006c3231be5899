"""The life of one rank: join torch.distributed, then perform task after task until the parent is gone.

    main thread      task ──> call ──> Result | Raised ──> next task
    listening thread task ──> queue;  WHERE ──> the main thread's stack;  end of file ──> the process ends at once

The listening thread is why a rank that hangs in a collective still says where, and still ends with its parent. This
module knows the parent's channel; it must not know how the process was started. torch is imported inside functions:
the parent refers to them too, and needs no torch.
"""

from __future__ import annotations

import json
import os
import pickle
import runpy
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Mapping
from datetime import timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

from plait.errors import UnusableInput
from plait.launchers.allocator import keep_freed_memory
from plait.launchers.messages import WHERE, Channel, Event, Raised, Result, Task, Whereabouts, decode, encode

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore  # torch.distributed has it too, but does not type it

__all__ = [
    "count_groups",
    "emit",
    "emit_to",
    "host_store",
    "inside_a_rank",
    "join",
    "leave",
    "live",
    "report_of",
    "settle",
]

_parent: Channel | None = None  # set for the life of a rank of a pool, None in every other process
_listener: Callable[[str], None] | None = None  # takes what the rank emits, as JSON
_main: str | None = None  # the parent's script, once it is imported here
_store: TCPStore | None = None  # rank 0 hosts it from before the others know its port


def inside_a_rank() -> bool:
    """Whether this process is a rank of a pool."""
    return _parent is not None


def emit(event: Mapping[str, object]) -> None:
    """Send a JSON-able event to the parent's `on_event`; where nobody listens it is dropped.

    Raises TypeError on what JSON can't carry.
    """
    text = json.dumps(event)
    if _listener is not None:
        _listener(text)


def emit_to(listener: Callable[[str], None]) -> None:
    """Let `listener` take whatever this process emits from now on."""
    global _listener
    _listener = listener


def live(channel: Channel) -> NoReturn:
    """Perform the tasks that arrive, in order, for ever; the process ends when the parent closes its end."""
    global _parent
    _parent = channel
    emit_to(lambda text: channel.send(encode(Event(text=text))))
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, tasks), name="listen to the parent", daemon=True).start()
    while True:
        answer = _perform(tasks.get())
        try:
            channel.send(answer)
        except OSError:
            os._exit(0)  # the parent is gone, or done with us


def _listen(channel: Channel, tasks: SimpleQueue[bytes]) -> None:
    main_thread = threading.main_thread().ident
    try:
        while True:
            for frame in channel.receive():
                if frame == WHERE:
                    stack = traceback.format_stack(sys._current_frames()[main_thread or 0])
                    channel.send(encode(Whereabouts(stack="".join(stack))))
                else:
                    tasks.put(frame)
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, or done with us
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # deaf, a rank must not live on


def _perform(frame: bytes) -> bytes:
    try:
        function, args = _unpack(frame)
        return _answer(function, function(*args))
    except BaseException as error:  # SystemExit too: whatever ends a task is the parent's to know
        unusable = str(error) if isinstance(error, UnusableInput) else None
        return encode(Raised(when=time.monotonic(), report=report_of(error), unusable=unusable))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _unpack(frame: bytes) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    task = decode(frame)
    assert isinstance(task, Task)
    sys.path[:] = task.path
    if os.getcwd() != task.directory:
        os.chdir(task.directory)
    if task.main is not None and b"__main__" in task.call:
        _adopt_main(task.main)
    return pickle.loads(task.call)


def _adopt_main(main: str) -> None:
    """Import the parent's script, under the name that multiprocessing gives it, to find what is defined there."""
    global _main
    if _main == main:
        return
    _main = main
    run = runpy.run_path if os.sep in main else runpy.run_module
    module = types.ModuleType("__mp_main__")
    module.__dict__.update(run(main, run_name="__mp_main__"))
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _answer(function: Callable[..., object], result: object) -> bytes:
    try:
        return encode(Result(value=result))
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"the result of {name} can't be sent to the parent: {error}") from error


def report_of(error: BaseException) -> str:
    """The exception's own words, then its traceback from the task's function on, which need not end in them again."""
    own_frames = error.__traceback__.tb_next if error.__traceback__ else None
    words = "".join(traceback.format_exception_only(error)).strip()
    story = "".join(traceback.format_exception(type(error), error, own_frames)).strip().removesuffix(words).rstrip()
    return f"{words}\n\n{story}" if story else words


def host_store(ranks: int, timeout: float) -> int:
    """On rank 0: open the store through which the ranks meet; return its port, which the listener itself chose."""
    from torch._C._distributed_c10d import TCPStore

    global _store
    _store = TCPStore("127.0.0.1", 0, ranks, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))
    return _store.port


def join(rank: int, ranks: int, port: int, threads: int, backend: str, timeout: float) -> None:
    """Become `rank` of `ranks`: set the threads, meet the others at `port`, and wait `timeout` seconds at most."""
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import TCPStore

    settle(threads)
    loopback = "lo" if sys.platform == "linux" else "lo0"
    if not os.environ.get("GLOO_SOCKET_IFNAME"):
        os.environ["GLOO_SOCKET_IFNAME"] = loopback  # the name of the host may resolve to anything
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), OMP_NUM_THREADS=str(threads))
    if backend != "gloo":
        torch.accelerator.set_device_index(rank)
    limit = timedelta(seconds=timeout)
    store = TCPStore("127.0.0.1", port, ranks, is_master=False, timeout=limit) if _store is None else _store
    dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=limit)


def settle(threads: int) -> None:
    """What every rank's thread does before it computes: `threads` of its own, and no memory given back."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)


def count_groups() -> int:
    """How many process groups this rank holds; 0 once it has left its world."""
    from torch.distributed import distributed_c10d

    return len(distributed_c10d._world.pg_map)


def leave() -> None:
    """Destroy the process groups, so that a backend may give back what it holds outside of the process."""
    import torch.distributed as dist

    dist.destroy_process_group()
