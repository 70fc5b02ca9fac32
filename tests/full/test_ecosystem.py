"""Checkpoints and the tools that people have, under PyTorch 2: FSDP by torch.distributed.checkpoint, DDP by
holdfast.checkpoint, Hugging Face's safetensors. Run by torch2."""
import glob
import os
import re
import socket
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../python/tests"))
import support  # noqa: E402

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

HOLDFAST = os.environ["HOLDFAST"]
RECIPES = os.path.join(HERE, "../../recipes")


class Ecosystem(support.Folder):
    def train(self, world, attempt, script, *arguments, fails=False):
        """The script on so many ranks; what rank 0 said."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        logs = [open(self.path("log-%d" % rank), "w+") for rank in range(world)]
        ranks = [subprocess.Popen(
            [sys.executable, script] + [str(a) for a in arguments], stdout=log, stderr=subprocess.STDOUT,
            env=support.clean_env(
                MASTER_ADDR="127.0.0.1", MASTER_PORT=port, RANK=str(rank), WORLD_SIZE=str(world),
                LOCAL_WORLD_SIZE=str(world), HOLDFAST_JOB="job", HOLDFAST_ATTEMPT=str(attempt),
                HOLDFAST_CHECKPOINT_DIR=self.path("checkpoints"))) for rank, log in enumerate(logs)]
        codes = [rank.wait(300) for rank in ranks]
        said = []
        for log in logs:
            log.seek(0)
            said.append(log.read())
            log.close()
        self.assertEqual(any(codes), fails, "\n".join(said))
        return said[0]

    def holdfast(self, *words):
        done = subprocess.run([HOLDFAST] + [str(word) for word in words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def weights(self, said):
        return re.search("weights sha256 (.*)", said).group(1)

    def test_fsdp_goes_on_bit_for_bit(self):
        script = os.path.join(RECIPES, "fsdp/train.py")
        alone = self.weights(self.train(2, 1, script, "--steps", 30, "--every", 1000))
        self.train(2, 2, script, "--steps", 20)
        said = self.train(2, 3, script, "--steps", 30)
        self.assertIn("from step 20", said)
        self.assertEqual(self.weights(said), alone)
        self.holdfast("checkpoint", "verify", self.path("checkpoints"))

    def test_fsdp_goes_on_with_another_number_of_ranks(self):
        script = os.path.join(RECIPES, "fsdp/train.py")
        self.train(2, 1, script, "--steps", 20)
        before = self.path("before.safetensors")
        self.holdfast("checkpoint", "export", self.path("checkpoints"), before)
        for attempt, world in ((2, 3), (3, 1)):
            said = self.train(world, attempt, script, "--steps", 20 + attempt * 10)
            self.assertIn("from step %d" % (10 + attempt * 10 if attempt > 2 else 20), said)
        # A commit by one rank holds what two wrote, put together.
        sharded = load_file(before)
        self.assertIn("model.0.layers.1.weight", sharded)
        self.assertEqual(list(sharded["model.0.layers.1.weight"].shape), [256, 64])

    def test_a_damaged_commit_is_left_out(self):
        script = os.path.join(RECIPES, "fsdp/train.py")
        self.train(2, 1, script, "--steps", 20)
        path = glob.glob(self.path("checkpoints/attempt-0001/step-00000020/rank-0001.shard"))[0]
        with open(path, "r+b") as file:
            file.seek(8192)
            byte = file.read(1)
            file.seek(8192)
            file.write(bytes([byte[0] ^ 1]))
        said = self.train(2, 2, script, "--steps", 30)
        self.assertIn("step 20 is left out", said)
        self.assertIn("from step 10", said)

    def test_ddp_and_safetensors_both_ways(self):
        script = os.path.join(RECIPES, "char_gpt/train.py")
        self.write("text", "In the beginning was the word. " * 100)
        small = ("--text", self.path("text"), "--width", 32, "--layers", 1, "--context", 16, "--checkpoint-every", 4)
        self.train(2, 1, script, "--steps", 8, *small, "--out", self.path("out"), "--save-weights")
        out = self.path("model.safetensors")
        self.holdfast("checkpoint", "export", self.path("checkpoints"), out, "--object", "model")
        found, expected = load_file(out), torch.load(self.path("out.pt"))
        self.assertEqual(sorted(found), sorted(expected))
        for name, tensor in expected.items():
            self.assertTrue(torch.equal(found[name], tensor), name)

        changed = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in found.items()}
        changed["half"] = torch.arange(6, dtype=torch.bfloat16).view(2, 3)
        save_file(changed, self.path("changed.safetensors"), {"format": "pt"})
        self.holdfast("checkpoint", "import", self.path("changed.safetensors"), self.path("imported"),
                      "--object", "model", "--step", 5)
        restore = self.write("restore.py", (
            "import torch\nfrom holdfast import checkpoint\n"
            "model = {}\nprint(checkpoint.restore(model=model))\ntorch.save(model, %r)\n" % self.path("back.pt")))
        said = subprocess.run([sys.executable, restore], stdout=subprocess.PIPE, check=True, universal_newlines=True,
                              env=support.clean_env(HOLDFAST_CHECKPOINT_DIR=self.path("imported"))).stdout
        self.assertEqual(said.strip(), "5")
        back = torch.load(self.path("back.pt"))
        self.assertEqual(sorted(back), sorted(changed))
        for name, tensor in changed.items():
            self.assertTrue(torch.equal(back[name], tensor), name)


if __name__ == "__main__":
    unittest.main()
