"""Half the batch, when one does not fit the memory."""

import gc
import math
from dataclasses import replace

import torch

from core.db.tables import Phase
from core.networks import MIN_BATCH_SIZE
from core.recipes.recipe import ResolvedRecipe
from core.repositories import jobs
from worker.attempt import checkpointing
from worker.attempt.setup import TrainingContext, TrainingState, reset_network


def can_halve(recipe: ResolvedRecipe) -> bool:
    return recipe.batch_size >= 2 * MIN_BATCH_SIZE


def halve_after_oom_kills(context: TrainingContext, state: TrainingState) -> TrainingState:
    """Halve the batch once for each attempt that was OOM-killed.

    Attempts since the checkpoint count, and only those that the kernel's OOM killer ended. Such an attempt cannot halve
    it by itself. Without a checkpoint, all attempts of the job count.
    """
    with context.db.read() as session:
        deaths = jobs.count_out_of_memory(session, context.report.claim.job_id, state.since_attempt)
    for _ in range(deaths):
        if can_halve(state.recipe):
            state = halve_batch(context, state, "the kernel killed an attempt: no memory was left")
    return state


def halve_batch(context: TrainingContext, state: TrainingState, reason: str) -> TrainingState:
    """Return to the last checkpoint, with half the batch.

    Without one, to before the first step. Call it outside the except block: the failed step's frames would keep the
    memory that has to be freed.
    """
    recipe = halved(state.recipe)
    _free_memory(context)
    reset_network(context, recipe)
    before = replace(state, history=(), optimizer_state=None)
    state = replace(checkpointing.resume(context, before, after_an_epoch=True), recipe=recipe)
    message = f"out of memory: batch size {recipe.batch_size}, learning rate {recipe.learning_rate:g} from here on"
    context.report.event("log", {"message": message, "reason": reason}, resolved_recipe=recipe.model_dump(mode="json"))
    context.report.phase(Phase.TRAINING, message)
    return state


def _free_memory(context: TrainingContext) -> None:
    context.network.zero_grad(set_to_none=True)
    gc.collect()
    if context.device.type == "cuda":
        torch.cuda.empty_cache()


def halved(recipe: ResolvedRecipe) -> ResolvedRecipe:
    """Halve the batch and scale the learning rate.

    The rate scales linearly for SGD (Goyal et al. 2017), else by the square root, as suits Adam.
    """
    share = 0.5 if recipe.optimizer == "sgd" else math.sqrt(0.5)
    return recipe.model_copy(
        update={"batch_size": recipe.batch_size // 2, "learning_rate": recipe.learning_rate * share}
    )
