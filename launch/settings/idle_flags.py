"""Flags that would do nothing beside the others that were given: each is an error that says why."""

from pathlib import Path

# Schedule settings -> the schedules that read them; the others are read by all.
_READ_BY = {
    "lr_gamma": ("exponential",),
    "lr_epochs": ("exponential",),
    "t_max": ("cosine_annealing",),
    "lr_end": ("cosine_annealing", "cosine", "linear"),
}
_AMP = {"amp_ascend": "Ascend", "amp_gpu": "GPU", "amp_cpu": "CPU"}


def refuse_idle_flags(resolved):
    """Raises ValueError for the first flag that was typed and that Resolved settings do not act on."""
    for name in sorted(resolved.typed):
        reason = _RULES[name](resolved) if name in _RULES else None
        if reason:
            raise ValueError(f"--{name} {resolved.given[name]} would do nothing: {reason}")


def _schedule(name):
    def rule(resolved):
        found, readers = resolved.recipe.lr_scheduler, _READ_BY[name]
        return None if found in readers else f"--lr_scheduler {found} does not read it, {' and '.join(readers)} do"

    return rule


def _genet_alone(resolved):
    return None if resolved.run.net == "genet" else f"it is a setting of genet, and --net is {resolved.run.net}"


def _level_before_norms(resolved):
    recipe, target = resolved.recipe, resolved.run.device_target
    of_recipe = {"Ascend": recipe.amp_ascend, "GPU": recipe.amp_gpu, "CPU": recipe.amp_cpu}[target]
    level = resolved.given.get("amp_level") or of_recipe
    return None if level == "O2" else f"it is about precision O2, and this run's on {target} is {level}"


def _amp_of(name):
    def rule(resolved):
        if resolved.step.amp_level and "amp_level" in resolved.typed:
            return f"--amp_level {resolved.step.amp_level} is for every device"
        target = resolved.run.device_target
        return None if target == _AMP[name] else f"the graph runs on {target}"

    return rule


def _half(resolved):
    return f"it is about O2 and O3, and this run is {resolved.amp_level}" if resolved.amp_level == "O0" else None


def _device(resolved):
    return "the graph runs on CPU" if resolved.run.device_target == "CPU" else None


def _rank_table(resolved):
    target = resolved.run.device_target
    return None if target == "Ascend" else f"it is for Ascend, and the graph runs on {target}"


def _run_dir(resolved):
    run = resolved.run
    if run.resume and Path(run.run_dir).resolve() != Path(run.resume).resolve():
        return f"--resume {run.resume} goes on in its own folder"
    return None


def _where(field, value, reason):
    """A rule for flags that act where the setting `field` has `value` alone; reason: what it is otherwise."""

    def rule(resolved):
        for part in (resolved.run, resolved.step, resolved.recipe):
            if hasattr(part, field):
                return None if getattr(part, field) == value else reason
        raise AttributeError(field)

    return rule


def _weights(resolved):
    run = resolved.run
    if run.pretrained is not None and Path(run.pretrained).is_file():
        return f"{run.pretrained} is a file of weights, it holds one set of them"
    return None


def _weights_need_a_run(resolved):
    return _weights(resolved) if resolved.run.pretrained or "ckpt" in resolved.given else "there is no --pretrained"


_FIXED_SCALE = _where("dynamic_loss_scale", False, "the loss scale is dynamic")
_DYNAMIC_SCALE = _where("dynamic_loss_scale", True, "the loss scale is fixed (--dynamic_loss_scale)")


def _own_kernels(resolved):
    run = resolved.run
    if run.kernels == "stock":
        return "--kernels stock takes none of our own"
    return (
        None
        if run.device_target == "CPU"
        else f"our own kernels run on CPU, and --device_target is {run.device_target}"
    )


def _nothing_to_keep(resolved):
    run, wanted = resolved.run, resolved.step.freeze_batch_norm
    return "the statistics of a new network are worth nothing (--pretrained)" if wanted and not run.pretrained else None


def _alone_in_its_batch(resolved):
    return "each image is alone in its batch (--batch_size)" if resolved.recipe.batch_size == 1 else None


def _of_sgd(resolved):
    return "adamw has momentum of its own" if resolved.recipe.optimizer == "adamw" else None


def _beside(names, acts, reason):
    """A rule for settings of the augmentation that act where `acts` holds for the value of one of `names`."""

    def rule(resolved):
        return None if any(acts(resolved.recipe.augmentation[name]) for name in names) else reason

    return rule


def _cropped(how):
    return _beside(("crop",), lambda crop: crop == how, f"it belongs to --crop {how}")


def _own_sums(resolved):
    return resolved.run.backend in ("auto", "mpi") and resolved.run.device_target == "CPU"


def _overlap(resolved):
    if resolved.step.overlap == "False":
        return None
    return resolved.step.why_no_overlap if _own_sums(resolved) else "it belongs to --backend mpi"


def why_not_sharded(resolved):
    """Returns in words why the ranks of a host can't share the update of Resolved settings; None where they can."""
    if not _own_sums(resolved):
        return "it belongs to --backend mpi"
    if resolved.run.kernels == "stock":
        return "--kernels stock updates all weights on each rank"
    return "lars updates whole layers, by their norms" if resolved.recipe.optimizer == "lars" else None


def shares_update(resolved, local_size):
    """Returns whether Resolved settings let a host's ranks, so many, share the update; the shim and its memory are
    taken to be there.
    """
    return resolved.step.shard_update != "False" and local_size > 1 and why_not_sharded(resolved) is None


_RAND_AUGMENT = _beside(("policy",), lambda policy: policy == "rand", "it belongs to --policy rand")
_ERASING = _beside(("erasing",), bool, "nothing is erased (--erasing)")
_RULES = {
    **{name: _schedule(name) for name in _READ_BY},
    **{name: _amp_of(name) for name in _AMP},
    "extra": _genet_alone,
    "mlp": _genet_alone,
    "keep_batchnorm_fp32": _level_before_norms,
    "amp_dtype": _half,
    "device_id": _device,
    "rank_table": _rank_table,
    "run_dir": _run_dir,
    "auto_resume": lambda r: "--resume goes on in any case" if r.run.resume and r.run.auto_resume else None,
    "pretrained": lambda r: "--resume brings its own weights" if r.run.resume else None,
    "weights": _weights_need_a_run,
    "freeze_batch_norm": _nothing_to_keep,
    "warmup_lr": lambda r: None if r.recipe.warmup_epochs else "there is no warm-up (--warmup_epochs)",
    "smooth_off": lambda r: None if r.recipe.label_smooth_factor else "labels are not smoothed (--label_smooth_factor)",
    "loss_scale": _FIXED_SCALE,
    "drop_overflow": _FIXED_SCALE,
    "dynamic_loss_scale_init": _DYNAMIC_SCALE,
    "dynamic_loss_scale_window": _DYNAMIC_SCALE,
    "crop_scale": _cropped("random_resized"),
    "crop_ratio": _cropped("random_resized"),
    "crop_padding": _cropped("pad"),
    "cutout_fill": _beside(("cutout", "erasing"), bool, "nothing is blanked (--cutout, --erasing)"),
    "policy_operations": _RAND_AUGMENT,
    "policy_magnitude": _RAND_AUGMENT,
    "erasing_scale": _ERASING,
    "erasing_ratio": _ERASING,
    "mixup": _alone_in_its_batch,
    "cutmix": _alone_in_its_batch,
    "eval_crop_ratio": lambda r: "--eval_resize direct cuts nothing out" if r.recipe.eval_resize == "direct" else None,
    "explain_kernels": _own_kernels,
    "momentum": _of_sgd,
    "nesterov": _of_sgd,
    "log_interval": _where("log_format", "plain", "--log_format zoo has one line an epoch"),
    "overlap": _overlap,
    "wire_dtype": lambda r: None if _own_sums(r) or r.step.wire_dtype == "float32" else "it belongs to --backend mpi",
    "shard_update": lambda r: why_not_sharded(r) if r.step.shard_update == "True" else None,
    "sort_classes": lambda r: "the embedded images have named classes" if r.run.data_path is None else None,
}
