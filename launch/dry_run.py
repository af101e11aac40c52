"""What a run would do, said before it does anything: --dry_run, --explain_cores, and the like."""

import math
import os

from cellwright.dataloader import Sampler
from cellwright.launch.announce import plural
from cellwright.launch.build import build_network
from cellwright.launch.host.collectives import choose_backend
from cellwright.launch.host.cores import explain_cores, this_host
from cellwright.launch.host.devices import device_of
from cellwright.launch.host.runtime import allow_all_instructions
from cellwright.launch.settings.idle_flags import shares_update
from cellwright.launch.settings.weights import find_weights

_MB = 1e6


def stops_before_training(settings):
    """True where RunSettings ask for words in place of a run."""
    return settings.dry_run or settings.explain_cores or settings.explain_buckets or settings.explain_kernels


def show_dry_run(job, resolved, training, held_back):
    """Prints on rank 0 what was asked for and returns exit code 0. Collective; ValueError for what could not run.

    Builds the network on the CPU, so that a host without the device can plan for one that has it.
    """
    world, settings, recipe = job.world, resolved.run, resolved.recipe
    if settings.pretrained and not settings.resume:
        find_weights(settings.pretrained, settings.weights)
    here = {
        "host": os.uname().nodename,
        "rank": world.rank,
        "backend": choose_backend(settings.backend, settings.device_target, world.size),
        "device": device_of(world, settings.device_target, settings.device_id),
        "cores": explain_cores(this_host(world, settings.device_target))[world.local_rank],
    }
    workers = settings.workers or len(this_host(world, settings.device_target)[world.local_rank].workers)
    everyone = world.allgather_object(here)
    if world.rank:
        return 0
    sections = []
    if settings.dry_run:
        sections += [world_lines(everyone, settings.device_target), steps_lines(resolved, training, held_back, world)]
    if settings.dry_run or settings.explain_cores:
        sections.append(["cores" + ("" if settings.bind == "auto" else " (--bind none: not bound)")])
        sections[-1] += [f"  rank {each['rank']} on {each['host']}: {each['cores']}" for each in everyone]
    if settings.dry_run or settings.explain_buckets or settings.explain_kernels:
        try:
            sections += network_sections(resolved, workers, world)
        except MemoryError as error:
            what = f"{recipe.net} with one image of that size"
            raise ValueError(f"--image_size {recipe.image_size}: {what} does not fit into memory: {error}") from None
    print("\n".join(line for section in sections for line in section), flush=True)
    return 0


def network_sections(resolved, workers, world):
    """Returns the sections, lists of lines, that a network is built for."""
    settings, network = resolved.run, build_network(resolved.recipe)
    sections = []
    if settings.dry_run or settings.explain_buckets:
        sections.append(bucket_lines(network, resolved, world))
    if settings.explain_kernels:
        sections.append(kernel_lines(network, resolved))
    if settings.dry_run:
        sections.append(memory_lines(network, resolved, workers, world.local_size))
        sections.append(checkpoint_lines(resolved, network))
    return sections


def world_lines(everyone, device_target):
    """Returns the lines on ranks, hosts, back end and devices."""
    hosts = sorted({each["host"] for each in everyone})
    lines = [f"world: {plural(len(everyone), 'rank')} on {', '.join(hosts)}, back end {everyone[0]['backend']}"]
    if device_target != "CPU":
        lines += [f"  rank {each['rank']} on {each['host']}: {device_target} {each['device']}" for each in everyone]
    return lines


def steps_lines(resolved, training, held_back, world):
    """Returns the lines on data, steps and learning rates."""
    recipe, run = resolved.recipe, resolved.run
    batches = len(Sampler(len(training), recipe.batch_size, 0, world.size, run.seed))
    accumulate = resolved.step.accumulate
    steps = -(-batches // accumulate)
    total = min(recipe.epochs * steps, run.max_steps or recipe.epochs * steps)
    update = recipe.batch_size * world.size * accumulate
    rates = recipe.learning_rates(steps, update)
    held = len(held_back) if held_back else "none"
    classes = plural(recipe.num_classes, "class", "classes")
    times = f" x {accumulate} accumulated" if accumulate > 1 else ""
    epoch = f"{steps} an epoch of {recipe.batch_size} x {plural(world.size, 'rank')}{times} = {update} images"
    lines = [
        f"data: {plural(len(training), 'training image')} in {classes}, {held} held back",
        f"steps: {epoch}, {plural(recipe.epochs, 'epoch')}, {plural(total, 'step')} in all",
        "learning rate:",
    ]
    return lines + [
        f"  step {step} (epoch {step // steps}): {rates[step]:.6g}" for step in check_points(recipe, steps, total)
    ]


def check_points(recipe, steps_per_epoch, total):
    """Returns the steps whose learning rates tell the schedule: ends of its phases, quarters of the run, drops."""
    phases = (recipe.warmup_epochs, recipe.warmup_epochs + recipe.hold_epochs)
    drops = recipe.lr_epochs if recipe.lr_scheduler == "exponential" else ()
    found = {0, total - 1, *(total * quarter // 4 for quarter in (1, 2, 3))}
    found |= {epoch * steps_per_epoch for epoch in (*phases, *drops)}
    return sorted(step for step in found if 0 <= step < total)


def bucket_lines(network, resolved, world):
    """Returns the lines on the buckets in which gradients travel."""
    from cellwright.engine import explain_buckets

    step, one_host = resolved.step, world.local_size == world.size
    if world.size == 1:
        return ["buckets: none, a single rank sums nothing"]
    looked_at = step.clip_norm or step.drop_overflow or resolved.recipe.dynamic_loss_scale
    if shares_update(resolved, world.local_size) and one_host and not looked_at:
        return ["buckets: none, the update that the ranks share sums all gradients on its way (--shard_update)"]
    parameters = network.trainable_params()
    sizes = [math.prod(parameter.shape) for parameter in parameters]
    lines = explain_buckets([parameter.name for parameter in parameters], sizes, step.bucket_bytes).splitlines()
    return [f"buckets: {len(lines)}, in the order of the backward pass"] + [f"  {line}" for line in lines]


def kernel_lines(network, resolved):
    """Returns the lines on which parts of the network the project's own kernels run, and why not the others."""
    from cellwright.kernels.compiler import explain
    from cellwright.kernels.csrc import ShimMissing

    allow_all_instructions()  # as a run does
    recipe, level = resolved.recipe, resolved.amp_level
    if level != "O0" and resolved.step.amp_dtype == "float16":
        return [
            f"kernels: stock ones, the project's own have float32 and bfloat16, and this run at {level} has float16"
        ]
    shape = recipe.batch_size, 3, recipe.image_size, recipe.image_size
    try:
        told = str(explain(network, shape, "float32" if level == "O0" else "bfloat16"))
    except ShimMissing as error:
        return [f"kernels: stock ones, {error}"]
    return [f"kernels, for images {shape}"] + [f"  {line}" for line in told.splitlines()]


def memory_lines(network, resolved, workers, ranks):
    """Returns the lines on the memory of one rank of so many on its host, an estimate from shapes."""
    recipe, step = resolved.recipe, resolved.step
    weights = 4 * sum(math.prod(parameter.shape) for parameter in network.get_parameters())
    trained = 4 * sum(math.prod(parameter.shape) for parameter in network.trainable_params())
    moments = (1 + (recipe.optimizer == "adamw")) / (ranks if shares_update(resolved, ranks) else 1)
    copies = 1 + moments + (step.ema is not None) + (step.accumulate > 1)  # gradients always
    level = resolved.amp_level
    item = 4 if level == "O0" else 2
    layers = recipe.batch_size * item * layer_outputs(network, recipe.image_size)
    ring = ring_bytes(recipe.batch_size, recipe.image_size, workers)
    lines = [
        f"memory of one rank, about {(weights + copies * trained + layers + ring) / _MB:.0f} MB beside the libraries:",
        f"  weights {weights / _MB:.1f} MB, gradients and optimizer state {copies * trained / _MB:.1f} MB",
        f"  outputs of all layers at {level}: {layers / _MB:.0f} MB; with --kernels auto on CPU it is less",
        f"  the loader's ring: {ring / _MB:.1f} MB for {workers} workers",
    ]
    return lines


def ring_bytes(batch_size, image_size, workers):
    """Returns the bytes of a loader's ring of uint8 batches, but for its few words of bookkeeping."""
    return (2 * workers + 2) * batch_size * image_size**2 * 3


def layer_outputs(network, image_size):
    """Returns how many numbers all layers of a network put out for one image: found by running one."""
    import mindspore as ms
    import numpy as np

    total = []

    def count(cell, inputs, output):
        total.append(output.size if isinstance(output, ms.Tensor) else 0)

    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_device("CPU")
    network.set_train(False)
    leaves = [cell for _, cell in network.cells_and_names() if not any(True for _ in cell.cells())]
    handles = [cell.register_forward_hook(count) for cell in leaves]
    network(ms.Tensor(np.zeros((1, 3, image_size, image_size), np.float32)))
    for handle in handles:
        handle.remove()
    return sum(total)


def checkpoint_lines(resolved, network):
    """Returns the lines on what is written when."""
    recipe, run = resolved.recipe, resolved.run
    trained = sum(math.prod(parameter.shape) for parameter in network.trainable_params())
    each = 4 * (sum(math.prod(parameter.shape) for parameter in network.get_parameters()) + trained)
    every = f"every {plural(recipe.checkpoint_interval_epochs, 'epoch')}"
    every += f" and {plural(run.checkpoint_steps, 'step')}" if run.checkpoint_steps else ""
    kept = recipe.keep_checkpoint_max + 1
    size = f"{each / _MB:.0f} MB each, up to {kept * each / 1e9:.2f} GB"
    return [
        f"checkpoints: {every}, {size}; the newest {recipe.keep_checkpoint_max} and the best stay",
        f"run folder: {run.resume or run.run_dir or 'a new one in runs/'}",
    ]
