"""The part of `./dev bench checkpoint` that needs a GPU and PyTorch 2: what a save costs training there.

A stack of square matrices and its Adam, together of so many MiB. In each round, one after the other, with
nothing else queued on the GPU: one copy of all of it into page-locked memory by PyTorch, a save (which
copies beside training), a save that has to wait for its copy, a restore from the node's memory, torch.save
with fsync, and PyTorch's async_save. Then training steps: without saves, with a save after each, and with
async_save after each.
"""
import os
import time

WIDTH = 4096  # of a matrix: 64 MiB
TOKENS = 65536  # of a training step
STEPS = 12    # of training, a row; a sixth of them with async_save


class Gpu:
    def __init__(self, folder, mib, *_):
        import torch
        import torch.distributed.checkpoint as dcp
        from holdfast import checkpoint
        self.torch, self.dcp, self.checkpoint, self.folder, self.step = torch, dcp, checkpoint, folder, 0
        self.model, self.optimizer = self.network(mib)
        self.x = torch.randn(TOKENS, WIDTH, device="cuda")
        self.train(2)
        state = list(self.model.state_dict().values())
        for entry in self.optimizer.state_dict()["state"].values():
            state += [value for value in entry.values() if value.is_cuda]
        self.state = {str(number): tensor for number, tensor in enumerate(state)}  # changed in place
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in state)
        self.locked = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in state]

    def network(self, mib):
        torch = self.torch
        torch.manual_seed(0)
        layers = []
        for _ in range(max(1, mib // (3 * WIDTH * WIDTH >> 18))):
            layers += [torch.nn.Linear(WIDTH, WIDTH, bias=False), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers).cuda()
        return model, torch.optim.Adam(model.parameters())

    def seconds(self, action):
        self.torch.cuda.synchronize()
        began = time.monotonic()
        action()
        return time.monotonic() - began

    def train(self, steps, after=lambda: None):
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            with self.torch.autocast("cuda", dtype=self.torch.bfloat16):
                loss = self.model(self.x).float().square().mean()
            loss.backward()
            self.optimizer.step()
            after()
        self.torch.cuda.synchronize()

    def memcpy(self):
        for ours, tensor in zip(self.locked, self.state.values()):
            ours.copy_(tensor, non_blocking=True)
        self.torch.cuda.synchronize()

    def save(self):
        self.step += 1
        if not self.checkpoint.save(self.step, model=self.model, optimizer=self.optimizer):
            raise SystemExit("the save failed")

    def saves(self):
        """(until training goes on, until the state is in memory)"""
        self.torch.cuda.synchronize()
        began = time.monotonic()
        self.save()
        saved = time.monotonic()
        self.checkpoint._behind.landed()
        return saved - began, time.monotonic() - began

    def save_that_waits(self):
        self.checkpoint._overlaps = False
        self.save()
        self.checkpoint._overlaps = True

    def torch_save(self):
        with open(os.path.join(self.folder, "torch.pt"), "wb") as file:
            self.torch.save(self.state, file)
            file.flush()
            os.fsync(file.fileno())

    def async_save(self):
        self.written = self.dcp.async_save(self.state, checkpoint_id=os.path.join(self.folder, "dcp"))

    def written_by_then(self):
        self.written.result()

    def async_saves(self):
        self.written_by_then()
        self.async_save()

    def restore(self):
        ours = self.checkpoint._engine, self.checkpoint._behind
        self.checkpoint._engine = self.checkpoint._last_step = None
        model, optimizer = self.network(self.bytes >> 20)
        took = self.seconds(lambda: (self.checkpoint.restore(model=model, optimizer=optimizer),
                                     self.torch.cuda.synchronize()))
        self.checkpoint._engine, self.checkpoint._behind = ours
        for a, b in zip(model.parameters(), self.model.parameters()):
            if not self.torch.equal(a, b):
                raise SystemExit("the restored state differs")
        return took

    def one(self):
        times = {"memcpy": self.seconds(self.memcpy)}
        times["save"], times["in_memory"] = self.saves()
        self.checkpoint.wait(300)
        times["save_that_waits"] = self.seconds(self.save_that_waits)
        times["restore_memory"] = self.restore()
        self.checkpoint.wait(300)
        times["torch_save"] = self.seconds(self.torch_save)
        times["async_save"] = self.seconds(self.async_save)
        self.written_by_then()
        times["steps"] = self.seconds(lambda: self.train(STEPS))
        times["steps_saved"] = self.seconds(lambda: self.train(STEPS, self.save))
        self.checkpoint.wait(300)
        times["steps_async_save"] = self.seconds(lambda: self.train(STEPS // 6, self.async_saves)) * 6
        self.written_by_then()
        return times
