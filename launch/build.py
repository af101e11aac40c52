"""Puts a run together, for train, profile, eval and replay alike: from settings to network, loss, step and loaders."""

import dataclasses
from dataclasses import dataclass

from cellwright.launch.data import eval_loader, open_sources, train_loader
from cellwright.launch.data_record import split_record
from cellwright.launch.host.agreement import agree, code
from cellwright.launch.overlap import why_not
from cellwright.launch.settings.idle_flags import shares_update, why_not_sharded
from cellwright.launch.settings.resolve import to_file


@dataclass(frozen=True)
class TrainingRun:
    """What trains: settings that know their images; sources, network, loss, step, loader, and each step's rate."""

    resolved: object
    training: object
    held_back: object
    network: object
    loss: object
    step: object
    loader: object
    learning_rates: object
    global_batch: int

    @property
    def steps_per_epoch(self):
        return -(-len(self.loader) // self.resolved.step.accumulate)


def build_training(job, resolved, program, **loader_options):
    """Returns the TrainingRun of a Job for Resolved settings, and writes nothing. Collective.

    program: the command, which has compiled graphs of its own. ValueError for what cannot work.
    """
    world, settings = job.world, resolved.run
    agree(world, **to_file(resolved), code=code())
    _check_hosts(world, resolved)
    local_size = max(world.allgather_object(world.local_size))
    _check_shard(local_size, resolved)
    job.start_device(settings)
    training, held_back = open_sources(settings)
    if world.size > 1:
        agree(world, data={"classes": list(training.classes), **split_record(training)})
    resolved = for_training_images(resolved, training)
    settings, recipe, step_settings = resolved.run, resolved.recipe, resolved.step
    loader = train_loader(training, recipe, settings, world, **job.loader_options, **loader_options)
    begins_with = None if settings.resume else settings.pretrained  # a run that goes on has weights of its own
    network, loss = build_network(recipe, begins_with, settings.weights), build_loss(recipe)
    groups, kernels = fine_tuning(network, step_settings), job.step_kernels(settings)
    if not (step_settings.sync_batch_norm and world.size > 1):  # our own kernels normalise a rank's batch alone
        job.accelerate(network, settings, resolved.amp_level, step_settings.amp_dtype)
    resolved = without_scale(resolved, network)
    recipe = resolved.recipe
    allreduce = job.graph_allreduce(step_settings.overlap != "False", step_settings.wire_dtype)
    shard = allreduce.group if kernels and shares_update(resolved, local_size) else None
    if shard is None and step_settings.shard_update == "True":
        raise ValueError("--shard_update True: it needs the C shim, and memory that the ranks of a host can share")
    step = build_step(
        network,
        loss,
        recipe,
        step_settings,
        resolved.amp_level,
        allreduce=allreduce,
        shard=shard,
        factored=factored_gradients(network, recipe.batch_size) if shard is not None else None,
        seed=settings.seed * world.size + world.rank,  # of dropout: each rank its own masks
        kernels=kernels,
        groups=groups,
    )
    job.use_compile_cache(resolved, program, network)
    step.compile_in(job.in_turn)
    _check_overlap(step.can_overlap, world, resolved)
    step.set_overlap(step_settings.overlap == "True" and step.can_overlap)
    global_batch = recipe.batch_size * world.size * step_settings.accumulate
    rates = recipe.learning_rates(-(-len(loader) // step_settings.accumulate), global_batch)
    return TrainingRun(resolved, training, held_back, network, loss, step, loader, rates, global_batch)


def _check_hosts(world, resolved):
    if world.local_size == world.size:
        _check_overlap(False, world, resolved)
        if resolved.step.wire_dtype != "float32":
            raise ValueError(
                f"--wire_dtype {resolved.step.wire_dtype} would do nothing: all ranks are on one host; "
                "a run that had several goes on with --wire_dtype float32"
            )


def _check_overlap(can, world, resolved):
    if resolved.step.overlap == "True" and "overlap" in resolved.typed and not can:
        raise ValueError(f"--overlap True would do nothing: {why_not(world, resolved.step)}")


def _check_shard(local_size, resolved):
    why = why_not_sharded(resolved) or ("no host has several ranks" if local_size == 1 else None)
    if why and resolved.step.shard_update == "True":
        raise ValueError(
            f"--shard_update True would do nothing: {why}; a run that shared its update goes on with "
            "--shard_update False"
        )


def without_scale(resolved, network):
    """Returns Resolved settings that scale the loss by 1, unless a file or a flag says otherwise, where the network
    computes in bfloat16: its exponent is that of float32.
    """
    from cellwright.engine.step.precision import half_type

    asked = {"loss_scale", "dynamic_loss_scale"} & resolved.given.keys()
    if asked or half_type(network, resolved.amp_level, resolved.step.amp_dtype) != "bfloat16":
        return resolved
    recipe = dataclasses.replace(resolved.recipe, loss_scale=1.0, dynamic_loss_scale=False)
    return dataclasses.replace(resolved, recipe=recipe)


def for_training_images(resolved, training):
    """Returns Resolved settings that know the classes and the number of the training images."""
    return resolved.for_images(len(training.classes), len(training), "the training images")


def build_evaluation(job, network, loss, source, resolved):
    """Returns (Evaluator, Loader) that count over a source each image once, on all ranks together."""
    from cellwright.engine import Evaluator

    recipe = resolved.recipe
    batches = eval_loader(source, recipe, resolved.run, job.world, **job.loader_options)
    normalise = (recipe.mean, recipe.std)
    return Evaluator(network, loss, normalise=normalise, world=job.world, in_turn=job.in_turn), batches


def build_network(recipe, pretrained=None, weights=None):
    """Returns the recipe's network. pretrained: a run, a checkpoint folder or a file; weights: which of a run's."""
    from cellwright.launch.settings.weights import find_weights
    from cellwright.nets import create_network

    network = create_network(recipe.net, recipe.num_classes, recipe.image_size, **recipe.network_settings)
    if pretrained:
        find_weights(pretrained, weights).load(network)
    return network


def fine_tuning(network, settings):
    """Freezes what StepSettings freeze, and returns the ParameterGroups of learning rates by depth; before kernels take
    the network's cells. ValueError where there is nothing to freeze.
    """
    from cellwright.engine import ParameterGroup
    from cellwright.nets import freeze_batch_norm, stages

    if settings.freeze_batch_norm and not freeze_batch_norm(network):
        raise ValueError(f"--freeze_batch_norm: this {network.network_name} has no BatchNorm")
    if settings.lr_depth_factor == 1:
        return ()
    trained = [parameter.name for parameter in network.trainable_params()]
    found = [
        ParameterGroup(names, lr_factor=settings.lr_depth_factor**behind)
        for behind, names in enumerate(reversed(stages(network)))
    ]
    return tuple(group for group in found if any(group.holds(name) for name in trained))


def build_loss(recipe):
    """Returns the recipe's loss cell."""
    from cellwright.engine import SoftmaxCrossEntropy

    return SoftmaxCrossEntropy(recipe.num_classes, recipe.label_smooth_factor, recipe.smooth_off)


def build_step(
    network,
    loss,
    recipe,
    settings,
    amp_level,
    *,
    allreduce=None,
    shard=None,
    factored=None,
    seed=0,
    kernels=None,
    groups=(),
):
    """Returns the TrainOneStep of a network for a Recipe and StepSettings. shard: the group of ranks that share the
    update; factored: see `factored_gradients`; kernels: see Job.step_kernels; groups: see `fine_tuning`.
    """
    from cellwright.engine import TrainOneStep, synchronise_batch_norm
    from cellwright.engine.step.sync_norm import SyncBatchNorm

    kernels = kernels or {}
    synchronised = settings.sync_batch_norm and allreduce is not None
    if synchronised:
        synchronise_batch_norm(network, allreduce)
    return TrainOneStep(
        network,
        loss,
        _optimizer(network, recipe, settings, kernels, groups, shard),
        normalise=(recipe.mean, recipe.std),
        amp_level=amp_level,
        amp_dtype=settings.amp_dtype,
        loss_scale=_loss_scale(recipe, settings),
        allreduce=allreduce,
        bucket_bytes=settings.bucket_bytes,
        accumulate=settings.accumulate,
        clip_norm=settings.clip_norm,
        ema=settings.ema,
        seed=seed,
        finite_kernel=kernels.get("finite"),
        float32_cells=(SyncBatchNorm,) if synchronised else (),
        reduce_after_backward=synchronised,
        factored=factored,
    )


def factored_gradients(network, images):
    """Returns the FactoredGradients of a network for a rank's batches of so many images, or None if it has none."""
    from cellwright.kernels.nodes import FactoredGradients

    found = FactoredGradients(network, images)
    return found if found.weights else None


def _optimizer(network, recipe, settings, kernels, groups, shard):
    from cellwright.engine import LARS, AdamW, Momentum

    params = network.trainable_params()
    decay = {"weight_decay": recipe.weight_decay, "decays": recipe.decays, "groups": groups}
    if recipe.optimizer == "adamw":
        return AdamW(params, **decay, kernel=kernels.get("adamw"), shard=shard)
    if recipe.optimizer == "lars":
        return LARS(params, recipe.momentum, **decay, nesterov=settings.nesterov)
    kernel = kernels.get("momentum")
    return Momentum(params, recipe.momentum, **decay, nesterov=settings.nesterov, kernel=kernel, shard=shard)


def _loss_scale(recipe, settings):
    from cellwright.engine import LossScale

    if recipe.dynamic_loss_scale:
        return LossScale.dynamic(recipe.dynamic_loss_scale_init, recipe.dynamic_loss_scale_window)
    return LossScale.fixed(recipe.loss_scale, drop_overflow=settings.drop_overflow)
