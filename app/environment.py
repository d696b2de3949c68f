"""What the program finds and sets before it uses Paddle: `python -m app.environment` reports it."""

from __future__ import annotations

import sys

from app import runtime
from app.console import CommandParser, run_command


def main() -> int:
    """Prepare the process and report what was found and done."""
    CommandParser(
        prog="python -m app.environment",
        description="Report what the program finds and sets before it uses Paddle.",
    ).parse_args()
    settings = runtime.prepare()
    for name, value in runtime.describe_environment().items():
        sys.stdout.write(f"{name:20} {value}\n")
    for setting in settings:
        sys.stdout.write(f"{setting.name:20} {setting.value} ({setting.reason})\n")
    sys.stdout.write(f"{'oneDNN':20} {_describe_onednn()}\n")
    sys.stdout.write(f"{'matrix product':20} right to {runtime.check_products():.1e} of its largest value\n")
    return 0


def _describe_onednn() -> str:
    """Return what computes the convolutions, after a look whether it does so rightly."""
    import paddle

    from app import onednn
    from app.fast_layers import agrees, gradients_agree, make_plan, stages_of
    from app.models import TwoConvNet

    images = paddle.rand([16, 1, 28, 28])
    paddles_own = "Paddle's own layers compute the convolutions"
    for network in (TwoConvNet(), TwoConvNet((16, 32), downsampling="stride", batch_norm=True)):
        try:
            plan = make_plan(stages_of(network), len(images), training=True)
        except onednn.UnsupportedError as error:
            return f"not used ({error}): {paddles_own}"
        if not (agrees(plan, network, images) and gradients_agree(plan, network, images)):
            return f"{onednn.version()}, not to be trusted (its results are wrong): {paddles_own}"
    return f"{onednn.version()} (of Paddle's wheel; it computes the convolutions, and rightly)"


if __name__ == "__main__":
    run_command(main)
