"""The layers of a net, from its input to its output, and gradual unfreezing: training them from the output down."""

from torch import nn

from rnncli.errors import UsageError


def layers_of(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the trainable parameters of each layer, the input first and the output last.

    The model declares its layers as `by_layer`: for each a list of modules and parameters. A parameter of several
    layers, such as tied weights, belongs to the lowest of them; one that no layer names belongs to the output. Raises
    UsageError for a model that declares none.
    """
    declared = getattr(model, "by_layer", None)
    if declared is None:
        raise UsageError(
            f"{type(model).__name__} declares no layers (by_layer): leave --layer-decay and --unfreeze-every out"
        )
    left = {id(parameter): parameter for parameter in model.parameters() if parameter.requires_grad}
    found = []
    for parts in declared:
        each = [own for part in parts for own in ([part] if isinstance(part, nn.Parameter) else part.parameters())]
        found.append([parameter for own in each if (parameter := left.pop(id(own), None)) is not None])
    found[-1] += left.values()
    return found


class GradualUnfreezing:
    """Trains the output first, and one more layer below it after every N epochs (Howard and Ruder 2018).

    A frozen layer has no gradient, so that nothing changes it, and no time is spent on it.
    """

    def __init__(self, model: nn.Module, epochs: int) -> None:
        self.layers, self.epochs = layers_of(model), epochs
        self.trained = 0  # layers

    def begin(self, epoch: int) -> bool:
        """Freeze and unfreeze the layers as an epoch, from 0, needs it; tell whether others are trained than before."""
        before, self.trained = self.trained, min(len(self.layers), 1 + epoch // self.epochs)
        for depth, layer in enumerate(reversed(self.layers)):
            for parameter in layer:
                parameter.requires_grad_(depth < self.trained)
        return before != self.trained
