"""`calmops train`: a folder of text in, a release out. The one place where training's parts meet."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from calmops.foundation.errors import CalmopsError
from calmops.training.card.card_figures import CardFigures
from calmops.training.cli_arguments import parse
from calmops.training.data.batches import Batches
from calmops.training.data.dataset import Dataset, prepare, shape_of
from calmops.training.loop import deepspeed_loop
from calmops.training.loop.model import new_model
from calmops.training.loop.training_options import TrainingOptions
from calmops.training.release import release_checkpoint

Report = Callable[[deepspeed_loop.Progress], None]


def main(arguments: Sequence[str]) -> int:
    """`calmops train`: parse, run, print the figures. Returns the exit code."""
    options, only_release = parse(arguments)
    try:
        figures = release_now(options) if only_release else train(options)
    except CalmopsError as error:
        Console(stderr=True).print(f"calmops train: {error}", markup=False)
        return error.exit_code
    Console().print(
        f"{options.release}: {figures.bits_per_byte:.4f} bits a byte held out, Kneser-Ney 5-gram "
        f"{figures.ngram_bits_per_byte:.4f}, {figures.tokens_seen:,} tokens seen"
    )
    return 0


def train(options: TrainingOptions) -> CardFigures:
    """Train a model, from where an earlier run in ``options.work`` was cut off, and write ``options.release``.

    Call it in a process that belongs to no process group, once. Shows a progress bar on standard output.
    Returns the card's figures. Raises InputError for options or a corpus that can't work.
    """
    prepared = prepare(options)
    run_prepared(options, prepared)
    return release_checkpoint(options, prepared)


def release_now(options: TrainingOptions) -> CardFigures:
    """Write ``options.release`` from the newest checkpoint of a run that may still be going on elsewhere."""
    return release_checkpoint(options, prepare(options))


def run_prepared(options: TrainingOptions, prepared: Dataset) -> list[float]:
    """The training alone: checkpoints and losses into ``options.work``. Returns every step's loss, nats a token."""
    batches = Batches(
        [*prepared.files, *prepared.chats],
        options.phases(),
        batch_tokens=options.batch_tokens,
        seed=options.seed,
    )
    model = new_model(shape_of(options, prepared.tokenizer.get_vocab_size()), options.seed)
    bar = _progress_bar()
    task = bar.add_task("training", total=options.steps, loss=float("nan"))
    with bar:
        return deepspeed_loop.run_steps(model, batches, options, _reporter(bar, task))


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f} nats a token"),
        TimeRemainingColumn(),
    )


def _reporter(bar: Progress, task: TaskID) -> Report:
    def report(done: deepspeed_loop.Progress) -> None:
        bar.update(task, completed=done.step, loss=done.loss)

    return report
