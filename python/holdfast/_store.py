"""Checkpoints of one job in a folder: names, commits, lineage, removal. Plain files, no torch, no ranks.

    DIR/attempt-0003/lineage.json                 where attempt 3 began
    DIR/attempt-0003/step-00000120/rank-0000.pt   one per rank
    DIR/attempt-0003/step-00000120/manifest.json  written last: the checkpoint exists when this does

Lineage is the fence. An attempt writes its lineage once, at its start: the newest commit that it found,
`{"base": {"attempt": 2, "step": 100} | null}`. The job's valid commits are the chain: those of the
newest attempt, then its base and what came before that. Whatever an older attempt, frozen and come
back, commits after its successor took a base is on no chain, and it refuses to commit at all once it
sees the successor's lineage.

All functions raise OSError for the disk, Fenced for a superseded attempt, Refused for files that must
not be touched or read by this program.
"""
import errno
import hashlib
import json
import os
import re
import time

FORMAT, VERSION = "holdfast-checkpoint", 1
_BLOCK = 1 << 20


class Fenced(OSError):
    """A newer attempt of this job has taken over."""

    def __init__(self, attempt, newest):
        super().__init__(errno.ESTALE, "fenced: attempt %d of this job has begun and this is attempt "
                         "%d; only the newest attempt may go on" % (newest, attempt))
        self._attempts = attempt, newest

    def __reduce__(self):  # it travels between ranks
        return Fenced, self._attempts


class Refused(Exception):
    """Not ours to read or to replace; the text names file, field, value and remedy."""


class Damaged(Exception):
    """A commit that does not verify; an older one may."""


# Files.

def sync_folder(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_durably(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class HashingFile:
    """A file for torch.save that hashes what passes; keeps the OSError that torch turns into its own."""

    def __init__(self, file):
        self._file, self._hash = file, hashlib.blake2b(digest_size=16)
        self.bytes, self.error = 0, None

    def write(self, data):
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._hash.update(data)
        self.bytes += memoryview(data).nbytes
        return memoryview(data).nbytes

    def flush(self):
        self._file.flush()

    @property
    def checksum(self):
        return "blake2b-128:" + self._hash.hexdigest()


def write_file(folder, name, write):
    """Write one rank's file by write(file), durably; its manifest entry. Removes it if that fails."""
    path = os.path.join(folder, name)
    try:
        with open(path, "wb") as raw:
            file = HashingFile(raw)
            try:
                write(file)
            except Exception:
                if file.error is not None:
                    raise file.error
                raise
            raw.flush()
            os.fsync(raw.fileno())
    except BaseException:
        _remove_file(path)
        raise
    return {"name": name, "bytes": file.bytes, "checksum": file.checksum}


def verify_file(folder, entry):
    """Raises Damaged unless the file is the one that the manifest's entry describes."""
    path, digest, size = os.path.join(folder, entry["name"]), hashlib.blake2b(digest_size=16), 0
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise Damaged("%s: %s" % (path, error.strerror))
    if size != entry["bytes"]:
        raise Damaged("%s: has %d bytes, its manifest says %d" % (path, size, entry["bytes"]))
    checksum = "blake2b-128:" + digest.hexdigest()
    if checksum != entry["checksum"]:
        raise Damaged("%s: checksum is %s, its manifest says %s" % (path, checksum, entry["checksum"]))


def _remove_file(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def _numbered(folder, prefix):
    """{number: path} of the sub-folders called prefix-NUMBER."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = (re.fullmatch(prefix + r"-(\d+)", name) for name in names)
    return {int(m.group(1)): os.path.join(folder, m.group(0)) for m in found if m}


# One job's folder.

class Store:
    def __init__(self, root, job=None, attempt=1, keep=3):
        """keep: how many commits of the chain to leave; at least 2, see collect()."""
        self.root, self.job, self.attempt, self.keep = root, job, attempt, max(2, keep)
        self.last_step = None  # restored or committed last, by the process that this store is of
        self._begun, self._taken = False, None  # _taken: the base, once chosen, as a list of one

    def _attempt_path(self, attempt):
        return os.path.join(self.root, "attempt-%04d" % attempt)

    def step_path(self, attempt, step):
        return os.path.join(self._attempt_path(attempt), "step-%08d" % step)

    def _manifest_path(self, attempt, step):
        return os.path.join(self.step_path(attempt, step), "manifest.json")

    # Lineage.

    def _lineage_path(self, attempt):
        return os.path.join(self._attempt_path(attempt), "lineage.json")

    def _newest_attempt(self):
        begun = [a for a in _numbered(self.root, "attempt") if os.path.exists(self._lineage_path(a))]
        return max(begun, default=0)

    def check_fence(self):
        newest = self._newest_attempt()
        if newest > self.attempt:
            raise Fenced(self.attempt, newest)

    def begin(self):
        """Take a base and write it down, once per attempt. Idempotent; when it could not be written, the
        next call tries again with the same base."""
        self.check_fence()
        folder, path = self._attempt_path(self.attempt), self._lineage_path(self.attempt)
        if self._begun and not os.path.exists(path):
            self._begun = False  # a person has removed the folder: without lineage nothing counts
        if self._begun:
            return
        if not os.path.exists(path):
            if self._taken is None or not all(base is None or os.path.exists(self._manifest_path(*base))
                                              for base in self._taken):
                newest = self._newest_attempt()
                self._taken = [next(iter(self.chain(newest)), None) if newest else None]
            base = self._taken[0]
            os.makedirs(folder, exist_ok=True)
            text = json.dumps({"base": base and {"attempt": base[0], "step": base[1]}})
            draft = "%s.%d" % (path, os.getpid())
            try:
                _write_durably(draft, text.encode())
                os.link(draft, path)  # unlike a rename, never replaces what another wrote
            except FileExistsError:
                pass
            finally:
                _remove_file(draft)
            sync_folder(folder)
            sync_folder(self.root)
        self._begun = True

    def chain(self, attempt=None):
        """[(attempt, step)] of the valid commits, newest first."""
        attempt = attempt or self._newest_attempt()
        found, until = [], None
        while attempt:
            steps = [s for s in _numbered(self._attempt_path(attempt), "step")
                     if (until is None or s <= until)
                     and os.path.exists(self._manifest_path(attempt, s))]
            found += [(attempt, s) for s in sorted(steps, reverse=True)]
            attempt, until = self._base(attempt)
        return found

    def _base(self, attempt):
        path = self._lineage_path(attempt)
        try:
            with open(path, encoding="utf-8") as file:
                base = json.load(file)["base"]
            if base is None:
                return 0, None
            if not 0 < base["attempt"] < attempt:
                raise ValueError("base.attempt is %r" % base["attempt"])
            return base["attempt"], int(base["step"])
        except FileNotFoundError:
            return 0, None  # collected: nothing before it was kept
        except (ValueError, KeyError, TypeError) as error:
            raise Refused("%s is not a lineage (%s); move the folder away to start anew" % (path, error))

    # Commits.

    def prepare(self, step):
        """The folder for this attempt's files of `step`, empty of any earlier commit."""
        self.begin()
        folder = self.step_path(self.attempt, step)
        _remove_file(self._manifest_path(self.attempt, step))
        os.makedirs(folder, exist_ok=True)
        return folder

    def commit(self, step, entries, world_size):
        """Make the files of `step`, already durable, a checkpoint."""
        folder = self.step_path(self.attempt, step)
        sync_folder(folder)
        sync_folder(self._attempt_path(self.attempt))
        self.check_fence()
        manifest = {"format": FORMAT, "version": VERSION, "job": self.job, "attempt": self.attempt,
                    "step": step, "world_size": world_size, "created": time.time(), "files": entries}
        path = self._manifest_path(self.attempt, step)
        _write_durably(path + ".tmp", json.dumps(manifest, indent=1).encode())
        os.replace(path + ".tmp", path)
        sync_folder(folder)

    def manifest(self, attempt, step):
        """A commit's manifest. Damaged: broken, an older commit may do; Refused: not for us to judge."""
        path = self._manifest_path(attempt, step)
        try:
            with open(path, encoding="utf-8") as file:
                manifest = json.load(file)
            if not isinstance(manifest, dict):
                raise ValueError("it is no object")
        except (OSError, ValueError) as error:
            raise Damaged("%s: cannot be read: %s" % (path, error))

        def require(field, good, remedy):
            value = manifest.get(field)
            if not good(value):
                raise Refused("%s: %s is %r; %s" % (path, field, value, remedy))

        require("format", lambda v: v == FORMAT,
                "not written by Holdfast; use another checkpoint folder")
        require("version", lambda v: v == VERSION,
                "this Holdfast reads version %d; use the release that wrote it" % VERSION)
        require("job", lambda v: None in (v, self.job) or v == self.job,
                "this job is %r; give it another checkpoint folder or that name" % self.job)
        for field, right in (("attempt", attempt), ("step", step)):
            require(field, lambda v: v == right, "it was moved; put the folder back in its place")
        try:
            entries = {e["name"]: (e["bytes"] + 0, e["checksum"] + "") for e in manifest["files"]}
            if len(entries) != manifest["world_size"] or any("/" in name for name in entries):
                raise ValueError("files do not match world_size %r" % manifest["world_size"])
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged("%s: files is not a list of name, bytes, checksum (%s)" % (path, error))
        return manifest

    # Removal.

    def discard(self, attempt, step):
        """Remove a commit or what is left of one; the manifest first, so that it is never half there."""
        folder = self.step_path(attempt, step)
        try:
            names = sorted(os.listdir(folder), key=lambda name: name != "manifest.json")
            for name in names:
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
        except OSError:
            pass  # what stays behind is no checkpoint, or one to collect next time

    def collect(self):
        """Remove all but the newest `keep` commits of the chain, and what dead attempts left.

        An attempt that is being superseded right now can get at most one commit in after its
        successor took a base, because it looks at the fence before each: with keep >= 2 it cannot
        remove that base.
        """
        self.check_fence()
        kept = set(self.chain()[:self.keep])
        for attempt, folder in _numbered(self.root, "attempt").items():
            if attempt > self.attempt:
                continue
            for step in _numbered(folder, "step"):
                if (attempt, step) not in kept:
                    self.discard(attempt, step)
            if attempt < self.attempt and attempt not in {a for a, _ in kept}:
                try:
                    for name in os.listdir(folder):
                        os.unlink(os.path.join(folder, name))
                    os.rmdir(folder)
                except OSError:
                    pass
