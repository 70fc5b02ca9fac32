"""The checkpoint engine: libholdfast_checkpoint.so, through ctypes. Its contract is in
src/engine/checkpoint/holdfast_checkpoint.h; this file adds Python's exceptions and no behaviour.

The library stands beside this file in what an agent hands its ranks; HOLDFAST_CHECKPOINT_LIBRARY names
another one. Calls that take long let other threads of Python run.
"""
import ctypes
import errno
import json
import os
import sys

ABI = 3
MEMORY, FOLDER = 0, 1
_FENCED, _DAMAGED, _REFUSED, _DISK_FULL, _BUSY, _NOT_FOUND, _GONE = 2, 3, 4, 5, 7, 8, 9
_U64 = ctypes.c_uint64
_library = None


class Fenced(OSError):
    """A newer attempt of this job has taken over."""


class Refused(Exception):
    """Not ours to read or to replace; the text names file, field, value and remedy."""


class Damaged(Exception):
    """It does not verify; an older one may."""


def error_of(code, text):
    """The exception for what a function of the library gave. It travels between ranks."""
    if code == _FENCED:
        return Fenced(errno.ESTALE, text)
    if code == _DAMAGED:
        return Damaged(text)
    if code in (_REFUSED, 1):
        return Refused(text)
    number = {_DISK_FULL: errno.ENOSPC, _BUSY: errno.EBUSY, _NOT_FOUND: errno.ENOENT,
              _GONE: errno.ENOTCONN}.get(code, errno.EIO)
    return OSError(number, text)


def _load():
    global _library
    if _library is not None:
        return _library
    path = os.environ.get("HOLDFAST_CHECKPOINT_LIBRARY") or os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "libholdfast_checkpoint.so")
    try:
        library = ctypes.CDLL(path)
        found = library.hf_ckpt_abi()
    except (OSError, AttributeError) as error:
        raise Refused("the checkpoint engine cannot be loaded (%s); build it with ./dev build and name it "
                      "in HOLDFAST_CHECKPOINT_LIBRARY" % error)
    if found != ABI:
        raise Refused("%s has ABI %d and this package wants %d; take both from one release" %
                      (path, found, ABI))
    library.hf_ckpt_error.restype = ctypes.c_char_p
    for name in ("close", "free", "drop", "cancel", "mirror", "shard_close"):
        getattr(library, "hf_ckpt_" + name).restype = None
    _library = library
    return library


def _check(code):
    if code:
        raise error_of(code, _library.hf_ckpt_error().decode("utf-8", "replace"))


def _text(function, *arguments):
    text = ctypes.c_char_p()
    _check(function(*arguments, ctypes.byref(text)))
    value = text.value
    _library.hf_ckpt_free(text)
    return value


def _u64s(values):
    return (_U64 * len(values))(*values)


def _pointers(values):
    return (ctypes.c_void_p * len(values))(*values)


class Engine:
    """One rank's. Usable by several threads."""

    def __init__(self, folder, job, attempt, retention, server=None, memory_key=None):
        """retention: (the newest that stay, one of each so many steps or 0, bytes for all or 0)."""
        self._lib, self._handle = _load(), ctypes.c_void_p()
        _check(self._lib.hf_ckpt_open(
            os.fsencode(folder), job.encode() if job else None, _U64(attempt),
            *map(_U64, retention),
            os.fsencode(server) if server else None, (memory_key or "").encode(),
            ctypes.byref(self._handle)))
        self.folder, self.attempt, self.outlives_us = folder, attempt, bool(server)
        self._described = None, b""  # tensors, as JSON: mostly those of the save before

    def begin(self):
        _check(self._lib.hf_ckpt_begin(self._handle))

    def chain(self):
        """[(attempt, step)] of the folder's valid commits, newest first."""
        return [tuple(pair) for pair in json.loads(_text(self._lib.hf_ckpt_chain, self._handle))]

    def manifest(self, attempt, step):
        """As text: parse it where its fields are wanted."""
        return _text(self._lib.hf_ckpt_manifest, self._handle, _U64(attempt), _U64(step))

    def images(self):
        """[(attempt, step, rank, world_size)] in this node's memory."""
        return [tuple(i) for i in json.loads(_text(self._lib.hf_ckpt_images, self._handle))]

    def address(self):
        """Where other nodes' snapshot servers reach this node's; "": they do not."""
        return _text(self._lib.hf_ckpt_address, self._handle).decode()

    def fetch(self, address, attempt, step, rank, world):
        _check(self._lib.hf_ckpt_fetch(self._handle, address.encode(), _U64(attempt), _U64(step), rank,
                                       world))

    def mirror(self, address, step, rank, world):
        """Behind training, once that node has it: a replica for when it is lost."""
        self._lib.hf_ckpt_mirror(self._handle, address.encode(), _U64(step), rank, world)

    def take(self, step, rank, world, tensors, skeleton):
        places, memory, image = (_U64 * len(tensors))(), ctypes.c_void_p(), ctypes.c_void_p()
        if self._described[0] != tensors:
            self._described = tensors, json.dumps(tensors).encode()
        _check(self._lib.hf_ckpt_take(
            self._handle, _U64(step), rank, world, self._described[1], skeleton,
            _U64(len(skeleton)), places, ctypes.byref(memory), ctypes.byref(image)))
        return Image(self._lib, image, memory.value, list(places))

    def persist(self, step, rank, world, save, threads):
        """Blocks until all ranks have committed, or one has given up."""
        _check(self._lib.hf_ckpt_persist(self._handle, _U64(step), rank, world, save.encode(), threads))

    def refuse(self, step, rank, world, save, reason):
        """In the place of persist(): this rank has nothing to write."""
        _check(self._lib.hf_ckpt_refuse(self._handle, _U64(step), rank, world, save.encode(),
                                        reason.encode("utf-8", "replace")))

    def cancel(self, step):
        self._lib.hf_ckpt_cancel(self._handle, _U64(step))

    def shard(self, tier, attempt, step, rank, world, manifest=None):
        found = ctypes.c_void_p()
        _check(self._lib.hf_ckpt_shard_open(self._handle, tier, _U64(attempt), _U64(step), rank, world,
                                            manifest, ctypes.byref(found)))
        return Shard(self._lib, found)


class Image:
    """Room for the state of one rank: fill it, then publish() or drop()."""
    _told = False

    def __init__(self, library, handle, address, places):
        self._lib, self._handle, self.address, self.places = library, handle, address, places

    def fill(self, pointers, places, lengths, threads):
        _check(self._lib.hf_ckpt_fill(self._handle, _U64(len(pointers)), _pointers(pointers),
                                      _u64s(places), _u64s(lengths), threads))

    def lock_pages(self):
        """For the GPU of this thread's context, as long as the memory is there. False: it copies slowly."""
        code = self._lib.hf_ckpt_lock_pages(self._handle)
        if code and not Image._told:
            Image._told = True
            sys.stderr.write("holdfast: memory cannot be locked for the GPU, whose copies are slow then: %s\n" %
                             self._lib.hf_ckpt_error().decode("utf-8", "replace"))
        return code == 0

    def publish(self, will_persist):
        _check(self._lib.hf_ckpt_publish(self._handle, int(will_persist)))

    def drop(self):
        self._lib.hf_ckpt_drop(self._handle)


class Shard:
    def __init__(self, library, handle):
        self._lib, self._handle = library, handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._lib.hf_ckpt_shard_close(self._handle)

    def tensors(self):
        return json.loads(_text(self._lib.hf_ckpt_shard_index, self._handle))["tensors"]

    def skeleton(self):
        at, count = ctypes.c_void_p(), _U64()
        _check(self._lib.hf_ckpt_shard_skeleton(self._handle, ctypes.byref(at), ctypes.byref(count)))
        return ctypes.string_at(at, count.value)

    def read(self, places, pointers, lengths, threads):
        """Fills the memory at `pointers`, verified. None: only verifies these pieces."""
        _check(self._lib.hf_ckpt_shard_read(self._handle, _U64(len(places)), _u64s(places),
                                            None if pointers is None else _pointers(pointers),
                                            _u64s(lengths), threads))
