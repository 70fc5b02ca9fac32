"""A training state as a checkpoint keeps it: the bytes of its tensors, and a skeleton, which is a pickle
of all the rest with a number in the place of each tensor.

Reading one runs no code of whoever wrote it: only the types in _ALLOWED come out of a skeleton, and
what is not among them is refused when it is saved, not when it is needed.
"""
import functools
import io
import pickle
import sys

from . import _device
from ._engine import Refused

_ALLOWED = {
    "builtins": {"complex", "set", "frozenset", "bytearray", "range", "slice"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "argparse": {"Namespace"},
    "types": {"SimpleNamespace"},
    "torch": {"Size", "device"},
    "numpy": {"ndarray", "dtype"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "_codecs": {"encode"},
}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int64", "int32",
           "int16", "int8", "uint8", "bool")


def _is_allowed(module, name):
    return name in _ALLOWED.get(module, ()) or (module == "torch" and name in _DTYPES)


class _Writer(pickle.Pickler):
    def __init__(self, file):
        super().__init__(file, protocol=4)
        self.tensors, self._numbers = [], {}
        self._tensor = sys.modules["torch"].Tensor

    def persistent_id(self, thing):
        if not isinstance(thing, self._tensor):
            return None
        number = self._numbers.get(id(thing))
        if number is None:
            number = self._numbers[id(thing)] = len(self.tensors)
            self.tensors.append(thing)
        return number

    def reducer_override(self, thing):
        """Called for each object that is no plain value or container."""
        is_name = isinstance(thing, type) or callable(thing) and hasattr(thing, "__qualname__")
        named = thing if is_name else type(thing)
        module, name = named.__module__, named.__qualname__
        # float64 and the like: by way of `scalar`. Since numpy 1.25 each dtype has a class of its own.
        numpy_value = module in ("numpy", "numpy.dtypes") and not is_name
        if not _is_allowed(module, name) and not numpy_value and not _is_torch_value(thing):
            raise TypeError(
                "a checkpoint cannot hold %s.%s; put numbers, text, containers, tensors or numpy arrays "
                "there, or give an object with state_dict() by name" % (module, name))
        return NotImplemented


def _is_torch_value(thing):
    torch = sys.modules["torch"]
    return isinstance(thing, (torch.dtype, torch.device, torch.Size))


class _Reader(pickle.Unpickler):
    def __init__(self, file, tensors):
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, number):
        if not isinstance(number, int) or not 0 <= number < len(self._tensors):
            raise Refused("the skeleton names tensor %r, which is not there" % (number,))
        return self._tensors[number]

    def find_class(self, module, name):
        if not _is_allowed(module, name):
            raise Refused("the checkpoint names %s.%s, which no checkpoint of Holdfast holds" %
                          (module, name))
        return super().find_class(module, name)


def _named(state, most=sys.maxsize):
    """{id: (dotted path, tensor)} of at most so many. `state` is {"objects": {...}, ...}; paths leave that first
    key out for "objects"."""
    found = {}
    for part, things in state.items():
        _paths(things, [] if part == "objects" else [part], found, most)
    return found


def _paths(thing, path, found, most):
    """Of what is in a container. It is called for each save: what holds no tensor any more, as the 625 numbers
    of a random generator, is passed over at once."""
    if len(found) >= most:
        return
    tensor = sys.modules["torch"].Tensor
    for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
        if isinstance(value, tensor):
            found.setdefault(id(value), (".".join(path + [str(key)]), value))
        elif isinstance(value, (dict, list, tuple)):
            _paths(value, path + [str(key)], found, most)


def take_apart(state):
    """(skeleton, tensors, descriptions) of a nested state; tensors are named as _named() does."""
    file = io.BytesIO()
    writer = _Writer(file)
    writer.dump(state)
    names, used, descriptions = _named(state, len(writer.tensors)), set(), []
    for number, tensor in enumerate(writer.tensors):
        name = names[id(tensor)][0] if id(tensor) in names else "tensor-%d" % number
        while name in used:
            name += "'"
        used.add(name)
        descriptions.append(_describe(name, tensor))
    return file.getvalue(), writer.tensors, descriptions


@functools.lru_cache(None)
def _name_of(dtype):
    return str(dtype)[len("torch."):]


def _describe(name, tensor):
    torch = sys.modules["torch"]
    if _name_of(tensor.dtype) not in _DTYPES or tensor.layout != torch.strided or tensor.is_quantized:
        raise TypeError("%s is a %s tensor of %s; a checkpoint holds dense ones of %s" %
                        (name, str(tensor.layout)[len("torch."):], _name_of(tensor.dtype), ", ".join(_DTYPES)))
    return _description(name, tensor.dtype, tensor.shape, tensor.element_size())


@functools.lru_cache(1 << 16)
def _description(name, dtype, shape, element):
    """The same object for the same tensor at the next save: it is compared with what it was."""
    return {"name": name, "dtype": _name_of(dtype), "shape": list(shape), "bytes": shape.numel() * element}


def copy_into(image, tensors, descriptions, threads, owned=None):
    """The one copy of the state that a save costs. None: it is over. With `owned`, what only optimizers change,
    it may go on beside training on a GPU: gives the _device.Copies to wait for, with the image untouched
    meanwhile."""
    held, pointers, places, lengths, on_device = [], [], [], [], []
    for tensor, description, place in zip(tensors, descriptions, image.places):
        if description["bytes"] == 0:
            continue
        if tensor.is_cuda:
            on_device.append((tensor.resolve_conj().resolve_neg(), place))
            continue
        if not tensor.is_cpu or not tensor.is_contiguous() or tensor.is_conj() or tensor.is_neg():
            tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            held.append(tensor)
        pointers.append(tensor.data_ptr())
        places.append(place)
        lengths.append(description["bytes"])
    copies = None
    if on_device:  # begun first: the devices copy by themselves
        is_locked = image.lock_pages()
        copies = _device.Copies(image, on_device, (is_locked and owned) or ())
    # A thread is worth it for some megabytes.
    try:
        image.fill(pointers, places, lengths, min(threads, 1 + (sum(lengths) >> 22)))
    except BaseException:
        if copies is not None:
            copies.wait()
        raise
    if copies is not None and not (is_locked and owned):
        copies.wait()
        copies = None
    return copies


def read_shard(shard, threads, targets, with_own):
    """The state in a shard: in the memory of `targets`, {name: tensor}, where they are as it was saved,
    else in new tensors. Without with_own the tensors of per_rank are left empty. Damaged: targets are
    written in part, each of them whole or up to a block that was verified."""
    torch = sys.modules["torch"]
    tensors, wanted = [], []
    for description in shard.tensors():
        name, dtype = description["name"], getattr(torch, description["dtype"])
        if not _is_wanted(description, with_own):
            tensors.append(torch.empty(0, dtype=dtype))
            continue
        there = targets.get(name)
        if there is None or there.dtype != dtype or list(there.shape) != description["shape"]:
            there = torch.empty(description["shape"], dtype=dtype)
        tensors.append(there)
        if description["bytes"]:
            wanted.append((description["at"], there.data_ptr(), description["bytes"]))
    shard.read([w[0] for w in wanted], [w[1] for w in wanted], [w[2] for w in wanted], threads)
    return put_together(shard.skeleton(), tensors)


def make_useless(targets):
    """Not a number, or the greatest: what is trained or looked up with it fails at once."""
    torch = sys.modules["torch"]
    with torch.no_grad():
        for tensor in targets.values():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.fill_(float("nan"))
            else:
                tensor.fill_(True if tensor.dtype == torch.bool else torch.iinfo(tensor.dtype).max)


def verify_shard(shard, threads, with_own):
    """What read_shard() would read."""
    wanted = [(d["at"], d["bytes"]) for d in shard.tensors() if d["bytes"] and _is_wanted(d, with_own)]
    if wanted:
        shard.read([at for at, _ in wanted], None, [length for _, length in wanted], threads)


def _is_wanted(description, with_own):
    return with_own or not description["name"].startswith("per_rank.")


def targets_in(state):
    """{name: tensor} of a state as take_apart() names them: those that bytes can be read into."""
    torch = sys.modules["torch"]
    seen, found = set(), {}
    for name, tensor in _named(state).values():
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if plain and tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())  # what shares memory with it comes in a tensor of its own
            found[name] = tensor
    return found


def put_together(skeleton, tensors):
    """What take_apart() took apart."""
    return _Reader(io.BytesIO(skeleton), tensors).load()
