"""The last step of a language model over a text: its inputs, and the loss of the last prediction."""

from typing import Any, cast

from rnncli.errors import UsageError
from rnncli.task import LastStep, Trained


def last_step(trained: Trained, text: str | None, length: int) -> LastStep:
    """Return the inputs of at most `length` steps of a text, and the loss of the token that follows them.

    Raises UsageError without a text, or for a text without a token.
    """
    from torch.nn import functional as F

    if text is None:
        raise UsageError(f'{trained.source} is a language model: give it a text, such as --text "the woods are"')
    codec, model = trained.codec, cast("Any", trained.model)
    tokens = codec.split(text)
    if not tokens:
        raise UsageError("there is no word in --text")
    ids = [codec.opening, *codec.vocabulary.encode(tokens), *codec.closing][: length + 1]
    like = model.stack.cells[0].h0
    read = like.new_tensor(ids[:-1]).long()[:, None]
    answer = like.new_tensor(ids[-1:]).long()
    return LastStep(
        model.read(read).detach(), lambda h: F.cross_entropy(model.readout.logits(model.projection(h)), answer)
    )
