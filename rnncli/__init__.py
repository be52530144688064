"""Train, use and explain recurrent networks on text: `rnn` on the command line, `rnncli.load` in Python."""

__version__ = "0.1.0"
