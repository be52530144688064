"""The last step of what a trained net reads: the inputs up to there, and the loss of its last answer."""

from collections.abc import Callable
from typing import Any

from rnncli.data.vocabulary import Vocabulary
from rnncli.errors import UsageError
from rnncli.language.score import Reading
from rnncli.task import LastStep, Trained


def of_language_model(reading: Callable[[Trained], Reading]) -> Callable[[Trained, str | None, int], LastStep]:
    """The same for a task whose models read texts like this: the loss is that of the token which comes last."""

    def last_step(trained: Trained, text: str | None, length: int) -> LastStep:
        from torch.nn import functional as F

        if text is None:
            raise UsageError(f'{trained.source} is a language model: give it a text, such as --text "the woods are"')
        how = reading(trained)
        tokens = how.split(text)
        if not tokens:
            raise UsageError("there is no word in --text")
        numbers = Vocabulary(tuple(trained.payload["vocabulary"])).encode(tokens)
        ids = [how.opening, *numbers, *how.closing][: length + 1]
        model: Any = trained.model
        like = model.stack.cells[0].bias
        read = like.new_tensor(ids[:-1]).long()[:, None]
        answer = like.new_tensor(ids[-1:]).long()
        return LastStep(
            model.read(read).detach(), lambda h: F.cross_entropy(model.readout.logits(model.bridge(h)), answer)
        )

    return last_step
