"""A training run turns a folder of text into a release; here alone training's parts meet."""

from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from calmops.training.card.card_figures import CardFigures
from calmops.training.data.batches import Batches
from calmops.training.dataset import Dataset, prepare, shape_of
from calmops.training.loop import deepspeed_loop
from calmops.training.model import new_model
from calmops.training.release import release_checkpoint
from calmops.training.training_options import TrainingOptions

Report = Callable[[deepspeed_loop.Progress], None]


def train(options: TrainingOptions) -> CardFigures:
    """Train a model, from where an earlier run in ``options.work`` was cut off, and write ``options.release``.

    Call it once per process, in one that belongs to no process group. It shows a progress bar on standard output and
    returns the card's figures. Raises InputError for options or a corpus that can't work.
    """
    dataset = prepare(options)
    train_on(options, dataset)
    return release_checkpoint(options, dataset)


def release_now(options: TrainingOptions) -> CardFigures:
    """Write ``options.release`` from the newest checkpoint of a run, which another process may still continue."""
    return release_checkpoint(options, prepare(options))


def train_on(options: TrainingOptions, dataset: Dataset) -> list[float]:
    """Train without making a release: write checkpoints and losses into ``options.work``.

    Returns every step's loss in nats per token.
    """
    batches = Batches(
        [*dataset.files, *dataset.chats],
        options.phases(),
        batch_tokens=options.batch_tokens,
        seed=options.seed,
    )
    model = new_model(shape_of(options, dataset.tokenizer.get_vocab_size()), options.seed)
    bar = _progress_bar()
    task = bar.add_task("training", total=options.steps, loss=float("nan"))
    with bar:
        return deepspeed_loop.run_steps(model, batches, options, _reporter(bar, task))


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f} nats per token"),
        TimeRemainingColumn(),
    )


def _reporter(bar: Progress, task: TaskID) -> Report:
    def report(done: deepspeed_loop.Progress) -> None:
        bar.update(task, completed=done.step, loss=done.loss)

    return report
