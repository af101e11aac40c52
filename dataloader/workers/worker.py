"""The loop of a worker process: take a task, write its samples into the slot, say so."""

import os
import pickle
import traceback
from time import perf_counter_ns

import cv2

from cellwright.dataloader.workers.messages import MAX_PACKET, TASK, NoSubstitute
from cellwright.dataloader.workers.ring_buffer import RingBuffer
from cellwright.dataloader.workers.spans import WRITE, SpanRing

MOST_TOLD = 200  # a packet holds 64 KiB


def work(spec, ring_fd, sock, index):
    """Serves tasks until the loader closes its end.

    A reply is the task's own bytes, followed by the pickled ([(sample, reason)], traceback) where there is
    something to tell.
    """
    cv2.setNumThreads(0)
    cv2.setLogLevel(0)  # what it says of damaged files is told in the quarantine
    if spec.cores:
        os.sched_setaffinity(0, {spec.cores[index % len(spec.cores)]})
    ring = RingBuffer.attach(ring_fd, spec.layout)
    row = ring.workers[index]
    writer = spec.sample_writer()
    if ring.spans is not None:
        writer.spans = SpanRing(ring.spans[index])
    while True:
        try:
            packet = sock.recv(TASK.size)
        except ConnectionResetError:
            return
        if not packet:
            return
        generation, epoch, slot, first, end, _ = TASK.unpack(packet)
        reply = packet
        if generation == ring.generation[0]:  # else the loader has turned to something else meanwhile
            try:
                part = slice(first, end)
                bad = writer.write(
                    epoch,
                    ring.ids[slot, part],
                    ring.images[slot, part],
                    ring.labels[slot, part],
                    ring.weights[slot, part],
                    row,
                    [array[slot, part] for array in ring.fields],
                )
                if bad:
                    reply += pickle.dumps((bad[:MOST_TOLD], ""))
            except NoSubstitute as error:
                reply += pickle.dumps((error.found[:MOST_TOLD], str(error)))
            except Exception:
                reply = packet + pickle.dumps(([], traceback.format_exc()[-MAX_PACKET // 4 :]))
        began = perf_counter_ns() if writer.spans is not None else 0
        try:
            sock.send(reply)
        except (BrokenPipeError, ConnectionResetError):
            return
        if began:
            writer.spans.add(WRITE, began, perf_counter_ns(), -1)
