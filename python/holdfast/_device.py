"""Tensors of GPUs on their way into an image, beside training.

The image's memory is locked for the devices, and each device copies its tensors into it on a stream of its own,
after the work that was queued when the save began. What only an optimizer changes, its parameters and its
state, is copied while the next forward and backward read it: the optimizer's next step waits for the copy, on
the device, by a hook of PyTorch 2. What else there is, as the statistics of a batch norm, is cloned first; the
save waits for it where that would take much of the device's memory.

A program may change a parameter past its optimizer's step: by hand through .data, or in a CUDA graph. So
what is copied so late is summed before and after: sums that differ refuse the image.
"""
import ctypes
import errno
import sys

_CLONED = 64 << 20  # bytes of a device's memory, at most, for a moment
_hooked = False
_under_way = None   # the copies that an optimizer's next step waits for


class Changed(OSError):
    def __init__(self):
        super().__init__(errno.EAGAIN, "a parameter was changed other than by its optimizer's step() while "
                                       "it was copied")


def can_overlap():
    """Whether steps of optimizers can be made to wait: PyTorch 2."""
    global _hooked
    if not _hooked:
        module = sys.modules.get("torch.optim.optimizer")
        register = getattr(module, "register_optimizer_step_pre_hook", None)
        if register is None:
            return False
        compiler = getattr(sys.modules["torch"], "compiler", None)  # which would compile a step anew for each save
        register(getattr(compiler, "disable", lambda hook: hook)(_before_step))
        _hooked = True
    return True


def _before_step(optimizer, args, kwargs):
    copies = _under_way
    if copies is not None:
        copies.hold_back()


def owned_by_optimizers(things):
    """The addresses of what only a step of these optimizers changes: parameters, and their state."""
    torch = sys.modules["torch"]
    owned = set()
    for optimizer in things:
        if not isinstance(optimizer, torch.optim.Optimizer):
            continue
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.is_cuda:
                    owned.add(parameter.data_ptr())
                    owned.update(value.data_ptr() for value in optimizer.state.get(parameter, {}).values()
                                 if isinstance(value, torch.Tensor) and value.is_cuda)
    return owned


class Copies:
    """Of one save: begun here, over when wait() returns; until then the image stays. pieces: [(tensor, place in
    the image)]; owned: see owned_by_optimizers(). wait() may be called on another thread."""

    def __init__(self, image, pieces, owned):
        global _under_way
        by_device = {}
        for tensor, place in pieces:
            by_device.setdefault(tensor.device, []).append((tensor.detach(), place))
        self._devices = []
        try:
            for device, here in by_device.items():
                self._devices.append(_OnDevice(device))
                self._devices[-1].begin(image.address, here, owned)
            for here in self._devices:
                here.settle()
        except BaseException:
            for here in self._devices:
                here.stream.synchronize()
            raise
        _under_way = self

    def hold_back(self):
        """What is queued from here on comes after the copies."""
        for here in self._devices:
            here.hold_back()

    def wait(self):
        """Changed: the image is not to be used."""
        global _under_way
        unchanged = [here.wait() for here in self._devices]
        if _under_way is self:
            _under_way = None
        if not all(unchanged):
            raise Changed()


_streams = {}  # by device, for copies


class _OnDevice:
    def __init__(self, device):
        torch = sys.modules["torch"]
        if device not in _streams:
            _streams[device] = torch.cuda.Stream(device)
        self._device, self.stream = device, _streams[device]
        self._kept, self._sums, self._settled, self._over = [], None, None, None

    def begin(self, address, pieces, owned):
        torch = sys.modules["torch"]
        late = [piece for piece in pieces if _is_steady(piece[0], owned)]
        early = [piece for piece in pieces if not _is_steady(piece[0], owned)]
        with torch.cuda.device(self._device):
            steady = [tensor for tensor, _ in late]
            cloned = _clones(torch, early)
            if cloned is not None:
                late, early = late + cloned, []
            self._kept = [tensor for tensor, _ in late]  # until they are copied
            before = _sums_of(torch, steady)
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                if early:
                    _copy(torch, address, early)
                    self._settled = self.stream.record_event()
                _copy(torch, address, late)
                self._sums = before, _sums_of(torch, steady)
                self._over = self.stream.record_event()

    def settle(self):
        """What the program may change at any time is copied."""
        if self._settled is not None:
            self._settled.synchronize()

    def hold_back(self):
        torch = sys.modules["torch"]
        with torch.cuda.device(self._device):
            if not torch.cuda.is_current_stream_capturing():  # a graph would wait for it at each replay
                torch.cuda.current_stream().wait_event(self._over)

    def wait(self):
        """Whether what is copied is what there was."""
        torch = sys.modules["torch"]
        self._over.synchronize()
        self._kept = []
        before, after = self._sums
        if before is None:
            return True
        with torch.cuda.stream(self.stream):
            return torch.equal(before, after)


def _clones(torch, pieces):
    """None: they are too large."""
    if sum(_bytes(tensor) for tensor, _ in pieces) > _CLONED:
        return None
    try:
        return [(tensor.clone(memory_format=torch.contiguous_format), place) for tensor, place in pieces]
    except torch.cuda.OutOfMemoryError:
        return None


def _is_steady(tensor, owned):
    """Changed by its optimizer only, and easily summed."""
    return tensor.data_ptr() in owned and tensor.is_contiguous() and not tensor.is_complex() and \
        _is_whole(tensor, 4)


def _bytes(tensor):
    return tensor.numel() * tensor.element_size()


def _sums_of(torch, tensors):
    """Each tensor's bytes, as whole numbers. A value that changes changes the sum, and many that do cancel out by
    a rare chance alone."""
    if not tensors:
        return None
    sums = torch.empty(len(tensors), dtype=torch.int64, device=tensors[0].device)
    for tensor, total in zip(tensors, sums.unbind()):
        word = torch.int64 if _is_whole(tensor, 8) else torch.int32
        torch.sum(tensor.view(-1).view(word), dim=0, dtype=torch.int64, out=total)
    return sums


def _is_whole(tensor, word):
    """Whether it can be seen as words of so many bytes."""
    return _bytes(tensor) % word == 0 == tensor.storage_offset() * tensor.element_size() % word


def _copy(torch, address, pieces):
    """On the current stream."""
    for tensor, place in pieces:
        memory = (ctypes.c_char * _bytes(tensor)).from_address(address + place)
        torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)
