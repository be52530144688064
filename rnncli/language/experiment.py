"""Build the experiment of a language model from a text: the model, its batches and its validation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rnncli.data.corpora import warn_of_markup
from rnncli.data.vector_settings import VectorSettings, start_from_vectors
from rnncli.language.evaluate import validator
from rnncli.language.reading import TrainingReader
from rnncli.language.settings import LanguageSettings
from rnncli.language.warm_start import WarmStartSettings, check_voices, copy_start, start_model

if TYPE_CHECKING:
    from rnncli.data.codec import Codec
    from rnncli.models.language_model import LanguageModel
    from rnncli.training.experiment import Experiment


def build(read: TrainingReader, config: WarmStartSettings, device: str) -> "Experiment":
    """Read the text, and make a new model over its vocabulary, or over one that extends another model's."""
    import torch

    from rnncli.data.codec import Known, labels_of
    from rnncli.data.text_data import Plan
    from rnncli.training.experiment import Experiment
    from rnncli.training.machine import batch_multiple

    warn_of_markup((*getattr(config, "corpus", ()), *getattr(config, "valid", ())))
    start = start_model(config)
    data = read(config, Known(start.codec if start else None, grows=config.grows))
    if start:
        check_voices(start, labels_of(data.voices, by_voice=getattr(config, "voices", False)))
    payload = {"corpus": data.name, "fingerprint": data.fingerprint, **data.codec.payload}
    model: Any = build_model(config, payload).to(device)
    model.init_bias(data.frequencies().to(device))
    start_note = copy_start(start, model, data.codec.vocabulary.tokens) if start else ""
    target = torch.device(device)
    plan = Plan(config.step_size, config.bptt, config.seed, batch_multiple(config, device))
    epochs = data.epochs(plan, target)
    softmax = getattr(config, "softmax", "full")
    return Experiment(
        model=model,
        begin=lambda: start_note or vectors_note(config, model, data.codec),
        batches=epochs.batches,
        batches_per_epoch=epochs.per_epoch,
        about=data.about,
        loss=config.loss,
        # only the first batch of a stream uses a trainable first state
        uses_all=softmax != "adaptive" and (data.codec.by_sentence or not config.learn_h0),
        no_graphs="an adaptive softmax looks at which classes its targets are in" if softmax == "adaptive" else "",
        after_step=lambda model: model.scale_vectors(),
        validate=validator(data, target),
        payload=payload,
        tensors=data.tensors(),
    )


def vectors_note(config: LanguageSettings, model: "LanguageModel", codec: "Codec") -> str:
    """Start from the word vectors that the settings name, if any; returns a note. Raises as `start_from_vectors`."""
    if not isinstance(config, VectorSettings):
        return ""
    return start_from_vectors(config, codec.vocabulary.numbers.items(), [model.embedding])


def build_model(config: LanguageSettings, payload: Mapping[str, Any]) -> "LanguageModel":
    """Build an untrained language model over the payload's vocabulary, with one voice per label."""
    from rnncli.models.language_model import LanguageModel

    return LanguageModel(
        len(payload["vocabulary"]),
        config.embedding,
        config.shape,
        dropouts=config.dropouts,
        tied=config.tied,
        labels=len(payload.get("labels", ())),
        backend=config.backend,
        **config.model_options(payload["vocabulary"]),
    )
