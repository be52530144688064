"""The next token: embedding, a stack of cells, and a distribution over the vocabulary at every step."""

from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.models.stack import Stack, StackShape, States


class LanguageModel(nn.Module):
    """Predicts the next token from all before it (Mikolov et al. 2010).

    p(w_{t+1} | w_1..w_t) = softmax(h_t Wo + bo), x_t = row w_t of the embedding (V, D). With `tied` the output weights
    are the embedding (Press and Wolf 2017), reached through one more projection where M differs from D.
    `dropout` acts on the embedded input and on the top layer's output; between layers, the shape's own does.
    Raises UsageError as `Stack`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        shape: StackShape,
        *,
        dropout: float = 0.0,
        tied: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.dropout = nn.Dropout(dropout)
        self.stack = Stack(embedding_size, shape, backend)
        self.tied = tied
        M = self.stack.output_size
        self.bridge = nn.Linear(M, embedding_size) if tied and embedding_size != M else nn.Identity()
        self.output = None if tied else nn.Linear(M, vocabulary_size, bias=False)
        self.bias = nn.Parameter(self.embedding.weight.new_zeros(vocabulary_size))

    def forward(
        self, tokens: Tensor, states: States | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, States]:
        """Score what follows each of the tokens (T, B): logits (T, B, V), and the last states, to go on from."""
        h, states = self.stack(self.dropout(self.embedding(tokens)), states, lengths)
        weight = self.embedding.weight if self.output is None else self.output.weight
        return F.linear(self.bridge(self.dropout(h)), weight, self.bias), states

    def initial_states(self, batch: int) -> States:
        """The learned states before the first step, for a batch of that size."""
        return self.stack.initial_states(batch)
