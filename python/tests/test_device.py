"""Copies of a GPU's tensors beside training. What needs no GPU to be decided is tested without one; the rest is
skipped where there is none, and names itself so."""
import errno
import subprocess
import sys
import threading
import unittest
from unittest import mock

import support
from holdfast import _device, _state, checkpoint
from test_checkpoint import Process

needs_gpu = unittest.skipUnless(support.torch is not None and support.torch.cuda.is_available(), "there is no GPU")
copied_at_once = _state.copy_into


class Copies:
    """As _device.Copies, over when the test says so."""

    def __init__(self, error=None):
        self._over, self._error = threading.Event(), error

    def end(self):
        self._over.set()

    def wait(self):
        if not self._over.wait(30):
            raise AssertionError("nobody ended the copies")
        if self._error is not None:
            raise self._error


@support.needs_torch
class LandingTest(Process):
    def tearDown(self):
        checkpoint._overlaps = True

    def save(self, step, copies):
        def copy_into(*arguments):
            copied_at_once(*arguments)
            return copies
        with mock.patch.object(_state, "copy_into", copy_into):
            return checkpoint.save(step, state={"x": support.torch.full((4,), step)})

    def restored(self):
        self.attempt(9)
        state = {"x": support.torch.zeros(4, dtype=support.torch.int64)}
        return checkpoint.restore(state=state), state["x"].tolist()

    def test_a_state_counts_when_it_has_arrived(self):
        copies = Copies()
        self.assertTrue(self.save(1, copies))
        self.assertEqual(checkpoint._engine.images(), [])
        self.assertFalse(checkpoint.wait(0.01))
        copies.end()
        self.assertTrue(checkpoint.wait(30))
        self.assertEqual(self.restored(), (1, [1] * 4))

    def test_the_next_save_waits_for_it(self):
        copies = Copies()
        self.assertTrue(self.save(1, copies))
        threading.Timer(0.05, copies.end).start()
        self.assertTrue(self.save(2, None))
        self.assertIn((1, 1, 0, 1), checkpoint._engine.images())
        self.assertEqual(self.restored(), (2, [2] * 4))

    def test_a_state_that_changed_on_its_way_is_not_kept(self):
        copies = Copies(_device.Changed())
        copies.end()
        self.save(1, None)
        checkpoint.wait(30)
        done, text = self.said(lambda: (self.save(2, copies), checkpoint.wait(30)))
        self.assertEqual(done, (True, False))
        self.assertIn("no checkpoint at step 2: a parameter was changed", text)
        self.assertIn("from here on a save waits for its copy", text)
        self.assertEqual((self.seen()["errno"], checkpoint._overlaps), (errno.EAGAIN, False))
        self.assertEqual(checkpoint._engine.images(), [(1, 1, 0, 1)])
        self.assertTrue(self.save(2, None))  # as a program does with its last step
        self.assertIn((1, 2, 0, 1), checkpoint._engine.images())
        self.assertEqual(self.restored(), (2, [2] * 4))

    def test_a_device_that_fails_takes_nothing_else_along(self):
        copies = Copies(RuntimeError("CUDA error: an illegal memory access was encountered"))
        copies.end()
        _, text = self.said(lambda: (self.save(2, copies), checkpoint.wait(30)))
        self.assertIn("no checkpoint at step 2: CUDA error", text)
        self.assertTrue(self.save(3, None))
        self.assertEqual(self.restored(), (3, [3] * 4))


COMPILED = """
import sys, torch, torch._dynamo.testing
from holdfast import _device, _hooks
counted, waited = [], []
_hooks._counter = _hooks.StepCounter(counted.append)
_hooks._hook_optimizers(sys.modules["torch.optim.optimizer"])
assert sys.argv[1] == "counted" or _device.can_overlap()

class Copies:
    def hold_back(self):
        waited.append(self)

model = torch.nn.Linear(8, 8)
optimizer = torch.optim.Adam(model.parameters())
torch._dynamo.config.cache_size_limit = 2
compiler = torch._dynamo.testing.CompileCounter()
step = torch.compile(lambda: optimizer.step(), backend=compiler)
for number in range(12):
    model(torch.ones(1, 8)).sum().backward()
    _device._under_way = Copies() if number % 2 else None
    step()
print(len(counted), len(waited), compiler.frame_count)
"""


@unittest.skipUnless(hasattr(support.torch, "compiler"), "torch 2 is not installed")
class CompiledTest(unittest.TestCase):
    def test_a_compiled_step_is_counted_and_waits_and_is_compiled_once(self):
        for hooks, expected in (("counted", "12 0 1\n"), ("held back", "12 6 1\n")):
            done = subprocess.run([sys.executable, "-c", COMPILED, hooks], stdout=subprocess.PIPE, timeout=120,
                                  stderr=subprocess.PIPE, universal_newlines=True, env=support.clean_env())
            self.assertEqual(done.stdout, expected, done.stderr)
            self.assertNotIn("getframe", done.stderr)
            self.assertNotIn("recompil", done.stderr)


def network(torch, width=256):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.BatchNorm1d(width),
                               torch.nn.Linear(width, width)).cuda()


@needs_gpu
class GpuTest(Process):
    """With the image in memory that the device itself writes to."""

    def tearDown(self):
        checkpoint._overlaps = True

    def step(self, model, optimizer):
        torch = support.torch
        optimizer.zero_grad()
        model(torch.randn(64, model[0].in_features, device="cuda")).square().mean().backward()
        optimizer.step()

    def change(self, model):
        """Past the optimizer."""
        model[2].weight.data[-1, -1] += 1

    def hold_copies(self):
        """The device does something else first: what comes after the save comes before its copy."""
        torch = support.torch
        for stream in _device._streams.values():
            with torch.cuda.stream(stream):
                torch.cuda._sleep(1 << 30)

    def state(self, model, optimizer):
        """A copy on the CPU, by PyTorch alone."""
        values = list(model.state_dict().values())
        for entry in optimizer.state_dict()["state"].values():
            values += entry.values()
        return [value.cpu().clone() for value in values]

    def restored(self, step, width, attempt=2):
        torch = support.torch
        self.attempt(attempt)
        model = network(torch, width)
        optimizer = torch.optim.Adam(model.parameters())
        self.assertEqual(checkpoint.restore(model=model, optimizer=optimizer), step)
        self.assertTrue(all(parameter.is_cuda for parameter in model.parameters()))
        return self.state(model, optimizer)

    def assert_same(self, ours, theirs):
        self.assertEqual(len(ours), len(theirs))
        for a, b in zip(ours, theirs):
            self.assertTrue(support.torch.equal(a, b))

    def run_steps(self, width, steps):
        torch = support.torch
        model = network(torch, width)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for step in range(1, steps + 1):
            self.step(model, optimizer)
            before = self.state(model, optimizer)
            if step == steps:
                self.hold_copies()
            self.assertTrue(checkpoint.save(step, model=model, optimizer=optimizer))
            if step == steps:
                self.assertEqual([image for image in checkpoint._engine.images() if image[1] == step], [])
            self.step(model, optimizer)  # nothing is waited for here
        return before

    def test_training_goes_on_and_the_state_of_the_save_comes_back(self):
        for width in (256, 8192):  # 256 MiB a matrix: it is on its way when the next step is queued
            before = self.run_steps(width, 5)
            self.assertTrue(checkpoint.wait(60))
            self.assertTrue(checkpoint._overlaps)
            self.assert_same(before, self.restored(5, width, width))

    def test_memory_of_another_size_is_locked_anew(self):
        for round_, width in enumerate((512, 1024, 768, 2048, 512, 4096, 256)):
            checkpoint._last_step = None
            before = self.run_steps(width, 6)
            self.assertTrue(checkpoint.wait(60))
            self.assert_same(before, self.restored(6, width, 10 + round_))

    def test_a_change_past_the_optimizer_is_found(self):
        torch = support.torch
        model = network(torch)
        optimizer = torch.optim.Adam(model.parameters())
        self.step(model, optimizer)
        self.change(model)  # the first use of a kernel loads it, which waits for the device
        checkpoint.save(1, model=model, optimizer=optimizer)
        self.assertTrue(checkpoint.wait(60))
        self.step(model, optimizer)
        self.hold_copies()

        def save():
            self.assertTrue(checkpoint.save(2, model=model, optimizer=optimizer))
            self.change(model)
            return checkpoint.wait(60)
        kept, text = self.said(save)
        self.assertEqual((kept, "a parameter was changed" in text), (False, True))
        self.step(model, optimizer)
        before = self.state(model, optimizer)
        self.hold_copies()
        self.assertTrue(checkpoint.save(3, model=model, optimizer=optimizer))
        self.change(model)
        self.assertTrue(checkpoint.wait(60))
        self.assert_same(before, self.restored(3, 256))

    def test_what_may_change_at_any_time_is_not_copied_late(self):
        torch = support.torch
        for mib in (1, 256):  # cloned; waited for
            model = network(torch)
            model.register_buffer("seen", torch.zeros(mib << 18, device="cuda"))
            optimizer = torch.optim.Adam(model.parameters())
            self.step(model, optimizer)
            before = self.state(model, optimizer)
            self.assertTrue(checkpoint.save(mib, model=model, optimizer=optimizer))
            model.seen.fill_(1)
            self.assertTrue(checkpoint.wait(60))
            self.assertTrue(checkpoint._overlaps)
            self.attempt(mib + 1)
            other = network(torch)
            other.register_buffer("seen", torch.ones(mib << 18, device="cuda"))
            others = torch.optim.Adam(other.parameters())
            self.assertEqual(checkpoint.restore(model=other, optimizer=others), mib)
            self.assert_same(before, self.state(other, others))

    def test_tensors_of_each_kind(self):
        torch = support.torch
        x = torch.randn(6, 4, 3, 5, device="cuda")
        state = {"plain": x, "turned": x.transpose(0, 3), "last": x.contiguous(memory_format=torch.channels_last),
                 "half": x.half(), "brain": x.bfloat16()[0, 0, 0, :3], "yes": x > 0, "one": x.sum(),
                 "none": x[:0], "bytes": torch.arange(7, dtype=torch.uint8, device="cuda")[1:],
                 "complex": torch.view_as_complex(x.view(6, 4, 3, 5)[..., :2].contiguous()).conj(),
                 "minus": torch.view_as_complex(x[..., :2].contiguous()).conj().imag}
        expected = {name: value.cpu() for name, value in state.items()}
        self.assertTrue(checkpoint.save(1, state=state))
        self.assertTrue(checkpoint.wait(60))
        self.attempt(2)
        back = {}
        self.assertEqual(checkpoint.restore(state=back), 1)
        for name, value in expected.items():
            self.assertTrue(torch.equal(value, back[name]), name)

    def test_the_generator_of_the_gpu_goes_on(self):
        torch = support.torch
        torch.rand(3, device="cuda")
        checkpoint.save(1, state={"x": torch.ones(1, device="cuda")})
        rolled = torch.rand(3, device="cuda").tolist()
        checkpoint.wait(60)
        self.attempt(2)
        checkpoint.restore(state={})
        self.assertEqual(torch.rand(3, device="cuda").tolist(), rolled)

