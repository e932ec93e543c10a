"""One record declares the labels that keep models' numbers apart, and their order; all label code derives from it.

To add a label, add a field at the end, with a default, and a setting of the same name in calmops.yaml's records
(config_sections.ModelConfig for a label that each model has, config.Config for one that all models share). Metrics,
rules, dashboards and the console then have it. Records and states that were written without it are read with its
default.
"""

from typing import NamedTuple, Self

OTHER = "other"  # the value that stands for all values beyond a label's cap


class ModelPlace(NamedTuple):
    """Names a model in an environment: money is spent on this pair."""

    model: str
    environment: str


class ModelLabels(NamedTuple):
    """Holds one label set. "" stands for a value that isn't known, or isn't known yet."""

    model: str = ""
    version: str = ""  # of the model's release
    variant: str = ""
    tier: str = ""
    environment: str = ""

    @classmethod
    def of(cls, model: str, rest: tuple[str, ...]) -> Self:
        """Join a model's name and the values after it, as records carry them; drop values that this release lacks."""
        return cls(model, *rest[: len(cls._fields) - 1])

    @classmethod
    def all_other(cls) -> Self:
        """Return the label set of everything beyond the caps."""
        return cls(*[OTHER] * len(cls._fields))

    @property
    def rest(self) -> tuple[str, ...]:
        """Return the values after the model's name, as records carry them."""
        return self[1:]

    @property
    def place(self) -> ModelPlace:
        """Return the model in its environment."""
        return ModelPlace(self.model, self.environment)


class ShardLabels(NamedTuple):
    """Joins a model's label set and one of its shards."""

    of_model: ModelLabels
    shard: str

    @property
    def values(self) -> tuple[str, ...]:
        """Return all values in the order of SHARD_LABELS."""
        return (*self.of_model, self.shard)


NO_LABELS = ModelLabels()
MODEL_LABELS = ModelLabels._fields
SHARD_LABELS = (*MODEL_LABELS, "shard")
# Each of these is a setting of the same name.
CONFIGURED = tuple(name for name in MODEL_LABELS if name not in {"model", "version"})
