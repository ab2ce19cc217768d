"""One process of a fine-tuning that shares out its weights with FSDP, on a processor over gloo.

accelerate takes FSDP for cards alone: a stub stands for what it finds out about the machine. Everything else is real.
Run as: python -m torch.distributed.run --nproc_per_node 2 tests/fsdp_rank.py, in a folder as `finetune` finds it.
"""

import os
import runpy
import sys
from pathlib import Path

import torch
import yaml
from accelerate.state import PartialState
from accelerate.utils import DistributedType

ROOT = Path(__file__).parents[1]


def main() -> None:
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))
    # As the launcher does, which tells the processes what the configuration file says in variables.
    settings = yaml.safe_load((ROOT / "configs/fsdp_qlora.yaml").read_text(encoding="utf-8"))["fsdp_config"]
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in settings.items():
        os.environ[name.upper()] = str(value).lower() if isinstance(value, bool) else str(value)
    os.environ["TEXT2SQL_LAUNCH_RESULTS"] = "."
    from text2sql.training import finetune

    check = finetune.check_weights

    def check_shares(model) -> None:
        shares = {type(p).__name__ for p in model.parameters()}
        assert shares == {"DTensor"}, shares
        check(model)

    finetune.check_weights = check_shares
    sys.path.insert(0, str(ROOT / "stages"))  # as Python does for a script
    runpy.run_path(str(ROOT / "stages/finetune.py"), run_name="launched")["main"]()


if __name__ == "__main__":
    main()
