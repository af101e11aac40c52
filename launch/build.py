"""From settings to the cells of a training step."""


def build_network(recipe, pretrained=None):
    """Returns the recipe's network; `pretrained` is a file of weights."""
    from cellwright.nets import create_network

    return create_network(
        recipe.net, recipe.num_classes, recipe.image_size, pretrained=pretrained, **recipe.network_settings
    )


def build_loss(recipe):
    """Returns the recipe's loss cell."""
    from cellwright.engine import SoftmaxCrossEntropy

    return SoftmaxCrossEntropy(recipe.num_classes, recipe.label_smooth_factor, recipe.smooth_off)


def build_step(network, loss, recipe, settings, device_target="CPU", allreduce=None, seed=0, kernels=None):
    """Returns the TrainOneStep of a network for a Recipe and StepSettings; kernels: see Job.step_kernels."""
    from cellwright.engine import LARS, Momentum, TrainOneStep, synchronise_batch_norm
    from cellwright.engine.step.sync_norm import SyncBatchNorm

    kernels = kernels or {}
    synchronised = settings.sync_batch_norm and allreduce is not None
    if synchronised:
        synchronise_batch_norm(network, allreduce)
    arguments = network.trainable_params(), recipe.momentum, recipe.weight_decay, recipe.decays, settings.nesterov
    optimizer = (
        LARS(*arguments) if settings.optimizer == "lars" else Momentum(*arguments, kernel=kernels.get("momentum"))
    )
    return TrainOneStep(
        network,
        loss,
        optimizer,
        normalise=(recipe.mean, recipe.std),
        amp_level=settings.amp_level or recipe.amp_level(device_target),
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
    )


def _loss_scale(recipe, settings):
    from cellwright.engine import LossScale

    if recipe.dynamic_loss_scale:
        return LossScale.dynamic(recipe.dynamic_loss_scale_init, recipe.dynamic_loss_scale_window)
    return LossScale.fixed(recipe.loss_scale, drop_overflow=settings.drop_overflow)
