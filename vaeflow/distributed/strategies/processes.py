"""Messages between the processes of a job, between steps, over the strategy's all-reduce.

Bytes are sent as integers; a process without a message adds zeros. So a strategy only needs an all-reduce.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.errors import ElsewhereError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.distributed.strategies.base import Strategy

Json = TypeVar("Json")  # a value that JSON supports
WORD = 8  # bytes of an int64
TEXT = 256  # bytes of a gathered text
SMALL, LARGE = 64, 2**17  # words per message: with fixed shapes only two functions are traced


class Processes:
    """The processes that share a run. All make the same calls in the same order.

    Args:
        strategy: runs their replicas.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.rank, self.count = strategy.rank, strategy.processes
        self.chief = self.rank == 0
        self._compiled = graph(self._all_reduce, reduce_retracing=False)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            self._sum(np.zeros(1, np.int64))

    def add(self, *numbers: int) -> list[int]:
        """Return the sum of each number over the processes."""
        own = np.array(numbers, np.int64)
        return [int(total) for total in (self._sum(own) if self.count > 1 else own)]

    def gather(self, text: str) -> list[str]:
        """Return the text of each process, on every process; texts are truncated to 256 bytes."""
        slots = np.zeros((self.count, TEXT), np.uint8)
        own = np.frombuffer(text.encode()[:TEXT], np.uint8)
        slots[self.rank, : len(own)] = own
        words = slots.reshape(-1).view(np.int64)
        total = self._sum(words) if self.count > 1 else words
        return [
            bytes(slot).rstrip(b"\0").decode(errors="replace") for slot in total.view(np.uint8).reshape(slots.shape)
        ]

    def texts(self, text: str) -> list[str]:
        """Return the text of each process, of any length, on every process; fast if all are equal."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        if self.gather(digest) == [digest] * self.count:
            return [text] * self.count
        return [self.broadcast(text.encode(), root=rank).decode() for rank in range(self.count)]

    def broadcast(self, payload: bytes, *, root: int = 0) -> bytes:
        """Return one process's payload on every process; the payloads of the others are ignored."""
        if self.count == 1:
            return payload
        own = payload if self.rank == root else b""
        length = int(self._sum(np.array([len(own)], np.int64))[0])
        words = np.zeros(-(-length // WORD), np.int64)
        if self.rank == root:
            words.view(np.uint8)[:length] = np.frombuffer(own, np.uint8)
        return self._sum(words).tobytes()[:length]

    def share(self, payload: Callable[[], bytes], receive: Callable[[bytes], None]) -> None:
        """Send the chief's bytes to all processes; do nothing if there is only one.

        Args:
            payload: returns the chief's bytes.
            receive: called with them on every process.
        """
        if self.count > 1:
            receive(self.broadcast(payload() if self.chief else b""))

    def on_chief(self, action: Callable[[], Json]) -> Json:
        """Call a function on rank 0 only; return its value on every process.

        Args:
            action: returns a value that JSON supports: None, a bool, a number, a text, a list or a dict of these. Its
                errors are raised on the chief.

        Raises:
            ElsewhereError: on the others, if the action raised on the chief.
        """
        if self.count == 1:
            return action()
        answer: dict[str, Any] = {}
        try:
            if self.chief:
                answer = {"value": action()}
        except BaseException as error:
            code = error.exit_code if isinstance(error, VaeflowError) else 1
            self.broadcast(json.dumps({"error": str(error), "code": code}).encode())
            raise
        answer = json.loads(self.broadcast(json.dumps(answer).encode()))
        if "error" in answer:
            raise ElsewhereError(f"rank 0: {answer['error']}", int(answer["code"]))
        value: Json = answer["value"]
        return value

    def _sum(self, words: np.ndarray) -> np.ndarray:
        """Return the sum of int64 words over the processes."""
        size = SMALL if len(words) <= SMALL else LARGE
        padded = np.zeros(-(-len(words) // size) * size, np.int64)
        padded[: len(words)] = words
        sums = [self._compiled(tf.constant(block)).numpy() for block in padded.reshape((-1, size))]
        return np.concatenate(sums)[: len(words)] if sums else words

    def _all_reduce(self, words: tf.Tensor) -> tf.Tensor:
        strategy = self._strategy
        first = self.rank * (strategy.replicas // self.count)  # only one replica per process sends

        def in_step(words: tf.Tensor) -> tf.Tensor:
            speaks = tf.cast(tf.equal(strategy.replica(), first), tf.int64)
            return strategy.all_reduce_sum([words * speaks])[0]

        return strategy.local(strategy.run(in_step, words))
