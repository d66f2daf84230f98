"""FSDP: a model's weights spread over the processes, each layer's gathered where it runs; and what of DeepSpeed fits."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

from finener.modeling_finener import FinenerForTokenClassification
from finener.training.arguments import ArgumentError


def check_sharding(accelerator: Accelerator, model: FinenerForTokenClassification) -> None:
    """Refuses what would save parts of a model, or spread weights out of evaluation's reach; has FSDP gather the encoder layer by layer.

    Raises:
        ArgumentError: on version 1 of FSDP, checkpoints in shards, or DeepSpeed's stage 3.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED and accelerator.state.deepspeed_plugin.zero_stage > 2:
        raise ArgumentError(
            "of DeepSpeed, zero_stage must be at most 2: to spread weights too, use FSDP (configs/accelerate/fsdp.yaml)"
        )
    if accelerator.distributed_type != DistributedType.FSDP:
        return
    plugin, layers = accelerator.state.fsdp_plugin, model.layers()
    if plugin.fsdp_version != 2 or plugin.state_dict_type.name != "FULL_STATE_DICT":
        raise ArgumentError(
            "FSDP must have fsdp_version: 2, and fsdp_state_dict_type: FULL_STATE_DICT so that each checkpoint holds a whole model, as in "
            f"configs/accelerate/fsdp.yaml; got {plugin.fsdp_version} and {plugin.state_dict_type.name}"
        )
    if plugin.transformer_cls_names_to_wrap is None and layers is not None:
        # By default these are what device_map may not split, which of BERT holds the embeddings: accelerate splits them already.
        plugin.transformer_cls_names_to_wrap = {type(layers[0]).__name__}


def is_deepspeed() -> bool:
    """Whether ``accelerate launch`` has started this process for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"


def as_forward(step: Callable[..., Any], model: FinenerForTokenClassification) -> Callable[..., Any]:
    """``step`` bound to a model; where FSDP has spread its weights, they are gathered for it as for forward."""
    bound = MethodType(step, model)
    if not isinstance(model, FSDPModule):
        return bound
    model.gathered_step = bound
    register_fsdp_forward_method(model, "gathered_step")
    return model.gathered_step


def whole_model(accelerator: Accelerator, model: FinenerForTokenClassification) -> FinenerForTokenClassification:
    """The model, or where FSDP has spread its weights a copy that has them all, on the main process. All processes must ask."""
    if not isinstance(model, FSDPModule):
        return model
    weights = accelerator.get_state_dict(model)
    return plain_copy(model, weights).to(accelerator.device) if accelerator.is_main_process else model


def plain_copy(model: FinenerForTokenClassification, weights: Mapping[str, Tensor]) -> FinenerForTokenClassification:
    """A model of our class with the gathered weights of one that FSDP has spread, which is of a class of torch's: its saved code would be
    torch's too.
    """
    copied = FinenerForTokenClassification(copy.deepcopy(model.config))
    copied.load_state_dict(weights)
    copied.encoder_autocast = model.encoder_autocast
    return copied.eval()
