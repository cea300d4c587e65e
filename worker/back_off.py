"""What follows when a batch did not fit the memory: half of it, from the last checkpoint or from the start."""

import gc
import math

import torch

from core import jobs
from core.networks import MIN_BATCH_SIZE
from core.recipe import ResolvedRecipe
from core.tables import Phase
from worker import checkpointing, setup, weights
from worker.setup import Training


def can_halve(recipe: ResolvedRecipe) -> bool:
    return recipe.batch_size >= 2 * MIN_BATCH_SIZE


def heed_deaths(training: Training) -> None:
    """Half the batch for each attempt that the kernel ended for want of memory since the checkpoint was written, or
    since the start: that one cannot have said it by itself.
    """
    job_id = training.report.claim.job_id
    with training.db.read() as session:
        deaths = jobs.count_out_of_memory(session, job_id, training.since_attempt)
    for _ in range(deaths):
        if can_halve(training.recipe):
            halve_batch(training, "the kernel killed an attempt: no memory was left")


def halve_batch(training: Training, reason: str) -> None:
    """The training as it was before its first step, or at its last checkpoint, with half the batch; told as an event.

    To be called when the failed step's frames are gone, or they would keep what has to be freed.
    """
    recipe = halved(training.recipe)
    training.state, training.history = None, []
    del training.network  # before the next one is built
    gc.collect()
    if training.device.type == "cuda":
        torch.cuda.empty_cache()
    first = weights.find_state(recipe.network, recipe.weights, training.settings, training.db, training.store)
    training.network, training.frozen = setup.first_network(
        recipe, len(training.dataset.classes), first, training.device
    )
    checkpointing.resume(training, after_an_epoch=True)
    training.recipe = recipe
    message = f"out of memory: batch size {recipe.batch_size}, learning rate {recipe.learning_rate:g} from here on"
    training.report.event("log", {"message": message, "reason": reason}, resolved_recipe=recipe.model_dump(mode="json"))
    training.report.phase(Phase.TRAINING, message)


def halved(recipe: ResolvedRecipe) -> ResolvedRecipe:
    """Half the batch, and the rate that goes with it (Goyal et al. 2017; its square root for Adam's kind)."""
    share = 0.5 if recipe.optimizer == "sgd" else math.sqrt(0.5)
    return recipe.model_copy(
        update={"batch_size": recipe.batch_size // 2, "learning_rate": recipe.learning_rate * share}
    )
