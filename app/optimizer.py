"""SGD as a configuration wants it, and the learning rate over a run."""

from __future__ import annotations

import math

import paddle

from app.config import TrainConfig
from app.models import Network


def build_schedule(config: TrainConfig, steps: int) -> paddle.optimizer.lr.LRScheduler:
    """Return the learning rate of a run of so many steps, which `step()` moves on."""
    return paddle.optimizer.lr.LambdaDecay(
        config.learning_rate, lambda step: learning_rate_factor(config, step, steps)
    )


def learning_rate_factor(config: TrainConfig, step: int, steps: int) -> float:
    """Return the share of `config.learning_rate` at `step` (from 0) of a run of `steps`.

    `one-cycle` rises linearly over the warm-up and falls along half a cosine to zero (after Smith and Topin,
    2017, "Super-Convergence"). `cosine` falls along half a cosine over the whole run (Loshchilov and Hutter,
    2017, "SGDR", without restarts), of which the warm-up takes a linearly growing share.
    """
    if config.schedule == "constant":
        return 1.0
    peak = config.warmup * steps
    ramp = min((step + 1) / (peak + 1), 1.0)
    if config.schedule == "one-cycle":
        return ramp if step < peak else _half_cosine((step - peak) / max(steps - peak, 1))
    return ramp * _half_cosine(step / steps)


def _half_cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizer(
    config: TrainConfig, network: Network, schedule: paddle.optimizer.lr.LRScheduler
) -> paddle.optimizer.Optimizer:
    """Return SGD as `config` wants it: plain, with momentum or Nesterov's; its state is created."""
    if config.weight_decay:
        # A bias or a norm's factor does not make the function rougher, and there are few of them: as usual,
        # only what multiplies features decays.
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.regularizer = paddle.regularizer.L2Decay(config.weight_decay)
    clip = paddle.nn.ClipGradByGlobalNorm(config.clip_gradient) if config.clip_gradient else None
    parameters = network.parameters()
    if config.momentum:
        optimizer = paddle.optimizer.Momentum(
            schedule, config.momentum, parameters, use_nesterov=config.nesterov, grad_clip=clip
        )
    else:
        optimizer = paddle.optimizer.SGD(schedule, parameters, grad_clip=clip)
    _create_optimizer_state(network, optimizer)
    return optimizer


def _create_optimizer_state(network: Network, optimizer: paddle.optimizer.Optimizer) -> None:
    """Make the optimiser create and name its state now, by a step that changes nothing."""
    before = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    for parameter in network.parameters():
        if not parameter.stop_gradient:
            parameter.grad = paddle.zeros_like(parameter)
            # Weights of zero, because others would decay, and the momentum would remember it.
            parameter.set_value(parameter.grad)
    optimizer.step()
    optimizer.clear_grad()
    for name, tensor in network.state_dict().items():
        tensor.set_value(before[name])
