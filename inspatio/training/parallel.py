"""One process or several: sharded networks (FSDP2), gradients added up, and what all processes agree on.

Each process takes its share of a step's samples; losses are divided by the whole batch, so gradients are summed.

``fsdp`` keeps float32 weights, their gradients and the optimiser's state in shards (torch's ``fully_shard``), and
brings a network's weights together, in bf16 where asked for, when it runs and when its gradient is computed. One group
of weights to a network, and not one to a layer as torchtitan has it: passes here hand keys and values from layer to
layer in a cache, past the layers' outputs on which FSDP hangs its hooks. A network in use therefore takes 2 bytes a
weight on each GPU, 2.6 GB at 1.3B and 28 GB at 14B. Time embedding and modulation stay in float32, as at inference.

``ddp`` keeps whole networks in each process. There is one sum over the processes to a step, after the last of its
backward passes, of which there are many; torch's wrapper would sum after each. Neither has run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from inspatio.errors import UsageError, UserError
from inspatio.models.wan.parallel import init_process_group
from inspatio.training.config import ProcessConfig

Network = TypeVar("Network", bound=nn.Module)
Result = TypeVar("Result")

FLOAT32_MODULES = ("time_embedding", "time_projection", "t_embedder", "t_block")
FLOAT32_PARAMETERS = ("modulation", "scale_shift_table")
"""What belongs to the time, in both networks; see their ``place``."""


class Runner(nn.Module, Generic[Network]):
    """A network whose passes are run by its ``forward``, which FSDP wraps: inside, its weights are whole."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, passes: Callable[[Network], Result]) -> Result:
        return passes(self.network)


class Processes:
    """This process among those of the job."""

    def __init__(self, config: ProcessConfig, device: torch.device, rank: int = 0, size: int = 1) -> None:
        """Every process of the job makes one."""
        if size > 1 and config.parallel == "none":
            raise UsageError(
                f"processes.parallel: got none with {size} processes, expected ddp or fsdp. Set it in the config"
            )
        self.config, self.device, self.rank, self.size = config, device, rank, size
        self.mesh = None
        if config.parallel != "none":
            init_process_group()
        if config.parallel == "fsdp":
            self.mesh = init_device_mesh(device.type, (size,))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def place(self, network: Network) -> Runner[Network]:
        """Put a network on the device, whole or as this process's shards."""
        runner = Runner(network.to(self.device))
        if self.mesh is None:
            return runner
        half = self.config.precision == "bf16"
        policy = MixedPrecisionPolicy(
            torch.bfloat16 if half else None, torch.float32 if half else None, cast_forward_inputs=False
        )
        exact = {parameter for name, parameter in network.named_parameters() if name.endswith(FLOAT32_PARAMETERS)}
        modules: list[nn.Module] = [child for name, child in network.named_children() if name in FLOAT32_MODULES]
        for module in modules:
            fully_shard(module, mesh=self.mesh)
        fully_shard(runner, mesh=self.mesh, mp_policy=policy, reshard_after_forward=True, ignored_params=exact)
        for module in (*modules, runner):
            assert isinstance(module, FSDPModule), "fully_shard changes a module's class"
            # A plain sum: losses are divided by the whole batch already, and gloo knows no other.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        return runner

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of parameters that each process has whole; FSDP adds up those of shards itself."""
        if self.size == 1:
            return
        whole = [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
        if whole:
            flat = torch.cat([grad.flatten() for grad in whole])
            self.sum(flat)
            for grad, part in zip(whole, flat.split([grad.numel() for grad in whole]), strict=True):
                grad.copy_(part.view_as(grad))

    def gradient_norm(self, parameters: Iterable[nn.Parameter]) -> float:
        """The length of the gradient over all processes."""
        shards = torch.zeros((), dtype=torch.float64, device=self.device)
        whole = torch.zeros((), dtype=torch.float64, device=self.device)
        for parameter in parameters:
            grad = parameter.grad
            if isinstance(grad, DTensor):
                shards += grad.to_local().double().square().sum()
            elif grad is not None:
                whole += grad.double().square().sum()
        return float((self.sum(shards) + whole).sqrt())

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Add a tensor up over the processes, in place."""
        if self.size > 1:
            self._guarded(lambda: dist.all_reduce(value))
        return value

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            self._guarded(dist.barrier)

    def agree(self, value: Any) -> Any:
        """The main process's value, in every process."""
        values = [value]
        if self.size > 1:
            self._guarded(lambda: dist.broadcast_object_list(values))
        return values[0]

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """Do what needs all processes; say it in a line where one of them has ended."""
        try:
            return work()
        except (RuntimeError, dist.DistError) as error:
            raise lost_process(error) from error


def lost_process(error: BaseException) -> UserError:
    """What to say where the processes can no longer talk to each other."""
    cause = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"a process of this job has ended or does not answer ({cause}). See its own last lines, then run again: "
        "training goes on from the last checkpoint"
    )


def whole_tensor(value: torch.Tensor) -> torch.Tensor:
    """A parameter or average as one tensor on the CPU; every process has to ask."""
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).cpu()
