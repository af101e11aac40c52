"""What is accepted acts: a flag that would do nothing is one line that says why."""

import pytest

from cellwright.launch.profile import ProfileSettings
from cellwright.launch.settings.resolve import read_eval_settings, read_settings
from cellwright.launch.settings.run_settings import RunSettings
from cellwright.launch.settings.sections import PROFILE, SECTIONS, TRAIN, names_of
from cellwright.launch.settings.step_settings import StepSettings
from cellwright.launch.settings.transforms import AUGMENTATION


def read(line, **options):
    return read_settings(line.split(), "program", **options)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("--device_id 1", "--device_id 1 would do nothing: the graph runs on CPU"),
        ("--rank_table table.json", "it is for Ascend, and the graph runs on CPU"),
        ("--keep_batchnorm_fp32 False", "it is about precision O2, and this run's on CPU is O0"),
        ("--net vgg16 --extra", "--extra True would do nothing: it is a setting of genet, and --net is vgg16"),
        ("--net tinydarknet --mlp False", "it is a setting of genet"),
        ("--lr_scheduler cosine --lr_gamma 0.2", "--lr_scheduler cosine does not read it, exponential do"),
        ("--lr_scheduler cosine --lr_epochs 3,5", "--lr_scheduler cosine does not read it"),
        ("--lr_scheduler linear --t_max 5", "--lr_scheduler linear does not read it"),
        ("--lr_scheduler exponential --lr_end 0.1", "--lr_scheduler exponential does not read it"),
        ("--net vgg16 --warmup_lr 0.1", "there is no warm-up"),
        ("--label_smooth_factor 0 --smooth_off K", "labels are not smoothed"),
        ("--dynamic_loss_scale --loss_scale 8", "the loss scale is dynamic"),
        ("--dynamic_loss_scale_window 8", "the loss scale is fixed"),
        ("--crop pad --crop_scale 0.5,1", "it belongs to --crop random_resized"),
        ("--net tinydarknet --crop_padding 2", "it belongs to --crop pad"),
        ("--policy trivial --policy_magnitude 5", "it belongs to --policy rand"),
        ("--policy_operations 3", "it belongs to --policy rand"),
        ("--erasing_scale 0.1,0.2", "nothing is erased (--erasing)"),
        ("--erasing_ratio 1,2", "nothing is erased (--erasing)"),
        ("--cutout_fill 9,9,9", "nothing is blanked (--cutout, --erasing)"),
        ("--mixup 0.2 --batch_size 1", "each image is alone in its batch"),
        ("--eval_resize direct --eval_crop_ratio 0.5", "cuts nothing out"),
        ("--log_format zoo --log_interval 3", "has one line an epoch"),
        ("--overlap --backend mccl", "--overlap True would do nothing: it belongs to --backend mpi"),
        ("--overlap auto --accumulate 2", "gradients leave after the last of several batches"),
        ("--net tinydarknet --overlap yes --sync_batch_norm", "no sum starts before all gradients are there"),
        ("--shard_update --backend mccl", "--shard_update True would do nothing: it belongs to --backend mpi"),
        ("--shard_update --kernels stock", "--kernels stock updates all weights on each rank"),
        ("--net tinydarknet --shard_update --optimizer lars", "lars updates whole layers, by their norms"),
        ("--optimizer adamw --lr 0.001 --nesterov", "adamw has momentum of its own"),
        ("--optimizer momentum", "the recipe's rates are for adamw, give --lr"),
        ("--net tinydarknet --optimizer adamw", "the recipe's rates are for momentum, give --lr"),
        ("--weights best", "there is no --pretrained"),
        ("--amp_gpu O2", "the graph runs on CPU"),
        ("--sort_classes number", "the embedded images have named classes"),
    ],
)
def test_a_flag_that_would_do_nothing_is_an_error(line, reason):
    with pytest.raises(ValueError) as error:
        read(line)
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        "--device_target GPU --device_id 1",
        "--keep_batchnorm_fp32 False --amp_level O2",
        "--net genet --extra False",
        "--lr_scheduler exponential --lr_gamma 0.2 --lr_epochs 3,5",
        "--lr_scheduler cosine --lr_end 0.001",
        "--crop pad --crop_padding 2",
        "--policy rand --policy_magnitude 5 --policy_operations 1",
        "--erasing 0.5 --erasing_scale 0.1,0.2 --cutout_fill 9,9,9",
        "--dynamic_loss_scale --dynamic_loss_scale_window 8",
        "--overlap auto",
        "--overlap False --accumulate 2",
        "--shard_update --accumulate 2 --clip_norm 1 --drop_overflow --ema 0.99",
        "--shard_update False --kernels stock",
    ],
)
def test_beside_the_setting_that_it_belongs_to_it_is_taken(line):
    read(line)


@pytest.mark.parametrize(
    "line, message",
    [
        ("--crop_scale 0.5,0.1", "crop_scale=(0.5, 0.1): allowed is"),
        ("--crop_ratio 1", "crop_ratio=(1,)"),
        ("--flip 2", "flip=2.0: allowed is"),
        ("--jitter 0.4,0.4,0.4,0.6", "jitter=(0.4, 0.4, 0.4, 0.6): allowed is"),
        ("--mixup 3", "mixup=3.0: allowed is 0 to 2"),
        ("--cutout 40", "cutout=40: allowed is 0 to image_size=32"),
    ],
)
def test_the_numbers_of_the_augmentation_are_checked_by_the_loader(line, message):
    with pytest.raises(ValueError) as error:
        read(line)
    assert message in str(error.value)


def test_norms_in_half_precision_are_the_level_above():
    (resolved,) = read("--amp_level O2 --keep_batchnorm_fp32 False")
    assert resolved.amp_level == "O3"


@pytest.mark.parametrize("flag", ["run_dir X", "resume X", "max_steps 3", "ledger X", "eval_interval 2", "tensorboard"])
def test_profile_refuses_what_it_does_not_act_on(flag, capsys):
    with pytest.raises(SystemExit) as ended:
        read_settings([*f"--{flag}".split()], "launch.profile", ProfileSettings, acts_on=PROFILE)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"launch.profile: --{flag.split()[0]} does nothing in launch.profile; " + (
        "--help lists its flags\n"
    )


@pytest.mark.parametrize("flag", ["lr 0.1", "epochs 3", "nesterov", "momentum 0.5", "max_steps 3", "run_dir X"])
def test_evaluation_refuses_the_flags_of_training(flag, tmp_path, capsys):
    (tmp_path / "x.ckpt").touch()
    with pytest.raises(SystemExit):
        read_eval_settings(["--ckpt", str(tmp_path / "x.ckpt"), *f"--{flag}".split()], "launch.eval")
    assert "does nothing in launch.eval" in capsys.readouterr().err


def test_every_setting_has_one_section_and_a_help_text():
    from cellwright.nets import Recipe

    names = [name for members in SECTIONS.values() for name in members]
    assert len(names) == len(set(names))
    recipe = names_of(Recipe) - {"network_settings", "augmentation"}
    assert set(names) == names_of(RunSettings) | names_of(StepSettings) | recipe | AUGMENTATION.keys()
    assert PROFILE < TRAIN
