"""Distillation: a small network learns from the outputs of a teacher, which stays as it is."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from cellwright.engine import Momentum, TrainOneStep


class Network(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Dense(8, width), nn.Dense(width, 5)

    def construct(self, x):
        return self.second(ops.relu(self.first(x)))


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(2)
student, teacher = Network(16), Network(64)
teacher.update_parameters_name("teacher.")  # in one graph each name is there once
teacher.set_train(False)


def forward(x, temperature):
    wanted = ops.softmax(teacher(x) / temperature)
    logits = student(x)
    divergence = (wanted * (ops.log(wanted) - ops.log_softmax(logits / temperature))).sum(axis=1)
    return divergence.mean() * temperature * temperature, {"logits": logits, "divergence": divergence}


before = teacher.first.weight.asnumpy().copy()
# The student is found by the optimizer's parameters; the teacher gets no gradient.
step = TrainOneStep(forward=forward, optimizer=Momentum(student.trainable_params()), clip_norm=5.0)
draw = np.random.default_rng(0)
reports = [step(draw.normal(size=(64, 8)).astype(np.float32), 2.0, lr=0.05) for _ in range(60)]
print("divergence", reports[0].loss, reports[-1].loss, "logits", reports[-1].aux["logits"].shape)
assert reports[-1].loss < 0.5 * reports[0].loss
assert np.array_equal(teacher.first.weight.asnumpy(), before)
