"""What `create_network` refuses before it builds anything."""

import pytest
from mindspore import nn

from cellwright.nets import create_network, network_names, network_settings


def test_names_and_settings():
    assert network_names() == ("densenet121", "genet", "tinydarknet", "vgg16")
    assert {"extra": True, "mlp": True}.items() <= network_settings("genet").items()


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("resnet50", {}, "'resnet50' is not one of densenet121, genet, tinydarknet, vgg16"),
        ("genet", {"extras": True}, "genet has no setting 'extras': it has extra, mlp"),
        ("tinydarknet", {"extra": True}, "tinydarknet has no setting 'extra': it has none"),
        ("genet", {"gather": "double"}, "gather='double' is not one of 'downsampled', 'single'"),
        ("densenet121", {"transition": "mean"}, "transition='mean' is not one of 'max', 'avg'"),
        ("vgg16", {"pad_mode": "valid"}, "pad_mode='valid' is not one of 'same', 'pad'"),
        (
            "vgg16",
            {"initialize_mode": "Ones"},
            "initialize_mode='Ones' is not one of 'XavierUniform', 'KaimingNormal'",
        ),
        (
            "vgg16",
            {"image_size": 31},
            "image_size=31 cannot work for vgg16: give a whole number of pixels, 32 or more",
        ),
        ("densenet121", {"image_size": 28}, "image_size=28 cannot work for densenet121"),
        ("genet", {"image_size": 0}, "image_size=0 cannot work for genet"),
        ("tinydarknet", {"image_size": 224.0}, "image_size=224.0 cannot work for tinydarknet"),
        ("genet", {"num_classes": 0}, "num_classes=0 cannot work for genet"),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(monkeypatch, name, arguments, message):
    def build(*_, **__):
        raise AssertionError("a layer was built")

    monkeypatch.setattr(nn.Conv2d, "__init__", build)
    with pytest.raises(ValueError) as error:
        create_network(name, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
