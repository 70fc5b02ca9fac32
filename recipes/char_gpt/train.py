"""A small GPT that learns to write text, character by character.

Runs alone (`python3 train.py`) and as a Holdfast job on any number of ranks. What makes it survive
the loss of machines are the four lines that say `holdfast`. For one seed and number of ranks it is
deterministic: interrupted anywhere and resumed, it ends with the same weights, bit for bit.
"""
import argparse
import hashlib
import os
import subprocess
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

import holdfast

CHARACTERS = 256  # bytes: no table to build or to keep


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, width // 32, dropout=0.1, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width),
                                 nn.Dropout(0.1))

    def forward(self, x, mask):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class CharGPT(nn.Module):
    def __init__(self, layers, width, context):
        super().__init__()
        self.context = context
        self.characters = nn.Embedding(CHARACTERS, width)
        self.places = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CHARACTERS)
        mask = torch.full((context, context), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, text):
        length = text.shape[1]
        x = self.characters(text) + self.places.weight[:length]
        for block in self.blocks:
            x = block(x, self.mask[:length, :length])
        return self.head(self.norm(x))


def default_text():
    """The King James Bible from Debian's bible-kjv, kept in a file beside this one."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text.txt")
    if not os.path.exists(path):
        try:
            text = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit("train.py: no text to learn from: give --text FILE, or install Debian's bible-kjv "
                     "(the command bible said: %s)" % error)
        draft = "%s.%d" % (path, os.getpid())  # ranks may do this at the same time
        with open(draft, "wb") as file:
            file.write(text)
        os.replace(draft, path)
    return path


def load_text(path, context):
    try:
        with open(path or default_text(), "rb") as file:
            text = bytearray(file.read())
    except OSError as error:
        sys.exit("train.py: cannot read the text: %s" % error)
    if len(text) <= context:
        sys.exit("train.py: %s has %d bytes, which is not more than --context %d"
                 % (path, len(text), context))
    return torch.frombuffer(text, dtype=torch.uint8)


def batch_of(text, args, step, rank, world):
    """The data of a step: by seed, step and rank alone, so a resumed run sees what it would have seen."""
    dice = torch.Generator().manual_seed(((args.seed << 32) + step) * world + rank)
    starts = torch.randint(len(text) - args.context, (args.batch,), generator=dice).tolist()
    rows = torch.stack([text[at:at + args.context + 1] for at in starts]).long()
    return rows[:, :-1], rows[:, 1:]


@torch.no_grad()
def sample(model, seed, length=120):
    model.eval()
    dice = torch.Generator().manual_seed(seed)
    text = torch.full((1, 1), ord("\n"))
    for _ in range(length):
        odds = F.softmax(model(text[:, -model.context:])[0, -1] / 0.8, dim=-1)
        text = torch.cat([text, torch.multinomial(odds, 1, generator=dice)[None]], dim=1)
    return bytes(text[0, 1:].tolist()).decode("utf-8", "replace")


def finish(model, args):
    """Rank 0's last words."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    print("weights sha256 %s" % digest.hexdigest())
    print("sample: %s" % sample(model, args.seed))
    if args.out:
        with open(args.out, "w") as file:
            file.write(digest.hexdigest() + "\n")
        if args.save_weights:
            torch.save(model.state_dict(), args.out + ".pt")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", help="file to learn from; default: the King James Bible")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=4, help="sequences per rank and step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64, help="a multiple of 32")
    parser.add_argument("--context", type=int, default=48)
    parser.add_argument("--checkpoint-every", type=int, help="steps; default: the job's interval")
    parser.add_argument("--out", help="file for the final weights' sha256")
    parser.add_argument("--save-weights", action="store_true", help="write the weights to OUT.pt too")
    return parser.parse_args()


def main():
    args = arguments()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("gloo")
    text = load_text(args.text, args.context)
    torch.manual_seed(args.seed)  # the same weights on all ranks ...
    model = CharGPT(args.layers, args.width, args.context)
    torch.manual_seed(args.seed * world + rank)  # ... each with its own dropout
    trained = nn.parallel.DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    start = holdfast.checkpoint.restore(model=model, optimizer=optimizer)
    for step in range(start + 1, args.steps + 1):
        inputs, targets = batch_of(text, args, step, rank, world)
        loss = F.cross_entropy(trained(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        holdfast.progress(step, loss=loss.item(), tokens=inputs.numel())
        if rank == 0 and (step % 10 == 0 or step == start + 1):
            print("step %d loss %.4f" % (step, loss.item()), flush=True)
        every = args.checkpoint_every
        if step % every == 0 if every else holdfast.checkpoint.due(step):
            holdfast.checkpoint.save(step, model=model, optimizer=optimizer)
    if rank == 0:
        finish(model, args)


if __name__ == "__main__":
    main()
