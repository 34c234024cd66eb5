"""Networks in training: a role is a network with what trains it, and runs its passes whole or sharded.

student = make_role("student", network, processes, trained)
student.run(lambda dit: dit.denoise(...))          the only way to a network's passes: under FSDP its weights are
                                                   whole inside, and in shards outside
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from inspatio.errors import MissingWeightsError
from inspatio.models.completion import CompletionConfig, CompletionNetwork, load_completion
from inspatio.models.wan.checkpoint import published_name, read_config
from inspatio.models.wan.dit import CONDITION_CHANNELS, CausalDiT
from inspatio.models.weights import load_state, load_strict
from inspatio.models.worldfm.checkpoint import load_network
from inspatio.models.worldfm.dit import WorldFM
from inspatio.training.config import NetworkConfig, OptimizerConfig
from inspatio.training.draws import generator
from inspatio.training.lora import add_lora, merged_state
from inspatio.training.parallel import Processes, Runner, whole_tensor

Network = TypeVar("Network", bound=nn.Module)
Result = TypeVar("Result")


class Role(Generic[Network]):
    """A network in training; ``optimizer`` and ``average`` are None where it is frozen or not averaged."""

    def __init__(
        self, name: str, network: Network, processes: Processes, optimizer: OptimizerConfig | None, rate: float = 0.0
    ) -> None:
        """``optimizer``: None freezes the network; ``rate``: its learning rate."""
        self.name = name
        self.network = network
        if optimizer is None:
            network.requires_grad_(False)
        self._runner: Runner[Network] = processes.place(network)
        self.parameters = {name: each for name, each in network.named_parameters() if each.requires_grad}
        self.rate = rate
        self.optimizer: torch.optim.AdamW | None = None
        self.average: Average | None = None
        if optimizer is not None:
            first, second = optimizer.betas
            sharded = [each for each in self.parameters.values() if isinstance(each, DTensor)]
            whole = [each for each in self.parameters.values() if not isinstance(each, DTensor)]
            self.optimizer = torch.optim.AdamW(
                [{"params": group} for group in (sharded, whole) if group],  # one kernel takes one kind of tensors
                lr=rate,
                betas=(first, second),
                weight_decay=optimizer.weight_decay,
                fused=True,
            )
            # From the beginning, so that a checkpoint has the same parts whatever was updated before it.
            for parameter in self.parameters.values():
                self.optimizer.state[parameter] = {
                    "step": torch.zeros((), device=processes.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }

    def moments(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        """AdamW's state of a parameter: step, exp_avg, exp_avg_sq."""
        assert self.optimizer is not None, f"{self.name} is not trained"
        return self.optimizer.state[parameter]

    def run(self, passes: Callable[[Network], Result]) -> Result:
        """Run passes of the network."""
        return self._runner(passes)

    def start_average(self, decay: float) -> Average:
        """Average the weights from here on."""
        self.average = Average(self.parameters, decay)
        return self.average

    def state(self) -> dict[str, torch.Tensor]:
        """The network's weights under the published names, whole and on the CPU, low-rank additions added in.

        Every process has to ask.
        """
        return merged_state(self.network, {name: whole_tensor(each) for name, each in self.network.named_parameters()})

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Run with the averaged weights inside, as far as there are any."""
        if self.average is None:
            yield
            return
        kept = {name: each.detach().clone() for name, each in self.parameters.items()}
        _assign(self.parameters, self.average.values)
        try:
            yield
        finally:
            _assign(self.parameters, kept)


class Average:
    """The moving average of a role's trained weights, in their own shards."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.values = {name: each.detach().clone() for name, each in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Move towards the present weights: ``decay * average + (1 - decay) * weights``."""
        for name, value in self.values.items():
            value.lerp_(parameters[name].detach(), 1.0 - self.decay)


@torch.no_grad()
def _assign(parameters: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def load_clip_network(path: Path, wan_folder: Path) -> CausalDiT:
    """Load a transformer to be trained, in float32: InSpatio-World's, or the Wan base model that it grows from.

    The base model's patches know no mask and no render: their columns are added as zeros, so that it computes what it
    did until training changes them.

    Raises:
        MissingWeightsError: a file is missing, damaged, another model's, or of another size than its config.
    """
    state = {key: value for key, value in load_state(path).items() if published_name(key)}
    patches = next((key for key in state if published_name(key) == "patch_embedding.weight"), None)
    if patches is None:
        raise MissingWeightsError(f"{path}: not a Wan transformer: missing key patch_embedding.weight. Check the path")
    weight = state[patches]
    config = read_config(path, wan_folder)
    missing = config.in_dim - weight.shape[1]
    if missing == CONDITION_CHANNELS:
        state[patches] = torch.cat((weight, weight.new_zeros(len(weight), missing, *weight.shape[2:])), dim=1)
    with torch.device("meta"):
        dit = CausalDiT(config)
    load_strict(dit, state, source=path, rename=published_name)
    return trainable(dit)


def load_frame_network(path: Path) -> WorldFM:
    """Load WorldFM's transformer to be trained, in float32.

    Raises:
        MissingWeightsError: as :func:`load_clip_network`.
    """
    return trainable(load_network(path, device=torch.device("cpu"), dtype=torch.float32))


def load_completion_network(path: str, seed: int) -> CompletionNetwork:
    """Load the preview's network to be trained, or start it from random weights where the path is empty.

    Raises:
        MissingWeightsError: the file is missing, damaged, or of another network.
    """
    if path:
        return trainable(load_completion(Path(path)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CompletionNetwork(CompletionConfig())


def trainable(network: Network) -> Network:
    """A loaded network with float32 weights of its own, none of them a mapped file's, and gradients."""
    for parameter in network.parameters():
        parameter.data = parameter.data.float().clone()
    return network.requires_grad_(True)


def prepare(network: Network, config: NetworkConfig, seed: int) -> Network:
    """Apply what the config asks for to a network that is to be trained: low-rank additions, recomputation."""
    if config.lora_rank:
        add_lora(network, config.lora_rank, config.lora_scale, generator(seed, "lora"))
    if config.recompute:
        recompute_blocks(network)
    return network


def recompute_blocks(network: nn.Module) -> None:
    """Keep only the inputs of each layer for the backward pass, and compute the layer again there."""
    blocks = network.get_submodule("blocks")
    for block in blocks.children():
        # Not torch's wrapper module: parameters would be called otherwise.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
