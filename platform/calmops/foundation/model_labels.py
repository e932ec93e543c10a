"""The labels that keep models' numbers apart: their names and their order, once. All label code derives from this record.

A new label is one field more at the end, with a default, and a setting of the same name in calmops.yaml's records
(config_sections.ModelConfig for one that each model has, config.Config for one that all share). Metrics, rules,
dashboards and the console then have it. Records and states that were written without it are read with its default.
"""

from typing import NamedTuple, Self

OTHER = "other"  # the value that stands for all values beyond a label's cap


class ModelPlace(NamedTuple):
    """A model in an environment: what money is spent on."""

    model: str
    environment: str


class ModelLabels(NamedTuple):
    """One label set. "" stands for a value that isn't known, or not yet."""

    model: str = ""
    version: str = ""  # of its release
    variant: str = ""
    tier: str = ""
    environment: str = ""

    @classmethod
    def of(cls, model: str, rest: tuple[str, ...]) -> Self:
        """Join a model's name and the values after it, as records carry them; values that this release lacks are left out."""
        return cls(model, *rest[: len(cls._fields) - 1])

    @classmethod
    def all_other(cls) -> Self:
        """Return the label set of everything beyond the caps."""
        return cls(*[OTHER] * len(cls._fields))

    @property
    def rest(self) -> tuple[str, ...]:
        """The values after the model's name, as records carry them."""
        return self[1:]

    @property
    def place(self) -> ModelPlace:
        """The model in its environment."""
        return ModelPlace(self.model, self.environment)


class ShardLabels(NamedTuple):
    """A model's label set and one of its shards."""

    of_model: ModelLabels
    shard: str

    @property
    def values(self) -> tuple[str, ...]:
        """All values in the order of SHARD_LABELS."""
        return (*self.of_model, self.shard)


NO_LABELS = ModelLabels()
MODEL_LABELS = ModelLabels._fields
SHARD_LABELS = (*MODEL_LABELS, "shard")
CONFIGURED = tuple(
    name for name in MODEL_LABELS if name not in {"model", "version"}
)  # each is a setting of the same name
