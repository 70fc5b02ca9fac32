"""The recipe: killed anywhere and resumed, it ends with the weights of a run that was left alone."""
import os
import socket
import unittest

import support

TRAIN = os.path.join(os.path.dirname(support.PYTHON_DIR), "recipes", "char_gpt", "train.py")


@support.needs_torch
class CharGptTest(support.Folder):
    def ranks(self, world, attempt, *args, target=TRAIN, **more):
        self.write("text", "In the beginning was the word. " * 100)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [self.start("train", "script", (
            "--text", "text", "--steps", "12", "--width", "32", "--layers", "1", "--context", "16") + args,
            target=target, log=self.path("log-%d" % rank), env=self.rank_env(
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world),
                HOLDFAST_PROGRESS_PAGE=self.new_page("page-%d" % rank), HOLDFAST_ATTEMPT=str(attempt),
                HOLDFAST_CHECKPOINT_INTERVAL="4", **more)) for rank in range(world)]

    def finish(self, pids):
        statuses = [support.reap(pid) for pid in pids]
        self.assertEqual(statuses, [0] * len(pids), self.read("log-0"))

    def test_resumed_weights_are_bit_identical(self):
        for world in (1, 2):
            alone = self.path("alone-%d" % world)
            self.finish(self.ranks(world, 1, "--out", alone))
            folder = self.path("ck-%d" % world)
            poison = self.write("poison.py", (
                "import os, runpy, sys, torch, holdfast.checkpoint\nreal = holdfast.progress\n"
                "def progress(step, **more):\n    real(step, **more)\n"
                "    step == 9 and holdfast.checkpoint.wait() and os.kill(os.getpid(), 9)\n"
                "holdfast.progress = progress\nrunpy.run_path(%r, run_name='__main__')\n" % TRAIN))
            for pid in self.ranks(world, 1, target=poison, HOLDFAST_CHECKPOINT_DIR=folder):
                self.assertNotEqual(support.reap(pid), 0)
            resumed = self.path("resumed-%d" % world)
            self.finish(self.ranks(world, 2, "--out", resumed, HOLDFAST_CHECKPOINT_DIR=folder))
            with open(alone) as one, open(resumed) as other:
                self.assertEqual(one.read(), other.read())
            page = support.read_page(self.path("page-0"))
            self.assertEqual((page["restored"] - 1, page["step"], page["steps"], page["committed"] - 1),
                             (8, 12, 4, 12))


if __name__ == "__main__":
    unittest.main()
