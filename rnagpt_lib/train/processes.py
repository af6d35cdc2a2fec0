"""A training in as many processes as the computer has cores, one thread each, without being asked.

A small model's operations are too short to be worth two threads each; two processes that share a
step's RNAs take little more than half of the time. They are forks of the process that calls, which
holds model and examples already, and waits; they end with it, whatever ends it.
"""

import ctypes
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing import connection, get_context

import torch
from accelerate.state import AcceleratorState, GradientState
from torch import distributed, nn

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Train

MOST = 300_000_000  # parameters of a model for which threads are too many
OFTEN = 0.5  # seconds after which whoever waits looks again


def count_processes(model: nn.Module, params: Train) -> int:
    """How many processes a training may have: on a CPU as many as torch would use threads, if they
    can share a step's RNAs evenly; one where ``accelerate launch`` has started several already, on
    a GPU, for a large model, and where forks are not safe (macOS) or there are none (Windows)."""
    small = sum(parameter.numel() for parameter in model.parameters()) < MOST
    shared = params.recipe == "packed" and params.parallel == "ddp" and small
    if not shared or sys.platform != "linux" or torch.cuda.is_available() or "RANK" in os.environ:
        return 1
    threads = torch.get_num_threads()
    return max(n for n in range(1, threads + 1) if params.rnas_per_step % n == 0)


def in_processes(number: int, work: Callable[[], object], look: Callable[[], None]) -> None:
    """Let each of ``number`` processes do ``work`` together; ``look`` is called now and then, and
    at the end. Raises what one of them raises, and InputError where one has died."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork, parent = get_context("fork"), os.getpid()
    ends, children = [], []
    try:
        for rank in range(number):
            ours, theirs = fork.Pipe(duplex=False)
            own = (rank, number, port, parent, work, theirs)
            children.append(fork.Process(target=_child, args=own, daemon=True))
            children[-1].start()
            theirs.close()
            ends.append(ours)
        while children:
            connection.wait([*ends, *(child.sentinel for child in children)], timeout=OFTEN)
            look()
            faults = [fault for end in ends if end.poll() and (fault := _received(end))]
            for child in children if faults else ():
                child.join(timeout=OFTEN)  # the death of another may be behind it
            if died := [child.exitcode for child in children if child.exitcode]:
                raise InputError(
                    f"a process of the training ended (exit code {died[0]}), for lack of memory "
                    "perhaps; run it again, or in one process by OMP_NUM_THREADS=1: it goes on "
                    "where it was"
                )
            if faults:
                raise faults[0]
            if all(child.exitcode == 0 for child in children):
                return
    finally:
        for child in children:
            child.kill()
            child.join()
        for end in ends:
            end.close()


def _received(end: connection.Connection) -> Exception | None:
    try:
        return end.recv()
    except EOFError:  # nothing was sent: it has ended, well or by a signal
        return None


def _child(
    rank: int, number: int, port: int, parent: int, work: Callable, end: connection.Connection
) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with its parent
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
    names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    names |= {"GLOO_SOCKET_IFNAME": "lo"}  # a host's own name may lead nowhere
    os.environ.update({name: str(value) for name, value in names.items()})
    AcceleratorState._reset_state(reset_partial_state=True)  # what it has noted about the parent
    GradientState._reset_state()
    torch.set_num_threads(1)
    try:
        work()
    except InputError as error:
        end.send(error)
    except Exception:
        end.send(RuntimeError(traceback.format_exc()))
    else:
        distributed.destroy_process_group()
