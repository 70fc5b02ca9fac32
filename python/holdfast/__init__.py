"""Holdfast inside a training program: progress, checkpoints, warm start.

A program needs none of this to be kept running; it may say more about itself:

    import holdfast
    start = holdfast.checkpoint.restore(model=model, optimizer=optimizer)
    for step in range(start, steps):
        ...
        holdfast.progress(step + 1, loss=loss.item(), tokens=batch.numel())
        if holdfast.checkpoint.due(step + 1):
            holdfast.checkpoint.save(step + 1, model=model, optimizer=optimizer)

Every call is harmless outside a Holdfast job: the same script runs under plain `python3`.
Importing this package costs nothing: torch is imported by the first call that needs it.
"""
__version__ = "0.1.0"


def progress(step, loss=None, tokens=None):
    """Publish that `step` (absolute: it counts on over restarts) is done.

    loss: anything that float() takes. tokens: those of this step; they are added up.
    From the first call on, `step` is the user's and counted optimizer steps no longer move it.
    """
    from . import page
    mine = page.current()
    if mine is not None:
        mine.user_step(step, loss, tokens)


def __getattr__(name):
    if name == "checkpoint":
        import importlib
        return importlib.import_module(".checkpoint", __name__)
    raise AttributeError("module 'holdfast' has no attribute %r" % name)
