"""Initial weights that replace a layer's own initialisation: those of the book."""

import torch
from torch import nn

from rnncli.cells.base import Cell, recurrent_blocks


def draw_book_weights(model: nn.Module) -> None:
    """Draw every matrix from N(0, 1 / (inputs + outputs)), and set biases and first states to 0.

    As `init_weight` of LazyProgrammer 2016, Deep Learning: Recurrent Neural Networks in Python: a standard normal draw
    divided by sqrt(inputs + outputs). Each gate of a cell is a separate matrix, (M, D) or (M, M); diagonal peepholes
    are the diagonal of such a matrix; an embedding has V inputs and D outputs; a vector of weights has one output. A
    cell's other parameters, such as gains, keep their values.
    """
    with torch.no_grad():
        for module in model.modules():
            states = {f"{field}0" for field in module.state_fields} if isinstance(module, Cell) else set()
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("bias") or name in states:
                    parameter.zero_()
                elif name.startswith("weight") or parameter.dim() > 1 or not isinstance(module, Cell):
                    parameter.normal_(0.0, _ends(module, name, parameter) ** -0.5)


def _ends(module: nn.Module, name: str, weight: nn.Parameter) -> int:
    """Return the inputs plus outputs of a matrix, or of each of a cell's stacked ones."""
    if isinstance(module, Cell) and name in module.recurrent:
        return sum(next(recurrent_blocks(weight)).shape)
    rows, columns = len(weight), weight.numel() // len(weight)
    if not isinstance(module, Cell) or rows % module.hidden_size:
        return rows + columns
    M = module.hidden_size
    return M + (columns if weight.dim() > 1 else M)
